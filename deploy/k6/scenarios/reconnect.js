/** `groups`, while every socket is cut at random: resuming leaves no gap. */
import { groups } from './groups.js';
import { pause } from '../lib/wait.js';

/** @param {import('../lib/world.js').World} world */
export async function reconnect(world) {
  const { cutEverySeconds = 30 } = world.settings;
  let over = false;
  const cutting = (async () => {
    while (!over) {
      const devices = world.devices.length;
      await pause(devices === 0 ? 100 : (cutEverySeconds * 1000) / devices);
      const device = world.devices[Math.floor(Math.random() * devices)];
      // Not while it syncs for the first time: that is set-up.
      if (!over && device !== undefined && device.live && device.held === null) device.cut();
    }
  })();
  try {
    await groups(world);
  } finally {
    over = true;
    await cutting;
  }
}
