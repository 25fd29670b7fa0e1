/** One hot conversation in which everybody talks: all devices must show one order. */
import { atRate } from '../lib/pace.js';
import { audience, groupsOf } from './cast.js';

/** @param {import('../lib/world.js').World} world */
export async function fanIn(world) {
  const { rate, seconds, users } = world.settings;
  const [{ conversation, devices }] = await groupsOf(world, await audience(world), [users]);
  await atRate(world, rate, seconds, (intendedMs, turn) => {
    devices[turn % devices.length].sayIn(conversation, intendedMs);
  });
}
