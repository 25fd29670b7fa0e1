/**
 * `direct`, while the server is restarted: once in order and once killed. Where the platform cannot restart it, the
 * set-up fails: play `direct` there, and restart the services meanwhile.
 */
import { SetUpError } from '../lib/world.js';
import { pause } from '../lib/wait.js';
import { direct } from './direct.js';

/** @param {import('../lib/world.js').World} world */
export async function rolling(world) {
  const { restart } = world.hooks;
  if (restart === null) throw new SetUpError('nobody restarts the server in this run');
  let over = false;
  const restarting = (async () => {
    while (!over && world.devices.length === 0) await pause(100);
    for (let times = 0; times < 2 && !over; times += 1) {
      await pause((world.settings.seconds * 1000) / 3);
      await restart();
      world.count('restarts', 1);
    }
  })();
  try {
    await direct(world);
  } finally {
    over = true;
    await restarting;
  }
}
