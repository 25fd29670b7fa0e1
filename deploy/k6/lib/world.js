/**
 * What the scenarios of one process or VU share: the platform, the ledger, accounts, devices and conversations.
 *
 * @typedef {import('./platform.js').Platform} Platform
 *
 * @typedef {object} Settings what a profile says of a scenario
 * @property {number} users
 * @property {number} seconds how long messages are sent
 * @property {number} rate messages a second
 * @property {number[]} [sizes] of groups
 * @property {number} [cutEverySeconds] how often each socket is cut
 * @property {number} [lateMs] a send this much behind its time is the tool's own fault
 * @property {import('./thresholds.js').Thresholds} [thresholds]
 *
 * @typedef {object} Hooks
 * @property {(() => Promise<void>) | null} restart restarts the server; null where it cannot be
 *
 * @typedef {object} WorldOptions
 * @property {Platform} platform
 * @property {string} base
 * @property {string} run
 * @property {number} vu
 * @property {Settings} settings
 * @property {import('./account.js').StoredAccount[]} [seeded]
 * @property {Hooks} [hooks]
 */
import { Account } from './account.js';
import { Device } from './device.js';
import { Ledger } from './ledger.js';
import { read } from './sync.js';
import { until } from './wait.js';

/** Accounts that are opened at the same time: the server hashes passwords in turns. */
const OPENED_AT_ONCE = 4;

/** How many members one command may name (`schemas/LIMITS.md`). */
const NAMED_MAX = 256;

const CONNECTED_WITHIN_MS = 60_000;

/** A run's end waits for the last messages no longer than this. */
const DRAINED_WITHIN_MS = 30_000;

/** Set-up failed: nothing was measured. */
export class SetUpError extends Error {}

export class World {
  /** @param {WorldOptions} options */
  constructor({ platform, base, run, vu, settings, seeded = [], hooks = { restart: null } }) {
    this.platform = platform;
    this.base = base;
    this.run = run;
    this.vu = vu;
    this.settings = settings;
    this.seeded = seeded;
    this.hooks = hooks;
    this.ledger = new Ledger(run, vu);
    /** @type {Device[]} */
    this.devices = [];
    /** Whether all devices were connected once. */
    this.connected = false;
    /** @type {Map<string, Account>} conversation -> who can read all of it */
    this.readers = new Map();
  }

  /**
   * @param {string} metric
   * @param {number} value
   * @param {Record<string, string>} [tags]
   */
  count(metric, value, tags) {
    this.platform.record(metric, value, tags);
  }

  /**
   * @param {string} metric
   * @param {number} ms
   */
  time(metric, ms) {
    this.platform.record(metric, ms);
  }

  /** Something that must not happen, and is no loss by itself. @param {string} words */
  fault(words) {
    this.platform.record('faults', 1);
    console.error(`fault: ${words}`);
  }

  /**
   * @param {string} name of the check
   * @param {boolean} holds
   * @param {unknown} [seen] is told where it does not hold
   */
  check(name, holds, seen) {
    this.platform.record('checks_ok', holds ? 1 : 0, { check: name });
    if (!holds) console.error(`check failed: ${name}${seen === undefined ? '' : `: ${JSON.stringify(seen)}`}`);
  }

  /**
   * As many accounts, from the seed file as far as it goes.
   * @param {number} [number]
   * @returns {Promise<Account[]>}
   */
  async accounts(number = this.settings.users) {
    const accounts = this.seeded.slice(0, number).map((stored) => new Account(this.platform, this.base, stored));
    while (accounts.length < number) {
      const names = [];
      for (let at = accounts.length; at < Math.min(number, accounts.length + OPENED_AT_ONCE); at += 1) {
        names.push(`${this.run}.${this.vu}.${at}`);
      }
      accounts.push(...(await Promise.all(names.map((name) => Account.open(this.platform, this.base, name)))));
    }
    return accounts;
  }

  /**
   * A device of each account, all connected.
   * @param {Account[]} accounts
   * @param {import('./device.js').DeviceOptions} [options]
   * @returns {Promise<Device[]>}
   */
  async connect(accounts, options) {
    const devices = accounts.map((account) => new Device(this, account, options));
    this.devices.push(...devices);
    for (const device of devices) device.start();
    const welcomed = () => devices.every((device) => device.live && device.held === null);
    if (!(await until(welcomed, CONNECTED_WITHIN_MS))) throw new SetUpError('not all devices are connected');
    this.connected = true;
    return devices;
  }

  /**
   * A group with these members, known to all their devices.
   * @param {Device} owner
   * @param {Account[]} others
   * @returns {Promise<string>} the conversation
   */
  async group(owner, others) {
    const users = others.map(({ user }) => user).filter((user) => user !== owner.account.user);
    const made = await owner.command({ type: 'create', kind: 'group', title: 'load', members: users.slice(0, NAMED_MAX) });
    if (made.fate !== 'stands') throw new SetUpError(`a group was refused: ${made.code}`);
    for (let at = NAMED_MAX; at < users.length; at += NAMED_MAX) {
      const members = users.slice(at, at + NAMED_MAX);
      const added = await owner.command({ type: 'add_members', conversation: made.conversation, members });
      if (added.fate !== 'stands') throw new SetUpError(`members were refused: ${added.code}`);
    }
    this.readers.set(made.conversation, owner.account);
    return made.conversation;
  }

  /**
   * The direct conversation of the two.
   * @param {Device} one
   * @param {Account} other
   * @returns {Promise<string>}
   */
  async direct(one, other) {
    const made = await one.command({ type: 'create', kind: 'direct', members: [other.user] });
    if (made.fate !== 'stands' && made.code !== 'exists') throw new SetUpError(`a conversation was refused: ${made.code}`);
    this.readers.set(made.conversation, one.account);
    return made.conversation;
  }

  /** Waits until all that was sent is decided and shown, reads history, and records the verdict. */
  async end() {
    await until(() => this.devices.every(({ open }) => open.size === 0) && this.ledger.settled(), DRAINED_WITHIN_MS);
    const histories = new Map();
    for (const [conversation, account] of this.readers) {
      const shown = this.devices.map(({ highest }) => highest.get(conversation) ?? 0);
      histories.set(conversation, await read(account, conversation, Math.max(0, ...shown)));
    }
    // What comes while history is read counts, too.
    const verdict = this.ledger.reconcile(histories);
    for (const [metric, value] of Object.entries(verdict)) this.count(metric, value);
    for (const line of this.ledger.lines()) this.platform.keep(line);
    return verdict;
  }

  /** Closes every socket. */
  stop() {
    for (const device of this.devices) device.stop();
  }
}
