//! Writing rows: grouped by partition, in phases, many in flight.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use store::{ConversationRows, Phase, StoreError};

use crate::cql::Cql;
use crate::rows::{BoundRow, RowStatements};

/// Writes of one call in flight. Twice as many gained nothing but waiting.
const WRITES_IN_FLIGHT: usize = 128;
/// Statements of one batch; 50 rows of a partition cost a tenth of 50 single writes.
const BATCH_STATEMENTS_MAX: usize = 100;
/// Bytes of one batch, about: a larger one holds up its replica and everybody behind it.
const BATCH_BYTES_MAX: usize = 32 * 1024;

/// Writes rows derived from the log.
pub(crate) struct RowWriter {
    cql: Arc<Cql>,
    statements: RowStatements,
}

impl RowWriter {
    pub(crate) async fn prepare(cql: &Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self { cql: Arc::clone(cql), statements: RowStatements::prepare(cql).await? })
    }

    /// Writes all rows of a phase, of all conversations, before any of the next.
    pub(crate) async fn write(&self, rows: &[ConversationRows]) -> Result<(), StoreError> {
        for phase in [Phase::Rows, Phase::Ids, Phase::Heads] {
            let groups = groups(rows, phase);
            let writes: Vec<_> = groups.iter().map(|group| self.write_group(group)).collect();
            stream::iter(writes).buffer_unordered(WRITES_IN_FLIGHT).try_collect::<()>().await?;
        }
        Ok(())
    }

    async fn write_group(&self, group: &[BoundRow<'_>]) -> Result<(), StoreError> {
        if let [single] = group {
            self.cql.execute(self.statements.of(&single.write.row), single).await?;
            return Ok(());
        }
        let statement = |bound: &BoundRow<'_>| BatchStatement::from(self.statements.of(&bound.write.row).clone());
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, group.iter().map(statement).collect());
        batch.set_is_idempotent(true);
        self.cql.batch(&batch, group).await
    }
}

/// The rows of a phase in groups that one batch can write: of one partition, and not too large. The order of the
/// groups does not matter: every cell carries its own timestamp.
fn groups(rows: &[ConversationRows], phase: Phase) -> Vec<Vec<BoundRow<'_>>> {
    let mut bound: Vec<_> = rows
        .iter()
        .flat_map(|ConversationRows { conversation, rows }| {
            let conversation = conversation.uuid();
            rows.iter().filter(|write| write.row.phase() == phase).map(move |write| BoundRow { conversation, write })
        })
        .map(|bound| (bound.partition(), bound))
        .collect();
    bound.sort_by_key(|(partition, _)| *partition);
    let mut groups = Vec::new();
    for partition in bound.chunk_by(|(one, _), (next, _)| one == next) {
        let mut group = Vec::new();
        let mut bytes = 0;
        for (_, bound) in partition {
            bytes += bound.bytes();
            if !group.is_empty() && (group.len() == BATCH_STATEMENTS_MAX || bytes > BATCH_BYTES_MAX) {
                groups.push(std::mem::take(&mut group));
                bytes = bound.bytes();
            }
            group.push(*bound);
        }
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use domain::{CommandId, Content, ConversationId, Seq, UserId};
    use store::{Row, RowWrite};
    use uuid::Uuid;

    use super::*;

    fn rows(conversation: u128, writes: Vec<Row>) -> ConversationRows {
        let conversation = ConversationId::try_from(Uuid::from_u128(conversation)).unwrap();
        ConversationRows { conversation, rows: writes.into_iter().map(|row| RowWrite { timestamp: 1, row }).collect() }
    }

    fn entry(place: u64, body_bytes: usize) -> Row {
        Row::Entry {
            seq: Seq::new(0, place).unwrap(),
            place,
            ordinal: place,
            id: CommandId::first_at(1),
            author: UserId::try_from(Uuid::from_u128(9)).unwrap(),
            time_ms: 1,
            content: Content::Message { body: "x".repeat(body_bytes), reply_to: None },
        }
    }

    #[test]
    fn a_batch_has_one_partition_and_stays_small() {
        let head = Row::NewestStamp { stamp_ms: 1 };
        let small: Vec<Row> = (0..150).map(|place| entry(place, 10)).collect();
        let large: Vec<Row> = (16_380..16_388).map(|place| entry(place, 10_000)).chain([head]).collect();
        let all = [rows(1, small), rows(2, large)];
        let sizes: Vec<usize> = groups(&all, Phase::Rows).iter().map(Vec::len).collect();
        // Two of 150 small ones; four large ones on either side of a bucket's edge, three fit.
        assert_eq!(sizes, [100, 50, 3, 1, 3, 1]);
        assert_eq!(groups(&all, Phase::Heads).len(), 1);
        assert_eq!(groups(&all, Phase::Ids).len(), 0);
    }

    #[test]
    fn a_users_rows_of_several_conversations_go_together() {
        let user = UserId::try_from(Uuid::from_u128(9)).unwrap();
        let row = |seq| Row::UserRole { user, role: None, seq: Seq::new(0, seq).unwrap() };
        let all = [rows(1, vec![row(1)]), rows(2, vec![row(2)])];
        assert_eq!(groups(&all, Phase::Rows).iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    }
}
