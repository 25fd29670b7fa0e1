//! Sessions: kept up by refresh tokens that are replaced as they are used, ended by their user.
//!
//! Ending a session stops its refreshing at once, and within a second everywhere its access tokens and its sockets.

use std::time::Duration;

use api::{ApiError, Caller, Json, Routes};
use auth::{Jwks, SessionId};
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderName, StatusCode, header};
use domain::UserId;
use events::AccountEvent;
use process::TraceParent;
use protocol::{Credentials, ErrorCode, RefreshBody, SessionBody};
use secret::Secret;
use store::{Account, ENDED_BUCKET_MS, Session, TokenFamily};

use crate::app::{App, store_failed, user_body};
use crate::client::{Client, LimitedAddress};
use crate::metrics::Outcome;
use crate::refresh_token::{RefreshToken, no_token};

/// How long an access token is valid.
pub const ACCESS_TTL: Duration = Duration::from_secs(15 * 60);
/// How long a session lives without being refreshed.
pub const REFRESH_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a token that was used is answered with its successor again, for clients that lost the first answer and for
/// browser tabs that were a moment late. A new token is not replaced during this time either, so no client is more than
/// one token behind. Any longer, and a thief who uses the session beside its user would go unnoticed.
pub const REFRESH_AGAIN_WITHIN: Duration = Duration::from_secs(120);

/// Attempts to rotate a session's secret in the store, which may answer late.
const ROTATE_ATTEMPTS: u32 = 3;
// Keys stay published for as long as their tokens are valid.
const _: () = assert!(ACCESS_TTL.as_secs() + auth::LEEWAY.as_secs() < auth::VERIFIED_AFTER.as_secs());

/// How long others may keep the published keys. With the time in which a process reads its ring and others fetch the keys,
/// shorter than [`auth::KNOWN_BEFORE_USE`].
const JWKS_CACHE: &str = "public, max-age=60";

pub(crate) fn routes() -> Routes<App> {
    Routes::new()
        .post("/v1/sessions", sign_in)
        .post("/v1/sessions/refresh", refresh)
        .delete("/v1/sessions/current", sign_out)
        .get("/.well-known/jwks.json", jwks)
}

async fn sign_in(
    State(app): State<App>,
    Extension(trace): Extension<TraceParent>,
    client: Client,
    Json(credentials): Json<Credentials>,
) -> Result<Json<SessionBody>, ApiError> {
    app.sign_in(credentials, client.network, trace).await.map(Json)
}

async fn refresh(
    State(app): State<App>,
    Extension(trace): Extension<TraceParent>,
    _: LimitedAddress,
    Json(body): Json<RefreshBody>,
) -> Result<Json<SessionBody>, ApiError> {
    let token = RefreshToken::parse(&body.refresh_token)?;
    app.refresh_session(&token, trace).await.map(Json)
}

/// The session is named by its refresh token in the body or, without a body, by the access token.
async fn sign_out(
    State(app): State<App>,
    Extension(trace): Extension<TraceParent>,
    _: LimitedAddress,
    caller: Result<Caller, ApiError>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    if body.is_empty() {
        let words = "this access token belongs to no session: send the refresh token";
        // A client that signs out twice, because the first answer was lost, has what it wanted.
        if matches!(&caller, Err(error) if error.code == ErrorCode::SessionEnded) {
            return Ok(StatusCode::NO_CONTENT);
        }
        let session = caller?.session.ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, words))?;
        app.end_session(&session, trace).await?;
    } else {
        let body: RefreshBody = serde_json::from_slice(&body)
            .map_err(|error| ApiError::new(ErrorCode::BadRequest, format!("the body is malformed: {error}")))?;
        app.end_session_of(&RefreshToken::parse(&body.refresh_token)?, trace).await?;
    }
    app.metrics.sign_outs.inc();
    Ok(StatusCode::NO_CONTENT)
}

async fn jwks(State(app): State<App>) -> ([(HeaderName, &'static str); 1], Json<Jwks>) {
    ([(header::CACHE_CONTROL, JWKS_CACHE)], Json(app.keys.jwks()))
}

impl App {
    async fn refresh_session(&self, token: &RefreshToken, trace: TraceParent) -> Result<SessionBody, ApiError> {
        let ended = |words: &str, outcome: Outcome| {
            self.metrics.refreshes.get_or_create(&outcome.into()).inc();
            ApiError::new(ErrorCode::SessionEnded, words)
        };
        let session = self.store.session(&token.session).await.map_err(store_failed)?;
        let live = session.filter(|session| session.expires_ms > self.clock.now_ms());
        let Some(session) = live else { return Err(ended("the session has ended: sign in again", Outcome::Refused)) };
        let account = self.store.account(session.user).await.map_err(store_failed)?;
        let Some(account) = account else { return Err(ended("the account is gone", Outcome::Refused)) };
        let young = self.began_within(&session, REFRESH_AGAIN_WITHIN);
        let current = token.is_current(&session);
        let next = match (current, young) {
            (true, true) => Some(token.clone()),
            (true, false) => self.rotate(token, &session).await?,
            (false, true) => token.successor(&session, &self.keys),
            (false, false) => None,
        };
        let Some(next) = next else {
            if !token.is_genuine(&session, &self.keys) {
                self.metrics.refreshes.get_or_create(&Outcome::Refused.into()).inc();
                return Err(no_token());
            }
            // The session's tokens are in two hands, one of them a thief's: which one cannot be told.
            self.end_session(&token.session, trace).await?;
            let words = "this refresh token was used before, so the session was ended: sign in again";
            return Err(ended(words, Outcome::Reused));
        };
        if !young && !self.list_again(&session).await? {
            self.end(session.user, &session.id, trace).await?;
            return Err(ended("the session has ended: sign in again", Outcome::Refused));
        }
        self.metrics.refreshes.get_or_create(&Outcome::Done.into()).inc();
        self.session_body(account, &next)
    }

    /// Whether the session's current token was given out less than `bound` ago.
    fn began_within(&self, session: &Session, bound: Duration) -> bool {
        let left = session.expires_ms.saturating_sub(self.clock.now_ms());
        i64::try_from((REFRESH_TTL - bound).as_millis()).is_ok_and(|least| left >= least)
    }

    /// Replaces the session's token and returns the token that has replaced it: not ours when this token was sent twice
    /// at the same time. `None` when that one has been replaced as well.
    async fn rotate(&self, token: &RefreshToken, session: &Session) -> Result<Option<RefreshToken>, ApiError> {
        let next = token.next(session, &self.entropy);
        let family = TokenFamily { replaced: Some(token.replaced_by(&next)), ..next.family() };
        let row = Session { family: Some(family), ..self.session(session.user, &next) };
        for attempt in 1.. {
            match self.store.rotate_session(&token.secret_hash(), &row).await {
                Err(error) if error.is_transient() && attempt < ROTATE_ATTEMPTS => {}
                Err(error) => return Err(store_failed(error)),
                // An attempt that was not answered may have done it, or the same request, sent twice.
                Ok(false) => {
                    let stored = self.store.session(&row.id).await.map_err(store_failed)?;
                    return Ok(stored.and_then(|stored| token.successor(&stored, &self.keys)));
                }
                Ok(true) => return Ok(Some(next)),
            }
        }
        Ok(None)
    }

    /// Ends the session that ever gave this token out. A token that was made up ends none.
    async fn end_session_of(&self, token: &RefreshToken, trace: TraceParent) -> Result<(), ApiError> {
        let Some(session) = self.store.session(&token.session).await.map_err(store_failed)? else { return Ok(()) };
        if !token.is_genuine(&session, &self.keys) {
            return Err(no_token());
        }
        self.end(session.user, &session.id, trace).await
    }

    /// Ends the session; a missing one has ended already.
    pub(crate) async fn end_session(&self, id: &SessionId, trace: TraceParent) -> Result<(), ApiError> {
        let Some(session) = self.store.session(id).await.map_err(store_failed)? else { return Ok(()) };
        self.end(session.user, id, trace).await
    }

    /// Ends a session of that user.
    pub(crate) async fn end(&self, user: UserId, id: &SessionId, trace: TraceParent) -> Result<(), ApiError> {
        if let Some(account) = self.store.account(user).await.map_err(store_failed)? {
            // The event first, as at the beginning: a client that gets no answer asks again.
            self.outbox.add(&account, &AccountEvent::SessionEnded, trace).await.map_err(store_failed)?;
        }
        let now_ms = self.clock.now_ms();
        self.store.end_session(user, id, now_ms).await.map_err(store_failed)?;
        // Other services read it from the store; in this process it counts from now on.
        self.ended.end(*id, now_ms.div_euclid(ENDED_BUCKET_MS));
        Ok(())
    }

    /// The row of a session whose current token is this one.
    pub(crate) fn session(&self, user: UserId, token: &RefreshToken) -> Session {
        let ttl_ms = i64::try_from(REFRESH_TTL.as_millis()).unwrap_or(i64::MAX);
        Session {
            id: token.session,
            user,
            secret_hash: token.secret_hash(),
            expires_ms: self.clock.now_ms().saturating_add(ttl_ms),
            family: Some(token.family()),
        }
    }

    pub(crate) fn session_body(&self, account: Account, token: &RefreshToken) -> Result<SessionBody, ApiError> {
        let signed = self.keys.sign(account.id, Some(token.session), ACCESS_TTL);
        Ok(SessionBody {
            access_token: Secret::new(signed.map_err(ApiError::internal)?),
            expires_in: ACCESS_TTL.as_secs(),
            refresh_token: token.to_text(),
            device_token: None,
            user: user_body(account),
        })
    }
}
