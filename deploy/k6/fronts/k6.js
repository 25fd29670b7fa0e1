/**
 * The platform of k6: `k6 run -e SCENARIO=groups -e PROFILE=laptop -e URL=http://127.0.0.1:8080 fronts/k6.js`.
 *
 * Each VU plays the whole scenario with users of its own, in one iteration: senders and receivers of a conversation are
 * sockets of one VU, because VUs share nothing. The lines of the ledgers go to the console; with
 * `--log-format raw --console-output FILE` they are what `klatschctl ledger check` reads.
 */
import http from 'k6/http';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { WebSocket } from 'k6/websockets';
import { COUNTERS, RATES, TRENDS, thresholds } from '../lib/thresholds.js';
import { World } from '../lib/world.js';
import { play } from '../scenarios/index.js';

const { SCENARIO: scenario = 'smoke', PROFILE: profile = 'laptop', SEED, RUN, VUS = '1' } = __ENV;
const { URL: base = 'http://127.0.0.1:8080' } = __ENV;

const settings = JSON.parse(open(`../profiles/${profile}.json`))[scenario];
if (settings === undefined) throw new Error(`the profile ${profile} has no ${scenario}`);
const seeded = SEED === undefined ? [] : JSON.parse(open(SEED));

/** @type {Map<string, Counter | Rate | Trend>} */
const metrics = new Map();
for (const name of COUNTERS) metrics.set(name, new Counter(name));
for (const name of RATES) metrics.set(name, new Rate(name));
for (const name of TRENDS) metrics.set(name, new Trend(name, true));

export const options = {
  scenarios: {
    [scenario]: {
      executor: 'per-vu-iterations',
      vus: Number(VUS),
      iterations: 1,
      maxDuration: `${settings.seconds + 1200}s`,
    },
  },
  thresholds: { ...thresholds(scenario, settings.thresholds), failed_setups: ['count==0'] },
};

export default async function () {
  const vu = exec.vu.idInTest - 1;
  const own = seeded.slice(vu * settings.users, (vu + 1) * settings.users);
  const run = RUN ?? `${scenario.replace('_', '-')}.${exec.scenario.startTime.toString(36)}`;
  await play(scenario, new World({ platform, base, run, vu, settings, seeded: own }));
}

/** @type {import('../lib/platform.js').Platform} */
const platform = {
  async request(method, url, { token, json, text } = {}) {
    const body = json === undefined ? (text ?? null) : JSON.stringify(json);
    /** @type {Record<string, string>} */
    const headers = {};
    if (token !== undefined) headers.Authorization = `Bearer ${token}`;
    if (body !== null) headers['Content-Type'] = 'application/json';
    // Many URLs have ids in them: one name for all keeps the metrics few.
    const params = { headers, tags: { name: `${method} klatsch` } };
    const answer = await http.asyncRequest(method, url, body, params);
    const parsed = typeof answer.body === 'string' ? orNull(answer.body) : null;
    return { status: answer.status, body: parsed, retryAfterMs: Number(answer.headers['Retry-After'] ?? 0) * 1000 };
  },

  socket(url, events) {
    const socket = new WebSocket(url, null, { tags: { name: 'klatsch' } });
    let closed = false;
    const end = (/** @type {number} */ code) => {
      if (!closed) events.closed(code);
      closed = true;
    };
    socket.addEventListener('open', () => events.opened());
    socket.addEventListener('message', (event) => events.text(String(/** @type {any} */ (event).data)));
    socket.addEventListener('close', (event) => end(/** @type {any} */ (event).code ?? 1006));
    socket.addEventListener('error', () => end(1006));
    return {
      send: (message) => socket.send(message),
      close: (code) => socket.close(code),
      // k6 cannot break a connection: it says goodbye, and comes back just as well.
      cut: () => socket.close(1000),
    };
  },

  record(metric, value, tags) {
    const found = metrics.get(metric);
    if (found === undefined) throw new Error(`no metric is called ${metric}`);
    found.add(value, tags);
  },

  keep(line) {
    console.log(JSON.stringify(line));
  },
};

/** @param {string} text */
function orNull(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
