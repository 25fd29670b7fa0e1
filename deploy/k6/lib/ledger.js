/**
 * The ledger of one process or VU: what was sent, and what every device was shown. At the end it says what was lost,
 * doubled or out of order. It judges by what devices and members must have, not by what the client believes.
 *
 * Every message has a number, unique in the ledger, which its body carries: the same message under two ids is seen.
 * `lost`, `dup` and `reorder` mean nothing where nothing was compared, so each has a twin that counts the comparisons:
 * `expected`, `shown`, `ordered`.
 *
 * @typedef {'open' | 'acked' | 'stands' | 'refused'} State
 *
 * @typedef {object} Sent
 * @property {number} n
 * @property {string} id of the command
 * @property {string} conversation
 * @property {string} author
 * @property {number} intendedMs when it should have been sent, by the clock of this process
 * @property {State} state
 * @property {number} copies how often it was sent
 *
 * @typedef {object} Span a membership: from `from` (included) to `to` (excluded), in seqs
 * @property {number} from
 * @property {number} to
 *
 * @typedef {object} Entry what history says of a message
 * @property {number} seq
 * @property {string} id
 * @property {string} [body]
 *
 * @typedef {object} Verdict
 * @property {number} lost pairs of a message that stands and a device that was not shown it; and acknowledged messages
 *   that history does not have
 * @property {number} dup messages that one device was shown twice, or that history has twice
 * @property {number} reorder frames that came behind a later one, and messages in another order than they were sent
 * @property {number} gap_at_end pairs of a device and a conversation whose newest message it was not shown
 * @property {number} foreign messages that a device was shown without being a member, or that nobody sent, or that were
 *   refused and stand
 * @property {number} unknown messages whose fate is open
 * @property {number} expected
 * @property {number} shown
 * @property {number} ordered
 */

/** Stands for the end of a membership that goes on. */
const NEVER = Number.MAX_SAFE_INTEGER;

/** What one device was shown of one conversation. */
class View {
  constructor() {
    /** @type {Map<number, number>} number of the message -> seq, of frames */
    this.frames = new Map();
    /** @type {Set<number>} numbers of messages that a reset left to pages of history */
    this.rows = new Set();
    /** @type {Map<string, { vu: number, n: number, seq: number }>} messages of other parts, for the joint check */
    this.others = new Map();
    /** @type {Map<string, { vu: number, n: number }>} such messages in pages of history */
    this.otherRows = new Map();
    /** @type {Set<number>} seqs of all frames that came, of any kind */
    this.seqs = new Set();
    /** The highest seq that came since the last reset. */
    this.highest = -1;
    /** The highest seq that a frame or a reset has brought the device to. */
    this.reached = -1;
    /** What the last reset left to history: behind `after`, up to `head`. What is missing before was lost live. */
    this.left = { after: -1, head: -1 };
  }
}

export class Ledger {
  /**
   * @param {string} run names the run
   * @param {number} vu the process or VU within the run
   */
  constructor(run, vu) {
    this.run = run;
    this.vu = vu;
    /** @type {Sent[]} by number */
    this.sent = [];
    /** @type {Map<string, number>} id -> number: a deleted message has no body any more */
    this.byId = new Map();
    /** @type {Map<string, Map<string, Span[]>>} conversation -> user -> memberships */
    this.members = new Map();
    /** @type {{ user: string, views: Map<string, View> }[]} */
    this.devices = [];
    this.dup = 0;
    this.reorder = 0;
    this.foreign = 0;
    this.shown = 0;
  }

  /**
   * A message that is about to be sent, and its body.
   * @param {string} conversation
   * @param {string} author
   * @param {string} id
   * @param {number} intendedMs
   * @returns {{ sent: Sent, body: string }}
   */
  send(conversation, author, id, intendedMs) {
    /** @type {Sent} */
    const sent = { n: this.sent.length, id, conversation, author, intendedMs, state: 'open', copies: 0 };
    this.sent.push(sent);
    this.byId.set(id, sent.n);
    return { sent, body: JSON.stringify({ run: this.run, vu: this.vu, n: sent.n, t: intendedMs }) };
  }

  /**
   * A user is a member from that seq on.
   * @param {string} conversation
   * @param {string} user
   * @param {number} from
   */
  joined(conversation, user, from) {
    const users = this.members.get(conversation) ?? new Map();
    this.members.set(conversation, users);
    const spans = users.get(user) ?? [];
    users.set(user, spans);
    // Every member's device says so of everybody.
    if (!spans.some((/** @type {Span} */ span) => span.from <= from && from < span.to)) spans.push({ from, to: NEVER });
  }

  /**
   * A user is no member any more behind that seq; the leaving itself is still shown.
   * @param {string} conversation
   * @param {string} user
   * @param {number} seq
   */
  left(conversation, user, seq) {
    for (const span of this.members.get(conversation)?.get(user) ?? []) {
      if (span.from <= seq && span.to > seq) span.to = seq + 1;
    }
  }

  /**
   * Adds a device of that user.
   * @param {string} user
   * @returns {number} by which the device is named
   */
  device(user) {
    this.devices.push({ user, views: new Map() });
    return this.devices.length - 1;
  }

  /**
   * @param {number} device
   * @param {string} conversation
   */
  view(device, conversation) {
    const { views } = this.devices[device];
    const view = views.get(conversation) ?? new View();
    views.set(conversation, view);
    return view;
  }

  /**
   * A frame with a seq came, whether the device's filter takes it or not: a frame that comes twice is dropped by the
   * filter, which is no fault; one that comes first behind a later one is dropped as well, and is one.
   * @param {number} device
   * @param {string} conversation
   * @param {number} seq
   */
  came(device, conversation, seq) {
    const view = this.view(device, conversation);
    if (seq < view.highest && !view.seqs.has(seq)) this.reorder += 1;
    view.seqs.add(seq);
    view.highest = Math.max(view.highest, seq);
    view.reached = Math.max(view.reached, seq);
  }

  /**
   * The device starts its filter at this seq, after a reset: older frames may come and are dropped.
   * @param {number} device
   * @param {string} conversation
   * @param {number} head
   */
  reset(device, conversation, head) {
    const view = this.view(device, conversation);
    view.highest = -1;
    view.seqs.clear();
    view.seqs.add(head);
    view.left = { after: view.reached, head };
    view.reached = Math.max(view.reached, head);
  }

  /**
   * The device showed a message.
   * @param {number} device
   * @param {string} conversation
   * @param {number} seq
   * @param {string} body
   * @returns {Sent | null} whose it is; null when it is of another run or VU
   */
  shows(device, conversation, seq, body) {
    const said = parsed(body);
    if (said === null || said.run !== this.run) return null;
    this.shown += 1;
    const { vu, n } = said;
    if (vu !== this.vu) {
      const { others } = this.view(device, conversation);
      if (others.has(`${vu}.${n}`)) this.dup += 1;
      else others.set(`${vu}.${n}`, { vu, n, seq });
      return null;
    }
    const sent = this.sent[n];
    if (sent === undefined || sent.conversation !== conversation) {
      this.foreign += 1;
      return null;
    }
    const view = this.view(device, conversation);
    if (view.frames.has(n)) this.dup += 1;
    else view.frames.set(n, seq);
    return sent;
  }

  /**
   * The device read a message in a page of history, after a reset. It counts as shown where the reset left it to history:
   * what the device should have been shown live before stays missing.
   * @param {number} device
   * @param {string} conversation
   * @param {Entry} entry
   */
  reads(device, conversation, entry) {
    const view = this.view(device, conversation);
    if (entry.seq <= view.left.after || entry.seq > view.left.head) return;
    const said = parsed(entry.body ?? '');
    if (said !== null && said.run === this.run && said.vu !== this.vu) {
      view.otherRows.set(`${said.vu}.${said.n}`, { vu: said.vu, n: said.n });
    }
    const n = this.number(entry.body) ?? this.byId.get(entry.id);
    if (n !== undefined) view.rows.add(n);
  }

  /**
   * The number in a body of this run and VU.
   * @param {string | undefined} body
   * @returns {number | null}
   */
  number(body) {
    const said = body === undefined ? null : parsed(body);
    return said !== null && said.run === this.run && said.vu === this.vu ? said.n : null;
  }

  /** Whether the fate of every message is known and every device was shown all that stands, as far as frames tell. */
  settled() {
    const newest = new Map();
    for (const { state, conversation, n } of this.sent) {
      if (state === 'open' || state === 'acked') return false;
      if (state === 'stands') newest.set(conversation, n);
    }
    return this.devices.every(({ user, views }) =>
      [...newest].every(([conversation, n]) => {
        const spans = this.members.get(conversation)?.get(user) ?? [];
        if (!spans.some((span) => span.to === NEVER)) return true;
        const view = views.get(conversation);
        return view !== undefined && (view.frames.has(n) || view.rows.has(n));
      }),
    );
  }

  /**
   * Holds everything against history.
   * @param {Map<string, Entry[]>} histories by conversation, oldest first, read by somebody who may read all of it
   * @returns {Verdict}
   */
  reconcile(histories) {
    /** @type {Verdict} */
    const verdict = {
      lost: 0, dup: this.dup, reorder: this.reorder, gap_at_end: 0, foreign: this.foreign,
      unknown: 0, expected: 0, shown: this.shown, ordered: 0,
    };
    /** @type {Map<string, Map<number, number>>} conversation -> number -> seq */
    const standing = new Map();
    for (const [conversation, entries] of histories) {
      standing.set(conversation, this.standing(conversation, entries, verdict));
    }
    for (const { n, conversation, state } of this.sent) {
      const stands = standing.get(conversation)?.has(n) ?? false;
      if (state === 'open' || state === 'acked') verdict.unknown += 1;
      if (state === 'acked' || state === 'stands') verdict.expected += 1;
      if ((state === 'acked' || state === 'stands') && !stands) verdict.lost += 1;
      if (state === 'refused' && stands) verdict.foreign += 1;
    }
    this.devices.forEach((device) => {
      for (const [conversation, seqs] of standing) this.compare(device, conversation, seqs, verdict);
    });
    return verdict;
  }

  /**
   * The messages that stand in a history, each once, with what is wrong in the history itself.
   * @param {string} conversation
   * @param {Entry[]} entries
   * @param {Verdict} verdict
   */
  standing(conversation, entries, verdict) {
    /** @type {Map<number, number>} */
    const seqs = new Map();
    /** @type {Map<string, number>} author -> the number of the last message that was sent once */
    const last = new Map();
    let before = -1;
    for (const { seq, id, body } of entries) {
      if (seq <= before) verdict.reorder += 1;
      before = seq;
      const n = this.number(body) ?? this.byId.get(id);
      if (n === undefined) continue;
      const sent = this.sent[n];
      if (sent === undefined || sent.conversation !== conversation) {
        verdict.foreign += 1;
      } else if (seqs.has(n)) {
        verdict.dup += 1;
      } else {
        seqs.set(n, seq);
        // One that was sent again may stand behind others that were sent later.
        if (sent.copies === 1) {
          verdict.ordered += 1;
          if (n < (last.get(sent.author) ?? -1)) verdict.reorder += 1;
          last.set(sent.author, n);
        }
      }
    }
    return seqs;
  }

  /**
   * What a device was shown of a conversation, against what stands.
   * @param {{ user: string, views: Map<string, View> }} device
   * @param {string} conversation
   * @param {Map<number, number>} seqs
   * @param {Verdict} verdict
   */
  compare(device, conversation, seqs, verdict) {
    const spans = this.members.get(conversation)?.get(device.user) ?? [];
    const view = device.views.get(conversation) ?? new View();
    let newestMissing = false;
    for (const [n, seq] of seqs) {
      if (!spans.some((span) => span.from <= seq && seq < span.to)) {
        if (view.frames.has(n)) verdict.foreign += 1;
        continue;
      }
      verdict.expected += 1;
      const at = view.frames.get(n);
      newestMissing = at === undefined && !view.rows.has(n);
      if (newestMissing) verdict.lost += 1;
      if (at !== undefined) {
        verdict.ordered += 1;
        if (at !== seq) verdict.reorder += 1;
      }
    }
    if (newestMissing) verdict.gap_at_end += 1;
    // Shown, and not in history: it was never accepted.
    for (const n of view.frames.keys()) if (!seqs.has(n)) verdict.foreign += 1;
  }

  /**
   * The ledger as lines, for `klatschctl ledger check`.
   * @returns {object[]}
   */
  lines() {
    const { run, vu } = this;
    /** @type {object[]} */
    const lines = [{ line: 'begin', version: 1, run }];
    for (const { n, id, conversation, author, state, copies } of this.sent) {
      lines.push({ line: 'sent', n, id, conversation, author, state, copies });
    }
    for (const [conversation, users] of this.members) {
      for (const [user, spans] of users) {
        const pairs = spans.map(({ from, to }) => [from, to === NEVER ? null : to]);
        lines.push({ line: 'member', conversation, user, spans: pairs });
      }
    }
    this.devices.forEach(({ user }, device) => {
      // Also where it was shown nothing: it may be that it should have been.
      for (const [conversation, users] of this.members) {
        if (!users.has(user)) continue;
        const view = this.view(device, conversation);
        const own = [...view.frames].map(([n, seq]) => [vu, n, seq]);
        const frames = own.concat([...view.others.values()].map((other) => [other.vu, other.n, other.seq]));
        const others = [...view.otherRows.values()].map((other) => [other.vu, other.n]);
        const rows = [...view.rows].map((n) => [vu, n]).concat(others);
        lines.push({ line: 'device', device, user, conversation, frames, rows });
      }
    });
    const { dup, reorder, foreign } = this;
    lines.push({ line: 'end', lines: lines.length, dup, reorder, foreign });
    // Several parts may come into one file, in any order of their lines.
    return lines.map((line) => ({ vu, ...line }));
  }
}

/**
 * What a body of a message says, if it is one of a ledger.
 * @param {string} body
 * @returns {{ run: string, vu: number, n: number } | null}
 */
function parsed(body) {
  if (!body.startsWith('{"run":')) return null;
  try {
    const { run, vu, n } = JSON.parse(body);
    return typeof run === 'string' && Number.isInteger(vu) && Number.isInteger(n) ? { run, vu, n } : null;
  } catch {
    return null;
  }
}
