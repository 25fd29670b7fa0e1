//! Accounts: created once, with a unique name; every user who is signed in can look them up.

use std::net::IpAddr;

use api::{ApiError, Json, Path, Query, Routes};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use domain::UserId;
use events::AccountEvent;
use process::TraceParent;
use protocol::{ErrorCode, Registration, UserBody, UserList};
use serde::Deserialize;
use store::{Account, AccountCreated, OutboxRow};

use crate::app::{App, store_failed, user_body};
use crate::client::{Client, LimitedCaller};
use crate::fields;
use crate::rate_limits::Attempt;

/// Attempts to create an account in the store, which may answer late. Each attempt creates the same account.
const CREATE_ATTEMPTS: u32 = 3;

pub(crate) fn routes() -> Routes<App> {
    Routes::new()
        .get("/v1/users", by_ids)
        .post("/v1/users", register)
        .get("/v1/users/{id}", by_id)
        .get("/v1/users/by-name/{name}", by_name)
        .get("/v1/me", me)
}

async fn register(
    State(app): State<App>,
    Extension(trace): Extension<TraceParent>,
    client: Client,
    Json(wish): Json<Registration>,
) -> Result<(StatusCode, Json<UserBody>), ApiError> {
    let account = app.register(wish, client.network, trace).await?;
    Ok((StatusCode::CREATED, Json(user_body(account))))
}

async fn by_id(State(app): State<App>, _: LimitedCaller, Path(id): Path<UserId>) -> Result<Json<UserBody>, ApiError> {
    let account = app.store.account(id).await.map_err(store_failed)?;
    account.map(user_body).map(Json).ok_or_else(no_such_user)
}

#[derive(Deserialize)]
struct IdsQuery {
    ids: String,
}

async fn by_ids(
    State(app): State<App>,
    _: LimitedCaller,
    Query(query): Query<IdsQuery>,
) -> Result<Json<UserList>, ApiError> {
    let ids = fields::ids(&query.ids)?;
    let accounts = app.store.accounts(&ids).await.map_err(store_failed)?;
    Ok(Json(UserList { users: accounts.into_iter().flatten().map(user_body).collect() }))
}

async fn by_name(
    State(app): State<App>,
    _: LimitedCaller,
    Path(name): Path<String>,
) -> Result<Json<UserBody>, ApiError> {
    let name = fields::name(&name)?;
    let account = app.store.account_by_name(&name).await.map_err(store_failed)?;
    account.map(user_body).map(Json).ok_or_else(no_such_user)
}

async fn me(State(app): State<App>, LimitedCaller(caller): LimitedCaller) -> Result<Json<UserBody>, ApiError> {
    let account = app.store.account(caller.user).await.map_err(store_failed)?;
    account.map(user_body).map(Json).ok_or_else(no_such_user)
}

fn no_such_user() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such user")
}

impl App {
    async fn register(&self, wish: Registration, network: IpAddr, trace: TraceParent) -> Result<Account, ApiError> {
        let name = fields::name(&wish.name)?;
        let display_name = fields::display_name(wish.display_name.as_deref().unwrap_or(&wish.name))?;
        let password = fields::new_password(wish.password)?;
        // Asked first because the hash is expensive; the creation below is what decides.
        if self.store.account_by_name(&name).await.map_err(store_failed)?.is_some() {
            return Err(name_taken(&name));
        }
        let limited = |wait| {
            let words = "too many accounts were made from your address: wait a little";
            ApiError::new(ErrorCode::RateLimited, words).after(wait)
        };
        let attempt = Attempt { name: name.clone(), network, device: None };
        let turn = self.passwords.turn(self.rate_limits.of(&attempt), &name).await?;
        // Charged only now: a request that was answered `busy` has registered nobody.
        self.rate_limits.take_registration(network).map_err(limited)?;
        let account = Account {
            id: UserId::try_from(self.entropy.uuid_v7(&self.clock)).map_err(ApiError::internal)?,
            password_hash: self.passwords.hash(turn, password).await?,
            created_ms: self.clock.now_ms(),
            name: name.clone(),
            display_name: display_name.clone(),
        };
        let event = self.outbox.row(&account, &AccountEvent::Registered { name, display_name }, trace);
        match self.create(&account, &event).await? {
            AccountCreated::NameTaken => Err(name_taken(&account.name)),
            AccountCreated::Created => {
                self.outbox.wake();
                self.metrics.registered.inc();
                self.rate_limits.make_familiar(&attempt);
                tracing::info!(user_id = %account.id, "registered");
                Ok(account)
            }
        }
    }

    /// Creates the account. A creation that was not answered is repeated: with the same id, the name can only be its
    /// own.
    async fn create(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, ApiError> {
        let mut attempt = 1;
        loop {
            match self.store.create_account(account, event).await {
                Err(error) if error.is_transient() && attempt < CREATE_ATTEMPTS => {
                    tracing::debug!(attempt, %error, "creation not answered");
                    attempt += 1;
                }
                Err(error) if error.is_transient() => {
                    let words = "the account may or may not be there: try to sign in, then to register again";
                    return Err(ApiError::caused(ErrorCode::Unknown, words, error));
                }
                Err(error) => return Err(store_failed(error)),
                Ok(created) => return Ok(created),
            }
        }
    }
}

fn name_taken(name: &str) -> ApiError {
    ApiError::new(ErrorCode::NameTaken, format!("the name '{name}' is another account's: choose another"))
}
