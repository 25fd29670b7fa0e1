/** Everything that `coverage.js` lists, each once: frames, kinds of events, error codes. */
import { Account } from '../lib/account.js';
import { uuid7 } from '../lib/ids.js';
import { until } from '../lib/wait.js';
import { Coverage } from './coverage.js';
import { refusalsOverHttp, refusalsOverTheSocket } from './smoke_refusals.js';

/**
 * @typedef {import('../lib/world.js').World} World
 * @typedef {import('../lib/device.js').Device} Device
 */

const HEARD_WITHIN_MS = 10_000;

/** @param {World} world */
export async function smoke(world) {
  const [heard, coverage] = [new Heard(), new Coverage()];
  world.platform = coverage.over(world.platform);
  const accounts = await world.accounts(5);
  const devices = await world.connect(accounts, { signals: true, heard: (device, frame) => heard.take(device, frame) });
  const conversation = await groupLife(world, devices, heard);
  await messageLife(world, devices, conversation, heard);
  await ownFrames(world, devices, conversation, heard);
  await refusalsOverTheSocket(world, devices, conversation);
  await refusalsOverHttp(world, devices, conversation);
  await anotherSession(world, devices, heard);
  const missing = coverage.missing();
  world.check('everything listed has happened', missing.length === 0, missing);
}

/** What the devices heard. */
class Heard {
  constructor() {
    /** @type {{ device: Device, frame: any }[]} */
    this.frames = [];
  }

  /**
   * @param {Device} device
   * @param {any} frame
   */
  take(device, frame) {
    this.frames.push({ device, frame });
  }

  /**
   * Whether the device heard, or hears soon, a frame with these fields.
   * @param {Device} device
   * @param {Record<string, unknown>} fields
   */
  soon(device, fields) {
    const like = (/** @type {any} */ frame) => Object.entries(fields).every(([key, value]) => frame[key] === value);
    return until(() => this.frames.some((heard) => heard.device === device && like(heard.frame)), HEARD_WITHIN_MS);
  }
}

/**
 * @param {World} world
 * @param {Device[]} devices
 * @param {Heard} heard
 * @returns {Promise<string>} a group of the first four
 */
async function groupLife(world, [ann, bob, cem, dan, eve], heard) {
  const conversation = await world.group(ann, [bob.account, cem.account]);
  const stands = async (/** @type {string} */ name, /** @type {Device} */ by, /** @type {any} */ frame) => {
    const { fate, code } = await by.command({ conversation, ...frame });
    world.check(name, fate === 'stands', code);
  };
  await stands('add_members', ann, { type: 'add_members', members: [dan.account.user, eve.account.user] });
  await stands('change_title', ann, { type: 'change_title', title: 'smoke' });
  world.check('title_changed', await heard.soon(eve, { kind: 'title_changed', title: 'smoke' }));
  await stands('change_role', ann, { type: 'change_role', user: bob.account.user, role: 'admin' });
  world.check('role_changed', await heard.soon(cem, { kind: 'role_changed', user: bob.account.user }));
  await stands('remove_member', bob, { type: 'remove_member', user: eve.account.user });
  world.check('left', await heard.soon(eve, { kind: 'left', user: eve.account.user }));
  // Who has left twice cannot be taken in again. That she was removed does not count.
  for (const time of ['first', 'second']) {
    await stands(`add_members, the ${time} time again`, ann, { type: 'add_members', members: [eve.account.user] });
    await stands(`leave, the ${time} time`, eve, { type: 'leave' });
  }
  return conversation;
}

/**
 * @param {World} world
 * @param {Device[]} devices
 * @param {string} conversation
 * @param {Heard} heard
 */
async function messageLife(world, [ann, bob, cem], conversation, heard) {
  const said = ann.sayIn(conversation);
  world.check('send', (await said).fate === 'stands');
  const target = said.id;
  const by = async (/** @type {Device} */ device, /** @type {any} */ frame) => {
    const { fate, code } = await device.command({ conversation, ...frame });
    world.check(frame.type + (frame.reply_to === undefined ? '' : ' with reply_to'), fate === 'stands', code);
  };
  await by(bob, { type: 'send', body: 'an answer', reply_to: target });
  await by(ann, { type: 'edit', target, body: `${said.body.slice(0, -1)},"edited":true}` });
  await by(bob, { type: 'react', target, emoji: '👍' });
  await by(bob, { type: 'unreact', target, emoji: '👍' });
  await by(ann, { type: 'pin', target });
  await by(ann, { type: 'unpin', target });
  for (const kind of ['edited', 'reaction_added', 'reaction_removed', 'pinned', 'unpinned']) {
    world.check(kind, await heard.soon(cem, { kind, target }));
  }
  const content = { type: 'com.example.poll', data: '{"options":2}' };
  const mentioning = { type: 'send', body: 'where, @cem?', reply_to: target, quote: { from: 0, to: 4 }, content };
  await by(bob, { ...mentioning, mentions: { users: [cem.account.user] } });
  world.check('a mention', await heard.soon(cem, { kind: 'message', body: mentioning.body }));
  const all = await cem.command({ type: 'send', conversation, body: 'all of you', mentions: { all: true } });
  world.check('who is no admin does not mention all', all.fate === 'refused' && all.code === 'forbidden', all);
  const below = uuid7();
  await by(bob, { type: 'send', id: below, body: 'below it', thread: target });
  world.check('a message in a thread', await heard.soon(cem, { kind: 'message', thread: target, thread_ordinal: 1 }));
  const deeper = await cem.command({ type: 'send', conversation, body: 'below that', thread: below });
  world.check('a thread in a thread is refused', deeper.fate === 'refused' && deeper.code === 'not_a_root', deeper);
  const gone = bob.sayIn(conversation);
  await gone;
  await by(bob, { type: 'delete', target: gone.id });
  world.check('deleted', await heard.soon(cem, { kind: 'deleted', target: gone.id }));
  const withdrawn = uuid7();
  await by(ann, { type: 'withdraw', id: withdrawn });
  const late = await ann.command({ type: 'send', id: withdrawn, conversation, body: 'too late' });
  world.check('what was withdrawn is refused', late.fate === 'refused' && late.code === 'withdrawn', late);
  // The same command again: settled, and shown once.
  const again = await ann.command({ type: 'send', id: target, conversation, body: said.body });
  world.check('a retry of an edited message is settled', again.fate === 'stands', again);
}

/**
 * Frames that are about the device itself, or answered by no event.
 * @param {World} world
 * @param {Device[]} devices
 * @param {string} conversation
 * @param {Heard} heard
 */
async function ownFrames(world, [ann, bob], conversation, heard) {
  const seq = ann.highest.get(conversation) ?? 0;
  bob.say({ type: 'mark', conversation, seq });
  world.check('mark_ack', await heard.soon(bob, { type: 'mark_ack', conversation }));
  world.check('read', await heard.soon(bob, { type: 'read', conversation, user: bob.account.user }));
  bob.say({ type: 'typing', conversation });
  world.check('typing', await heard.soon(ann, { type: 'typing', user: bob.account.user }));
  ann.say({ type: 'watch', users: [bob.account.user] });
  bob.say({ type: 'presence', status: 'dnd' });
  world.check('presence', await heard.soon(ann, { type: 'presence', user: bob.account.user }));
  ann.say({ type: 'pong' });
  await ann.account.refresh();
  ann.say({ type: 'renew', token: ann.account.accessToken });
  world.check('renewed', await heard.soon(ann, { type: 'renewed' }));
  const direct = await world.direct(ann, bob.account);
  world.check('send in a direct conversation', (await bob.sayIn(direct)).fate === 'stands');
  const again = await bob.command({ type: 'create', kind: 'direct', members: [ann.account.user] });
  world.check('exists', again.fate === 'refused' && again.code === 'exists', again);
  // A cursor that was stored brings exactly what came since.
  const { welcomes } = bob;
  bob.cut();
  await until(() => bob.welcomes === welcomes && !bob.live, 1_000);
  const missed = ann.sayIn(direct);
  world.check('a message to an absent device', (await missed).fate === 'stands');
  world.check('resumed', await until(() => bob.welcomes > welcomes, HEARD_WITHIN_MS));
  world.check('what was missed', await heard.soon(bob, { kind: 'message', id: missed.id }));
}

/**
 * A second session of one user, which ends.
 * @param {World} world
 * @param {Device[]} devices
 * @param {Heard} heard
 */
async function anotherSession(world, [ann], heard) {
  const { platform, base } = world;
  const second = await Account.open(platform, base, ann.account.name);
  world.check('account', await heard.soon(ann, { type: 'account', event: 'signed_in' }));
  await second.must('DELETE', '/v1/sessions/current');
  const json = { refresh_token: second.refreshToken };
  const refused = await platform.request('POST', `${base}/v1/sessions/refresh`, { json });
  world.check('HTTP: session_ended', refused.status === 401 && refused.body?.code === 'session_ended', refused);
}
