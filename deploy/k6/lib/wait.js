/** Waiting: for a moment, and for a condition. */

/** How often a condition is looked at. */
const LOOK_EVERY_MS = 20;

/**
 * @param {number} ms
 * @returns {Promise<void>}
 */
export function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(() => resolve(undefined), ms);
  });
}

/**
 * Waits until the condition holds.
 * @param {() => boolean} holds
 * @param {number} withinMs
 * @returns {Promise<boolean>} whether it held in time
 */
export async function until(holds, withinMs) {
  const end = Date.now() + withinMs;
  while (!holds()) {
    if (Date.now() >= end) return false;
    await pause(LOOK_EVERY_MS);
  }
  return true;
}

/**
 * Full jitter: a random time below a bound that doubles with every failure.
 * @param {number} failures in a row, from 0
 * @param {number} firstMs the bound of the first
 * @param {number} mostMs the bound never exceeds this
 */
export function backOffMs(failures, firstMs, mostMs) {
  return Math.random() * Math.min(mostMs, firstMs * 2 ** Math.min(failures, 20));
}
