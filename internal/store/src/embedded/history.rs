//! The reads of the API: the newest values.

use std::ops::{Bound, ControlFlow};

use async_trait::async_trait;
use domain::{CommandId, ConversationId, Membership, Refusal, Role, Seq, UserId};

use crate::embedded::EmbeddedStore;
use crate::embedded::chat::bucket_at;
use crate::embedded::derived::{Derived, DerivedTable, READ_ROWS_MAX, Range, under};
use crate::embedded::row;
use crate::tables::{
    DELETIONS, HEADS, INVITATIONS, MARKS, MEMBERS, MENTIONS, MENTIONS_OF_ALL, MESSAGE_VERSIONS, REFUSALS, SENT,
    THREAD_MESSAGES, THREADS, TIMELINE, USER_CONVERSATIONS,
};
use crate::{
    ANNOTATING, Annotations, Direction, Entry, Head, HistoryStore, Malformed, Mark, MembersAsOf, MentionOfAll,
    MessageVersion, Page, ROWS_LOOKED_AT_MAX, RowValues, StoreError, ThreadMessage, UserConversation, ValueRef,
    bucket_of,
};

#[async_trait]
impl HistoryStore for EmbeddedStore {
    async fn timeline(&self, conversation: ConversationId, page: Page) -> Result<Vec<Entry>, StoreError> {
        let tables = self.read().await?;
        let Some(range) = page_range(tables, conversation, &page).await? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        let back = page.direction == Direction::Before;
        if page.limit > 0 {
            let each = tables.table(&TIMELINE).each(range, back, page.limit, |row| {
                entries.extend(row.entry()?);
                Ok(if entries.len() < page.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            });
            each.await?;
        }
        annotate(tables, conversation, &mut entries).await?;
        Ok(entries)
    }

    async fn entry(&self, conversation: ConversationId, slot: u64, seq: Seq) -> Result<Option<Entry>, StoreError> {
        let tables = self.read().await?;
        let key = [conversation.into(), bucket_of(slot).into(), seq.into()];
        let Some(row) = tables.table(&TIMELINE).get(&key)? else { return Ok(None) };
        let mut entries: Vec<Entry> = row.entry()?.into_iter().collect();
        annotate(tables, conversation, &mut entries).await?;
        Ok(entries.pop())
    }

    async fn versions(
        &self,
        conversation: ConversationId,
        message: Seq,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MessageVersion>, StoreError> {
        let page = Page { anchor: after, direction: Direction::After, limit };
        let range = range_under([conversation.into(), message.into()], &page);
        some_of(self.read().await?.table(&MESSAGE_VERSIONS), range, &page, RowValues::version).await
    }

    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        page: Page,
        as_of: Seq,
    ) -> Result<Vec<ThreadMessage>, StoreError> {
        let range = range_under([conversation.into(), root.into()], &page);
        some_of(self.read().await?.table(&THREAD_MESSAGES), range, &page, |row| row.thread_message(as_of)).await
    }

    async fn threads(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        let tables = self.read().await?;
        let page = Page { anchor: before, direction: Direction::Before, limit };
        let Some(range) = page_range(tables, conversation, &page).await? else { return Ok(Vec::new()) };
        some_of(tables.table(&THREADS), range, &page, |row| row.thread_root().map(Some)).await
    }

    async fn mentions(
        &self,
        user: UserId,
        conversation: ConversationId,
        page: Page,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        let range = range_under([user.into(), conversation.into()], &page);
        some_of(self.read().await?.table(&MENTIONS), range, &page, RowValues::mention).await
    }

    async fn mentions_of_all(&self, conversation: ConversationId, page: Page) -> Result<Vec<MentionOfAll>, StoreError> {
        let tables = self.read().await?;
        let Some(range) = page_range(tables, conversation, &page).await? else { return Ok(Vec::new()) };
        some_of(tables.table(&MENTIONS_OF_ALL), range, &page, RowValues::mention_of_all).await
    }

    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError> {
        let mut versions = Vec::new();
        let rows = under(&[conversation.into(), user.into()]);
        let each = self.read().await?.table(&MEMBERS).each::<()>(rows, false, READ_ROWS_MAX, |row| {
            let version = row.member_version()?;
            versions.push((version.seq, version.role));
            Ok(ControlFlow::Continue(()))
        });
        each.await?;
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
        let (mut from, to) = under(&[conversation.into()]);
        if let Some(after) = after {
            from = match under(&[conversation.into(), after.into()]).1 {
                Bound::Excluded(end) => Bound::Included(end),
                // No key follows it.
                _ => return Ok(Vec::new()),
            };
        }
        // Read one more row, to see whether the last member has further versions.
        let first = limit.saturating_add(1).min(READ_ROWS_MAX);
        let each = self.read().await?.table(&MEMBERS).each::<()>((from, to), false, first, |row| {
            let version = row.member_version()?;
            if members.fill(limit, version.user) {
                return Ok(ControlFlow::Break(()));
            }
            members.absorb(version);
            Ok(ControlFlow::Continue(()))
        });
        each.await?;
        Ok(members.finish().into_iter().collect())
    }

    async fn conversations_of(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<UserConversation>, StoreError> {
        let mut found = Vec::new();
        let tables = self.read().await?;
        if limit == 0 {
            return Ok(found);
        }
        let (mut from, to) = under(&[user.into()]);
        if let Some(after) = after {
            from = Bound::Excluded(row::key(&[user.into(), after.into()]));
        }
        let each = tables.table(&USER_CONVERSATIONS).each((from, to), false, limit.min(READ_ROWS_MAX), |row| {
            found.extend(row.user_conversation()?);
            Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        each.await?;
        Ok(found)
    }

    async fn user_conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<UserConversation>, StoreError> {
        let key = [user.into(), conversation.into()];
        let row = self.read().await?.table(&USER_CONVERSATIONS).get(&key)?;
        Ok(row.map(|row| row.user_conversation()).transpose()?.flatten())
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError> {
        let heads = self.read().await?.table(&HEADS);
        let head = |conversation: &ConversationId| {
            let row = heads.get(&[(*conversation).into()])?;
            Ok(row.map(|row| row.head()).transpose()?.flatten())
        };
        conversations.iter().map(head).collect()
    }

    async fn marks(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        marks_of(self.read().await?.table(&MARKS), user, conversations)
    }

    async fn sent(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        marks_of(self.read().await?.table(&SENT), user, conversations)
    }

    async fn inviters(
        &self,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<UserId>>, StoreError> {
        let invitations = self.read().await?.table(&INVITATIONS);
        let inviter = |conversation: &ConversationId| {
            let row = invitations.get(&[user.into(), (*conversation).into()])?;
            Ok(row.map(|row| row.invitation()).transpose()?.map(|(_, inviter)| inviter))
        };
        conversations.iter().map(inviter).collect()
    }

    async fn deleted(
        &self,
        conversation: ConversationId,
        (after, upto): (Seq, Seq),
        as_of: Seq,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let tables = self.read().await?;
        // Buckets have the same order as seqs.
        let first = bucket_at(tables, conversation, after).await?.unwrap_or(0);
        let from = Bound::Excluded(row::key(&[conversation.into(), first.into(), after.into()]));
        let mut found = 0;
        if limit > 0 {
            let range = (from, under(&[conversation.into()]).1);
            let each = tables.table(&DELETIONS).each::<()>(range, false, READ_ROWS_MAX, |row| {
                let (message, deleted) = row.deletion()?;
                found += usize::from(message <= upto && deleted <= as_of);
                Ok(if message <= upto && found < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            });
            each.await?;
        }
        Ok(found)
    }

    async fn refusal(
        &self,
        conversation: ConversationId,
        author: UserId,
        id: CommandId,
    ) -> Result<Option<(Refusal, Seq)>, StoreError> {
        let key = [conversation.into(), author.into(), (&id).into()];
        let row = self.read().await?.table(&REFUSALS).get(&key)?;
        Ok(row.map(|row| row.refusal()).transpose()?)
    }
}

/// Rows of marks, or of last own messages.
fn marks_of(
    table: &DerivedTable,
    user: UserId,
    conversations: &[ConversationId],
) -> Result<Vec<Option<Mark>>, StoreError> {
    let mark = |conversation: &ConversationId| {
        let row = table.get(&[user.into(), (*conversation).into()])?;
        Ok(row.map(|row| row.mark()).transpose()?.map(|(_, mark)| mark))
    };
    conversations.iter().map(mark).collect()
}

/// The range of a page of rows that are ordered by a seq behind these two keys.
fn range_under(keys: [ValueRef<'_>; 2], page: &Page) -> Range {
    let (mut from, mut to) = under(&keys);
    let edge = |seq: Seq| Bound::Excluded(row::key(&[keys[0], keys[1], seq.into()]));
    match (page.direction, page.anchor) {
        (Direction::Before, Some(anchor)) => to = edge(anchor),
        (Direction::After, Some(anchor)) => from = edge(anchor),
        (Direction::Before | Direction::After, None) => {}
    }
    (from, to)
}

/// As many of the rows of a range as the page takes, in its direction, without those that `decode` leaves out.
async fn some_of<T: Send>(
    table: &DerivedTable,
    range: Range,
    page: &Page,
    decode: impl Fn(RowValues) -> Result<Option<T>, Malformed> + Send + Sync,
) -> Result<Vec<T>, StoreError> {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    if page.limit == 0 {
        return Ok(found);
    }
    let each = table.each::<()>(range, page.direction == Direction::Before, page.limit.min(READ_ROWS_MAX), |row| {
        found.extend(decode(row)?);
        looked_at += 1;
        let full = found.len() >= page.limit || looked_at >= ROWS_LOOKED_AT_MAX;
        Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    each.await?;
    Ok(found)
}

/// The range of the timeline that a page comes from; `None` when it is empty.
///
/// Buckets have the same order as seqs, so a conversation's timeline is one range, which the anchor in its bucket
/// bounds.
async fn page_range(tables: &Derived, conversation: ConversationId, page: &Page) -> Result<Option<Range>, StoreError> {
    let (mut from, mut to) = under(&[conversation.into()]);
    let Some(anchor) = page.anchor else { return Ok(Some((from, to))) };
    let bucket = bucket_at(tables, conversation, anchor).await?;
    let edge = bucket.map(|bucket| Bound::Excluded(row::key(&[conversation.into(), bucket.into(), anchor.into()])));
    match (page.direction, edge) {
        (Direction::Before, Some(edge)) => to = edge,
        (Direction::After, Some(edge)) => from = edge,
        // The anchor is before the first entry.
        (Direction::Before, None) => return Ok(None),
        (Direction::After, None) => {}
    }
    Ok(Some((from, to)))
}

/// Reads what annotates the entries of one page: such rows sort as the timeline does, so they are one range of each table.
async fn annotate(tables: &Derived, conversation: ConversationId, entries: &mut [Entry]) -> Result<(), StoreError> {
    let slot = |entry: &Entry| [conversation.into(), bucket_of(entry.slot).into(), entry.seq.into()];
    let first = entries.iter().min_by_key(|entry| entry.seq).map(slot);
    let last = entries.iter().max_by_key(|entry| entry.seq).map(slot);
    let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
    let mut annotations = Annotations::new(entries);
    for table in ANNOTATING {
        let range = (under(&first).0, under(&last).1);
        let each = tables.table(table).each::<()>(range, false, READ_ROWS_MAX, |row| {
            annotations.put(row)?;
            Ok(ControlFlow::Continue(()))
        });
        each.await?;
    }
    annotations.finish();
    Ok(())
}
