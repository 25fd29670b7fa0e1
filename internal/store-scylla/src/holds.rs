//! [`HoldStore`]: the holds of storage belong to the incarnation, those of the fan-out do not.

use std::ops::ControlFlow;

use async_trait::async_trait;
use domain::{ConversationId, Seq};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use store::{Consumer, DROPS_MAX, Dropped, Hold, HoldStore, Malformed, StoreError};
use uuid::Uuid;

use crate::ScyllaStore;
use crate::applied::part;
use crate::cql::{Cql, Kind};

const PAGE_ROWS: i32 = 1000;
/// An upper bound, in milliseconds, of operators' clocks (the year 2109). A drop is written with a timestamp of
/// this value minus its time, so that an earlier drop wins over later ones. As microseconds the timestamp lies in
/// the past, as servers expect.
const LATEST_MS: i64 = 1 << 42;

/// The statements of both tables.
pub(crate) struct HoldTables {
    storage: HoldTable,
    fanout: HoldTable,
    drop: PreparedStatement,
    drops: PreparedStatement,
}

struct HoldTable {
    one: PreparedStatement,
    all: PreparedStatement,
    skip: PreparedStatement,
    finish: PreparedStatement,
}

impl HoldTables {
    pub(crate) async fn prepare(cql: &Cql) -> Result<Self, StoreError> {
        let storage = HoldTable::prepare(cql, "{derived}.holds").await?;
        let fanout = HoldTable::prepare(cql, "{base}.holds").await?;
        let drop = "INSERT INTO {base}.drops (part, seq, conversation, dropped_by, why, time) VALUES (?, ?, ?, ?, ?, ?) \
                    USING TIMESTAMP ?";
        let drops = "SELECT seq, conversation, dropped_by, why, time FROM {base}.drops WHERE part = ?";
        let (drop, drops) = (cql.prepare(Kind::Idempotent, drop).await?, cql.prepare(Kind::Idempotent, drops).await?);
        Ok(Self { storage, fanout, drop, drops })
    }

    const fn of(&self, consumer: Consumer) -> &HoldTable {
        match consumer {
            Consumer::Storage | Consumer::Marks => &self.storage,
            Consumer::Fanout | Consumer::MarksRelay | Consumer::AccountsRelay => &self.fanout,
        }
    }
}

impl HoldTable {
    async fn prepare(cql: &Cql, table: &str) -> Result<Self, StoreError> {
        let key = "WHERE consumer = ? AND part = ? AND conversation = ?";
        let one = format!("SELECT skipped_to, done_through FROM {table} {key}");
        let all = format!(
            "SELECT conversation, skipped_to, done_through FROM {table} WHERE consumer = ? AND part = ? AND conversation > ?"
        );
        let skip = format!("UPDATE {table} USING TIMESTAMP ? SET skipped_to = ? {key}");
        let finish = format!("UPDATE {table} USING TIMESTAMP ? SET done_through = ? {key}");
        let mut all = cql.prepare(Kind::Idempotent, &all).await?;
        all.set_page_size(PAGE_ROWS);
        Ok(Self {
            one: cql.prepare(Kind::Idempotent, &one).await?,
            all,
            skip: cql.prepare(Kind::Idempotent, &skip).await?,
            finish: cql.prepare(Kind::Idempotent, &finish).await?,
        })
    }
}

#[async_trait]
impl HoldStore for ScyllaStore {
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError> {
        let key = (consumer.name(), part(partition), conversation.uuid());
        let row = self.cql.first::<(Option<i64>, Option<i64>)>(&self.holds.of(consumer).one, key).await?;
        row.map_or(Ok(Hold::default()), |(skipped_to, done_through)| hold(skipped_to, done_through))
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        let table = self.holds.of(consumer);
        let cells = [(&table.skip, hold.skipped_to), (&table.finish, hold.done_through)];
        let cells = cells.into_iter().filter_map(|(statement, seq)| Some((statement, seq?.timestamp())));
        let (statements, values): (Vec<_>, Vec<_>) = cells
            .map(|(statement, at)| {
                // The timestamp is the value, so a lower value never wins.
                let values = (at, at, consumer.name(), part(partition), conversation.uuid());
                (BatchStatement::from(statement.clone()), values)
            })
            .unzip();
        if statements.is_empty() {
            return Ok(());
        }
        // Both cells belong to one row: the batch is one mutation, so no reader sees one without the other.
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        self.cql.batch(&batch, values).await
    }

    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError> {
        let mut held = Vec::new();
        if limit == 0 {
            return Ok(held);
        }
        let take = |(conversation, skipped_to, done_through): (Uuid, Option<i64>, Option<i64>)| {
            let hold = hold(skipped_to, done_through)?;
            if hold.is_held() {
                let malformed = Malformed { table: "holds", column: "conversation" };
                held.push((ConversationId::try_from(conversation).map_err(|_| malformed)?, hold));
            }
            Ok(if held.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        // The nil UUID is no conversation's id, and the server sorts it first.
        let after = after.map_or(Uuid::nil(), |after| after.uuid());
        self.cql.each(&self.holds.of(consumer).all, (consumer.name(), part(partition), after), take).await?;
        Ok(held)
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        let Dropped { seq, conversation, by, why, time_ms } = dropped;
        let first_stands = (LATEST_MS - time_ms).max(1);
        let values = (part(partition), seq.timestamp(), conversation.uuid(), by, why, time_ms, first_stands);
        self.cql.execute(&self.holds.drop, values).await.map(drop)
    }

    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError> {
        let mut all = Vec::new();
        let take = |(at, conversation, by, why, time_ms): (i64, Uuid, Option<String>, Option<String>, Option<i64>)| {
            let malformed = |column| Malformed { table: "drops", column };
            let seq = seq(Some(at), "seq")?.ok_or(malformed("seq"))?;
            let conversation = ConversationId::try_from(conversation).map_err(|_| malformed("conversation"))?;
            let (by, why) = (by.unwrap_or_default(), why.unwrap_or_default());
            all.push(Dropped { seq, conversation, by, why, time_ms: time_ms.unwrap_or_default() });
            Ok(if all.len() >= DROPS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        self.cql.each(&self.holds.drops, (part(partition),), take).await?;
        Ok(all)
    }
}

fn hold(skipped_to: Option<i64>, done_through: Option<i64>) -> Result<Hold, StoreError> {
    Ok(Hold { skipped_to: seq(skipped_to, "skipped_to")?, done_through: seq(done_through, "done_through")? })
}

fn seq(cell: Option<i64>, column: &'static str) -> Result<Option<Seq>, Malformed> {
    let malformed = Malformed { table: "holds", column };
    let Some(number) = cell else { return Ok(None) };
    let seq = u64::try_from(number).ok().and_then(|number| Seq::try_from(number).ok());
    seq.ok_or(malformed).map(Some)
}
