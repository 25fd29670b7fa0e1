//! The summary of a conversation: its settings, its last message, the number of unread ones.

use api::ApiError;
use commands::{Barrier, faults};
use domain::{ConversationId, ConversationKind, MembershipSpans, Seq, Settings, UserId};
use environment::seeded_bugs::{Bug, seeded};
use protocol::ConversationBody;
use store::{Direction, Entry, Head, Mark, Page, UserConversation};

use crate::reading::NEWEST;
use crate::service::Chat;
use crate::view;

/// Entries that are read at once while looking for the last message that the user may read.
const SOUGHT_AT_ONCE: usize = 100;
/// How many such reads are made at most: beyond that, the summary has no last message.
const SOUGHT_PAGES_MAX: usize = 50;
/// Deleted messages beyond a read mark that are told apart. With more than that, the rest counts as unread.
pub const DELETED_COUNTED_MAX: usize = 10_000;

/// How far a user has read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    /// The read mark that the user has set.
    mark: Option<Mark>,
    /// The user's last own message: sending marks everything before as read.
    sent: Option<Mark>,
    /// The user who added them, if it is a group that they have not created.
    inviter: Option<UserId>,
}

impl Read {
    /// The user who added them, as long as they have neither written nor marked anything there: they may still decline.
    pub(crate) fn invited_by(self) -> Option<UserId> {
        self.inviter.filter(|_| self.mark.is_none() && self.sent.is_none())
    }

    /// Up to where the user has read: what came before the latest joining is not the user's to read.
    fn upto(self, row: &UserConversation) -> Mark {
        let joined = Mark { seq: row.joined, ordinal: row.joined_ordinal };
        [self.mark, self.sent].into_iter().flatten().fold(joined, Mark::max)
    }
}

impl Chat {
    /// The summary for a member, with the head as it was read first; `None` for a non-member.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn summary_at(
        &self,
        user: UserId,
        conversation: ConversationId,
        head: Head,
        read: Read,
    ) -> Result<Option<ConversationBody>, ApiError> {
        let (held, (settings, peer), last) = {
            let _work = self.reads.work().await;
            tokio::try_join!(
                self.barrier.held(conversation),
                self.settings_and_peer(user, conversation, head.seq),
                self.last_message(conversation, head),
            )?
        };
        // The membership is read after the head: it is complete up to there, so a user removed before is not shown the
        // rest.
        let row = self.store.user_conversation(user, conversation).await.map_err(faults::of_store)?;
        let Some((row, role)) = row.and_then(|row| row.role.map(|role| (row, role))) else { return Ok(None) };
        let last = self.readable(user, &row, head, last).await?;
        let unread = self.unread(&row, read, (head.seq, head.ordinal), NEWEST).await?;
        let mentions = self.unread_mentions(user, conversation, (read.upto(&row).seq, head.seq)).await?;
        Ok(Some(ConversationBody {
            id: conversation,
            kind: settings.kind.name().to_owned(),
            title: settings.title,
            peer,
            role: Some(role.name().to_owned()),
            invited_by: read.invited_by(),
            head: head.seq,
            time: head.time_ms,
            unread,
            mentions,
            mark: read.mark.map(view::mark),
            last_message: last.map(|entry| view::entry(entry, head.seq, None)),
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
        let page = Page { anchor: Some(left.next()), direction: Direction::Before, limit: 1 };
        let end = async { self.store.timeline(conversation, page).await.map_err(faults::of_store) };
        let row = async { self.store.user_conversation(user, conversation).await.map_err(faults::of_store) };
        let spans = self.spans(user, conversation);
        let ((settings, peer), end, row, read, spans) = tokio::try_join!(
            self.settings_and_peer(user, conversation, left),
            end,
            row,
            self.read_of(user, conversation),
            spans
        )?;
        let (row, end) = row.zip(end.first()).ok_or_else(faults::retry)?;
        let (time, ordinal) = (end.time_ms, end.ordinal);
        let last = self.last_in(conversation, &spans, left).await?;
        let unread = self.unread(&row, read, (left, ordinal), left).await?;
        Ok(ConversationBody {
            id: conversation,
            kind: settings.kind.name().to_owned(),
            title: settings.title,
            peer,
            role: None,
            invited_by: None,
            head: left,
            time,
            unread,
            mentions: 0,
            mark: read.mark.map(view::mark),
            last_message: last.map(|entry| view::entry(entry, left, Some(left))),
            held: false,
        })
    }

    /// The settings of the conversation and, if it is direct, the other member.
    async fn settings_and_peer(
        &self,
        user: UserId,
        conversation: ConversationId,
        as_of: Seq,
    ) -> Result<(Settings, Option<UserId>), ApiError> {
        let settings = self.store.settings(conversation, as_of).await.map_err(faults::of_store)?;
        let settings = settings.ok_or_else(faults::retry)?;
        let peer = match settings.kind {
            ConversationKind::Group => None,
            ConversationKind::Direct => {
                let state = self.store.conversation(conversation, as_of).await.map_err(faults::of_store)?;
                state.members.into_keys().find(|member| *member != user)
            }
        };
        Ok((settings, peer))
    }

    /// How far the user has read in one conversation.
    pub(crate) async fn read_of(&self, user: UserId, conversation: ConversationId) -> Result<Read, ApiError> {
        let read = self.reads_of(user, &[conversation]).await?.pop();
        Ok(read.unwrap_or(Read { mark: None, sent: None, inviter: None }))
    }

    /// How far the user has read, in the order of the conversations.
    pub(crate) async fn reads_of(&self, user: UserId, ids: &[ConversationId]) -> Result<Vec<Read>, ApiError> {
        let read = async {
            tokio::try_join!(self.store.marks(user, ids), self.store.sent(user, ids), self.store.inviters(user, ids))
        };
        let (marks, sent, inviters) = read.await.map_err(faults::of_store)?;
        let read = marks.into_iter().zip(sent).zip(inviters);
        Ok(read.map(|((mark, sent), inviter)| Read { mark, sent, inviter }).collect())
    }

    /// The number of unread messages: those of others, not deleted, from behind what the user has read up to `end`, a
    /// seq with the number of messages up to there.
    async fn unread(
        &self,
        row: &UserConversation,
        read: Read,
        (end, ordinal): (Seq, u64),
        as_of: Seq,
    ) -> Result<u64, ApiError> {
        let read = read.upto(row);
        // Behind the user's last own message there are only those of others.
        let said = ordinal.saturating_sub(read.ordinal);
        if said == 0 || read.seq >= end {
            return Ok(0);
        }
        let _work = self.reads.work().await;
        let deleted = self.store.deleted(row.conversation, (read.seq, end), as_of, DELETED_COUNTED_MAX).await;
        Ok(said.saturating_sub(deleted.map_err(faults::of_store)? as u64))
    }

    /// The last message up to `end` that was said while the reader was a member.
    async fn last_in(
        &self,
        conversation: ConversationId,
        spans: &MembershipSpans,
        end: Seq,
    ) -> Result<Option<Entry>, ApiError> {
        let mut pages = 0;
        for span in spans.iter().rev() {
            let mut anchor = span.to.unwrap_or(end).min(end).next();
            while pages < SOUGHT_PAGES_MAX {
                pages += 1;
                let page = Page { anchor: Some(anchor), direction: Direction::Before, limit: SOUGHT_AT_ONCE };
                let entries = {
                    let _work = self.reads.work().await;
                    self.store.timeline(conversation, page).await.map_err(faults::of_store)?
                };
                let inside: Vec<Entry> = entries.into_iter().take_while(|entry| entry.seq >= span.from).collect();
                let (count, oldest) = (inside.len(), inside.last().map(|entry| entry.seq));
                let found = inside.into_iter().find(|entry| entry.content.is_main_message());
                if found.is_some() {
                    return Ok(found);
                }
                match oldest.filter(|_| count == SOUGHT_AT_ONCE) {
                    Some(oldest) => anchor = oldest,
                    None => break,
                }
            }
        }
        Ok(None)
    }

    async fn last_message(&self, conversation: ConversationId, head: Head) -> Result<Option<Entry>, ApiError> {
        let Some(last) = head.last_message else { return Ok(None) };
        self.store.entry(conversation, last.slot, last.seq).await.map_err(faults::of_store)
    }

    /// The last message that the member may read (later ones may be from before their joining, or from while they were
    /// away), without changes from beyond what the memberships are known to cover.
    async fn readable(
        &self,
        user: UserId,
        row: &UserConversation,
        head: Head,
        entry: Option<Entry>,
    ) -> Result<Option<Entry>, ApiError> {
        let Some(mut entry) = entry else { return Ok(None) };
        if entry.seq < row.joined {
            let spans = self.spans(user, row.conversation).await?;
            let Some(older) = self.last_in(row.conversation, &spans, head.seq).await? else { return Ok(None) };
            entry = older;
        }
        let source = Barrier::source_of(row.conversation);
        let covered = entry.newest() <= head.seq
            || seeded(Bug::ListBeyondMembership)
            || (self.barrier.applied(source, entry.newest(), self.read_wait).await?
                && self.spans(user, row.conversation).await?.left().is_none());
        Ok(Some(entry).filter(|_| covered))
    }
}
