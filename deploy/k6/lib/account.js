/**
 * An account with a session, and its HTTP calls. Tokens are made once by `seed.js` or at set-up: a password hash takes
 * about 20 ms of the server, and is not what the scenarios measure.
 *
 * @typedef {import('./platform.js').Platform} Platform
 * @typedef {import('./platform.js').Answer} Answer
 *
 * @typedef {object} StoredAccount a line of a seed file
 * @property {string} name
 * @property {string} user its id
 * @property {string} accessToken
 * @property {string} refreshToken
 * @property {number} endsMs when the access token ends, milliseconds since the Unix epoch
 */
import { backOffMs, pause } from './wait.js';

/** A token is refreshed when it has less than this left. */
const RENEW_BEFORE_MS = 60_000;

/** How often a call is tried again that is answered with a passing failure. */
const TRIES_MAX = 12;

/** Codes that pass: the same call is tried again. */
const PASSING = new Set(['busy', 'retry', 'too_slow', 'rate_limited', 'unavailable', 'held', 'unknown']);

const PASSWORD = 'a load test of klatsch';

/** @param {Answer} answer */
function passes(answer) {
  return answer.status === 0 || PASSING.has(answer.body?.code);
}

export class Account {
  /**
   * @param {Platform} platform
   * @param {string} base such as http://127.0.0.1:8080
   * @param {StoredAccount} stored
   */
  constructor(platform, base, stored) {
    this.platform = platform;
    this.base = base;
    this.name = stored.name;
    this.user = stored.user;
    this.accessToken = stored.accessToken;
    this.refreshToken = stored.refreshToken;
    this.endsMs = stored.endsMs;
    /** @type {Promise<void> | null} a refresh under way, so that two callers do not use one token twice */
    this.refreshing = null;
  }

  /**
   * Makes the account if the name is new, and signs in.
   * @param {Platform} platform
   * @param {string} base
   * @param {string} name
   * @returns {Promise<Account>}
   */
  static async open(platform, base, name) {
    const credentials = { name, password: PASSWORD };
    const made = await insist(() => platform.request('POST', `${base}/v1/users`, { json: credentials }));
    if (made.status !== 201 && made.body?.code !== 'name_taken') throw new Error(`registering ${name}: ${worded(made)}`);
    const session = await insist(() => platform.request('POST', `${base}/v1/sessions`, { json: credentials }));
    if (session.status !== 200) throw new Error(`signing ${name} in: ${worded(session)}`);
    const account = new Account(platform, base, {
      name,
      user: session.body.user.id,
      accessToken: '',
      refreshToken: '',
      endsMs: 0,
    });
    account.take(session.body);
    return account;
  }

  /** @returns {StoredAccount} */
  stored() {
    const { name, user, accessToken, refreshToken, endsMs } = this;
    return { name, user, accessToken, refreshToken, endsMs };
  }

  /** @param {any} session the body of a sign-in or refresh */
  take(session) {
    this.accessToken = session.access_token;
    this.refreshToken = session.refresh_token;
    this.endsMs = Date.now() + session.expires_in * 1000;
  }

  /** Milliseconds until the access token should be renewed. */
  renewInMs() {
    return this.endsMs - Date.now() - RENEW_BEFORE_MS;
  }

  /**
   * An access token that is good for a while.
   * @returns {Promise<string>}
   */
  async token() {
    if (this.renewInMs() <= 0) {
      this.refreshing ??= this.refresh().finally(() => {
        this.refreshing = null;
      });
      await this.refreshing;
    }
    return this.accessToken;
  }

  async refresh() {
    const json = { refresh_token: this.refreshToken };
    const answer = await insist(() => this.platform.request('POST', `${this.base}/v1/sessions/refresh`, { json }));
    if (answer.status !== 200) throw new Error(`refreshing the session of ${this.name}: ${worded(answer)}`);
    this.take(answer.body);
  }

  /**
   * One call, once.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [json]
   * @returns {Promise<Answer>}
   */
  async call(method, path, json) {
    const token = await this.token();
    return this.platform.request(method, this.base + path, json === undefined ? { token } : { token, json });
  }

  /**
   * A call that is tried again while its failures pass. Its answer's body, or an exception.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [json]
   * @returns {Promise<any>}
   */
  async must(method, path, json) {
    const answer = await insist(() => this.call(method, path, json));
    if (answer.status < 200 || answer.status > 299) throw new Error(`${method} ${path}: ${worded(answer)}`);
    return answer.body;
  }
}

/**
 * @param {() => Promise<Answer>} call
 * @returns {Promise<Answer>}
 */
async function insist(call) {
  for (let failures = 0; ; failures += 1) {
    const answer = await call();
    if (!passes(answer) || failures >= TRIES_MAX) return answer;
    await pause(Math.max(answer.retryAfterMs, backOffMs(failures, 200, 4_000)));
  }
}

/** @param {Answer} answer */
function worded(answer) {
  return answer.status === 0 ? 'no answer' : `${answer.status} ${answer.body?.code ?? ''} ${answer.body?.message ?? ''}`;
}
