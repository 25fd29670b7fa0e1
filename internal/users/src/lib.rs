//! The user service: accounts, sessions, and the keys that access tokens are verified with.
//!
//! Its tables are its own truth: the log does not derive them. An event that belongs to a row goes through the outbox:
//! the outbox row is written first, then the relay publishes it to `users.events` until the log has it.

mod accounts;
mod app;
mod client;
mod device;
mod earlier_tokens;
mod fields;
mod hasher;
mod metrics;
mod outbox;
mod passwords;
mod privacy;
mod queue;
mod rate_limits;
mod refresh_token;
mod relay;
mod routes;
mod session_list;
mod sessions;
mod sign_in;
mod spare_time;

use std::convert::Infallible;
use std::sync::Arc;

use auth::{EndedSessions, KeyRing};
use axum::Router;
use environment::{Clock, Entropy};
use eventlog::SharedLog;
use events::Codec;
use process::{Metrics, Readiness, Serving, TaskError, Tasks, reporter};
use store::{ENDED_BUCKET_MS, UserStore};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use passwords::PasswordCost;
pub use queue::WAITING_MAX;
pub use rate_limits::{
    ADDRESS_ATTEMPT_PER, ADDRESS_ATTEMPTS, ADDRESS_CALL_PER, ADDRESS_CALLS, ATTEMPT_PER, ATTEMPTS, CALL_PER, CALLS,
    REGISTRATION_PER, REGISTRATIONS,
};
pub use routes::route_table;
pub use session_list::SESSIONS_PER_USER_MAX;
pub use sessions::{ACCESS_TTL, REFRESH_AGAIN_WITHIN, REFRESH_TTL};

/// The limits that a client meets, beside the constants above.
pub mod limits {
    pub use crate::fields::{DISPLAY_NAME_CHARS_MAX, IDS_MAX, NAME_CHARS, PASSWORD_CHARS};
}

/// The configuration of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cost of a password hash.
    pub password_cost: PasswordCost,
    /// Password hashes computed at the same time; each takes a core and the cost's memory, or twice that where other
    /// work leaves it no time. By default half the cores: a rush of sign-ins leaves the rest of the process the other
    /// half, and gives way to it on its own.
    pub hashes_at_once: usize,
    /// The number of proxies in front that say in `X-Forwarded-For` where a request comes from.
    pub trusted_proxies: usize,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { password_cost: PasswordCost::STANDARD, hashes_at_once: (cores / 2).max(1), trusted_proxies: 0 }
    }
}

/// The dependencies of the service.
#[derive(Clone)]
pub struct Deps {
    /// Accounts, sessions and the outbox.
    pub store: Arc<dyn UserStore>,
    /// Receives the events.
    pub log: SharedLog,
    /// Encodes events.
    pub codec: Codec,
    /// The time of day.
    pub clock: Clock,
    /// Makes ids, salts and tokens.
    pub entropy: Entropy,
    /// Sign access tokens. The service rereads them as they change.
    pub keys: KeyRing,
    /// The sessions that were ended lately: the service adds those that it ends at once, and reads those that others
    /// ended.
    pub ended: EndedSessions,
    /// The metrics that `/metrics` reports.
    pub metrics: Metrics,
    /// The conditions that `/readyz` reports.
    pub readiness: Readiness,
}

/// The service could not be run, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// A task failed or ended by itself.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// Argon2id does not accept the password cost.
    #[error("the password cost is not one that argon2id takes: {0}")]
    PasswordCost(String),
}

/// Runs the service on `listener` until `shutdown` is cancelled.
///
/// # Errors
/// When it cannot begin, or a part of it fails for good.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), UsersError> {
    let serving = Serving::new(deps.entropy.clone(), deps.readiness.clone(), deps.metrics.clone());
    let mut tasks = Tasks::new(deps.readiness.clone());
    let router = start(&config, deps, &mut tasks)?;
    tasks.spawn("http server", |token| process::serve(listener, router, serving, token));
    Ok(tasks.run(shutdown).await?)
}

/// Starts the tasks of the service and returns its routes: for a process that serves more than this service.
///
/// # Errors
/// When it cannot begin.
pub fn start(config: &Config, deps: Deps, tasks: &mut Tasks) -> Result<Router, UsersError> {
    let (ended, store, clock) = (deps.ended.clone(), deps.store.clone(), deps.clock.clone());
    let condition = deps.readiness.condition("ended sessions", "they were not read yet");
    let (keys, reading) = (deps.keys.clone(), deps.readiness.condition("signing keys", "they were not read yet"));
    let (app, relay) = app::build(config, deps)?;
    tasks.spawn("signing keys", |token| async move {
        keys.follow(token, reporter("reading the signing keys", reading)).await;
        Ok::<_, Infallible>(())
    });
    tasks.spawn("ended sessions", |token| async move {
        let report = reporter("reading the sessions that were ended", condition);
        let read = |bucket| store.ended_sessions(bucket);
        token.run_until_cancelled(ended.follow(&clock, ENDED_BUCKET_MS, read, report)).await;
        Ok::<_, Infallible>(())
    });
    tasks.spawn("relay of users.events", |token| relay.run(token));
    Ok(routes::routes().router().with_state(app))
}
