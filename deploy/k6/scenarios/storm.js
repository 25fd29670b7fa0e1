/** All sockets are cut at once while people talk: all come back in time, and nothing is missing. */
import { atRate } from '../lib/pace.js';
import { until } from '../lib/wait.js';
import { any, audience, pairs } from './cast.js';

/** As in `thresholds.js`: a device that is not back by then took too long. */
const BACK_WITHIN_MS = 30_000;

/** @param {import('../lib/world.js').World} world */
export async function storm(world) {
  const { rate, seconds } = world.settings;
  const rooms = await pairs(world, await audience(world));
  /** @param {number} intendedMs */
  const talk = (intendedMs) => {
    const { conversation, devices } = any(rooms);
    any(devices).sayIn(conversation, intendedMs);
  };
  await atRate(world, rate, seconds / 3, talk);
  const cutMs = Date.now();
  const away = new Map(world.devices.map((device) => [device, device.welcomes]));
  for (const device of world.devices) device.cut();
  const watching = until(() => {
    for (const [device, welcomes] of away) {
      if (device.welcomes === welcomes) continue;
      away.delete(device);
      world.time('back_ms', Date.now() - cutMs);
    }
    return away.size === 0;
  }, BACK_WITHIN_MS);
  await atRate(world, rate, (2 * seconds) / 3, talk);
  if (!(await watching)) {
    for (const _ of away) world.time('back_ms', BACK_WITHIN_MS);
  }
}
