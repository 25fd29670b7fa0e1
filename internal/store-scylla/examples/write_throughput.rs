//! Measures how fast message rows are written, beside a bare loop over the driver that writes the same rows.
//!
//! ```text
//! cargo run --release -p store-scylla --example write_throughput -- 127.0.0.1:9042 [MESSAGES]
//! ```
//! Each message is a timeline row and an id row; each conversation of a call has one head. Calls have the size of
//! a storage consumer's: 500 messages each, four at a time as for four partitions. The bare loop also uses
//! prepared statements in unlogged batches per partition, but sends all of a call at once, without an order of
//! phases.
#![allow(clippy::disallowed_methods)] // measures real time

use std::time::Instant;

use anyhow::{Context as _, Result};
use domain::{CommandId, Content, ConversationId, IdRow, PayloadHash, Seq, Stands, UserId};
use environment::{Clock, Entropy};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use store::{CellWrites, Row, SharedStore};
use store_scylla::{Keyspace, ScyllaConfig, ScyllaStore, migrate};
use uuid::Uuid;

const MESSAGES_PER_CALL: usize = 500;
const CALLS_AT_ONCE: usize = 4;
const IN_FLIGHT: usize = 128;
const BODY_BYTES: usize = 150;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().context("usage: write_throughput HOST:PORT [MESSAGES]")?;
    let messages: usize = arguments.next().map_or(Ok(100_000), |count| count.parse())?;
    let keyspace: Keyspace = format!("t{}", Entropy::system().uuid_v7(&Clock::system()).simple()).parse()?;
    let config = ScyllaConfig { replication_factor: 1, ..ScyllaConfig::new(vec![server.clone()], keyspace) };
    migrate(&config).await?;
    let store = ScyllaStore::connect(config.clone()).await?;
    let bare = Bare::connect(&server, &config.keyspace.incarnation(1)).await?;
    println!("messages/s, {messages} messages in calls of {MESSAGES_PER_CALL}, {CALLS_AT_ONCE} calls at once");
    for per_call in [20, 100, 500] {
        // A warm-up run: the server's just-in-time compiler needs it.
        through_store(&store, &calls(messages / 4, per_call, 99)).await?;
        let (mut ours, mut theirs) = (Speed::default(), Speed::default());
        for round in 0..ROUNDS {
            ours = ours.best(through_store(&store, &calls(messages, per_call, round * 2)).await?);
            theirs = theirs.best(bare.write(&calls(messages, per_call, round * 2 + 1)).await?);
        }
        let ratio = ours.per_second / theirs.per_second;
        println!("{per_call:4} conversations per call: store {ours}, bare driver {theirs}, ratio {ratio:.2}");
    }
    store.close().await;
    Ok(())
}

/// The messages of one call, by conversation.
type Call = Vec<Vec<Message>>;

/// A message, which is written as three rows.
#[derive(Debug, Clone)]
struct Message {
    conversation: ConversationId,
    id: CommandId,
    author: UserId,
    seq: Seq,
    slot: u64,
    body: String,
}

/// The log's time of all messages.
const TIME_MS: i64 = 5;
const HASH: PayloadHash = PayloadHash([3; 16]);

fn calls(messages: usize, conversations: usize, world: usize) -> Vec<Call> {
    let per_conversation = MESSAGES_PER_CALL / conversations;
    let count = messages / MESSAGES_PER_CALL;
    (0..count)
        .map(|call| {
            let messages = |number| {
                let id = Uuid::from_u128((world as u128) << 64 | (conversations as u128) << 32 | number as u128);
                let first = call * per_conversation;
                (first..first + per_conversation).map(|slot| message(id, slot as u64)).collect()
            };
            (0..conversations).map(messages).collect()
        })
        .collect()
}

fn message(conversation: Uuid, slot: u64) -> Message {
    let (stamp, random) = (1_735_689_600_000 + slot, (conversation.as_u128() as u64 ^ slot).to_be_bytes());
    let mut tail = [0; 10];
    tail[..8].copy_from_slice(&random);
    let id = uuid::Builder::from_unix_timestamp_millis(stamp, &tail).into_uuid();
    Message {
        conversation: ConversationId::try_from(conversation).expect("any UUID is a conversation's"),
        id: CommandId::try_from(id).expect("made as version 7"),
        author: UserId::try_from(Uuid::from_u128(7)).expect("any UUID is a user's"),
        seq: Seq::new(0, slot + 1).expect("small"),
        slot,
        body: "m".repeat(BODY_BYTES),
    }
}

/// The writes as the consumer makes them: of a batch, only the last head of a conversation.
fn writes(call: &Call) -> Vec<CellWrites> {
    let mut writes = Vec::new();
    for messages in call {
        for Message { conversation, id, author, seq, slot, body } in messages.iter().cloned() {
            let content = Content::Message { body: body.into(), reply_to: None };
            let row = IdRow { author, seq, hash: HASH, stands: Stands::Message { slot }, deleted: None };
            let entry = Row::Entry { seq, slot, ordinal: slot + 1, id, author, time_ms: TIME_MS, content };
            writes.push(entry.write(conversation, seq));
            writes.push(Row::Id { id, row }.write(conversation, seq));
        }
        if let Some(Message { conversation, seq, slot, .. }) = messages.last() {
            let head = Row::Head { seq: *seq, time_ms: TIME_MS, slot: slot + 1, ordinal: slot + 1 };
            writes.push(head.write(*conversation, *seq));
        }
    }
    writes
}

/// The figures of one run, or the best of several.
#[derive(Default)]
struct Speed {
    per_second: f64,
    /// CPU time of this process, microseconds per message.
    cpu_us: f64,
}

impl Speed {
    fn best(self, other: Self) -> Self {
        if self.per_second > other.per_second { self } else { other }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:7.0} ({:4.1} us of CPU each)", self.per_second, self.cpu_us)
    }
}

struct Stopwatch {
    begun: Instant,
    cpu_ticks: u64,
}

impl Stopwatch {
    fn start() -> Self {
        Self { begun: Instant::now(), cpu_ticks: cpu_ticks() }
    }

    fn stop(self, messages: usize) -> Speed {
        let ticks = cpu_ticks() - self.cpu_ticks;
        let per_second = messages as f64 / self.begun.elapsed().as_secs_f64();
        Speed { per_second, cpu_us: ticks as f64 * 10_000.0 / messages as f64 }
    }
}

/// User and system time so far, in hundredths of a second; 0 where the system does not report it.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

async fn through_store(store: &SharedStore, calls: &[Call]) -> Result<Speed> {
    let watch = Stopwatch::start();
    // As in the consumer, the writes of a call are made just before.
    let calls_made = stream::iter(calls).map(|call| store.write(writes(call)));
    calls_made.buffer_unordered(CALLS_AT_ONCE).try_collect::<()>().await?;
    Ok(watch.stop(calls.len() * MESSAGES_PER_CALL))
}

/// The driver, used as its documentation says.
struct Bare {
    session: Session,
    entry: PreparedStatement,
    id: PreparedStatement,
    head: PreparedStatement,
}

type EntryValues<'a> = (Uuid, i64, i64, &'a [u8], Uuid, i64, i64, i64, &'static str, &'a str, i64);
type IdValues<'a> = (Uuid, i64, &'a [u8], Uuid, i64, i64, &'a [u8], &'static str, i64);

impl Bare {
    async fn connect(server: &str, keyspace: &str) -> Result<Self> {
        let session = SessionBuilder::new()
            .known_node(server)
            .compression(Some(scylla::client::Compression::Lz4))
            .use_keyspace(keyspace, false)
            .build()
            .await?;
        let prepare = async |text: &str| {
            let mut statement = session.prepare(text).await?;
            statement.set_is_idempotent(true);
            statement.set_consistency(scylla::statement::Consistency::LocalQuorum);
            anyhow::Ok(statement)
        };
        let entry = "INSERT INTO timeline (conversation, bucket, seq, id, author, time, place, ordinal, kind, body) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
        let id = "INSERT INTO ids (conversation, week, id, author, seq, place, hash, stands) \
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
        let head =
            "UPDATE heads USING TIMESTAMP ? SET seq = ?, time = ?, place = ?, ordinal = ? WHERE conversation = ?";
        let (entry, id, head) = (prepare(entry).await?, prepare(id).await?, prepare(head).await?);
        Ok(Self { session, entry, id, head })
    }

    async fn write(&self, calls: &[Call]) -> Result<Speed> {
        let watch = Stopwatch::start();
        stream::iter(calls)
            .map(|call| async move {
                let writes: Vec<_> = call.iter().map(|messages| self.conversation(messages)).collect();
                stream::iter(writes).buffer_unordered(IN_FLIGHT / CALLS_AT_ONCE).try_collect::<()>().await
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(watch.stop(calls.len() * MESSAGES_PER_CALL))
    }

    async fn conversation(&self, messages: &[Message]) -> Result<()> {
        let (mut entries, mut ids, mut head) = (Vec::new(), Vec::new(), None);
        for Message { conversation, id, author, seq, slot, body } in messages {
            let (conversation, author, seq) = (conversation.uuid(), author.uuid(), seq.timestamp());
            let bucket = store::bucket_of(*slot) as i64;
            let (slot, ordinal) = (*slot as i64, *slot as i64 + 1);
            let entry: EntryValues<'_> =
                (conversation, bucket, seq, id.as_bytes(), author, TIME_MS, slot, ordinal, "message", body, seq);
            entries.push(entry);
            let row: IdValues<'_> =
                (conversation, id.week(), id.as_bytes(), author, seq, slot, &HASH.0, "message", seq);
            ids.push(row);
            head = Some((seq, seq, TIME_MS, ordinal, ordinal, conversation));
        }
        let head = async {
            if let Some(values) = head {
                self.session.execute_unpaged(&self.head, values).await?;
            }
            anyhow::Ok(())
        };
        future::try_join3(self.batch(&self.entry, entries), self.batch(&self.id, ids), head).await?;
        Ok(())
    }

    async fn batch<V: scylla::serialize::row::SerializeRow>(
        &self,
        statement: &PreparedStatement,
        values: Vec<V>,
    ) -> Result<()> {
        if let [single] = &values[..] {
            self.session.execute_unpaged(statement, single).await?;
            return Ok(());
        }
        // Full batches, as the store makes them.
        for values in values.chunks(100) {
            let statements = values.iter().map(|_| BatchStatement::from(statement.clone())).collect();
            let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
            batch.set_is_idempotent(true);
            batch.set_consistency(scylla::statement::Consistency::LocalQuorum);
            self.session.batch(&batch, values).await?;
        }
        Ok(())
    }
}
