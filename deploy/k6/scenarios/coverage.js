/**
 * What `smoke` causes of all that a client can meet: frames in both directions, kinds of events and error codes. A test
 * holds the lists against the documents of the API, and `smoke` fails where something listed here did not happen.
 *
 * @typedef {import('../lib/platform.js').Platform} Platform
 */

/** Frames that clients send, by type. */
export const SENT = [
  'hello', 'pong', 'mark', 'renew', 'typing', 'presence', 'watch', 'create', 'add_members', 'remove_member', 'leave', 'change_role',
  'change_title', 'send', 'edit', 'delete', 'react', 'unreact', 'withdraw', 'pin', 'unpin',
];

/** Frames that servers send, by type. */
export const HEARD = [
  'welcome', 'ack', 'mark_ack', 'renewed', 'error', 'event', 'settled', 'refused', 'read', 'account', 'typing',
  'presence',
];

/** Events, by kind. */
export const KINDS = [
  'created', 'joined', 'left', 'role_changed', 'title_changed', 'message', 'edited', 'deleted', 'withdrawn',
  'reaction_added', 'reaction_removed', 'pinned', 'unpinned',
];

/** Error codes, over the socket or HTTP. */
export const CODES = [
  'bad_request', 'unknown_frame', 'too_large', 'invalid', 'page_out_of_range', 'unauthorized', 'wrong_credentials',
  'session_ended', 'not_found', 'method_not_allowed', 'name_taken', 'not_member', 'forbidden',
  'already', 'exists', 'no_such_member', 'no_such_user', 'declined', 'no_such_message', 'not_author', 'not_a_root',
  'conflict', 'withdrawn', 'id_from_future',
];

/** @type {Record<string, string>} frames and codes that `smoke` does not cause, and why */
export const LEFT_OUT = {
  reacted: 'comes of a log from before version 3 of the rules',
  ping: 'comes after half a minute of silence',
  batch: 'comes where frames happen to wait together; the other scenarios have many',
  too_slow: 'takes a request that does not come to its end',
  token_expired: 'takes as long as a token lives',
  origin_forbidden: 'takes a browser',
  too_many_invitations: 'takes a hundred groups',
  full: 'takes a full group',
  too_many_reactions: 'takes twenty emojis',
  too_many_pins: 'takes a hundred pins',
  too_many_edits: 'takes a hundred edits',
  thread_full: 'takes a thread of thousands of messages',
  held: 'takes a record of a newer version in the log',
  retry: 'passes, and is tried again',
  rate_limited: 'passes, and is tried again',
  busy: 'passes, and is tried again',
  unknown: 'passes, and is tried again',
  unavailable: 'passes, and is tried again',
  internal: 'is a fault',
};

/** What went over a platform, by name. */
export class Coverage {
  constructor() {
    /** @type {Set<string>} */
    this.seen = new Set();
  }

  /**
   * The same platform, with what goes over it noted.
   * @param {Platform} platform
   * @returns {Platform}
   */
  over(platform) {
    return {
      ...platform,
      request: async (method, url, options) => {
        const answer = await platform.request(method, url, options);
        this.seen.add(`code ${answer.body?.code}`);
        return answer;
      },
      socket: (url, events) => {
        const text = (/** @type {string} */ frame) => {
          this.hear(JSON.parse(frame));
          events.text(frame);
        };
        const socket = platform.socket(url, { ...events, text });
        const send = (/** @type {string} */ frame) => {
          this.seen.add(`sent ${/"type":"(\w+)"/.exec(frame)?.[1]}`);
          socket.send(frame);
        };
        return { ...socket, send };
      },
    };
  }

  /** @param {any} frame */
  hear(frame) {
    this.seen.add(`heard ${frame.type}`);
    if (frame.type === 'batch') for (const inner of frame.frames) this.hear(inner);
    if (frame.type === 'event') this.seen.add(`kind ${frame.kind}`);
    if (frame.type === 'error') this.seen.add(`code ${frame.code}`);
    if (frame.type === 'refused') this.seen.add(`code ${frame.reason}`);
  }

  /** What is listed and was not seen. */
  missing() {
    const listed = Object.entries({ sent: SENT, heard: HEARD, kind: KINDS, code: CODES });
    const names = listed.flatMap(([what, list]) => list.map((name) => `${what} ${name}`));
    return names.filter((name) => !this.seen.has(name));
  }
}
