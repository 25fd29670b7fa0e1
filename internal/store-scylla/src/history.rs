//! [`HistoryStore`]: the reads of the API.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use async_trait::async_trait;
use domain::{CommandId, ConversationId, Membership, Refusal, Role, Seq, UserId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use store::{
    ANNOTATING, Annotations, BUCKETS_MAX, Direction, Entry, Head, HistoryStore, Malformed, Mark, MembersAsOf,
    MentionOfAll, MessageVersion, Page, RowValues, StoreError, ThreadMessage, UserConversation, bucket_of, tables,
};
use uuid::Uuid;

use crate::ScyllaStore;
use crate::both_ways::BothWays;
use crate::cql::{Cql, TableRead};
use crate::rows::number;

/// Concurrent reads of heads for one list.
const HEADS_IN_FLIGHT: usize = 64;
/// Marks that one statement names: ScyllaDB accepts no more keys by default.
const MARKS_PER_READ: usize = 100;
/// Concurrent statements of that kind.
const MARK_READS_IN_FLIGHT: usize = 8;
/// Entries may have 16 KiB each.
const PAGE_ENTRIES: i32 = 100;
const PAGE_ROWS: i32 = 1000;
/// Member versions per page of a result: mostly more than a page of the API needs.
const MEMBER_ROWS: i32 = 250;

/// The statements of [`HistoryStore`].
pub(crate) struct HistoryReads {
    /// Descending: the newest bucket first.
    buckets: TableRead,
    entries_before: TableRead,
    entries_after: TableRead,
    entry: TableRead,
    /// The rows of each table that annotates entries, for those between two seqs.
    annotations: Vec<TableRead>,
    message_versions: BothWays,
    thread: BothWays,
    /// Of a bucket.
    threads: BothWays,
    mentions: BothWays,
    /// Of a bucket.
    mentions_of_all: BothWays,
    versions: TableRead,
    /// The membership versions of all users after one.
    members: TableRead,
    conversations: TableRead,
    conversation: TableRead,
    head: TableRead,
    marks: TableRead,
    sent: TableRead,
    invitations: TableRead,
    /// The deletions of messages between two seqs.
    deletions: TableRead,
    refusal: TableRead,
}

impl HistoryReads {
    pub(crate) async fn prepare(cql: &Cql) -> Result<Self, StoreError> {
        let before = "conversation = ? AND bucket = ? AND seq < ? ORDER BY seq DESC LIMIT ?";
        let after = "conversation = ? AND bucket = ? AND seq > ? ORDER BY seq ASC LIMIT ?";
        let annotating = "conversation = ? AND bucket = ? AND message >= ? AND message <= ?";
        let mut annotations = Vec::with_capacity(ANNOTATING.len());
        for table in ANNOTATING {
            annotations.push(cql.prepare_read(table, annotating, PAGE_ROWS).await?);
        }
        let (thread, bucket) = ("conversation = ? AND root = ?", "conversation = ? AND bucket = ?");
        let message = "conversation = ? AND message = ?";
        let (behind, one) = ("user = ? AND conversation > ?", "user = ? AND conversation = ?");
        let marks = "user = ? AND conversation IN ?";
        let deletions = "conversation = ? AND bucket = ? AND message > ? AND message <= ?";
        Ok(Self {
            buckets: cql.prepare_read(&tables::BUCKETS, "conversation = ? ORDER BY bucket DESC", 100).await?,
            entries_before: cql.prepare_read(&tables::TIMELINE, before, PAGE_ENTRIES).await?,
            entries_after: cql.prepare_read(&tables::TIMELINE, after, PAGE_ENTRIES).await?,
            entry: cql.prepare_read(&tables::TIMELINE, "conversation = ? AND bucket = ? AND seq = ?", 1).await?,
            annotations,
            message_versions: BothWays::prepare(cql, &tables::MESSAGE_VERSIONS, message, "changed").await?,
            thread: BothWays::prepare(cql, &tables::THREAD_MESSAGES, thread, "seq").await?,
            threads: BothWays::prepare(cql, &tables::THREADS, bucket, "message").await?,
            mentions: BothWays::prepare(cql, &tables::MENTIONS, one, "message").await?,
            mentions_of_all: BothWays::prepare(cql, &tables::MENTIONS_OF_ALL, bucket, "message").await?,
            versions: cql.prepare_read(&tables::MEMBERS, "conversation = ? AND user = ?", PAGE_ROWS).await?,
            members: cql.prepare_read(&tables::MEMBERS, "conversation = ? AND user > ?", MEMBER_ROWS).await?,
            conversations: cql.prepare_read(&tables::USER_CONVERSATIONS, behind, PAGE_ROWS).await?,
            conversation: cql.prepare_read(&tables::USER_CONVERSATIONS, one, 1).await?,
            head: cql.prepare_read(&tables::HEADS, "conversation = ?", 1).await?,
            marks: cql.prepare_read(&tables::MARKS, marks, PAGE_ROWS).await?,
            sent: cql.prepare_read(&tables::SENT, marks, PAGE_ROWS).await?,
            invitations: cql.prepare_read(&tables::INVITATIONS, marks, PAGE_ROWS).await?,
            deletions: cql.prepare_read(&tables::DELETIONS, deletions, PAGE_ROWS).await?,
            refusal: cql.prepare_read(&tables::REFUSALS, "conversation = ? AND author = ? AND id = ?", 1).await?,
        })
    }

    /// The buckets that a page may reach, in the order of the page.
    async fn buckets(&self, cql: &Cql, conversation: Uuid, page: &Page) -> Result<Vec<u64>, StoreError> {
        let mut buckets = Vec::new();
        cql.each_row(&self.buckets, (conversation,), |row| {
            let (bucket, start) = row.bucket()?;
            match (page.direction, page.anchor) {
                // From the anchor's bucket down to the first one: rows come in descending order.
                (Direction::Before, anchor) if anchor.is_none_or(|anchor| start < anchor) => {
                    buckets.extend((0..=bucket).rev());
                    return Ok(ControlFlow::Break(()));
                }
                (Direction::Before, _) => {}
                (Direction::After, anchor) => {
                    buckets.push(bucket);
                    if anchor.is_some_and(|anchor| start <= anchor) {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        if page.direction == Direction::After {
            buckets.reverse();
        }
        if buckets.is_empty() {
            // The first bucket can be read without a bucket row.
            buckets.push(0);
        }
        Ok(buckets)
    }

    async fn entries(&self, cql: &Cql, key: (Uuid, u64), page: &Page, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let (read, open) = match page.direction {
            Direction::Before => (&self.entries_before, i64::MAX),
            Direction::After => (&self.entries_after, -1),
        };
        let mut anchor = page.anchor.map_or(open, Seq::timestamp);
        let mut entries = Vec::new();
        // Partial rows count for the server's limit and are not returned: the bucket ends when there are fewer
        // rows, not fewer entries, than requested.
        while entries.len() < limit {
            let missing = limit - entries.len();
            let mut rows = 0;
            cql.each_row(read, (key.0, number(key.1), anchor, i32::try_from(missing).unwrap_or(i32::MAX)), |row| {
                rows += 1;
                anchor = row.entry_seq()?.timestamp();
                entries.extend(row.entry()?);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
            if rows < missing {
                break;
            }
        }
        self.annotate(cql, key, &mut entries).await?;
        Ok(entries)
    }

    /// Adds what annotates entries of one bucket.
    async fn annotate(&self, cql: &Cql, key: (Uuid, u64), entries: &mut [Entry]) -> Result<(), StoreError> {
        let seqs = || entries.iter().map(|entry| entry.seq);
        let (Some(first), Some(last)) = (seqs().min(), seqs().max()) else { return Ok(()) };
        let mut annotations = Annotations::new(entries);
        let values = (key.0, number(key.1), first.timestamp(), last.timestamp());
        for read in &self.annotations {
            cql.each_row(read, values, |row| {
                annotations.put(row)?;
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        // The server sorts UUIDs by their version first; all other code sorts them by their bytes.
        annotations.finish();
        Ok(())
    }
}

#[async_trait]
impl HistoryStore for ScyllaStore {
    async fn timeline(&self, conversation: ConversationId, page: Page) -> Result<Vec<Entry>, StoreError> {
        let id = conversation.uuid();
        let mut entries = Vec::new();
        if page.limit == 0 {
            return Ok(entries);
        }
        for bucket in self.history.buckets(&self.cql, id, &page).await? {
            let missing = page.limit - entries.len();
            entries.extend(self.history.entries(&self.cql, (id, bucket), &page, missing).await?);
            if entries.len() >= page.limit {
                break;
            }
        }
        Ok(entries)
    }

    async fn entry(&self, conversation: ConversationId, slot: u64, seq: Seq) -> Result<Option<Entry>, StoreError> {
        let key = (conversation.uuid(), bucket_of(slot));
        let row = self.cql.first_row(&self.history.entry, (key.0, number(key.1), seq.timestamp())).await?;
        let mut entry: Vec<Entry> = row.map(store::RowValues::entry).transpose()?.flatten().into_iter().collect();
        self.history.annotate(&self.cql, key, &mut entry).await?;
        Ok(entry.pop())
    }

    async fn versions(
        &self,
        conversation: ConversationId,
        message: Seq,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MessageVersion>, StoreError> {
        let (key, mut versions) = ((conversation.uuid(), message.timestamp()), Vec::new());
        let page = Page { anchor: after, direction: Direction::After, limit };
        self.history.message_versions.fill(&self.cql, key, &page, &mut versions, RowValues::version).await?;
        Ok(versions)
    }

    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        page: Page,
        as_of: Seq,
    ) -> Result<Vec<ThreadMessage>, StoreError> {
        let (key, mut messages) = ((conversation.uuid(), root.timestamp()), Vec::new());
        self.history.thread.fill(&self.cql, key, &page, &mut messages, |row| row.thread_message(as_of)).await?;
        Ok(messages)
    }

    async fn threads(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        let page = Page { anchor: before, direction: Direction::Before, limit };
        self.of_buckets(&self.history.threads, conversation, &page, |row| row.thread_root().map(Some)).await
    }

    async fn mentions(
        &self,
        user: UserId,
        conversation: ConversationId,
        page: Page,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        let (key, mut places) = ((user.uuid(), conversation.uuid()), Vec::new());
        self.history.mentions.fill(&self.cql, key, &page, &mut places, RowValues::mention).await?;
        Ok(places)
    }

    async fn mentions_of_all(&self, conversation: ConversationId, page: Page) -> Result<Vec<MentionOfAll>, StoreError> {
        self.of_buckets(&self.history.mentions_of_all, conversation, &page, RowValues::mention_of_all).await
    }

    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError> {
        let mut versions = Vec::new();
        self.cql
            .each_row(&self.history.versions, (conversation.uuid(), user.uuid()), |row| {
                let version = row.member_version()?;
                versions.push((version.seq, version.role));
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        Ok(versions)
    }

    async fn members(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, Membership)>, StoreError> {
        let mut members = MembersAsOf::new(as_of);
        if limit == 0 {
            return Ok(Vec::new());
        }
        // The server sorts UUIDs by their version first: all users' ids have the same version, and the nil UUID a
        // lower one.
        let after = after.map_or(Uuid::nil(), |after| after.uuid());
        self.cql
            .each_row(&self.history.members, (conversation.uuid(), after), |row| {
                let version = row.member_version()?;
                if members.fill(limit, version.user) {
                    return Ok(ControlFlow::Break(()));
                }
                members.absorb(version);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        Ok(members.finish().into_iter().collect())
    }

    async fn conversations_of(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<UserConversation>, StoreError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        // The server sorts UUIDs by their version first: all conversations' ids have the same version, and the nil
        // UUID a lower one.
        let after = after.map_or(Uuid::nil(), |after| after.uuid());
        self.cql
            .each_row(&self.history.conversations, (user.uuid(), after), |row| {
                found.extend(row.user_conversation()?);
                Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })
            .await?;
        Ok(found)
    }

    async fn user_conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<UserConversation>, StoreError> {
        let row = self.cql.first_row(&self.history.conversation, (user.uuid(), conversation.uuid())).await?;
        Ok(row.map(store::RowValues::user_conversation).transpose()?.flatten())
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError> {
        // Reads a conversation that is named twice only once.
        let wanted: BTreeMap<ConversationId, Option<Head>> = conversations.iter().map(|id| (*id, None)).collect();
        let heads: BTreeMap<ConversationId, Option<Head>> = stream::iter(wanted.into_keys())
            .map(|id| async move {
                let row = self.cql.first_row(&self.history.head, (id.uuid(),)).await?;
                Ok::<_, StoreError>((id, row.map(store::RowValues::head).transpose()?.flatten()))
            })
            .buffer_unordered(HEADS_IN_FLIGHT)
            .try_collect()
            .await?;
        Ok(conversations.iter().map(|id| heads.get(id).copied().flatten()).collect())
    }

    async fn marks(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.marks_by(&self.history.marks, user, conversations).await
    }

    async fn sent(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.marks_by(&self.history.sent, user, conversations).await
    }

    async fn inviters(
        &self,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<UserId>>, StoreError> {
        let read = &self.history.invitations;
        self.of_conversations(read, user, conversations, store::RowValues::invitation).await
    }

    async fn deleted(
        &self,
        conversation: ConversationId,
        (after, upto): (Seq, Seq),
        as_of: Seq,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let (id, mut found) = (conversation.uuid(), 0);
        let page = Page { anchor: Some(after), direction: Direction::After, limit };
        for bucket in self.history.buckets(&self.cql, id, &page).await? {
            if found >= limit {
                break;
            }
            let values = (id, number(bucket), after.timestamp(), upto.timestamp());
            self.cql
                .each_row(&self.history.deletions, values, |row| {
                    found += usize::from(row.deletion()?.1 <= as_of);
                    Ok(if found < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
                })
                .await?;
        }
        Ok(found)
    }

    async fn refusal(
        &self,
        conversation: ConversationId,
        author: UserId,
        id: CommandId,
    ) -> Result<Option<(Refusal, Seq)>, StoreError> {
        let key = (conversation.uuid(), author.uuid(), id.as_bytes());
        let row = self.cql.first_row(&self.history.refusal, key).await?;
        Ok(row.map(store::RowValues::refusal).transpose()?)
    }
}

impl ScyllaStore {
    /// A page of rows that are in the buckets of the timeline, from [`BUCKETS_MAX`] of them.
    async fn of_buckets<T: Send>(
        &self,
        read: &BothWays,
        conversation: ConversationId,
        page: &Page,
        decode: impl Fn(RowValues) -> Result<Option<T>, Malformed> + Send + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let (id, mut found) = (conversation.uuid(), Vec::new());
        for bucket in self.history.buckets(&self.cql, id, page).await?.into_iter().take(BUCKETS_MAX) {
            read.fill(&self.cql, (id, number(bucket)), page, &mut found, &decode).await?;
        }
        Ok(found)
    }

    /// Rows of marks, or of last own messages.
    async fn marks_by(
        &self,
        read: &TableRead,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<Mark>>, StoreError> {
        self.of_conversations(read, user, conversations, store::RowValues::mark).await
    }

    /// The user's row of a table for each of the conversations, in the order of the argument.
    async fn of_conversations<T: Copy + Send>(
        &self,
        read: &TableRead,
        user: UserId,
        conversations: &[ConversationId],
        decode: fn(store::RowValues) -> Result<(ConversationId, T), store::Malformed>,
    ) -> Result<Vec<Option<T>>, StoreError> {
        let chunks = conversations.chunks(MARKS_PER_READ);
        let chunks: Vec<Vec<Uuid>> = chunks.map(|ids| ids.iter().map(|id| id.uuid()).collect()).collect();
        let found: Vec<Vec<(ConversationId, T)>> = stream::iter(chunks)
            .map(|ids| async move {
                let mut rows = Vec::with_capacity(ids.len());
                self.cql
                    .each_row(read, (user.uuid(), ids), |row| {
                        rows.push(decode(row)?);
                        Ok(ControlFlow::Continue(()))
                    })
                    .await?;
                Ok::<_, StoreError>(rows)
            })
            .buffer_unordered(MARK_READS_IN_FLIGHT)
            .try_collect()
            .await?;
        let found: BTreeMap<ConversationId, T> = found.into_iter().flatten().collect();
        Ok(conversations.iter().map(|id| found.get(id).copied()).collect())
    }
}
