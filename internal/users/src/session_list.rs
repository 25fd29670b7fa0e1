//! The list of a user's sessions: read it, end one, end all others, and change the password.

use api::{ApiError, Json, Path, Routes};
use auth::SessionId;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::UserId;
use process::TraceParent;
use protocol::{ErrorCode, ListedSessionBody, PasswordBody, SessionList};
use store::{Account, ListedSession, Session};

use crate::app::{App, store_failed};
use crate::client::{Client, LimitedCaller};
use crate::fields::{self, Password};
use crate::passwords::Verdict;
use crate::rate_limits::Attempt;

/// Sessions of one user. Beyond that, a new one ends the one that was used longest ago.
pub const SESSIONS_PER_USER_MAX: usize = 100;

pub(crate) fn routes() -> Routes<App> {
    Routes::new()
        .get("/v1/sessions", list)
        .delete("/v1/sessions/others", end_others)
        .delete("/v1/sessions/{session}", end_one)
        .put("/v1/me/password", change_password)
}

async fn list(State(app): State<App>, LimitedCaller(caller): LimitedCaller) -> Result<Json<SessionList>, ApiError> {
    let mut sessions = Vec::new();
    for ListedSession { id, label, begun_ms, used_ms } in app.standing(caller.user).await? {
        let current = caller.session == Some(id);
        let id = URL_SAFE_NO_PAD.encode(id);
        sessions.push(ListedSessionBody { id, label, begun: begun_ms, used: used_ms, current });
    }
    sessions.sort_by_key(|session| std::cmp::Reverse((session.used, session.begun)));
    Ok(Json(SessionList { sessions }))
}

async fn end_one(
    State(app): State<App>,
    Extension(trace): Extension<TraceParent>,
    LimitedCaller(caller): LimitedCaller,
    Path(session): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = URL_SAFE_NO_PAD.decode(&session).ok().and_then(|id| SessionId::try_from(id).ok());
    let id =
        id.ok_or_else(|| ApiError::new(ErrorCode::BadRequest, "a session's id is as the list of sessions gives it"))?;
    let session = app.store.session(&id).await.map_err(store_failed)?;
    if session.is_none_or(|session| session.user != caller.user) {
        return Err(ApiError::new(ErrorCode::NotFound, "you have no such session: it may have ended"));
    }
    app.end(caller.user, &id, trace).await?;
    app.metrics.sign_outs.inc();
    Ok(StatusCode::NO_CONTENT)
}

async fn end_others(
    State(app): State<App>,
    Extension(trace): Extension<TraceParent>,
    LimitedCaller(caller): LimitedCaller,
) -> Result<StatusCode, ApiError> {
    app.end_all_but(caller.user, caller.session, trace).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change_password(
    State(app): State<App>,
    Extension(trace): Extension<TraceParent>,
    LimitedCaller(caller): LimitedCaller,
    client: Client,
    Json(body): Json<PasswordBody>,
) -> Result<StatusCode, ApiError> {
    let account = app.store.account(caller.user).await.map_err(store_failed)?;
    let account = account.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is no such user"))?;
    let password = fields::new_password(body.new_password)?;
    // Counted by session: a neighbour who tries passwords for this name must not keep its owner from changing it.
    let attempt = Attempt { name: account.name.clone(), network: client.network, device: caller.session };
    // Having the token is not knowing the password: the device may have been left open.
    match app.authenticate(&attempt, body.current_password.into()).await {
        Ok(account) => app.set_password(&account, &attempt, password).await?,
        // The same request again, of which only the first half was done: its sessions are still to be ended.
        Err(error) if error.code == ErrorCode::WrongCredentials => {
            if !app.has_password(&account, &attempt, password).await? {
                return Err(error);
            }
        }
        Err(error) => return Err(error),
    }
    app.end_all_but(caller.user, caller.session, trace).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl App {
    async fn set_password(&self, account: &Account, attempt: &Attempt, password: Password) -> Result<(), ApiError> {
        let turn = self.passwords.turn(self.rate_limits.of(attempt), &attempt.name).await?;
        let hash = self.passwords.hash(turn, password).await?;
        if self.store.set_password(account.id, &account.password_hash, &hash).await.map_err(store_failed)? {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::Retry, "the password was changed meanwhile: try again"))
    }

    async fn has_password(&self, account: &Account, attempt: &Attempt, password: Password) -> Result<bool, ApiError> {
        let turn = self.passwords.turn(self.rate_limits.of(attempt), &attempt.name).await?;
        Ok(self.passwords.verify(turn, password, Some(&account.password_hash)).await? != Verdict::Wrong)
    }

    /// Ends every session of the user but that one. The cut-off time is for sessions that began before there was a
    /// list.
    async fn end_all_but(&self, user: UserId, kept: Option<SessionId>, trace: TraceParent) -> Result<(), ApiError> {
        let listed = self.store.sessions_of(user).await.map_err(store_failed)?;
        if let Some(id) = kept.filter(|kept| listed.iter().all(|row| row.id != *kept)) {
            self.list(user, id, String::new()).await?;
        }
        self.store.cut_sessions(user, self.clock.now_ms()).await.map_err(store_failed)?;
        // Behind the cut: one that is listed at this moment finds the cut, or is found here.
        let rows = self.store.sessions_of(user).await.map_err(store_failed)?;
        for row in rows.iter().filter(|row| Some(row.id) != kept) {
            self.end(user, &row.id, trace).await?;
            self.metrics.sign_outs.inc();
        }
        Ok(())
    }

    /// The user's list, without the sessions that have ended.
    async fn standing(&self, user: UserId) -> Result<Vec<ListedSession>, ApiError> {
        let mut rows = self.store.sessions_of(user).await.map_err(store_failed)?;
        let mut standing = Vec::new();
        for row in rows.drain(..) {
            let session = self.store.session(&row.id).await.map_err(store_failed)?;
            if session.is_some_and(|session| session.user == user && session.expires_ms > self.clock.now_ms()) {
                standing.push(row);
            }
        }
        Ok(standing)
    }

    /// Adds a session that is about to begin to the list, making room for it.
    pub(crate) async fn list_new(
        &self,
        user: UserId,
        id: SessionId,
        label: String,
        trace: TraceParent,
    ) -> Result<(), ApiError> {
        let mut rows = self.store.sessions_of(user).await.map_err(store_failed)?;
        rows.sort_by_key(|row| row.used_ms);
        let surplus = (rows.len() + 1).saturating_sub(SESSIONS_PER_USER_MAX);
        for row in &rows[..surplus] {
            self.end(user, &row.id, trace).await?;
        }
        self.list(user, id, label).await
    }

    async fn list(&self, user: UserId, id: SessionId, label: String) -> Result<(), ApiError> {
        let now_ms = self.clock.now_ms();
        let row = ListedSession { id, label, begun_ms: now_ms, used_ms: now_ms };
        self.store.list_session(user, &row).await.map_err(store_failed)
    }

    /// Notes in the list that the session was used. False when the session began before there was a list and was ended
    /// with all of those.
    pub(crate) async fn list_again(&self, session: &Session) -> Result<bool, ApiError> {
        let rows = self.store.sessions_of(session.user).await.map_err(store_failed)?;
        if let Some(row) = rows.into_iter().find(|row| row.id == session.id) {
            let row = ListedSession { used_ms: self.clock.now_ms(), ..row };
            self.store.list_session(session.user, &row).await.map_err(store_failed)?;
            return Ok(true);
        }
        // Listed first: a request that ends all sessions at this moment finds it in the list, or this one finds the
        // cut-off.
        self.list(session.user, session.id, String::new()).await?;
        Ok(self.store.sessions_cut(session.user).await.map_err(store_failed)?.is_none())
    }
}
