//! The HTTP API as one device uses it, with an access token that is refreshed before it expires.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::UserId;
use protocol::{ErrorBody, ErrorCode, SessionBody};
use reqwest::{Method, StatusCode};
use secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::network::{Network, Request, Stream, Tcp};

/// How long registration and sign-in are retried: services may still be starting.
const SIGN_IN_WITHIN: Duration = Duration::from_secs(300);
/// Pause between two such attempts.
const SIGN_IN_EVERY: Duration = Duration::from_millis(200);
/// The password of every test account.
const PASSWORD: &str = "correct horse battery";

/// The URLs of the services.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// URL of the user service.
    pub users: String,
    /// URLs of the chat services; each can answer every call.
    pub chat: Vec<String>,
    /// URLs of the websocket services; each can serve every device.
    pub sockets: Vec<String>,
}

/// A user who can sign in.
#[derive(Debug, Clone)]
pub struct Account {
    /// The unique name.
    pub name: String,
    /// The user's id.
    pub user: UserId,
}

/// Why a call returned no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failed {
    /// The service refused.
    #[error("{0:?}: {1}")]
    Refused(ErrorCode, String),
    /// There was no answer, or none that could be read: the call may have taken effect or not.
    #[error("no answer: {0}")]
    Unanswered(String),
}

/// The API for one device.
#[derive(Debug)]
pub struct Http {
    network: Arc<dyn Network>,
    endpoints: Endpoints,
    account: Account,
    session: Mutex<Option<Signed>>,
    /// Number of calls so far: they go to the chat services in turn.
    calls: AtomicUsize,
}

/// An access token and the time of its renewal.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) token: Secret,
    /// The time from which [`Http::access`] returns a newer token.
    pub(crate) until: Instant,
}

#[derive(Debug)]
struct Signed {
    session: SessionBody,
    /// The time from which the session is refreshed.
    until: Instant,
}

impl Account {
    /// Registers the name, or finds that an attempt whose answer was lost has registered it.
    ///
    /// # Errors
    /// When that does not succeed in time.
    pub async fn register(endpoints: &Endpoints, name: &str) -> Result<Self, Failed> {
        let deadline = Instant::now() + SIGN_IN_WITHIN;
        let nobody = UserId::try_from(uuid::Uuid::nil()).expect("any UUID is a user id");
        let http = Http::new(endpoints.clone(), Self { name: name.to_owned(), user: nobody })?;
        let wish = json!({ "name": name, "password": PASSWORD });
        loop {
            match http.users::<Value>("/v1/users", &wish).await {
                Ok(_) | Err(Failed::Refused(ErrorCode::NameTaken, _)) => break,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(SIGN_IN_EVERY).await,
            }
        }
        let signed = http.sign_in(deadline).await?;
        Ok(Self { name: name.to_owned(), user: signed.session.user.id })
    }
}

impl Http {
    /// The API for a device of `account`, over TCP.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(endpoints: Endpoints, account: Account) -> Result<Self, Failed> {
        Ok(Self::over(Arc::new(Tcp::new()?), endpoints, account))
    }

    /// As [`Self::new`], over another network.
    #[must_use]
    pub fn over(network: Arc<dyn Network>, endpoints: Endpoints, account: Account) -> Self {
        Self { network, endpoints, account, session: Mutex::new(None), calls: AtomicUsize::new(0) }
    }

    /// Opens a connection to a service.
    pub(super) async fn connect(&self, base: &str) -> std::io::Result<Box<dyn Stream>> {
        self.network.connect(base).await
    }

    /// Where the services are.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// A valid access token, refreshed if need be.
    ///
    /// # Errors
    /// When the user service issues none in time.
    pub async fn token(&self) -> Result<Secret, Failed> {
        self.access().await.map(|access| access.token)
    }

    /// A valid access token, and when it is to be replaced.
    pub(crate) async fn access(&self) -> Result<Access, Failed> {
        let mut session = self.session.lock().await;
        if session.as_ref().is_none_or(|signed| signed.until <= Instant::now()) {
            *session = Some(self.renew(session.take()).await?);
        }
        let signed = session.as_ref().ok_or_else(|| Failed::Unanswered("not signed in".into()))?;
        Ok(Access { token: signed.session.access_token.clone(), until: signed.until })
    }

    /// Expires the access token: the next call refreshes it.
    pub async fn distrust(&self) {
        if let Some(signed) = self.session.lock().await.as_mut() {
            signed.until = Instant::now();
        }
    }

    /// Asks the chat service.
    ///
    /// # Errors
    /// When it refuses, or does not answer.
    pub async fn chat<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Failed> {
        // The chat services take turns.
        let base = &self.endpoints.chat[self.calls.fetch_add(1, Ordering::Relaxed) % self.endpoints.chat.len()];
        let token = self.token().await?;
        let answer = self.ask(method, base, path, Some(token), body).await;
        if let Err(Failed::Refused(ErrorCode::Unauthorized | ErrorCode::TokenExpired, _)) = &answer {
            self.distrust().await;
        }
        answer
    }

    /// Reads from the chat service.
    ///
    /// # Errors
    /// When it refuses, or does not answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.chat(Method::GET, path, None::<&()>).await
    }

    async fn renew(&self, signed: Option<Signed>) -> Result<Signed, Failed> {
        if let Some(signed) = signed {
            let body = json!({ "refresh_token": signed.session.refresh_token });
            if let Ok(session) = self.users("/v1/sessions/refresh", &body).await {
                return Ok(Signed::new(session));
            }
            // The answer to a refresh may have been lost, and its refresh token with it: each is good once.
        }
        self.sign_in(Instant::now() + SIGN_IN_WITHIN).await
    }

    async fn sign_in(&self, deadline: Instant) -> Result<Signed, Failed> {
        let body = json!({ "name": self.account.name, "password": PASSWORD });
        loop {
            match self.users("/v1/sessions", &body).await {
                Ok(session) => return Ok(Signed::new(session)),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(SIGN_IN_EVERY).await,
            }
        }
    }

    async fn users<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failed> {
        self.ask(Method::POST, &self.endpoints.users, path, None, Some(body)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        base: &str,
        path: &str,
        token: Option<Secret>,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Failed> {
        let body = body.map(|body| serde_json::to_vec(body).expect("bodies are plain data"));
        let request = Request { method, base: base.to_owned(), path: path.to_owned(), token, body };
        let (status, bytes) = self.network.ask(request).await.map_err(Failed::Unanswered)?;
        let status = StatusCode::from_u16(status).map_err(|error| Failed::Unanswered(error.to_string()))?;
        if status.is_success() {
            let bytes = if bytes.is_empty() || status == StatusCode::NO_CONTENT { &b"null"[..] } else { &bytes[..] };
            return serde_json::from_slice(bytes).map_err(|error| Failed::Unanswered(format!("{path}: {error}")));
        }
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => Err(Failed::Refused(body.code, body.message)),
            Err(_) => Err(Failed::Unanswered(format!("{path}: {status}: {}", String::from_utf8_lossy(&bytes)))),
        }
    }
}

impl Signed {
    fn new(session: SessionBody) -> Self {
        let until = Instant::now() + Duration::from_secs(session.expires_in / 2);
        Self { session, until }
    }
}
