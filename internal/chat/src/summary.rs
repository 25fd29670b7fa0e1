//! A conversation in a few lines: what it is, its last message, what is unread.

use std::time::Duration;

use api::{ApiError, ConversationBody};
use commands::{Barrier, faults};
use domain::{Content, ConversationId, Seq, Settings, UserId};
use store::{Direction, Entry, Head, Mark, Page, UserConversation};

use crate::service::Chat;
use crate::view;

/// How far back the last message before a leaving is looked for.
const LEFT_ENTRIES_MAX: usize = 50;

impl Chat {
    /// The conversation for a member, with its head as it was read first; `None` for who is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn summary_at(
        &self,
        user: UserId,
        conversation: ConversationId,
        head: Head,
        mark: Option<Mark>,
    ) -> Result<Option<ConversationBody>, ApiError> {
        let (held, settings, last) = tokio::try_join!(
            self.barrier.held(conversation),
            self.settings(conversation, head.seq),
            self.last_message(conversation, head),
        )?;
        // The membership after the head: it is whole up to there, so who was removed before is not shown the rest.
        let row = self.store.user_conversation(user, conversation).await.map_err(faults::of_store)?;
        let Some((row, role)) = row.and_then(|row| row.role.map(|role| (row, role))) else { return Ok(None) };
        let last = self.readable(user, &row, head, last).await?;
        Ok(Some(ConversationBody {
            id: conversation,
            kind: settings.kind.name().to_owned(),
            title: settings.title,
            role: Some(role.name().to_owned()),
            head: head.seq,
            time: head.time_ms,
            unread: unread(head.ordinal, mark, row.joined_ordinal),
            mark: mark.map(view::mark),
            last_message: last.map(|entry| view::entry(entry, None)),
            held,
        }))
    }

    /// The conversation as it was when the user left it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn summary_as_left(
        &self,
        user: UserId,
        conversation: ConversationId,
        left: Seq,
    ) -> Result<ConversationBody, ApiError> {
        let page = Page { anchor: Some(left.next()), direction: Direction::Before, limit: LEFT_ENTRIES_MAX };
        let entries = async { self.store.timeline(conversation, page).await.map_err(faults::of_store) };
        let row = async { self.store.user_conversation(user, conversation).await.map_err(faults::of_store) };
        let (settings, entries, row, mark) =
            tokio::try_join!(self.settings(conversation, left), entries, row, self.mark_of(user, conversation))?;
        let (row, end) = row.zip(entries.first()).ok_or_else(faults::retry)?;
        let (time, ordinal) = (end.time_ms, end.ordinal);
        let is_message = |entry: &Entry| matches!(entry.content, Content::Message { .. });
        let last = entries.into_iter().find(is_message).filter(|entry| entry.seq >= row.joined);
        Ok(ConversationBody {
            id: conversation,
            kind: settings.kind.name().to_owned(),
            title: settings.title,
            role: None,
            head: left,
            time,
            unread: unread(ordinal, mark, row.joined_ordinal),
            mark: mark.map(view::mark),
            last_message: last.map(|entry| view::entry(entry, Some(left))),
            held: false,
        })
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Settings, ApiError> {
        let settings = self.store.settings(conversation, as_of).await.map_err(faults::of_store)?;
        settings.ok_or_else(faults::retry)
    }

    pub(crate) async fn mark_of(&self, user: UserId, conversation: ConversationId) -> Result<Option<Mark>, ApiError> {
        let marks = self.store.marks(user, &[conversation]).await.map_err(faults::of_store)?;
        Ok(marks.into_iter().flatten().next())
    }

    async fn last_message(&self, conversation: ConversationId, head: Head) -> Result<Option<Entry>, ApiError> {
        let Some(last) = head.last_message else { return Ok(None) };
        self.store.entry(conversation, last.place, last.seq).await.map_err(faults::of_store)
    }

    /// The entry, if the member may read it: inside a membership, and not changed by something beyond what the
    /// membership is known to cover.
    async fn readable(
        &self,
        user: UserId,
        row: &UserConversation,
        head: Head,
        entry: Option<Entry>,
    ) -> Result<Option<Entry>, ApiError> {
        let Some(entry) = entry else { return Ok(None) };
        let source = Barrier::source_of(row.conversation);
        let covered = entry.changed <= head.seq
            || (self.barrier.applied(source, entry.changed, Duration::ZERO).await?
                && self.spans(user, row.conversation).await?.left().is_none());
        let inside = entry.seq >= row.joined || self.spans(user, row.conversation).await?.contain(entry.seq);
        Ok(Some(entry).filter(|_| covered && inside))
    }
}

/// Messages behind the mark; those before the latest joining are not the user's to read, so they do not count.
fn unread(ordinal: u64, mark: Option<Mark>, joined_ordinal: u64) -> u64 {
    let read = mark.map_or(0, |mark| mark.ordinal).max(joined_ordinal);
    ordinal.saturating_sub(read)
}
