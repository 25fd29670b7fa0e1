/**
 * A device: one socket at a time, with the rules of a client (`schemas/PROTOCOL.md`): the filter, the cursor, resuming
 * with back-off, the sync after a reset, and sending a command again until its fate is known. What it shows goes into
 * the ledger.
 *
 * Simpler than a client for people: after a reset it takes no frame in before every conversation is ready.
 *
 * @typedef {import('./platform.js').Socket} Socket
 * @typedef {import('./ledger.js').Sent} Sent
 * @typedef {import('./world.js').World} World
 * @typedef {import('./account.js').Account} Account
 *
 * @typedef {object} Command
 * @property {any} frame
 * @property {number} intendedMs when it should have been sent
 * @property {number} copies how often it was sent
 * @property {boolean} acked
 * @property {Sent | null} sent its place in the ledger, if it is a message
 * @property {(fate: Fate) => void} done
 *
 * @typedef {object} Fate what became of a command
 * @property {'stands' | 'refused'} fate
 * @property {string} code of the refusal; else empty
 * @property {string} conversation
 *
 * @typedef {object} DeviceOptions
 * @property {boolean} [signals] takes signals
 * @property {(device: Device, frame: any) => void} [heard] is told of every frame of the feed that the filter takes, and
 *   of signals
 */
import { uuid7 } from './ids.js';
import { read, sync } from './sync.js';
import { backOffMs } from './wait.js';

/** Codes of an `error` after which the same command is sent again a little later. */
const PASSING = new Set(['busy', 'retry', 'too_slow', 'rate_limited', 'unavailable', 'held', 'unknown']);

/** The bounds of the back-off between connections. */
const RECONNECT_FIRST_MS = 500;
const RECONNECT_BROKEN_MS = 3_200;
const RECONNECT_MOST_MS = 30_000;

/** A command without an answer on a socket that stands is sent again after this. */
const RESEND_AFTER_MS = 15_000;

export class Device {
  /**
   * @param {World} world
   * @param {Account} account
   * @param {DeviceOptions} [options]
   */
  constructor(world, account, options = {}) {
    this.world = world;
    this.account = account;
    this.options = options;
    this.number = world.ledger.device(account.user);
    /** @type {string | null} */
    this.cursor = null;
    /** @type {Map<string, number>} conversation -> the highest seq taken in */
    this.highest = new Map();
    /** @type {Map<string, Command>} id -> command whose fate is not known */
    this.open = new Map();
    /** @type {Socket | null} */
    this.socket = null;
    /** Whether a welcome came on this socket, and what came after it is taken in. */
    this.live = false;
    /** @type {any[] | null} frames that are held back during a sync */
    this.held = null;
    this.failures = 0;
    this.stopped = false;
    /** How often a welcome came. */
    this.welcomes = 0;
    /** @type {any} the last `error` frame without an id */
    this.lastError = null;
    /** The code of the last close. */
    this.closeCode = 0;
    /** @type {Set<() => void>} */
    this.timers = new Set();
  }

  /** Connects, and goes on connecting until it is stopped. */
  start() {
    this.connect().catch((error) => this.world.fault(`${this.account.name}: ${error.message}`));
  }

  /** Says goodbye, for good. */
  stop() {
    this.stopped = true;
    for (const cancel of this.timers) cancel();
    this.timers.clear();
    this.socket?.close(1000);
  }

  /** Breaks the connection; the device comes back by itself. */
  cut() {
    this.socket?.cut();
  }

  async connect() {
    const token = await this.account.token();
    if (this.stopped) return;
    const begunMs = Date.now();
    const url = `${this.world.base.replace(/^http/, 'ws')}/v1/socket`;
    const socket = this.world.platform.socket(url, {
      opened: () => {
        const [cursor, user, signals] = [this.cursor ?? undefined, this.account.user, this.options.signals === true];
        socket.send(JSON.stringify({ type: 'hello', token, cursor, user, batch: true, signals }));
      },
      text: (text) => {
        if (this.socket === socket) this.take(JSON.parse(text), begunMs);
      },
      closed: (code) => {
        if (this.socket === socket) this.closed(code);
      },
    });
    this.socket = socket;
  }

  /** @param {number} code */
  closed(code) {
    this.socket = null;
    this.live = false;
    this.held = null;
    this.closeCode = code;
    if (this.stopped) return;
    this.world.count('closes', 1, { code: String(code) });
    if (code >= 4100) {
      this.world.fault(`${this.account.name} was closed with ${code}`);
      return;
    }
    const atOnce = (code === 4000 || code === 4001) && this.failures === 0;
    // A connection that breaks without a close frame: all devices of a node that crashed come at once.
    const firstMs = code === 1006 ? RECONNECT_BROKEN_MS : RECONNECT_FIRST_MS;
    const waitMs = atOnce ? 0 : backOffMs(this.failures, firstMs, RECONNECT_MOST_MS);
    this.failures += 1;
    this.later(waitMs, () => this.start());
  }

  /**
   * @param {number} ms
   * @param {() => void} act
   */
  later(ms, act) {
    const timer = setTimeout(() => {
      this.timers.delete(cancel);
      if (!this.stopped) act();
    }, ms);
    const cancel = () => clearTimeout(timer);
    this.timers.add(cancel);
  }

  /**
   * @param {any} frame
   * @param {number} begunMs when the connection was begun
   */
  take(frame, begunMs) {
    switch (frame.type) {
      case 'welcome':
        if (!this.live) this.world.time('welcome_ms', Date.now() - begunMs);
        return this.welcome(frame);
      case 'ping':
        this.socket?.send('{"type":"pong"}');
        break;
      case 'typing':
      case 'presence':
        return this.options.heard?.(this, frame);
      case 'ack':
        if (frame.cursor === undefined) return this.acked(frame);
        break;
      case 'error':
        if (frame.cursor === undefined) return this.failed(frame);
        break;
      case 'mark_ack':
      case 'renewed':
        if (frame.cursor === undefined) return this.options.heard?.(this, frame);
        break;
    }
    if (this.held !== null) this.held.push(frame);
    else this.feed(frame);
  }

  /** @param {any} frame */
  welcome(frame) {
    this.welcomes += 1;
    this.failures = 0;
    this.live = true;
    const { socket } = this;
    this.later(Math.max(0, this.account.renewInMs()), () => this.renew(socket));
    if (frame.reset === undefined || frame.reset === null) {
      this.cursor = frame.cursor;
      if (this.welcomes > 1) this.world.count('resumes', 1);
      this.resend();
      return;
    }
    this.world.count('resets', 1, { reason: frame.reset });
    this.held = [];
    this.recover(this.socket, frame).catch((error) => this.world.fault(`${this.account.name} syncs: ${error.message}`));
  }

  /**
   * The sync after a reset. Nothing of it counts if the socket has gone meanwhile, or another reset has come.
   * @param {Socket | null} socket
   * @param {any} welcome
   */
  async recover(socket, welcome) {
    const held = this.held;
    const found = await sync(this.account);
    const rows = new Map();
    for (const [conversation, { head }] of found) {
      // Nothing was sent before the conversations of the run were made: only those are read.
      if (!this.world.ledger.members.has(conversation)) continue;
      rows.set(conversation, { head, entries: await read(this.account, conversation, head) });
    }
    if (this.stopped || this.socket !== socket || this.held !== held || held === null) return;
    this.highest = new Map([...found].map(([conversation, { head }]) => [conversation, head]));
    for (const [conversation, { head, entries }] of rows) {
      this.world.ledger.reset(this.number, conversation, head);
      for (const entry of entries) if (entry.kind === 'message') this.world.ledger.reads(this.number, conversation, entry);
    }
    this.cursor = welcome.cursor;
    this.held = null;
    for (const frame of held) this.feed(frame);
    for (const [id, command] of this.open) if (command.acked) await this.ask(id, command);
    this.resend();
  }

  /**
   * Sends a newer token before the one of now ends, so that the socket goes on.
   * @param {Socket | null} socket
   */
  async renew(socket) {
    if (this.socket !== socket) return;
    const token = await this.account.token();
    if (this.socket === socket) this.say({ type: 'renew', token });
    this.later(Math.max(1_000, this.account.renewInMs()), () => this.renew(socket));
  }

  /** Takes in a frame that has a cursor. @param {any} frame */
  feed(frame) {
    if (frame.type === 'batch') for (const inner of frame.frames) this.one(inner);
    else this.one(frame);
    if (frame.cursor !== undefined) this.cursor = frame.cursor;
  }

  /** @param {any} frame */
  one(frame) {
    const filtered = frame.type === 'event' || frame.type === 'settled' || frame.type === 'refused';
    if (!filtered) {
      if (frame.type !== 'ping') this.options.heard?.(this, frame);
      return;
    }
    const { conversation, seq } = frame;
    this.world.ledger.came(this.number, conversation, seq);
    if (seq <= (this.highest.get(conversation) ?? -1)) return;
    this.highest.set(conversation, seq);
    if (frame.type === 'event') this.event(frame);
    else if (frame.type === 'settled') this.decided(frame.id, { fate: 'stands', code: '', conversation });
    else this.decided(frame.id, { fate: 'refused', code: frame.reason, conversation });
    this.options.heard?.(this, frame);
  }

  /** @param {any} frame */
  event(frame) {
    const { conversation, seq, kind, author, id } = frame;
    const { ledger } = this.world;
    if (kind === 'created' || kind === 'joined') for (const user of frame.members) ledger.joined(conversation, user, seq);
    if (kind === 'created') ledger.joined(conversation, author, seq);
    if (kind === 'left') ledger.left(conversation, frame.user, seq);
    if (kind === 'message') {
      const sent = ledger.shows(this.number, conversation, seq, frame.body);
      if (sent !== null) this.world.time('delivery_ms', Date.now() - sent.intendedMs);
    }
    if (author === this.account.user) this.decided(id, { fate: 'stands', code: '', conversation });
  }

  /**
   * Sends a command, and again until its fate is known.
   * @param {any} frame without its id
   * @param {number} [intendedMs]
   * @returns {Promise<Fate>}
   */
  command(frame, intendedMs = Date.now()) {
    return this.submit({ id: uuid7(), ...frame }, null, intendedMs);
  }

  /**
   * Says something.
   * @param {string} conversation
   * @param {number} [intendedMs] when it should have been sent
   * @returns {Promise<Fate> & { id: string, body: string }}
   */
  sayIn(conversation, intendedMs = Date.now()) {
    const id = uuid7();
    const { sent, body } = this.world.ledger.send(conversation, this.account.user, id, intendedMs);
    const fate = this.submit({ type: 'send', id, conversation, body }, sent, intendedMs);
    return Object.assign(fate, { id, body });
  }

  /**
   * @param {any} frame
   * @param {Sent | null} sent
   * @param {number} intendedMs
   * @returns {Promise<Fate>}
   */
  submit(frame, sent, intendedMs) {
    return new Promise((done) => {
      const command = { frame, intendedMs, copies: 0, acked: false, sent, done };
      this.open.set(frame.id, command);
      this.send(command);
    });
  }

  /** @param {Command} command */
  send(command) {
    if (!this.live || this.held !== null) return; // sent after the welcome, or the sync
    command.copies += 1;
    if (command.sent !== null) command.sent.copies = command.copies;
    this.say(command.frame);
    const { copies } = command;
    this.later(RESEND_AFTER_MS, () => {
      if (this.open.has(command.frame.id) && !command.acked && command.copies === copies) this.send(command);
    });
  }

  /** Sends everything again that is not known to be logged, in its order. */
  resend() {
    for (const command of this.open.values()) if (!command.acked) this.send(command);
  }

  /** @param {any} frame */
  say(frame) {
    if (this.live) this.socket?.send(JSON.stringify(frame));
  }

  /** @param {any} frame */
  acked(frame) {
    const command = this.open.get(frame.id);
    if (command === undefined || command.acked) return;
    command.acked = true;
    if (command.sent !== null) {
      if (command.sent.state === 'open') command.sent.state = 'acked';
      this.world.count('acked', 1);
      this.world.time('ack_ms', Date.now() - command.intendedMs);
    }
  }

  /** @param {any} frame an error */
  failed(frame) {
    const command = this.open.get(frame.id);
    if (command === undefined) {
      this.lastError = frame;
      return;
    }
    if (frame.code === 'rate_limited') this.world.count('rate_limited', 1);
    if (PASSING.has(frame.code)) {
      const waitMs = Math.max((frame.retry_after ?? 0) * 1000, 200 + backOffMs(command.copies, 200, 4_000));
      this.later(waitMs, () => {
        if (this.open.has(frame.id) && !command.acked) this.send(command);
      });
    } else if (command.copies === 1) {
      this.decided(frame.id, { fate: 'refused', code: frame.code, conversation: command.frame.conversation ?? '' });
    } else {
      this.ask(frame.id, command).catch((error) => this.world.fault(error.message));
    }
  }

  /**
   * Asks for the outcome of a command of which an earlier copy may be logged.
   * @param {string} id
   * @param {Command} command
   */
  async ask(id, command) {
    const { conversation } = command.frame;
    if (conversation === undefined) return; // a creation: its event comes on the feed
    const outcome = await this.account.must('GET', `/v1/conversations/${conversation}/outcome/${id}`);
    if (outcome.outcome === 'settled') this.decided(id, { fate: 'stands', code: '', conversation });
    else if (outcome.outcome === 'refused') this.decided(id, { fate: 'refused', code: outcome.code, conversation });
    else command.acked = false; // absent: it is sent again
  }

  /**
   * @param {string} id
   * @param {Fate} fate
   */
  decided(id, fate) {
    const command = this.open.get(id);
    if (command === undefined) return;
    this.open.delete(id);
    if (command.sent !== null) {
      command.sent.state = fate.fate;
      if (fate.fate === 'refused') this.world.count('refused', 1, { code: fate.code });
    }
    command.done(fate);
  }
}

