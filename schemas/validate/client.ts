// A client written on types that are generated from openapi.yaml: it signs in, syncs, says something and reads it.
// That it compiles is checked with the documents; `npm run client -- URL NAME PASSWORD` runs it against a klatsch.
import { createHash, randomBytes } from 'node:crypto';
import createClient from 'openapi-fetch';
import type { components, paths } from './build/api.js';

type Schemas = components['schemas'];
type Failure = Schemas['Error'];

const [url = 'http://127.0.0.1:8080', name = 'generated', password = 'a client from the document'] = process.argv.slice(2);
const http = createClient<paths>({ baseUrl: url });

/** The answer, or the refusal as an exception. */
async function answer<T>(call: Promise<{ data?: T; error?: Failure; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (error !== undefined) throw new Error(`${response.status} ${error.code}: ${error.message} (${error.request_id})`);
  if (data === undefined) throw new Error(`${response.status} without a body`);
  return data;
}

async function signIn(who: string): Promise<Schemas['Session']> {
  const { error } = await http.POST('/v1/users', { body: { name: who, password } });
  if (error !== undefined && error.code !== 'name_taken') throw new Error(`${error.code}: ${error.message}`);
  return answer(http.POST('/v1/sessions', { body: { name: who, password, label: 'generated client' } }));
}

/** UUIDv7 (RFC 9562): 48 bits of milliseconds, then random ones. */
function mint(): Schemas['CommandId'] {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuid(bytes.toString('hex'));
}

/** The direct conversation's id, derived as PROTOCOL.md says. */
function direct(one: Schemas['UserId'], two: Schemas['UserId']): Schemas['ConversationId'] {
  const pair = [one, two].sort().map((id) => Buffer.from(id.replaceAll('-', ''), 'hex'));
  const bytes = createHash('sha256').update('klatsch/direct/1').update(Buffer.concat(pair)).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuid(bytes.toString('hex'));
}

function uuid(hex: string): string {
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Every conversation that the user is or was in. */
async function sync(): Promise<Map<string, Schemas['SyncConversation']>> {
  const found = new Map<string, Schemas['SyncConversation']>();
  for (let after: string | undefined; ; ) {
    const page = await answer(http.GET('/v1/sync', { params: { query: after === undefined ? {} : { after } } }));
    for (const conversation of page.conversations) found.set(conversation.id, conversation);
    if (page.next === undefined) return found;
    after = page.next;
  }
}

/** What became of a command. Each member of the union has the fields of its case, and they are required. */
function told(outcome: Schemas['Outcome']): string {
  switch (outcome.outcome) {
    case 'settled':
      return `${outcome.stands} at ${outcome.seq.toFixed()}`;
    case 'refused':
      return `refused with ${outcome.code}: ${outcome.message}`;
    case 'absent':
      return 'absent as of now';
  }
}

function line(entry: Schemas['Entry']): string {
  switch (entry.kind) {
    case 'message':
      return `${entry.author}: ${entry.deleted === true ? '(deleted)' : (entry.body ?? '(withheld)')}`;
    case 'created':
      return `${entry.author} began the conversation`;
    case 'joined':
    case 'left':
      return `${entry.kind}: ${entry.users.join(', ')}`;
    case 'title':
      return `the title is '${entry.body}'`;
    default:
      // A kind of tomorrow; to the compiler there is none.
      return `something happened: ${JSON.stringify(entry satisfies never)}`;
  }
}

const other = await signIn(`${name}.other`);
const session = await signIn(name);
http.use({
  onRequest({ request }) {
    request.headers.set('Authorization', `Bearer ${session.access_token}`);
    return request;
  },
});

const before = await sync();
const conversation = direct(session.user.id, other.user.id);
// Begun by an earlier run, it is there: that is decided in the log, and no error here.
const created = await answer(
  http.POST('/v1/conversations', { body: { id: mint(), kind: 'direct', members: [other.user.id] } }),
);
if (created.conversation !== conversation) throw new Error('the id is derived otherwise');

const id = mint();
const body = { id, body: `said ${new Date().toISOString()}` };
const path = { conversation };
await answer(http.POST('/v1/conversations/{conversation}/messages', { params: { path }, body }));
const outcome = await answer(
  http.GET('/v1/conversations/{conversation}/outcome/{id}', { params: { path: { conversation, id } } }),
);
console.log(told(outcome));
if (outcome.outcome !== 'settled') throw new Error('the message does not stand');

const page = await answer(
  http.GET('/v1/conversations/{conversation}/messages', { params: { path, query: { at_least: outcome.seq } } }),
);
for (const entry of page.entries) console.log(line(entry));
const after = await sync();
const head = after.get(conversation)?.head ?? 0;
if (head < outcome.seq) throw new Error(`the head ${head} is below the message's place ${outcome.seq}`);
console.log(`${before.size} conversations before, ${after.size} now`);
