/**
 * The metrics of the scenarios, and what a run must come to. A threshold on a metric without samples passes, so every
 * `count==0` has a twin that counts what was compared.
 *
 * @typedef {Record<string, string[]>} Thresholds metric -> expressions, as k6 writes them
 */

/** Counts. */
export const COUNTERS = [
  'lost', 'dup', 'reorder', 'gap_at_end', 'foreign', 'unknown', 'expected', 'shown', 'ordered', 'acked', 'refused',
  'rate_limited', 'resets', 'resumes', 'closes', 'faults', 'late', 'sends', 'picture_differs', 'pictures', 'restarts',
  'failed_setups',
];

/** Milliseconds. */
export const TRENDS = ['ack_ms', 'delivery_ms', 'welcome_ms', 'back_ms', 'late_ms'];

/** Shares of what was true. */
export const RATES = ['checks_ok'];

/** What holds in every scenario. */
const ALWAYS = {
  lost: ['count==0'],
  dup: ['count==0'],
  reorder: ['count==0'],
  gap_at_end: ['count==0'],
  foreign: ['count==0'],
  unknown: ['count==0'],
  faults: ['count==0'],
  expected: ['count>0'],
  shown: ['count>0'],
  ordered: ['count>0'],
  acked: ['count>0'],
};

/** Beyond that, by scenario. Latencies are for two cores and release builds; a profile may name others. */
const OF = {
  smoke: { checks_ok: ['rate==1'] },
  direct: { ack_ms: ['p(99)<50'], delivery_ms: ['p(99)<150'] },
  groups: { delivery_ms: ['p(99)<300'] },
  fan_in: { delivery_ms: ['p(99)<300'] },
  edits: { picture_differs: ['count==0'], pictures: ['count>0'] },
  reconnect: { resumes: ['count>0'] },
  storm: { back_ms: ['max<30000'] },
  rolling: { restarts: ['count>0'], resumes: ['count>0'] },
};

/**
 * @param {string} scenario
 * @param {Thresholds} [others] of the profile, in place of those of the scenario for the same metric
 * @returns {Thresholds}
 */
export function thresholds(scenario, others = {}) {
  const own = /** @type {Record<string, Thresholds>} */ (OF)[scenario] ?? {};
  return { ...ALWAYS, ...own, ...others };
}
