/** Pairs of users who talk to one another. */
import { atRate } from '../lib/pace.js';
import { any, audience, pairs } from './cast.js';

/** @param {import('../lib/world.js').World} world */
export async function direct(world) {
  const rooms = await pairs(world, await audience(world));
  const { rate, seconds } = world.settings;
  await atRate(world, rate, seconds, (intendedMs) => {
    const { conversation, devices } = any(rooms);
    any(devices).sayIn(conversation, intendedMs);
  });
}
