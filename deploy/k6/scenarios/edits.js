/** Messages are edited, deleted and reacted to, most within a second, some late; then all devices show the same. */
import { atRate } from '../lib/pace.js';
import { read } from '../lib/sync.js';
import { pause, until } from '../lib/wait.js';
import { any, groupsOf } from './cast.js';

/** One change in so many comes late. */
const LATE_ONE_IN = 5;
const LATE_MS = 5_000;
const PICTURES_WITHIN_MS = 20_000;

/** @typedef {{ body: string, deleted: boolean, reactions: Set<string>, changed: number }} Shown */

/** What a device shows of each message: `schemas/PROTOCOL.md`, "How an event changes what is kept". */
class Picture {
  constructor() {
    /** @type {Map<string, Shown>} id of the message -> what is shown */
    this.messages = new Map();
  }

  /** @param {any} frame */
  lay(frame) {
    if (frame.type !== 'event') return;
    const { kind, seq, id, author, target, body = '', emoji } = frame;
    if (kind === 'message') this.messages.set(id, { body, deleted: false, reactions: new Set(), changed: seq });
    const message = this.messages.get(target);
    if (message === undefined || seq <= message.changed) return;
    if (kind === 'edited') message.body = body;
    else if (kind === 'deleted') Object.assign(message, { body: '', deleted: true, reactions: new Set() });
    else if (kind === 'reaction_added') message.reactions.add(`${author} ${emoji}`);
    else if (kind === 'reaction_removed') message.reactions.delete(`${author} ${emoji}`);
    else return;
    message.changed = seq;
  }

  /** As one text, the same for the same picture. */
  words() {
    const words = [...this.messages].map(([id, { body, deleted, reactions }]) =>
      JSON.stringify([id, body, deleted, [...reactions].sort()]),
    );
    return words.sort().join('\n');
  }

  /** @param {any[]} entries of history */
  static of(entries) {
    const picture = new Picture();
    for (const { kind, id, body, deleted = false, reactions = [], changed } of entries) {
      if (kind !== 'message') continue;
      const by = new Set(reactions.map((/** @type {any} */ { user, emoji }) => `${user} ${emoji}`));
      picture.messages.set(id, { body, deleted, reactions: by, changed });
    }
    return picture;
  }
}

/** @param {import('../lib/world.js').World} world */
export async function edits(world) {
  const { rate, seconds, users } = world.settings;
  /** @type {Map<import('../lib/device.js').Device, Picture>} */
  const pictures = new Map();
  const devices = await world.connect(await world.accounts(), {
    heard: (device, frame) => {
      const picture = pictures.get(device) ?? new Picture();
      pictures.set(device, picture);
      picture.lay(frame);
    },
  });
  const [{ conversation }] = await groupsOf(world, devices, [users]);
  /** @type {Promise<unknown>[]} */
  const changes = [];
  await atRate(world, rate, seconds, (intendedMs, turn) => {
    changes.push(live(any(devices), any(devices), conversation, intendedMs, turn));
  });
  await Promise.all(changes);
  const heads = () => Math.max(...devices.map(({ highest }) => highest.get(conversation) ?? 0));
  await until(() => devices.every(({ highest }) => highest.get(conversation) === heads()), PICTURES_WITHIN_MS);
  const truth = Picture.of(await read(devices[0].account, conversation, heads())).words();
  for (const device of devices) {
    world.count('pictures', 1);
    if (pictures.get(device)?.words() !== truth) world.count('picture_differs', 1);
  }
}

/**
 * The life of one message.
 * @param {import('../lib/device.js').Device} author
 * @param {import('../lib/device.js').Device} other
 * @param {string} conversation
 * @param {number} intendedMs
 * @param {number} turn
 */
async function live(author, other, conversation, intendedMs, turn) {
  const said = author.sayIn(conversation, intendedMs);
  if ((await said).fate !== 'stands') return;
  await pause(turn % LATE_ONE_IN === 0 ? LATE_MS : Math.random() * 1_000);
  const target = said.id;
  switch (turn % 4) {
    case 0:
      // The number stays in the body, by which the ledger knows the message.
      await author.command({ type: 'edit', conversation, target, body: `${said.body.slice(0, -1)},"edited":true}` });
      break;
    case 1:
      await other.command({ type: 'react', conversation, target, emoji: '👍' });
      break;
    case 2:
      await other.command({ type: 'react', conversation, target, emoji: '👍' });
      await other.command({ type: 'unreact', conversation, target, emoji: '👍' });
      break;
    default:
      await author.command({ type: 'delete', conversation, target });
  }
}
