/**
 * An open model: a message is due at its time whether or not the one before is answered, and its latency counts from
 * when it was due. A tool that comes late itself measures itself: what it did too late is counted, and voids the run when
 * it is more than a hundredth.
 *
 * @typedef {import('./world.js').World} World
 */
import { pause } from './wait.js';

/** A send this much behind its time is the tool's own fault, unless the profile says otherwise. */
const LATE_MS = 250;

/**
 * Calls `send` at that rate until the time is over.
 * @param {World} world
 * @param {number} rate a second
 * @param {number} seconds
 * @param {(intendedMs: number, turn: number) => void} send
 */
export async function atRate(world, rate, seconds, send) {
  const begunMs = Date.now();
  const turns = Math.floor(rate * seconds);
  for (let turn = 0; turn < turns; turn += 1) {
    const dueMs = begunMs + (turn * 1000) / rate;
    const nowMs = Date.now();
    if (dueMs > nowMs) await pause(dueMs - nowMs);
    const lateMs = Date.now() - dueMs;
    world.time('late_ms', lateMs);
    if (lateMs > (world.settings.lateMs ?? LATE_MS)) world.count('late', 1);
    world.count('sends', 1);
    send(Math.round(dueMs), turn);
  }
}
