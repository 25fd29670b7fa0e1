//! The public API over HTTP: one function for each call. Access tokens are refreshed before they expire.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::{CommandId, ConversationId, UserId};
use protocol::{
    Accepted, ConversationBody, ConversationPage, CreateBody, Credentials, ErrorBody, ErrorCode, MemberPage,
    OutcomeBody, RefreshBody, Registration, SessionBody, SyncConversation, SyncPage, UserBody,
};
use reqwest::{Method, StatusCode, header};
use secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::ClientError;

/// The timeout of a call. A sync call waits for storage on the server, whose own bound is shorter.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A token is refreshed this long before it expires, or halfway through its life if that is later.
const REFRESH_AHEAD: Duration = Duration::from_secs(60);

/// The base URLs of the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The user service: accounts and sessions.
    pub users: String,
    /// The chat service: conversations.
    pub chat: String,
    /// The websocket service.
    pub socket: String,
}

impl Endpoints {
    /// All services at the base URL `url`, except those that are given separately.
    ///
    /// # Errors
    /// When one is not an `http://` URL.
    pub fn new(url: &str, users: Option<&str>, socket: Option<&str>) -> Result<Self, ClientError> {
        let base = |url: &str| {
            let base = url.trim_end_matches('/');
            let host = base.strip_prefix("http://").filter(|rest| !rest.is_empty());
            host.map(|_| base.to_owned()).ok_or_else(|| ClientError::Address(url.to_owned()))
        };
        Ok(Self { users: base(users.unwrap_or(url))?, chat: base(url)?, socket: base(socket.unwrap_or(url))? })
    }
}

/// The URL of the socket of the websocket service at that base URL, with the user's delivery partition if it is known, by
/// which a balancer may choose the node.
pub(crate) fn socket_url(base: &str, partition: Option<u32>) -> String {
    let query = partition.map(|partition| format!("?p={partition}")).unwrap_or_default();
    format!("ws{}/v1/socket{query}", base.trim_end_matches('/').trim_start_matches("http"))
}

/// The tokens of a session.
struct Signed {
    access: Access,
    refresh_token: Secret,
    ends: Instant,
}

/// An access token.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) token: Secret,
    /// The time from which it should be replaced by a newer one.
    pub(crate) renew_at: Instant,
}

/// Connections that the callers of many users share. Without it each caller keeps connections of its own, which a
/// program that acts for thousands of users cannot afford.
#[derive(Clone)]
pub struct HttpPool(reqwest::Client);

impl HttpPool {
    /// An empty pool.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new() -> Result<Self, ClientError> {
        let built = reqwest::Client::builder().timeout(CALL_TIMEOUT).no_proxy().build();
        built.map(Self).map_err(|error| unreachable("the HTTP client", &error))
    }
}

/// Calls the API; after signing in, as that user.
pub struct Http {
    http: reqwest::Client,
    endpoints: Endpoints,
    session: Mutex<Option<Signed>>,
    /// Allows one refresh at a time, because a refresh token can be used once.
    refreshing: Semaphore,
}

impl Http {
    /// A caller for the services at `endpoints`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(endpoints: Endpoints) -> Result<Self, ClientError> {
        Ok(Self::sharing(&HttpPool::new()?, endpoints))
    }

    /// As [`Self::new`], on connections that it shares with others.
    #[must_use]
    pub fn sharing(pool: &HttpPool, endpoints: Endpoints) -> Self {
        let http = pool.0.clone();
        Self { http, endpoints, session: Mutex::new(None), refreshing: Semaphore::new(1) }
    }

    /// The base URLs of the services.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Registers an account.
    ///
    /// # Errors
    /// `name_taken`, `invalid`, or no answer.
    pub async fn register(&self, name: &str, password: &Secret) -> Result<UserBody, ClientError> {
        let body = Registration { name: name.to_owned(), password: password.clone(), display_name: None };
        self.send(Method::POST, &self.users_url("/v1/users"), Some(&body), None).await
    }

    /// Signs in. Every later call is made as that user.
    ///
    /// # Errors
    /// `wrong_credentials`, or no answer.
    pub async fn sign_in(&self, name: &str, password: &Secret) -> Result<UserBody, ClientError> {
        let body = Credentials::new(name, password.clone());
        let session = self.send(Method::POST, &self.users_url("/v1/sessions"), Some(&body), None).await?;
        Ok(self.keep(session))
    }

    /// Goes on with a session of an earlier run, whose [`Self::refresh_token`] was stored. Costs the server no password
    /// hash, as signing in does.
    ///
    /// # Errors
    /// `session_ended`: then the user has to sign in again; or no answer.
    pub async fn resume(&self, refresh_token: Secret) -> Result<UserBody, ClientError> {
        let body = RefreshBody { refresh_token };
        let session = self.send(Method::POST, &self.users_url("/v1/sessions/refresh"), Some(&body), None).await?;
        Ok(self.keep(session))
    }

    /// The token with which a later run can [`Self::resume`]. It changes whenever the access token is renewed, and an
    /// older one is good for two minutes more.
    #[must_use]
    pub fn refresh_token(&self) -> Option<Secret> {
        self.session().as_ref().map(|signed| signed.refresh_token.clone())
    }

    /// The account of that name.
    ///
    /// # Errors
    /// `not_found`, or no answer.
    pub async fn user_by_name(&self, name: &str) -> Result<UserBody, ClientError> {
        self.get(&self.users_url(&format!("/v1/users/by-name/{}", escaped(name)))).await
    }

    /// The account of that id.
    ///
    /// # Errors
    /// `not_found`, or no answer.
    pub async fn user(&self, id: UserId) -> Result<UserBody, ClientError> {
        self.get(&self.users_url(&format!("/v1/users/{id}"))).await
    }

    /// Opens a conversation, whose id is derived. The error `exists` means that it was created before.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub async fn create(
        &self,
        id: CommandId,
        kind: &str,
        title: Option<&str>,
        members: &[UserId],
    ) -> Result<Accepted, ClientError> {
        let body =
            CreateBody { id, kind: kind.to_owned(), title: title.map(ToOwned::to_owned), members: members.to_vec() };
        self.call(Method::POST, &self.chat_url("/v1/conversations"), Some(&body)).await
    }

    /// A conversation that the user is or was in.
    ///
    /// # Errors
    /// `not_member`, `retry`, another refusal, or no answer.
    pub async fn conversation(&self, conversation: ConversationId) -> Result<ConversationBody, ClientError> {
        self.get(&self.chat_url(&format!("/v1/conversations/{conversation}"))).await
    }

    /// A page of the user's conversations.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub async fn conversations(&self, page: Option<&str>) -> Result<ConversationPage, ClientError> {
        let query = page.map(|page| format!("?page={}", escaped(page))).unwrap_or_default();
        self.get(&self.chat_url(&format!("/v1/conversations{query}"))).await
    }

    /// A page of a conversation's members, ordered by id, after the user `after`.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub async fn members(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
    ) -> Result<MemberPage, ClientError> {
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        self.get(&self.chat_url(&format!("/v1/conversations/{conversation}/members{query}"))).await
    }

    /// The outcome of a command.
    ///
    /// # Errors
    /// `retry`, `held`, another refusal, or no answer.
    pub async fn outcome(&self, conversation: ConversationId, id: CommandId) -> Result<OutcomeBody, ClientError> {
        self.get(&self.chat_url(&format!("/v1/conversations/{conversation}/outcome/{id}"))).await
    }

    /// All conversations that the user is or was in, with their heads; the pages are joined into one.
    ///
    /// # Errors
    /// A refusal, or no answer, for any of the pages.
    pub async fn sync(&self) -> Result<SyncPage, ClientError> {
        let (mut conversations, mut after): (Vec<SyncConversation>, Option<String>) = (Vec::new(), None);
        loop {
            let query = after.map(|after| format!("?after={}", escaped(&after))).unwrap_or_default();
            let url = self.chat_url(&format!("/v1/sync{query}"));
            let page: SyncPage = self.get(&url).await?;
            let moves = page.conversations.first().map(|first| first.id) > conversations.last().map(|last| last.id);
            conversations.extend(page.conversations);
            match page.next {
                None => return Ok(SyncPage { conversations, complete: page.complete, next: None }),
                // Without this check, a server whose pages repeat would be followed for ever.
                Some(_) if !moves => return Err(protocol(&url, "the pages of its sync are not by id".into())),
                next => after = next,
            }
        }
    }

    /// A token that is valid now, and if possible for a while.
    ///
    /// # Errors
    /// When it cannot be refreshed; `session_ended` means that the user has to sign in again.
    pub async fn access_token(&self) -> Result<Secret, ClientError> {
        self.access().await.map(|access| access.token)
    }

    /// As [`Self::access_token`], with the time at which to renew it. A token that is due for renewal but has not
    /// expired is still returned if no newer one can be got.
    pub(crate) async fn access(&self) -> Result<Access, ClientError> {
        match self.fresh().await {
            Err(error) if error.code().is_none_or(|code| code.status() != 401) => {
                let session = self.session();
                let still_good = session.as_ref().filter(|signed| signed.ends > Instant::now());
                still_good.map(|signed| signed.access.clone()).ok_or(error)
            }
            fresh => fresh,
        }
    }

    /// A token that is not due for renewal yet.
    ///
    /// # Errors
    /// As [`Self::access_token`], and when the user service does not answer.
    pub(crate) async fn fresh(&self) -> Result<Access, ClientError> {
        let access = self.session().as_ref().map(|signed| signed.access.clone()).ok_or(ClientError::SignedOut)?;
        if access.renew_at > Instant::now() { Ok(access) } else { self.refresh(&access.token).await }
    }

    /// Refreshes the token `used`, unless another call has done so already.
    ///
    /// # Errors
    /// As [`Self::access_token`].
    pub(crate) async fn refresh(&self, used: &Secret) -> Result<Access, ClientError> {
        let _turn = self.refreshing.acquire().await.map_err(|_| ClientError::SignedOut)?;
        let refresh_token = {
            let session = self.session();
            let signed = session.as_ref().ok_or(ClientError::SignedOut)?;
            if signed.access.token != *used {
                return Ok(signed.access.clone());
            }
            signed.refresh_token.clone()
        };
        let body = RefreshBody { refresh_token };
        let session = self.send(Method::POST, &self.users_url("/v1/sessions/refresh"), Some(&body), None).await?;
        self.keep(session);
        self.session().as_ref().map(|signed| signed.access.clone()).ok_or(ClientError::SignedOut)
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Option<Signed>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, session: SessionBody) -> UserBody {
        let SessionBody { access_token: token, expires_in, refresh_token, user, device_token: _ } = session;
        let (now, good_for) = (Instant::now(), Duration::from_secs(expires_in));
        let renew_at = now + good_for.saturating_sub(REFRESH_AHEAD).max(good_for / 2);
        *self.session() = Some(Signed { access: Access { token, renew_at }, refresh_token, ends: now + good_for });
        user
    }

    fn users_url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoints.users)
    }

    pub(crate) fn chat_url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoints.chat)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, ClientError> {
        self.call(Method::GET, url, None::<&()>).await
    }

    /// A call with a token. The token is refreshed once if the server answers that it has expired, or that its
    /// signing key is unknown.
    async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        let token = self.access_token().await?;
        match self.send(method.clone(), url, body, Some(&token)).await {
            Err(error) if matches!(error.code(), Some(ErrorCode::TokenExpired | ErrorCode::Unauthorized)) => {
                let access = self.refresh(&token).await?;
                self.send(method, url, body, Some(&access.token)).await
            }
            answer => answer,
        }
    }

    async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        body: Option<&B>,
        token: Option<&Secret>,
    ) -> Result<T, ClientError> {
        let mut request = self.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| unreachable(url, &error))?;
        let status = response.status();
        let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = response.bytes().await.map_err(|error| unreachable(url, &error))?;
        if status.is_success() {
            let odd = |error: serde_json::Error| protocol(url, format!("its answer does not parse: {error}"));
            return serde_json::from_slice(&bytes).map_err(odd);
        }
        Err(refusal(url, status, &bytes, seconds.map(Duration::from_secs)))
    }
}

fn refusal(url: &str, status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> ClientError {
    match serde_json::from_slice(body) {
        Ok(ErrorBody { code, message, request_id }) => ClientError::Refused { code, message, retry_after, request_id },
        Err(_) => protocol(url, format!("it answers {status} without a reason of ours")),
    }
}

fn protocol(url: &str, what: String) -> ClientError {
    ClientError::Protocol { url: url.to_owned(), what }
}

fn unreachable(url: &str, error: &reqwest::Error) -> ClientError {
    ClientError::Unreachable { url: base_of(url).to_owned(), source: innermost(error).into() }
}

/// The innermost cause says what happened ("connection refused"); those above it repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() }
}

/// The URL without its path.
fn base_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |at| &url[..host + at])
}

/// Percent-encodes everything but letters, digits, `-`, `_`, `.` and `~`, for use in a URL.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_base_url_serves_all_unless_told_otherwise() {
        let endpoints = Endpoints::new("http://127.0.0.1:8080/", None, Some("http://sockets:1")).unwrap();
        assert_eq!((&*endpoints.users, &*endpoints.chat), ("http://127.0.0.1:8080", "http://127.0.0.1:8080"));
        assert_eq!(socket_url(&endpoints.socket, None), "ws://sockets:1/v1/socket");
        assert_eq!(socket_url(&endpoints.socket, Some(7)), "ws://sockets:1/v1/socket?p=7");
        for bad in ["127.0.0.1:8080", "https://chat.example", "http://", "ftp://x"] {
            assert!(matches!(Endpoints::new(bad, None, None), Err(ClientError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn texts_are_escaped_in_urls() {
        assert_eq!(escaped("ann-1"), "ann-1");
        assert_eq!(escaped("a/b?c ü"), "a%2Fb%3Fc%20%C3%BC");
        assert_eq!(base_of("http://a:1/v1/x/y"), "http://a:1");
        assert_eq!(base_of("http://a:1"), "http://a:1");
    }
}
