/** The scenarios by name, and playing one from set-up to verdict. */
import { until } from '../lib/wait.js';
import { SetUpError } from '../lib/world.js';
import { direct } from './direct.js';
import { edits } from './edits.js';
import { fanIn } from './fan_in.js';
import { groups } from './groups.js';
import { reconnect } from './reconnect.js';
import { rolling } from './rolling.js';
import { smoke } from './smoke.js';
import { storm } from './storm.js';

/** @type {Record<string, (world: import('../lib/world.js').World) => Promise<void>>} */
export const SCENARIOS = { smoke, direct, groups, fan_in: fanIn, edits, reconnect, storm, rolling };

/** Once all devices are connected, a scenario takes no longer than this beyond the time in which it sends. */
const BEYOND_MS = 180_000;

/** Making accounts and connecting takes no longer than this. `seed.mjs` makes accounts beforehand. */
const SET_UP_MS = 900_000;

/**
 * Plays a scenario and records its verdict. Never rejects: what went wrong is recorded.
 * @param {string} name
 * @param {import('../lib/world.js').World} world
 */
export async function play(name, world) {
  try {
    let over = false;
    const played = SCENARIOS[name](world).finally(() => {
      over = true;
    });
    played.catch(() => {}); // rejects below, where it is awaited
    if (!(await until(() => over || world.connected, SET_UP_MS))) throw new SetUpError('not all devices are connected');
    if (await until(() => over, world.settings.seconds * 1000 + BEYOND_MS)) await played;
    else world.fault('the scenario did not end: something that it waits for never came');
    await world.end();
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    if (error instanceof SetUpError) {
      console.error(`set-up failed: ${words}`);
      world.count('failed_setups', 1);
    } else {
      world.fault(words);
    }
  } finally {
    world.stop();
  }
}
