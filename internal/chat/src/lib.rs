//! The chat service: conversations over HTTP.
//!
//! A command becomes one append to the log and is answered when that is durable; the service never writes to the store.
//! Reads come from the store, under one rule: users see nothing from outside their membership (see `reading`). One
//! resource per file, with its routes; `routes` merges them.

mod conversations;
mod history;
mod list;
mod marks;
mod members;
mod mentions;
mod messages;
mod outcome;
mod paging;
mod parts;
mod pins;
mod read_limits;
mod reading;
mod routes;
mod service;
mod summary;
mod sync;
mod threads;
mod versions;
mod view;
mod watch;

use std::time::Duration;

use auth::Verifier;
use axum::Router;
use environment::Clock;
use eventlog::SharedLog;
use events::Codec;
use process::{Serving, TaskError, Tasks, serve};
use store::SharedStore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use commands::{Allowance, RULES_OLDEST};
pub use domain::RULES_NEWEST;
pub use list::parse as parse_page;
pub use read_limits::{
    ADDRESS_READS_BURST, ADDRESS_READS_PER_SECOND, READ_TURN_WAIT, READS_AT_ONCE, READS_BURST, READS_PER_SECOND,
    READS_WAITING_MAX,
};
pub use routes::route_table;
pub use sync::{SyncCursor, parse as parse_sync_cursor};

/// Reads that work on rows at the same time where the store is on another machine.
pub const READS_AT_WORK: usize = 64;

/// The limits that a client meets, beside those in [`Config`].
pub mod limits {
    pub use commands::{COMMANDS_BURST, COMMANDS_PER_SECOND, MARK_WINDOW, NAMES_PER_COMMAND};
    pub use commands::{INVITATIONS_BY_ONE_MAX, INVITATIONS_MAX, LEAVINGS_MAX};
    pub use commands::{WRITTEN_BYTES_AT_ONCE, WRITTEN_BYTES_BURST, WRITTEN_BYTES_PER_HOUR, WRITTEN_BYTES_PER_SECOND};

    pub use crate::list::CONVERSATIONS_MAX;
    pub use crate::mentions::MENTIONS_COUNTED_MAX;
    pub use crate::paging::{PAGE_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX};
    pub use crate::summary::DELETED_COUNTED_MAX;
    pub use crate::sync::PAGE_MAX as SYNC_PAGE_MAX;
}

/// The configuration of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a read waits for storage to catch up, before it is answered `retry`.
    pub read_wait: Duration,
    /// The rate of commands that a user may send; shared with the user's sockets where a process serves both.
    pub allowance: Allowance,
    /// Reads that a user may make at once, after a pause, of this process, over all devices: [`READS_BURST`].
    pub read_burst: u32,
    /// Reads that a user may make per second in the long run: [`READS_PER_SECOND`]. Beyond: `rate_limited`.
    pub read_rate: u32,
    /// Reads, of all users, that work on rows at the same time. Where the store is on another machine, they mostly wait
    /// for it; where it is in this process, each takes a core, so there must be fewer of them than cores.
    pub reads_at_work: usize,
    /// The number of proxies in front that say in `X-Forwarded-For` where a request comes from.
    pub trusted_proxies: usize,
    /// The version of the rules that commands are made under: [`RULES_NEWEST`], or another one to act as another
    /// program in a test.
    pub rules: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            read_wait: Duration::from_secs(2),
            allowance: Allowance::default(),
            read_burst: READS_BURST,
            read_rate: READS_PER_SECOND,
            reads_at_work: READS_AT_WORK,
            trusted_proxies: 0,
            rules: RULES_NEWEST,
        }
    }
}

/// The dependencies of the service.
#[derive(Clone)]
pub struct Deps {
    /// Receives the commands.
    pub log: SharedLog,
    /// Answers the reads.
    pub store: SharedStore,
    /// Encodes events.
    pub codec: Codec,
    /// The time of day.
    pub clock: Clock,
    /// Verifies access tokens. The caller keeps its keys fresh.
    pub verifier: Verifier,
    /// Randomness, readiness and metrics.
    pub serving: Serving,
}

/// Runs the service on `listener` until `shutdown` is cancelled.
///
/// # Errors
/// When a part of it fails for good, or the store's handle is left behind by a switch: the process must start again.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), TaskError> {
    let serving = deps.serving.clone();
    let mut tasks = Tasks::new(serving.readiness.clone());
    let router = start(&config, &deps, &mut tasks);
    tasks.spawn("http server", |token| serve(listener, router, serving, token));
    tasks.run(shutdown).await
}

/// Starts the tasks of the service and returns its routes: for a process that serves more than this service.
pub fn start(config: &Config, deps: &Deps, tasks: &mut Tasks) -> Router {
    watch::start(deps, tasks);
    let (service, marks) = service::Chat::new(config, deps);
    tasks.spawn("read marks", |token| async move {
        marks.run(token).await;
        Ok::<(), TaskError>(())
    });
    routes::routes().router().with_state(service)
}
