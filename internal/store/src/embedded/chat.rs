//! Writes rows; reads state and facts as of a seq in the log.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::limits::{EDITS_MAX, EMOJIS_PER_MESSAGE_MAX};
use domain::{CommandId, ConversationId, ConversationState, Fingerprint, IdRow, Pin, Said, Seq, Settings};
use environment::seeded_bugs::{Bug, seeded};
use kv::Durability;

use crate::embedded::derived::{Derived, PlacedWrite, READ_ROWS_MAX, under};
use crate::embedded::{EmbeddedStore, broken, row};
use crate::observer::Op;
use crate::tables::{
    BUCKETS, HEADS, IDS, MEMBERS, MESSAGE_EMOJIS, MESSAGE_EXTRAS, PINS, SETTINGS, THREAD_MESSAGES, TIMELINE,
};
use crate::{Applied, CellWrites, ChatStore, Malformed, MembersAsOf, Source, StoreError, ValueRef, bucket_of};

/// Rows that one job of the writer merges: other jobs run between the parts of a large write.
const JOB_ROWS_MAX: usize = 1024;

#[async_trait]
impl ChatStore for EmbeddedStore {
    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError> {
        self.merge(writes, None).await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        let tables = self.read().await?;
        let members = {
            let mut members = MembersAsOf::new(as_of);
            let rows = under(&[conversation.into()]);
            let each = tables.table(&MEMBERS).each::<()>(rows, false, READ_ROWS_MAX, |row| {
                members.absorb(row.member_version()?);
                Ok(ControlFlow::Continue(()))
            });
            each.await?;
            members.finish()
        };
        let (slot, ordinal) = counters(tables, conversation, as_of).await?;
        let (settings, pins) = (settings(tables, conversation, as_of)?, pins(tables, conversation, as_of)?);
        Ok(ConversationState { settings, members, pins, slot, ordinal })
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        settings(self.read().await?, conversation, as_of)
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        let tables = self.read().await?;
        let head = tables.table(&HEADS).get(&[conversation.into()])?;
        let newest_ms = head.map(|head| head.newest_stamp_ms()).transpose()?.flatten();
        let Some(newest_ms) = newest_ms else { return Ok(Vec::new()) };
        // Ids sort by their stamps, and so do weeks: ids between two stamps are one range of keys.
        let edge = |stamp_ms: i64| row::key(&id_key(conversation, &CommandId::first_at(stamp_ms.max(0))));
        let range = (Bound::Included(edge(from_stamp_ms)), Bound::Excluded(edge(newest_ms + 1)));
        let mut found = Vec::new();
        let each = tables.table(&IDS).each::<()>(range, false, READ_ROWS_MAX, |row| {
            found.extend(row.id_row(as_of)?);
            Ok(ControlFlow::Continue(()))
        });
        each.await?;
        Ok(found)
    }

    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError> {
        let row = self.read().await?.table(&IDS).get(&id_key(conversation, &id))?;
        Ok(row.map(|row| row.id_row(as_of)).transpose()?.flatten().map(|(_, row)| row))
    }

    async fn emojis(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        let rows = under(&[conversation.into(), bucket_of(slot).into(), message.into()]);
        let each = self.read().await?.table(&MESSAGE_EMOJIS).each::<()>(rows, false, EMOJIS_PER_MESSAGE_MAX, |row| {
            found.extend(row.message_emoji(as_of)?);
            Ok(ControlFlow::Continue(()))
        });
        each.await?;
        Ok(found)
    }

    async fn thread_length(&self, conversation: ConversationId, root: Seq, as_of: Seq) -> Result<u64, StoreError> {
        let mut length = 0;
        let (from, _) = under(&[conversation.into(), root.into()]);
        let to = Bound::Included(row::key(&[conversation.into(), root.into(), as_of.into()]));
        let each = self.read().await?.table(&THREAD_MESSAGES).each((from, to), true, 1, |row| {
            let Some(message) = row.thread_message(as_of)? else { return Ok(ControlFlow::Continue(())) };
            length = message.ordinal;
            Ok(ControlFlow::Break(()))
        });
        each.await?;
        Ok(length)
    }

    async fn said(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Said, StoreError> {
        let of = [conversation.into(), bucket_of(slot).into(), message.into()];
        let to = Bound::Included(row::key(&[of[0], of[1], of[2], as_of.into()]));
        let mut said = Said::default();
        let each = self.read().await?.table(&MESSAGE_EXTRAS).each::<()>((under(&of).0, to), false, EDITS_MAX, |row| {
            row.add_to(&mut said)?;
            Ok(ControlFlow::Continue(()))
        });
        each.await?;
        Ok(said)
    }

    async fn pins(&self, conversation: ConversationId, as_of: Seq) -> Result<Vec<Pin>, StoreError> {
        pins(self.read().await?, conversation, as_of)
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        self.merge(Vec::new(), Some((source, applied))).await
    }

    async fn write_and_apply(
        &self,
        writes: Vec<CellWrites>,
        source: Source,
        applied: Applied,
    ) -> Result<(), StoreError> {
        self.merge(writes, Some((source, applied))).await
    }

    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        applied(self.read().await?, source)
    }

    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        let tables = self.read().await?;
        let read = || Ok(applied(tables, source)?.map(|applied| applied.seq));
        let progress = self.shared.progress.watch(tables.incarnation, source, read)?;
        let reached = async {
            loop {
                self.tables()?;
                if progress.get() >= Some(seq) {
                    return Ok(true);
                }
                tokio::select! {
                    biased;
                    () = self.closed.cancelled() => {}
                    // A switch also wakes this wait: it drops the progress of the incarnation that was left.
                    reached = progress.wait_for(|known| known >= Some(seq)) => if reached.is_err() && self.tables().is_ok() {
                        return Err(StoreError::Closed);
                    }
                }
            }
        };
        tokio::time::timeout(wait, reached).await.unwrap_or(Ok(false))
    }
}

impl EmbeddedStore {
    /// Merges rows, then publishes progress. They need not survive a power cut, because the log can restore them: a
    /// lost suffix is applied again.
    async fn merge(
        &self,
        mut writes: Vec<CellWrites>,
        mut applied: Option<(Source, Applied)>,
    ) -> Result<(), StoreError> {
        let tables = self.read().await?;
        writes.sort_by_key(CellWrites::phase);
        let encoded: Vec<PlacedWrite> = writes.into_iter().map(PlacedWrite::of).collect::<Result<_, _>>()?;
        let mut writes = encoded.into_iter().peekable();
        // The jobs run one after another, so that a failure leaves a prefix in the order of phases.
        while writes.peek().is_some() || applied.is_some() {
            let chunk: Vec<PlacedWrite> = writes.by_ref().take(JOB_ROWS_MAX).collect();
            let applied = applied.take_if(|_| writes.peek().is_none());
            self.merge_at_once(Arc::clone(tables), chunk, applied).await?;
        }
        Ok(())
    }

    async fn merge_at_once(
        &self,
        tables: Arc<Derived>,
        writes: Vec<PlacedWrite>,
        applied: Option<(Source, Applied)>,
    ) -> Result<(), StoreError> {
        let wall_clock = self.shared.clock.now_ms();
        let progress = Arc::clone(&self.shared.progress);
        let change = self.change_as(Op::Batch, Durability::Process, move |changes| {
            // Check this in the writer's order: a handle of an older incarnation never writes after a new one
            // became current.
            tables.check(changes.incarnation())?;
            for PlacedWrite { table, key, write } in &writes {
                let timestamp = if seeded(Bug::WallClockTimestamp) { wall_clock } else { write.timestamp };
                changes.merge(&tables.at(*table).slot, key, timestamp, write)?;
            }
            let Some((source, applied)) = applied else { return Ok(()) };
            let (key, value) = (source_key(source), applied_value(applied));
            let old = changes.get(&tables.applied, &key)?;
            // The value is the seq, then the fingerprint, both big-endian: keeping the larger bytes is CQL's rule
            // for timestamps and ties.
            if old.is_none_or(|old| old[..] < value[..]) {
                changes.put(&tables.applied, key, value.to_vec());
            }
            let incarnation = tables.incarnation;
            changes.on_commit(move || progress.publish(incarnation, source, applied.seq));
            Ok(())
        });
        change.await
    }
}

/// The bucket that an entry at `seq` belongs to: the last one that begins at or before `seq`.
pub(super) async fn bucket_at(
    tables: &Derived,
    conversation: ConversationId,
    seq: Seq,
) -> Result<Option<u64>, StoreError> {
    let rows = under(&[conversation.into()]);
    let each = tables.table(&BUCKETS).each(rows, true, 1, |row| {
        let (bucket, start) = row.bucket()?;
        Ok(if start <= seq { ControlFlow::Break(bucket) } else { ControlFlow::Continue(()) })
    });
    each.await
}

/// The slot and the ordinal after the last entry at or before `as_of`.
async fn counters(tables: &Derived, conversation: ConversationId, as_of: Seq) -> Result<(u64, u64), StoreError> {
    let Some(bucket) = bucket_at(tables, conversation, as_of).await? else { return Ok((0, 0)) };
    let last = row::key(&[conversation.into(), bucket.into(), as_of.into()]);
    let (from, _) = under(&[conversation.into()]);
    let each = tables.table(&TIMELINE).each((from, Bound::Included(last)), true, 1, |row| {
        let entry = row.entry()?;
        Ok(entry.map_or(ControlFlow::Continue(()), |entry| ControlFlow::Break((entry.slot + 1, entry.ordinal))))
    });
    Ok(each.await?.unwrap_or_default())
}

fn pins(tables: &Derived, conversation: ConversationId, as_of: Seq) -> Result<Vec<Pin>, StoreError> {
    let (from, _) = under(&[conversation.into()]);
    let to = Bound::Included(row::key(&[conversation.into(), as_of.into()]));
    let row = tables.table(&PINS).rows(&(from, to), 1, true)?.pop();
    Ok(row.map(|row| row.pins()).transpose()?.unwrap_or_default())
}

fn settings(tables: &Derived, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
    let (from, _) = under(&[conversation.into()]);
    let to = Bound::Included(row::key(&[conversation.into(), as_of.into()]));
    let row = tables.table(&SETTINGS).rows(&(from, to), 1, true)?.pop();
    Ok(row.map(|row| row.settings()).transpose()?.map(|(_, settings)| settings))
}

fn id_key(conversation: ConversationId, id: &CommandId) -> [ValueRef<'_>; 3] {
    [conversation.into(), id.week().into(), id.into()]
}

fn applied(tables: &Derived, source: Source) -> Result<Option<Applied>, StoreError> {
    let read = || tables.applied.table.get(&source_key(source)).map_err(broken);
    let Some(value) = tables.observer.observed(Op::Read, read)? else { return Ok(None) };
    let malformed = Malformed { table: "applied", column: "seq" };
    let ([seq, fingerprint], []) = value.as_chunks::<8>() else { return Err(malformed.into()) };
    let seq = Seq::try_from(u64::from_be_bytes(*seq)).map_err(broken)?;
    Ok(Some(Applied { seq, fingerprint: Fingerprint(u64::from_be_bytes(*fingerprint)) }))
}

fn applied_value(applied: Applied) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&applied.seq.get().to_be_bytes());
    value[8..].copy_from_slice(&applied.fingerprint.0.to_be_bytes());
    value
}

fn source_key(source: Source) -> Vec<u8> {
    let mut key = source.topic.as_bytes().to_vec();
    key.push(0);
    key.extend(source.partition.to_be_bytes());
    key
}
