//! Calls over HTTP that a device makes beside its socket.

use domain::{CommandId, ConversationId, Seq};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{
    Accepted, AddMembersBody, CommandBody, CommandFrame, CreateBody, EditBody, EntryBody, HistoryPage, OutcomeBody,
    ReactBody, RoleBody, SendBody, SyncConversation, SyncPage, SyncState, TitleBody,
};
use reqwest::Method;
use serde::Serialize;
use std::time::Duration;
use tokio::time::sleep;

use super::http::{Access, Failed, Http};

/// The most that a page of history holds.
const PAGE: usize = 200;
/// Conversations that a sync reads at the same time.
const READS_AT_ONCE: usize = 4;
/// Conversations that a page of a sync has at most: few, so that every world has several pages.
const SYNC_PAGE: usize = 5;
/// Before a sync that is not complete is asked for again.
const SYNC_AGAIN: Duration = Duration::from_millis(300);

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Done {
    /// A whole sync, of that number.
    Synced(u32, SyncPage, Vec<(ConversationId, Vec<EntryBody>)>),
    /// What stands under an id.
    /// Whether the fate was open when it was asked.
    Outcome(CommandId, bool, Result<OutcomeBody, Failed>),
    /// A command sent over HTTP.
    Command(CommandId, Result<Accepted, Failed>),
    /// Another access token, for the socket that stands.
    Renewed(Result<Access, Failed>),
    /// A conversation read again because of the joining at that place.
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

    /// Every conversation with its head, then their rows; asks again until all of it is there.
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

    /// Every conversation with its head, from all pages: what the last one says of the whole.
    ///
    /// # Errors
    /// When one of them cannot be read, or they are not in the order of the ids.
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

    /// What stands under the id of a command.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn outcome(&self, conversation: ConversationId, id: CommandId) -> Result<OutcomeBody, Failed> {
        self.get(&format!("/v1/conversations/{conversation}/outcome/{id}")).await
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When it was not taken, or that cannot be told.
    pub async fn command(&self, command: CommandFrame) -> Result<Accepted, Failed> {
        let at = |conversation: ConversationId| format!("/v1/conversations/{conversation}");
        match command {
            CommandFrame::Create { id, kind, title, members } => {
                self.give(Method::POST, "/v1/conversations", &CreateBody { id, kind, title, members }).await
            }
            CommandFrame::AddMembers { id, conversation, members } => {
                let path = format!("{}/members", at(conversation));
                self.give(Method::POST, &path, &AddMembersBody { id, members }).await
            }
            CommandFrame::RemoveMember { id, conversation, user } => {
                self.take_away(&format!("{}/members/{user}?id={id}", at(conversation))).await
            }
            CommandFrame::Leave { id, conversation } => {
                self.give(Method::POST, &format!("{}/leave", at(conversation)), &CommandBody { id }).await
            }
            CommandFrame::ChangeRole { id, conversation, user, role } => {
                let path = format!("{}/members/{user}/role", at(conversation));
                self.give(Method::PUT, &path, &RoleBody { id, role }).await
            }
            CommandFrame::ChangeTitle { id, conversation, title } => {
                self.give(Method::PUT, &format!("{}/title", at(conversation)), &TitleBody { id, title }).await
            }
            CommandFrame::Send { id, conversation, body, reply_to } => {
                let path = format!("{}/messages", at(conversation));
                self.give(Method::POST, &path, &SendBody { id, body, reply_to }).await
            }
            CommandFrame::Edit { id, conversation, target, body } => {
                self.give(Method::PUT, &format!("{}/messages/{target}", at(conversation)), &EditBody { id, body }).await
            }
            CommandFrame::Delete { id, conversation, target } => {
                self.take_away(&format!("{}/messages/{target}?id={id}", at(conversation))).await
            }
            CommandFrame::React { id, conversation, target, emoji } => {
                let path = format!("{}/messages/{target}/reaction", at(conversation));
                self.give(Method::PUT, &path, &ReactBody { id, emoji }).await
            }
            CommandFrame::Unreact { id, conversation, target } => {
                self.take_away(&format!("{}/messages/{target}/reaction?id={id}", at(conversation))).await
            }
            CommandFrame::Withdraw { id, conversation } => {
                self.give(Method::POST, &format!("{}/withdraw", at(conversation)), &CommandBody { id }).await
            }
        }
    }

    async fn give(&self, method: Method, path: &str, body: &(impl Serialize + Sync)) -> Result<Accepted, Failed> {
        self.chat(method, path, Some(body)).await
    }

    async fn take_away(&self, path: &str) -> Result<Accepted, Failed> {
        self.chat(Method::DELETE, path, None::<&()>).await
    }
}
