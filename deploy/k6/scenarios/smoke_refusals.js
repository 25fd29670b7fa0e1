/** The error codes that a client can cause, over the socket and over HTTP. */
import { uuid7 } from '../lib/ids.js';
import { until } from '../lib/wait.js';

/**
 * @typedef {import('../lib/world.js').World} World
 * @typedef {import('../lib/device.js').Device} Device
 */

const NOBODY = '01890a5d-ac96-774b-bcce-b302099a8057';
const NOWHERE = 'ba44f703-ceed-819e-811c-ae3a7229e3aa';
const AHEAD_MS = 3_600_000;
const ANSWERED_WITHIN_MS = 10_000;

/**
 * Commands that are refused, at once or in the log, by code. The fifth device was a member twice, and has said nothing.
 * @param {World} world
 * @param {Device[]} devices
 * @param {string} conversation
 */
export async function refusalsOverTheSocket(world, [ann, bob, cem, dan, eve], conversation) {
  const said = ann.sayIn(conversation);
  await said;
  const target = said.id;
  const user = dan.account.user;
  /** @type {[string, Device, any][]} */
  const refusals = [
    ['not_member', eve, { type: 'send', body: 'from outside' }],
    ['invalid', ann, { type: 'send', body: '' }],
    ['id_from_future', ann, { type: 'send', id: uuid7(Date.now() + AHEAD_MS), body: 'from tomorrow' }],
    ['not_author', bob, { type: 'edit', target, body: 'not mine' }],
    ['no_such_message', ann, { type: 'react', target: uuid7(), emoji: '👍' }],
    ['forbidden', cem, { type: 'change_title', title: 'not mine' }],
    ['already', ann, { type: 'add_members', members: [user] }],
    ['no_such_member', ann, { type: 'remove_member', user: NOBODY }],
    ['declined', ann, { type: 'add_members', members: [eve.account.user] }],
    ['no_such_user', ann, { type: 'add_members', members: [NOBODY] }],
    ['conflict', ann, { type: 'send', id: target, body: 'something else under this id' }],
  ];
  for (const [code, by, frame] of refusals) {
    const { fate, code: got } = await by.command({ conversation, ...frame });
    world.check(`socket: ${code}`, fate === 'refused' && got === code, got);
  }
  for (const [code, text] of [['bad_request', '{'], ['unknown_frame', '{"type":"sing"}']]) {
    cem.lastError = null;
    cem.socket?.send(text);
    await until(() => cem.lastError !== null, ANSWERED_WITHIN_MS);
    world.check(`socket: ${code}`, cem.lastError?.code === code, cem.lastError);
  }
}

/**
 * @param {World} world
 * @param {Device[]} devices
 * @param {string} conversation
 */
export async function refusalsOverHttp(world, [ann], conversation) {
  const { platform, base } = world;
  const token = await ann.account.token();
  const name = ann.account.name;
  const room = `/v1/conversations/${conversation}`;
  /** @type {[string, number, string, string, import('../lib/platform.js').RequestOptions][]} */
  const refusals = [
    ['unauthorized', 401, 'GET', '/v1/me', {}],
    ['unauthorized', 401, 'GET', '/v1/me', { token: 'none' }],
    ['wrong_credentials', 401, 'POST', '/v1/sessions', { json: { name, password: 'not the password' } }],
    ['unauthorized', 401, 'POST', '/v1/sessions/refresh', { json: { refresh_token: 'none' } }],
    ['name_taken', 409, 'POST', '/v1/users', { json: { name, password: 'a load test of klatsch' } }],
    ['invalid', 400, 'POST', '/v1/users', { json: { name: '!', password: 'a load test of klatsch' } }],
    ['bad_request', 400, 'POST', '/v1/sessions', { text: '{' }],
    ['not_found', 404, 'GET', '/v1/nothing', { token }],
    ['method_not_allowed', 405, 'PATCH', '/v1/me', { token }],
    ['not_found', 404, 'GET', `/v1/users/${NOBODY}`, { token }],
    ['not_member', 403, 'GET', `/v1/conversations/${NOWHERE}`, { token }],
    ['page_out_of_range', 400, 'GET', `${room}/messages?limit=100000`, { token }],
    ['no_such_message', 404, 'GET', `${room}/messages/${uuid7()}`, { token }],
    ['too_large', 413, 'POST', `${room}/messages`, { token, json: { id: uuid7(), body: 'x'.repeat(70_000) } }],
  ];
  for (const [code, status, method, path, options] of refusals) {
    const answer = await platform.request(method, base + path, options);
    world.check(`HTTP: ${code}`, answer.status === status && answer.body?.code === code, answer);
  }
}
