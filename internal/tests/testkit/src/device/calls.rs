//! HTTP calls that a device makes beside its socket.

use domain::{CommandId, ConversationId, Seq};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{
    Accepted, AddMembersBody, CommandBody, CommandFrame, CommandKind, CreateBody, EditBody, EntryBody, HistoryPage,
    OutcomeBody, ReactBody, RoleBody, SendBody, SyncConversation, SyncPage, SyncState, TitleBody,
};
use reqwest::Method;
use serde::Serialize;
use std::time::Duration;
use tokio::time::sleep;

use super::http::{Access, Failed, Http};

/// The largest page of history, in entries.
const PAGE: usize = 200;
/// Timelines that a sync reads at the same time.
const READS_AT_ONCE: usize = 4;
/// Conversations in a page of a sync: few, so that every test has several pages.
const SYNC_PAGE: usize = 5;
/// Pause before an incomplete sync is retried.
const SYNC_AGAIN: Duration = Duration::from_millis(300);

/// The result of a call.
#[derive(Debug)]
pub(crate) enum Done {
    /// A complete sync: its number, the list of conversations, and the timeline of each.
    Synced(u32, SyncPage, Vec<(ConversationId, Vec<EntryBody>)>),
    /// The outcome of a command; the flag tells whether its fate was open when the outcome was requested.
    Outcome(CommandId, bool, Result<OutcomeBody, Failed>),
    /// A command sent over HTTP.
    Command(CommandId, Result<Accepted, Failed>),
    /// A new access token for the open socket.
    Renewed(Result<Access, Failed>),
    /// A conversation that was read again because of the event at that seq.
    Reread(ConversationId, Seq, Result<Vec<EntryBody>, Failed>),
}

impl Http {
    /// A conversation's whole timeline, as the caller may read it, from the oldest entry on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn history(&self, conversation: ConversationId, at_least: Option<Seq>) -> Result<Vec<EntryBody>, Failed> {
        let (mut rows, mut after): (Vec<EntryBody>, _) = (Vec::new(), Seq::default());
        let at_least = at_least.map(|seq| format!("&at_least={seq}")).unwrap_or_default();
        loop {
            let path = format!("/v1/conversations/{conversation}/messages?after={after}&limit={PAGE}{at_least}");
            let page: HistoryPage = self.get(&path).await?;
            let Some(last) = page.entries.last() else { return Ok(rows) };
            after = last.seq;
            rows.extend(page.entries);
            if !page.more {
                return Ok(rows);
            }
        }
    }

    /// Reads the list of conversations with their heads, then all timelines; retries until the sync is complete.
    pub(crate) async fn sync(&self) -> (SyncPage, Vec<(ConversationId, Vec<EntryBody>)>) {
        loop {
            match self.try_sync().await {
                Ok(Some(synced)) => return synced,
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "the sync is tried again"),
            }
            sleep(SYNC_AGAIN).await;
        }
    }

    async fn try_sync(&self) -> Result<Option<(SyncPage, Vec<(ConversationId, Vec<EntryBody>)>)>, Failed> {
        let page = self.sync_list().await?;
        if !page.complete || page.conversations.iter().any(|found| found.state != SyncState::Ready) {
            return Ok(None);
        }
        let ids: Vec<ConversationId> = page.conversations.iter().map(|found| found.id).collect();
        let reads = ids.into_iter().map(|id| async move { Ok::<_, Failed>((id, self.history(id, None).await?)) });
        let rows = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        Ok(Some((page, rows)))
    }

    /// The list of conversations with their heads, from all pages; `complete` is that of the last page.
    ///
    /// # Errors
    /// When a page cannot be read, or the pages are not in the order of the ids.
    pub(crate) async fn sync_list(&self) -> Result<SyncPage, Failed> {
        let mut conversations: Vec<SyncConversation> = Vec::new();
        let mut path = format!("/v1/sync?limit={SYNC_PAGE}");
        loop {
            let page: SyncPage = self.get(&path).await?;
            conversations.extend(page.conversations);
            if !conversations.is_sorted_by(|one, other| one.id < other.id) {
                return Err(Failed::Unanswered("the pages of a sync are not by id".into()));
            }
            match page.next {
                Some(next) => path = format!("/v1/sync?limit={SYNC_PAGE}&after={next}"),
                None => return Ok(SyncPage { conversations, complete: page.complete, next: None }),
            }
        }
    }

    /// The outcome of a command: what the log has under its id.
    ///
    /// # Errors
    /// When the service refuses, or does not answer.
    pub async fn outcome(&self, conversation: ConversationId, id: CommandId) -> Result<OutcomeBody, Failed> {
        self.get(&format!("/v1/conversations/{conversation}/outcome/{id}")).await
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When it was refused, or there was no answer.
    pub async fn command(&self, command: CommandFrame) -> Result<Accepted, Failed> {
        let CommandFrame { id, conversation, what } = command;
        let at = conversation.map_or_else(String::new, |conversation| format!("/v1/conversations/{conversation}"));
        match what {
            CommandKind::Create { kind, title, members } => {
                self.give(Method::POST, "/v1/conversations", &CreateBody { id, kind, title, members }).await
            }
            CommandKind::AddMembers { members } => {
                let path = format!("{at}/members");
                self.give(Method::POST, &path, &AddMembersBody { id, members }).await
            }
            CommandKind::RemoveMember { user } => self.take_away(&format!("{at}/members/{user}?id={id}")).await,
            CommandKind::Leave {} => self.give(Method::POST, &format!("{at}/leave"), &CommandBody { id }).await,
            CommandKind::ChangeRole { user, role } => {
                let path = format!("{at}/members/{user}/role");
                self.give(Method::PUT, &path, &RoleBody { id, role }).await
            }
            CommandKind::ChangeTitle { title } => {
                self.give(Method::PUT, &format!("{at}/title"), &TitleBody { id, title }).await
            }
            CommandKind::Send { body, reply_to, thread, also_in_conversation, quote, mentions, content } => {
                let body = SendBody { id, body, reply_to, thread, also_in_conversation, quote, mentions, content };
                self.give(Method::POST, &format!("{at}/messages"), &body).await
            }
            CommandKind::Edit { target, body, mentions, content } => {
                let body = EditBody { id, body, mentions, content };
                self.give(Method::PUT, &format!("{at}/messages/{target}"), &body).await
            }
            CommandKind::Delete { target } => self.take_away(&format!("{at}/messages/{target}?id={id}")).await,
            CommandKind::React { target, emoji } => {
                let path = format!("{at}/messages/{target}/reaction");
                self.give(Method::PUT, &path, &ReactBody { id, emoji }).await
            }
            CommandKind::Pin { target } => {
                self.give(Method::PUT, &format!("{at}/messages/{target}/pin"), &CommandBody { id }).await
            }
            CommandKind::Unpin { target } => self.take_away(&format!("{at}/messages/{target}/pin?id={id}")).await,
            CommandKind::Unreact { target, emoji } => {
                let emoji: String = emoji.bytes().map(|byte| format!("%{byte:02X}")).collect();
                self.take_away(&format!("{at}/messages/{target}/reaction?id={id}&emoji={emoji}")).await
            }
            CommandKind::Withdraw {} => self.give(Method::POST, &format!("{at}/withdraw"), &CommandBody { id }).await,
        }
    }

    async fn give(&self, method: Method, path: &str, body: &(impl Serialize + Sync)) -> Result<Accepted, Failed> {
        self.chat(method, path, Some(body)).await
    }

    async fn take_away(&self, path: &str) -> Result<Accepted, Failed> {
        self.chat(Method::DELETE, path, None::<&()>).await
    }
}
