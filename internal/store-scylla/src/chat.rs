//! [`ChatStore`]: state and facts as of a seq.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use async_trait::async_trait;
use domain::{CommandId, ConversationId, ConversationState, IdRow, Membership, Pin, Said, Seq, Settings, UserId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use store::{Applied, CellWrites, ChatStore, MembersAsOf, Source, StoreError, bucket_of, tables};
use uuid::Uuid;

use crate::ScyllaStore;
use crate::cql::{Cql, TableRead};
use crate::rows::number;

/// Weeks of ids that are read at once. Mostly there are one or two.
const WEEKS_IN_FLIGHT: usize = 16;
const PAGE_ROWS: i32 = 5000;

/// The statements of [`ChatStore`]'s reads.
pub(crate) struct ChatReads {
    members: TableRead,
    settings: TableRead,
    /// Descending: the newest bucket first.
    buckets: TableRead,
    /// Descending, up to a seq.
    entries: TableRead,
    head: TableRead,
    ids: TableRead,
    id: TableRead,
    emojis: TableRead,
    /// Descending, up to a seq.
    thread: TableRead,
    /// The versions up to a seq.
    extras: TableRead,
    /// The last version up to a seq.
    pins: TableRead,
}

impl ChatReads {
    pub(crate) async fn prepare(cql: &Cql) -> Result<Self, StoreError> {
        let newest = "conversation = ? ORDER BY bucket DESC";
        let as_of = "conversation = ? AND seq <= ? ORDER BY seq DESC LIMIT 1";
        // No LIMIT 1, because a partial row does not count.
        let entries = "conversation = ? AND bucket = ? AND seq <= ? ORDER BY seq DESC";
        let thread = "conversation = ? AND root = ? AND seq <= ? ORDER BY seq DESC";
        let emojis = "conversation = ? AND bucket = ? AND message = ?";
        let extras = "conversation = ? AND bucket = ? AND message = ? AND changed <= ?";
        Ok(Self {
            members: cql.prepare_read(&tables::MEMBERS, "conversation = ?", PAGE_ROWS).await?,
            settings: cql.prepare_read(&tables::SETTINGS, as_of, 1).await?,
            buckets: cql.prepare_read(&tables::BUCKETS, newest, 100).await?,
            entries: cql.prepare_read(&tables::TIMELINE, entries, 2).await?,
            head: cql.prepare_read(&tables::HEADS, "conversation = ?", 1).await?,
            ids: cql.prepare_read(&tables::IDS, "conversation = ? AND week = ? AND id >= ?", PAGE_ROWS).await?,
            id: cql.prepare_read(&tables::IDS, "conversation = ? AND week = ? AND id = ?", 1).await?,
            emojis: cql.prepare_read(&tables::MESSAGE_EMOJIS, emojis, PAGE_ROWS).await?,
            thread: cql.prepare_read(&tables::THREAD_MESSAGES, thread, 2).await?,
            extras: cql.prepare_read(&tables::MESSAGE_EXTRAS, extras, PAGE_ROWS).await?,
            pins: cql.prepare_read(&tables::PINS, as_of, 1).await?,
        })
    }

    async fn members(
        &self,
        cql: &Cql,
        conversation: Uuid,
        as_of: Seq,
    ) -> Result<BTreeMap<UserId, Membership>, StoreError> {
        let mut members = MembersAsOf::new(as_of);
        cql.each_row(&self.members, (conversation,), |row| {
            members.absorb(row.member_version()?);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(members.finish())
    }

    async fn settings(&self, cql: &Cql, conversation: Uuid, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        let row = cql.first_row(&self.settings, (conversation, as_of.timestamp())).await?;
        Ok(row.map(|row| row.settings().map(|(_, settings)| settings)).transpose()?)
    }

    /// The slot and the ordinal after the last entry as of `as_of`.
    async fn counters(&self, cql: &Cql, conversation: Uuid, as_of: Seq) -> Result<(u64, u64), StoreError> {
        let Some(bucket) = self.bucket_at(cql, conversation, as_of).await? else { return Ok((0, 0)) };
        let mut last = None;
        let values = (conversation, number(bucket), as_of.timestamp());
        cql.each_row(&self.entries, values, |row| {
            last = row.entry()?;
            Ok(if last.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .await?;
        Ok(last.map_or((0, 0), |entry| (entry.slot + 1, entry.ordinal)))
    }

    /// The newest bucket that begins at or before `as_of`. Its first entry is already written, because `applied`
    /// has reached `as_of`.
    async fn bucket_at(&self, cql: &Cql, conversation: Uuid, as_of: Seq) -> Result<Option<u64>, StoreError> {
        let mut found = None;
        cql.each_row(&self.buckets, (conversation,), |row| {
            let (bucket, start) = row.bucket()?;
            if start > as_of {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(bucket);
            Ok(ControlFlow::Break(()))
        })
        .await?;
        Ok(found)
    }

    async fn week_of_ids(
        &self,
        cql: &Cql,
        key: (Uuid, i64),
        from: CommandId,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        let mut rows = Vec::new();
        cql.each_row(&self.ids, (key.0, key.1, from.as_bytes()), |row| {
            rows.extend(row.id_row(as_of)?);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(rows)
    }
}

#[async_trait]
impl ChatStore for ScyllaStore {
    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError> {
        self.writes.write(&writes).await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        let (cql, id) = (&*self.cql, conversation.uuid());
        let (members, settings, pins, (slot, ordinal)) = tokio::try_join!(
            self.reads.members(cql, id, as_of),
            self.reads.settings(cql, id, as_of),
            self.pins(conversation, as_of),
            self.reads.counters(cql, id, as_of),
        )?;
        Ok(ConversationState { settings, members, pins, slot, ordinal })
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        self.reads.settings(&self.cql, conversation.uuid(), as_of).await
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        let id = conversation.uuid();
        let head = self.cql.first_row(&self.reads.head, (id,)).await?;
        let newest = head.map(|head| head.newest_stamp_ms()).transpose()?.flatten();
        let (Some(newest), from) = (newest, CommandId::first_at(from_stamp_ms)) else { return Ok(Vec::new()) };
        let weeks = from.week()..=CommandId::week_of(newest);
        let reads = weeks.map(|week| self.reads.week_of_ids(&self.cql, (id, week), from, as_of));
        let found: Vec<_> = stream::iter(reads).buffered(WEEKS_IN_FLIGHT).try_collect().await?;
        Ok(found.into_iter().flatten().filter(|(id, _)| id.stamp_ms() <= newest).collect())
    }

    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError> {
        let key = (conversation.uuid(), id.week(), id.as_bytes());
        let Some(row) = self.cql.first_row(&self.reads.id, key).await? else { return Ok(None) };
        Ok(row.id_row(as_of)?.map(|(_, row)| row))
    }

    async fn emojis(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        let key = (conversation.uuid(), number(bucket_of(slot)), message.timestamp());
        self.cql
            .each_row(&self.reads.emojis, key, |row| {
                found.extend(row.message_emoji(as_of)?);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        Ok(found)
    }

    async fn thread_length(&self, conversation: ConversationId, root: Seq, as_of: Seq) -> Result<u64, StoreError> {
        let mut length = 0;
        let values = (conversation.uuid(), root.timestamp(), as_of.timestamp());
        self.cql
            .each_row(&self.reads.thread, values, |row| {
                let Some(message) = row.thread_message(as_of)? else { return Ok(ControlFlow::Continue(())) };
                length = message.ordinal;
                Ok(ControlFlow::Break(()))
            })
            .await?;
        Ok(length)
    }

    async fn said(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Said, StoreError> {
        let key = (conversation.uuid(), number(bucket_of(slot)), message.timestamp(), as_of.timestamp());
        let mut said = Said::default();
        self.cql
            .each_row(&self.reads.extras, key, |row| {
                row.add_to(&mut said)?;
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        Ok(said)
    }

    async fn pins(&self, conversation: ConversationId, as_of: Seq) -> Result<Vec<Pin>, StoreError> {
        let row = self.cql.first_row(&self.reads.pins, (conversation.uuid(), as_of.timestamp())).await?;
        Ok(row.map(store::RowValues::pins).transpose()?.unwrap_or_default())
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        self.applied.set(source, applied).await
    }

    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        self.applied.get(source).await
    }

    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        self.applied.wait(source, seq, wait).await
    }
}
