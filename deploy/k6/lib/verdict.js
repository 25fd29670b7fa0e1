/**
 * Exit codes of a run, and how the figures lead to them.
 *
 * @typedef {import('./thresholds.js').Thresholds} Thresholds
 *
 * @typedef {object} Figure
 * @property {number} count samples of a trend or rate; the sum of a counter
 * @property {number} rate of a rate: the share that was true
 * @property {(percent: number) => number} percentile of a trend
 */

/** The product did as it must. */
export const PASSED = 0;
/** A threshold was crossed; k6's own code for that, too. */
export const PRODUCT_FAILED = 99;
/** The tool could not keep its own pace: the run says nothing. */
export const TOOL_OVERLOADED = 3;
/** Nothing was measured. */
export const SET_UP_FAILED = 4;

/** The share of sends that may be late by the tool's own fault. */
const LATE_SHARE_MAX = 0.01;

/**
 * Whether a figure holds an expression such as `count==0`, `rate==1`, `max<30000` or `p(99)<300`.
 * @param {Figure} figure
 * @param {string} expression
 */
export function holds(figure, expression) {
  const parsed = /^(count|rate|max|p\((\d+(?:\.\d+)?)\))\s*(==|>=|<=|>|<)\s*(\d+(?:\.\d+)?)$/.exec(expression);
  if (parsed === null) throw new Error(`no threshold: ${expression}`);
  const [, what, percent, comparison, bound] = parsed;
  const value = what === 'count' ? figure.count : what === 'rate' ? figure.rate : figure.percentile(Number(percent ?? 100));
  switch (comparison) {
    case '==': return value === Number(bound);
    case '>=': return value >= Number(bound);
    case '<=': return value <= Number(bound);
    case '>': return value > Number(bound);
    default: return value < Number(bound);
  }
}

/**
 * The code of a run, and the thresholds that were crossed.
 * @param {(metric: string) => Figure} figure
 * @param {Thresholds} thresholds
 * @returns {{ code: number, crossed: string[] }}
 */
export function judge(figure, thresholds) {
  if (figure('failed_setups').count > 0) return { code: SET_UP_FAILED, crossed: [] };
  const crossed = Object.entries(thresholds).flatMap(([metric, expressions]) =>
    expressions.filter((expression) => !holds(figure(metric), expression)).map((expression) => `${metric} ${expression}`),
  );
  // Lost messages are lost however slow the tool was; latencies and counts of a late tool say nothing.
  const exact = crossed.some((words) => /^(lost|dup|reorder|gap_at_end|foreign) /.test(words));
  const overloaded = figure('late').count > LATE_SHARE_MAX * figure('sends').count;
  if (overloaded && !exact) return { code: TOOL_OVERLOADED, crossed };
  return { code: crossed.length > 0 ? PRODUCT_FAILED : PASSED, crossed };
}
