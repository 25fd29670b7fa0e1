//! Writes cells: grouped by partition, in phases, with many requests in flight.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use store::{CellWrites, Phase, StoreError};

use crate::cql::Cql;
use crate::rows::{Bound, Statements};

/// Concurrent writes of one call. Twice as many only added waiting.
const WRITES_IN_FLIGHT: usize = 128;
/// Statements in one batch. In a batch, 50 rows of a partition cost a tenth of 50 single writes.
const BATCH_STATEMENTS_MAX: usize = 100;
/// Approximate bytes of one batch: a larger one delays its replica and all requests after it.
const BATCH_BYTES_MAX: usize = 32 * 1024;

/// Writes cells derived from the log.
pub(crate) struct RowWriter {
    cql: Arc<Cql>,
    statements: Statements,
}

impl RowWriter {
    pub(crate) async fn prepare(cql: &Arc<Cql>) -> Result<Self, StoreError> {
        Ok(Self { cql: Arc::clone(cql), statements: Statements::prepare(cql).await? })
    }

    /// Writes all cells of a phase before any of the next.
    pub(crate) async fn write(&self, writes: &[CellWrites]) -> Result<(), StoreError> {
        for phase in Phase::ALL {
            let groups = groups(writes, phase);
            let writes: Vec<_> = groups.iter().map(|group| self.write_group(&group.writes)).collect();
            stream::iter(writes).buffer_unordered(WRITES_IN_FLIGHT).try_collect::<()>().await?;
        }
        Ok(())
    }

    async fn write_group(&self, group: &[Bound<'_>]) -> Result<(), StoreError> {
        if let [single] = group {
            self.cql.execute(self.statements.of(single.0), single).await?;
            return Ok(());
        }
        let statement = |bound: &Bound<'_>| BatchStatement::from(self.statements.of(bound.0).clone());
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, group.iter().map(statement).collect());
        batch.set_is_idempotent(true);
        self.cql.batch(&batch, group).await
    }
}

/// Writes to one partition that fit into one batch.
#[derive(Default)]
struct Group<'a> {
    writes: Vec<Bound<'a>>,
    bytes: usize,
}

/// A partition: its table, and the values of its key.
type Partition<'a> = (&'static str, &'a [u8]);

/// The writes of a phase in groups that fit into one batch each. The order of the groups does not matter: every
/// cell has its own timestamp.
fn groups(writes: &[CellWrites], phase: Phase) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    // The index of the group that each partition currently fills. Never iterated, because a hash map's order
    // varies.
    let mut filling: HashMap<Partition<'_>, usize> = HashMap::new();
    let mut last: Option<(Partition<'_>, usize)> = None;
    for write in writes.iter().filter(|write| write.phase() == phase) {
        let (partition, bytes) = ((write.table().name, write.partition()), write.bytes());
        let at = match last {
            // Most writes go to the same partition as the one before.
            Some((before, at)) if before == partition && groups[at].takes(bytes) => at,
            _ => {
                let at = filling.entry(partition).or_insert(groups.len());
                if groups.get(*at).is_none_or(|group| !group.takes(bytes)) {
                    *at = groups.len();
                    groups.push(Group::default());
                }
                *at
            }
        };
        groups[at].writes.push(Bound(write));
        groups[at].bytes += bytes;
        last = Some((partition, at));
    }
    groups
}

impl Group<'_> {
    fn takes(&self, bytes: usize) -> bool {
        self.writes.len() < BATCH_STATEMENTS_MAX && self.bytes + bytes <= BATCH_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use domain::{CommandId, Content, ConversationId, Seq, UserId};
    use store::Row;
    use uuid::Uuid;

    use super::*;

    fn written(conversation: u128, rows: Vec<Row>) -> Vec<CellWrites> {
        let conversation = ConversationId::try_from(Uuid::from_u128(conversation)).unwrap();
        rows.into_iter().map(|row| row.write(conversation, Seq::new(0, 1).unwrap())).collect()
    }

    fn entry(slot: u64, body_bytes: usize) -> Row {
        Row::Entry {
            seq: Seq::new(0, slot).unwrap(),
            slot,
            ordinal: slot,
            id: CommandId::first_at(1),
            author: UserId::try_from(Uuid::from_u128(9)).unwrap(),
            time_ms: 1,
            content: Content::Message { body: "x".repeat(body_bytes).into(), reply_to: None, thread: None },
        }
    }

    #[test]
    fn a_batch_has_one_partition_and_stays_small() {
        let head = Row::NewestStamp { stamp_ms: 1 };
        let small: Vec<Row> = (0..150).map(|slot| entry(slot, 10)).collect();
        let large: Vec<Row> = (16_380..16_388).map(|slot| entry(slot, 10_000)).chain([head]).collect();
        let all = [written(1, small), written(2, large)].concat();
        let sizes: Vec<usize> = groups(&all, Phase::Rows).iter().map(|group| group.writes.len()).collect();
        // Two groups of 150 small writes; of four large writes on either side of a bucket's edge, three fit into a
        // group.
        assert_eq!(sizes, [100, 50, 3, 1, 3, 1]);
        assert_eq!(groups(&all, Phase::Heads).len(), 1);
        assert_eq!(groups(&all, Phase::Ids).len(), 0);
    }

    #[test]
    fn a_users_rows_of_several_conversations_go_together() {
        let user = UserId::try_from(Uuid::from_u128(9)).unwrap();
        let row = |seq| Row::UserRole { user, role: None, seq: Seq::new(0, seq).unwrap() };
        let all = [written(1, vec![row(1)]), written(2, vec![row(2)])].concat();
        assert_eq!(groups(&all, Phase::Rows).iter().map(|group| group.writes.len()).collect::<Vec<_>>(), [2]);
    }
}
