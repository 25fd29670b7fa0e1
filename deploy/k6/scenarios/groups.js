/** Groups of several sizes; the smaller a group, the more is said in it. */
import { atRate } from '../lib/pace.js';
import { any, audience, groupsOf } from './cast.js';

/** @param {import('../lib/world.js').World} world */
export async function groups(world) {
  const { rate, seconds, sizes = [3, 10, 50] } = world.settings;
  const rooms = await groupsOf(world, await audience(world), sizes);
  // Zipf: the group at rank r has a share in proportion to 1 / r. Ranks are by size.
  const ranked = [...rooms].sort((one, other) => one.devices.length - other.devices.length);
  const total = ranked.reduce((sum, _, at) => sum + 1 / (at + 1), 0);
  const drawn = () => {
    let left = Math.random() * total;
    return ranked.find((_, at) => (left -= 1 / (at + 1)) <= 0) ?? ranked[0];
  };
  await atRate(world, rate, seconds, (intendedMs) => {
    const { conversation, devices } = drawn();
    any(devices).sayIn(conversation, intendedMs);
  });
}
