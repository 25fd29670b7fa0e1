/**
 * The platform of Node: sockets of `ws`, the global `fetch`, and figures in memory.
 *
 * @typedef {import('../lib/platform.js').Platform} Platform
 * @typedef {import('../lib/verdict.js').Figure} Figure
 */
import { webcrypto } from 'node:crypto';
import { WebSocket } from 'ws';
import { COUNTERS, RATES, TRENDS } from '../lib/thresholds.js';

// Node 18, which Debian 12 has, knows no global `crypto`.
globalThis.crypto ??= /** @type {any} */ (webcrypto);

/** A request without an answer for so long has none. */
const REQUEST_MS = 30_000;

/** A socket that is not open after this never will be. */
const HANDSHAKE_MS = 10_000;

/** The figures of a run. */
export class Figures {
  constructor() {
    /** @type {Map<string, number[]>} */
    this.samples = new Map([...COUNTERS, ...TRENDS, ...RATES].map((metric) => [metric, []]));
    /** @type {Map<string, number>} a metric with its tags -> the sum of its samples */
    this.tagged = new Map();
  }

  /**
   * @param {string} metric
   * @param {number} value
   * @param {Record<string, string>} tags
   */
  record(metric, value, tags = {}) {
    const samples = this.samples.get(metric);
    if (samples === undefined) throw new Error(`no metric is called ${metric}`);
    samples.push(value);
    for (const [key, word] of Object.entries(tags)) {
      const name = `${metric}{${key}=${word}}`;
      this.tagged.set(name, (this.tagged.get(name) ?? 0) + value);
    }
  }

  /**
   * @param {string} metric
   * @returns {Figure}
   */
  figure(metric) {
    const samples = this.samples.get(metric);
    if (samples === undefined) throw new Error(`no metric is called ${metric}`);
    const sum = samples.reduce((total, sample) => total + sample, 0);
    const sorted = [...samples].sort((one, other) => one - other);
    return {
      count: COUNTERS.includes(metric) ? sum : samples.length,
      rate: sum / samples.length,
      // Without samples NaN, which no threshold takes.
      percentile: (percent) => sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? NaN,
    };
  }

  /** @returns {Record<string, number>} */
  summary() {
    /** @type {Record<string, number>} */
    const summary = {};
    for (const metric of COUNTERS) summary[metric] = this.figure(metric).count;
    for (const metric of RATES) Object.assign(summary, { [metric]: this.figure(metric).rate });
    for (const metric of TRENDS) {
      const { count, percentile } = this.figure(metric);
      if (count === 0) continue;
      for (const percent of [50, 99, 100]) {
        summary[`${metric} p(${percent})`] = Math.round(percentile(percent) * 10) / 10;
      }
    }
    for (const [name, value] of this.tagged) if (!name.startsWith('checks_ok')) summary[name] = value;
    return summary;
  }
}

/**
 * @param {Figures} figures
 * @param {(line: object) => void} keep
 * @returns {Platform}
 */
export function platform(figures, keep) {
  return { request, socket, keep, record: (metric, value, tags) => figures.record(metric, value, tags) };
}

/** @type {Platform['request']} */
async function request(method, url, { token, json, text } = {}) {
  try {
    const answer = await fetch(url, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(json === undefined && text === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: json === undefined ? text : JSON.stringify(json),
      signal: AbortSignal.timeout(REQUEST_MS),
    });
    const said = await answer.text();
    const retryAfterMs = Number(answer.headers.get('retry-after') ?? 0) * 1000;
    return { status: answer.status, body: parsed(said), retryAfterMs };
  } catch {
    return { status: 0, body: null, retryAfterMs: 0 };
  }
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @type {Platform['socket']} */
function socket(url, events) {
  const inner = new WebSocket(url, { handshakeTimeout: HANDSHAKE_MS, perMessageDeflate: false });
  inner.on('open', () => events.opened());
  inner.on('message', (data) => events.text(data.toString()));
  inner.on('error', () => {}); // `close` follows
  inner.on('close', (code) => events.closed(code));
  return {
    send: (text) => inner.send(text, () => {}), // what is not sent any more is sent again on the next socket
    close: (code) => inner.close(code),
    cut: () => inner.terminate(),
  };
}
