//! The floor of the storage consumer: the rows of messages, written by the bare driver. No log, no rules, no order of
//! phases.
//!
//! A message is a timeline row and an id row; in each call a conversation has one head, and its author one row of what was
//! sent last. Calls are of the size of the
//! consumer's batches, as many at once as there are partitions, with prepared statements in unlogged batches.

use anyhow::Result;
use bench::processes::cpu_of;
use domain::{CommandId, Seq};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use scylla::client::Compression;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::time::Instant;
use uuid::Uuid;

/// Messages of one call.
const CALL_MESSAGES: usize = 500;
/// Calls at once: one for each partition.
const CALLS_AT_ONCE: usize = 12;
/// Conversations of a call that are written at the same time.
const WRITES_AT_ONCE: usize = 16;
/// Statements of one batch, as the store makes them.
const BATCH_ROWS_MAX: usize = 100;
const BODY_BYTES: usize = 150;
const TIME_MS: i64 = 5;
const HASH: [u8; 16] = [3; 16];

/// Prints messages per second, and microseconds of CPU time of each.
pub(crate) async fn run(address: &str, keyspace: &str, messages: usize, conversations: usize) -> Result<()> {
    let bare = Bare::connect(address, keyspace).await?;
    bare.write(messages / 10, conversations).await?; // the server's just-in-time compiler needs it
    let (begun, cpu) = (Instant::now(), cpu_of(std::process::id())?);
    bare.write(messages, conversations).await?;
    let (took, cpu) = (begun.elapsed(), cpu_of(std::process::id())? - cpu);
    println!("{} {}", messages as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / messages as f64);
    Ok(())
}

/// The driver, used as its documentation says.
struct Bare {
    session: Session,
    entry: PreparedStatement,
    id: PreparedStatement,
    sent: PreparedStatement,
    head: PreparedStatement,
    body: String,
}

type EntryValues<'a> = (Uuid, i64, i64, Vec<u8>, Uuid, i64, i64, i64, &'static str, &'a str, i64);
type IdValues<'a> = (Uuid, i64, Vec<u8>, Uuid, i64, i64, &'a [u8], &'static str, i64);

impl Bare {
    async fn connect(address: &str, keyspace: &str) -> Result<Self> {
        let session = SessionBuilder::new()
            .known_node(address)
            .compression(Some(Compression::Lz4))
            .use_keyspace(keyspace, false)
            .build()
            .await?;
        let prepare = async |text: &str| {
            let mut statement = session.prepare(text).await?;
            statement.set_is_idempotent(true);
            statement.set_consistency(Consistency::LocalQuorum);
            anyhow::Ok(statement)
        };
        let entry = "INSERT INTO timeline (conversation, bucket, seq, id, author, time, place, ordinal, kind, body) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
        let id = "INSERT INTO ids (conversation, week, id, author, seq, place, hash, stands) \
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
        let head = "UPDATE heads USING TIMESTAMP ? SET seq = ?, time = ?, place = ?, ordinal = ?, message_seq = ?, message_place = ?, \
             newest_stamp = ? WHERE conversation = ?";
        let sent = "INSERT INTO sent (user, conversation, seq, ordinal) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
        let (entry, id, sent, head) =
            (prepare(entry).await?, prepare(id).await?, prepare(sent).await?, prepare(head).await?);
        Ok(Self { session, entry, id, sent, head, body: ".".repeat(BODY_BYTES) })
    }

    /// Writes messages of new conversations. Each call has those of one partition.
    async fn write(&self, messages: usize, conversations: usize) -> Result<()> {
        let named: Vec<Uuid> = (0..conversations).map(|_| Uuid::now_v7()).collect();
        let partitions: Vec<&[Uuid]> = named.chunks(conversations.div_ceil(CALLS_AT_ONCE)).collect();
        let calls = (0..messages.div_ceil(CALL_MESSAGES)).map(|call| {
            let (conversations, turn) = (partitions[call % partitions.len()], call / partitions.len());
            let each = CALL_MESSAGES.div_ceil(conversations.len());
            async move {
                let first = turn * each;
                let writes = conversations.iter().map(|one| self.conversation(*one, first..first + each));
                stream::iter(writes).buffer_unordered(WRITES_AT_ONCE).try_collect::<()>().await
            }
        });
        stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).try_collect().await
    }

    async fn conversation(&self, conversation: Uuid, slots: std::ops::Range<usize>) -> Result<()> {
        let (mut entries, mut ids, mut newest, author) = (Vec::new(), Vec::new(), None, conversation);
        for slot in slots.map(|slot| slot as u64) {
            let (id, seq) = (CommandId::try_from(Uuid::now_v7())?, Seq::new(0, slot + 1)?.timestamp());
            let (bucket, slot) = (store::bucket_of(slot) as i64, slot as i64);
            let (bytes, ordinal) = (id.as_bytes().to_vec(), slot + 1);
            let entry: EntryValues<'_> =
                (conversation, bucket, seq, bytes.clone(), author, TIME_MS, slot, ordinal, "message", &self.body, seq);
            entries.push(entry);
            let row: IdValues<'_> = (conversation, id.week(), bytes, author, seq, slot, &HASH, "message", seq);
            ids.push(row);
            newest = Some((seq, slot, ordinal));
        }
        let newest = async {
            let Some((seq, slot, ordinal)) = newest else { return anyhow::Ok(()) };
            let head = (seq, seq, TIME_MS, slot, ordinal, seq, slot, TIME_MS, conversation);
            let head = self.session.execute_unpaged(&self.head, head);
            let sent = self.session.execute_unpaged(&self.sent, (author, conversation, seq, ordinal, seq));
            future::try_join(head, sent).await?;
            Ok(())
        };
        future::try_join3(self.batch(&self.entry, entries), self.batch(&self.id, ids), newest).await?;
        Ok(())
    }

    async fn batch<V: SerializeRow>(&self, statement: &PreparedStatement, values: Vec<V>) -> Result<()> {
        if let [single] = &values[..] {
            self.session.execute_unpaged(statement, single).await?;
            return Ok(());
        }
        for values in values.chunks(BATCH_ROWS_MAX) {
            let statements = values.iter().map(|_| BatchStatement::from(statement.clone())).collect();
            let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
            batch.set_is_idempotent(true);
            batch.set_consistency(Consistency::LocalQuorum);
            self.session.batch(&batch, values).await?;
        }
        Ok(())
    }
}
