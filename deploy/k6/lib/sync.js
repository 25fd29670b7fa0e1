/**
 * Reading over HTTP: what there is after a reset, and a conversation's history.
 *
 * @typedef {import('./account.js').Account} Account
 */
import { pause } from './wait.js';

/** How often a sync is asked for again that is not complete, a second apart. */
const SYNC_TRIES_MAX = 60;
const SYNC_AGAIN_MS = 1_000;
const PAGE = 200;

/**
 * Every conversation that the user is or was in, once all are ready.
 * @param {Account} account
 * @returns {Promise<Map<string, { head: number, member: boolean }>>}
 */
export async function sync(account) {
  for (let tries = 0; tries < SYNC_TRIES_MAX; tries += 1) {
    const { found, ready } = await pages(account);
    if (ready) return found;
    await pause(SYNC_AGAIN_MS);
  }
  throw new Error(`the sync of ${account.name} was not complete after ${SYNC_TRIES_MAX} tries`);
}

/** @param {Account} account */
async function pages(account) {
  /** @type {Map<string, { head: number, member: boolean }>} */
  const found = new Map();
  let ready = true;
  for (let after = ''; ; ) {
    const page = await account.must('GET', `/v1/sync${after === '' ? '' : `?after=${encodeURIComponent(after)}`}`);
    for (const { id, state, head, member } of page.conversations) {
      ready = ready && state === 'ready';
      found.set(id, { head, member });
    }
    if (page.next === undefined) return { found, ready: ready && page.complete };
    after = page.next;
  }
}

/**
 * A conversation's whole history, oldest first, with everything up to that event at least.
 * @param {Account} account
 * @param {string} conversation
 * @param {number} atLeast a seq
 * @returns {Promise<any[]>}
 */
export async function read(account, conversation, atLeast) {
  const entries = [];
  const path = `/v1/conversations/${conversation}/messages?limit=${PAGE}&at_least=${atLeast}`;
  for (let after = 0; ; ) {
    const page = await account.must('GET', `${path}&after=${after}`);
    entries.push(...page.entries);
    if (!page.more || page.entries.length === 0) return entries;
    after = page.entries[page.entries.length - 1].seq;
  }
}
