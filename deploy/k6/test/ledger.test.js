/** The ledger sees loss, doubles and swaps, and nothing where there is nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ledger } from '../lib/ledger.js';
import { judge } from '../lib/verdict.js';
import { thresholds } from '../lib/thresholds.js';

const ROOM = 'room';

/**
 * Two members, `count` messages by Ann that stand in history, and what each device is given of them.
 * @param {(device: number, frames: { seq: number, body: string }[]) => { seq: number, body: string }[]} delivered
 * @param {(entries: import('../lib/ledger.js').Entry[]) => import('../lib/ledger.js').Entry[]} [kept] in history
 */
function verdictOf(delivered, kept = (entries) => entries) {
  const ledger = new Ledger('run', 0);
  const devices = [ledger.device('ann'), ledger.device('bob')];
  for (const user of ['ann', 'bob']) ledger.joined(ROOM, user, 1);
  const entries = Array.from({ length: 10 }, (_, at) => {
    const { sent, body } = ledger.send(ROOM, 'ann', `id${at}`, 0);
    sent.copies = 1;
    sent.state = 'stands';
    return { seq: 10 + at, id: sent.id, body };
  });
  for (const device of devices) {
    let highest = -1;
    for (const { seq, body } of delivered(device, entries)) {
      ledger.came(device, ROOM, seq);
      if (seq <= highest) continue; // the filter
      highest = seq;
      ledger.shows(device, ROOM, seq, body);
    }
  }
  return ledger.reconcile(new Map([[ROOM, kept(entries)]]));
}

/** @param {import('../lib/ledger.js').Verdict} verdict */
function faults({ lost, dup, reorder, foreign, gap_at_end, unknown }) {
  return { lost, dup, reorder, foreign, gap_at_end, unknown };
}

const NONE = { lost: 0, dup: 0, reorder: 0, foreign: 0, gap_at_end: 0, unknown: 0 };

test('nothing is wrong where every device was shown everything once, in order', () => {
  const verdict = verdictOf((_, frames) => frames);
  assert.deepEqual(faults(verdict), NONE);
  assert.equal(verdict.shown, 20);
  assert.equal(verdict.expected, 30); // ten that stand, and ten for each of two devices
});

test('a frame that comes twice is dropped by the filter, and no fault', () => {
  assert.deepEqual(faults(verdictOf((_, frames) => [...frames, ...frames])), NONE);
});

test('a frame that one device is not given is lost', () => {
  const verdict = verdictOf((device, frames) => (device === 1 ? frames.filter((_, at) => at !== 4) : frames));
  assert.deepEqual(faults(verdict), { ...NONE, lost: 1 });
});

test('the last frame missing is a gap at the end, too', () => {
  const verdict = verdictOf((device, frames) => (device === 1 ? frames.slice(0, -1) : frames));
  assert.deepEqual(faults(verdict), { ...NONE, lost: 1, gap_at_end: 1 });
});

test('two frames in the wrong order are a reorder, and what the filter drops of them is lost', () => {
  const verdict = verdictOf((device, frames) => (device === 1 ? [frames[1], frames[0], ...frames.slice(2)] : frames));
  assert.deepEqual(faults(verdict), { ...NONE, lost: 1, reorder: 1 });
});

test('one message under two ids is a double, on devices and in history', () => {
  const twice = (/** @type {any[]} */ list) => [...list, { ...list[3], seq: 99, id: 'another' }];
  const verdict = verdictOf((_, frames) => twice(frames), twice);
  assert.equal(verdict.dup, 3);
});

test('what is acknowledged and not in history is lost', () => {
  const verdict = verdictOf((_, frames) => frames.slice(0, 9), (entries) => entries.slice(0, 9));
  assert.equal(verdict.lost, 1);
});

test('messages that stand in another order than one author sent them once are a reorder', () => {
  const verdict = verdictOf(
    (_, frames) => frames,
    ([one, other, ...rest]) => [{ ...other, seq: one.seq }, { ...one, seq: other.seq }, ...rest],
  );
  assert.ok(verdict.reorder > 0);
});

test('a member of a part of the time must have that part, and no more', () => {
  const ledger = new Ledger('run', 0);
  const device = ledger.device('eve');
  ledger.joined(ROOM, 'ann', 1);
  ledger.joined(ROOM, 'eve', 11);
  ledger.left(ROOM, 'eve', 13);
  const entries = [10, 12, 14].map((seq) => {
    const { sent, body } = ledger.send(ROOM, 'ann', `id${seq}`, 0);
    Object.assign(sent, { copies: 1, state: 'stands' });
    return { seq, id: sent.id, body };
  });
  ledger.shows(device, ROOM, 12, entries[1].body);
  assert.deepEqual(faults(ledger.reconcile(new Map([[ROOM, entries]]))), NONE);
  ledger.shows(device, ROOM, 14, entries[2].body);
  assert.equal(ledger.reconcile(new Map([[ROOM, entries]])).foreign, 1);
});

/**
 * A device of a member, and three messages at seqs 10, 11 and 12 that stand.
 */
function three() {
  const ledger = new Ledger('run', 0);
  const device = ledger.device('ann');
  ledger.joined(ROOM, 'ann', 1);
  const entries = [10, 11, 12].map((seq) => {
    const { sent, body } = ledger.send(ROOM, 'ann', `id${seq}`, 0);
    Object.assign(sent, { copies: 1, state: 'stands' });
    return { seq, id: sent.id, body };
  });
  const shows = (/** @type {number[]} */ seqs) => {
    for (const { seq, body } of entries.filter((entry) => seqs.includes(entry.seq))) {
      ledger.came(device, ROOM, seq);
      ledger.shows(device, ROOM, seq, body);
    }
  };
  const resets = (/** @type {number} */ head) => {
    ledger.reset(device, ROOM, head);
    for (const entry of entries) ledger.reads(device, ROOM, entry);
  };
  const rows = () => /** @type {any} */ (ledger.lines().find((/** @type {any} */ line) => line.line === 'device')).rows;
  return { ledger, shows, resets, rows, verdict: () => faults(ledger.reconcile(new Map([[ROOM, entries]]))) };
}

test('what was read in history after a reset counts as shown', () => {
  const { resets, rows, verdict } = three();
  resets(12);
  assert.deepEqual(verdict(), NONE);
  assert.equal(rows().length, 3);
});

test('what was lost before a reset is not made good by it, nor what is behind its head', () => {
  const { shows, resets, rows, verdict } = three();
  resets(9);
  shows([10, 12]); // 11 was dropped
  resets(100);
  assert.deepEqual(verdict(), { ...NONE, lost: 1 });
  assert.deepEqual(rows(), []); // nor does the joint check believe it

  const early = three();
  early.resets(10);
  early.shows([12]);
  early.resets(12);
  assert.deepEqual(early.verdict(), { ...NONE, lost: 1 });
  assert.equal(early.rows().length, 1);
});

test('a message that was refused and yet stands is foreign', () => {
  const { ledger, shows, verdict } = three();
  shows([10, 11, 12]);
  ledger.sent[1].state = 'refused';
  assert.deepEqual(verdict(), { ...NONE, foreign: 1 });
});

/**
 * @param {Record<string, number>} counts
 */
const figures = (counts) => (/** @type {string} */ metric) => ({
  count: counts[metric] ?? 0,
  rate: NaN,
  percentile: () => NaN,
});

test('a run in which nothing was compared does not pass', () => {
  const { code, crossed } = judge(figures({}), thresholds('other'));
  assert.equal(code, 99);
  assert.deepEqual(crossed, ['expected count>0', 'shown count>0', 'ordered count>0', 'acked count>0']);
});

test('exit codes tell the product, the tool and the set-up apart', () => {
  const good = { expected: 1, shown: 1, ordered: 1, acked: 1, sends: 100 };
  const code = (/** @type {Record<string, number>} */ counts) => judge(figures({ ...good, ...counts }), thresholds('other')).code;
  assert.equal(code({}), 0);
  assert.equal(code({ lost: 1 }), 99);
  assert.equal(code({ late: 2 }), 3);
  assert.equal(code({ late: 2, lost: 1 }), 99);
  assert.equal(code({ failed_setups: 1 }), 4);
});

test('a latency without samples crosses its threshold', () => {
  assert.equal(judge(figures({ expected: 1, shown: 1, ordered: 1, acked: 1 }), thresholds('direct')).code, 99);
});
