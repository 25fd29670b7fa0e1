//! Calls of [`Http`] that read messages: a timeline and its parts.

use domain::{CommandId, ConversationId, Seq};
use protocol::{HistoryPage, VersionPage};

use crate::error::ClientError;
use crate::http::Http;

/// Which entries of a timeline to read. With neither `before` nor `after`, the newest ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only entries before this seq.
    pub before: Option<Seq>,
    /// Only entries after this seq.
    pub after: Option<Seq>,
    /// The most entries to return.
    pub limit: Option<usize>,
    /// Wait until the rows include everything up to this seq.
    pub at_least: Option<Seq>,
}

impl Http {
    /// A page of a timeline.
    ///
    /// # Errors
    /// `retry` when `at_least` is not reached in time, another refusal, or no answer.
    pub async fn history(&self, conversation: ConversationId, query: HistoryQuery) -> Result<HistoryPage, ClientError> {
        self.page(&format!("/v1/conversations/{conversation}/messages"), query).await
    }

    /// A page of the messages of a thread, without its root.
    ///
    /// # Errors
    /// `no_such_message`, another refusal, or no answer.
    pub async fn thread(
        &self,
        conversation: ConversationId,
        root: CommandId,
        query: HistoryQuery,
    ) -> Result<HistoryPage, ClientError> {
        self.page(&format!("/v1/conversations/{conversation}/messages/{root}/thread"), query).await
    }

    /// A page of the messages under which there are threads, towards older ones.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub async fn threads(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: Option<usize>,
    ) -> Result<HistoryPage, ClientError> {
        let query = HistoryQuery { before, limit, ..HistoryQuery::default() };
        self.page(&format!("/v1/conversations/{conversation}/threads"), query).await
    }

    /// A page of the pinned messages, by their own places.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub async fn pins(&self, conversation: ConversationId, query: HistoryQuery) -> Result<HistoryPage, ClientError> {
        self.page(&format!("/v1/conversations/{conversation}/pins"), query).await
    }

    /// A page of what a message has said in its time, oldest first, after the version of that seq.
    ///
    /// # Errors
    /// `no_such_message`, another refusal, or no answer.
    pub async fn versions(
        &self,
        conversation: ConversationId,
        message: CommandId,
        after: Option<Seq>,
    ) -> Result<VersionPage, ClientError> {
        let query = after.map(|after| format!("?after={}", after.get())).unwrap_or_default();
        self.get(&self.chat_url(&format!("/v1/conversations/{conversation}/messages/{message}/versions{query}"))).await
    }

    /// A page of the messages that mention the user, by their own places.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub async fn mentions(
        &self,
        conversation: ConversationId,
        query: HistoryQuery,
    ) -> Result<HistoryPage, ClientError> {
        self.page(&format!("/v1/conversations/{conversation}/mentions"), query).await
    }

    async fn page(&self, path: &str, query: HistoryQuery) -> Result<HistoryPage, ClientError> {
        let number = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
        let parts = [
            number("before", query.before.map(Seq::get)),
            number("after", query.after.map(Seq::get)),
            number("limit", query.limit.map(|limit| limit as u64)),
            number("at_least", query.at_least.map(Seq::get)),
        ];
        let query = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
        self.get(&self.chat_url(&format!("{path}?{query}"))).await
    }
}
