//! The store on ScyllaDB or Apache Cassandra 5: the engine for production.
//!
//! Rows derived from the log are in a keyspace per incarnation and are written with the event's seq as their
//! timestamp, so replays and late writers change nothing. All requests go through `cql`: prepared, token-aware,
//! with a timeout and a bound on requests in flight. Tables are created by [`migrate`] and when an incarnation is
//! built beside the current one, never by a service. The CQL is in `schemas/cql`.

mod admin;
mod applied;
mod both_ways;
mod chat;
mod config;
mod cql;
mod error;
mod history;
mod holds;
mod incarnation;
mod incarnations;
mod lease;
mod migrate;
mod migrations;
mod rows;
mod scan;
mod session;
mod sessions;
mod users;
mod write;

use std::sync::Arc;

use store::{SharedStore, StoreError};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use config::{BadCredentials, BadKeyspace, Credentials, Keyspace, Pool, ScyllaConfig};
pub use migrate::{Report, migrate};
pub use store::observer::{Observer, Op, Outcome};

use cql::{Cql, Tie};
use scylla::client::session::Session;

/// A store on a CQL server, pinned to the incarnation that was current when it was opened.
pub struct ScyllaStore {
    cql: Arc<Cql>,
    /// The settings with which [`store::StoreAdmin::new_incarnation`] creates tables.
    config: ScyllaConfig,
    writes: write::RowWriter,
    reads: chat::ChatReads,
    history: history::HistoryReads,
    holds: holds::HoldTables,
    users: users::UserTables,
    scans: scan::Scans,
    applied: Arc<applied::Progress>,
    /// The poller's task.
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Ends the poller when the handle is dropped without `close`.
    _ends_with_handle: DropGuard,
}

impl ScyllaStore {
    /// Connects, finds the current incarnation and prepares every statement.
    ///
    /// # Errors
    /// [`StoreError::Transient`] when no server answers, [`StoreError::NotMigrated`] when migrations are missing,
    /// [`StoreError::Misconfigured`] when the cluster has no such datacenter, or has several and none is
    /// configured.
    pub async fn connect(config: ScyllaConfig) -> Result<SharedStore, StoreError> {
        Ok(Arc::new(Self::open(config).await?))
    }

    /// As [`Self::connect`], but not shared.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn open(config: ScyllaConfig) -> Result<Self, StoreError> {
        let session = Arc::new(session::connect(&config).await?);
        let pinned = migrate::check(&session, &config.keyspace).await?;
        let tie = Tie { pinned, beside: false, closing: CancellationToken::new() };
        Self::over(session, config, tie).await
    }

    /// A handle on a session that other handles may share.
    async fn over(session: Arc<Session>, config: ScyllaConfig, tie: Tie) -> Result<Self, StoreError> {
        let closing = tie.closing.clone();
        let cql = Arc::new(Cql::new(session, &config, tie).await?);
        let applied = Arc::new(applied::Progress::prepare(Arc::clone(&cql)).await?);
        let tasks = TaskTracker::new();
        tasks.spawn(applied::poll(Arc::clone(&applied), closing.clone()));
        tasks.close();
        let (writes, reads, history, holds, users) = tokio::try_join!(
            write::RowWriter::prepare(&cql),
            chat::ChatReads::prepare(&cql),
            history::HistoryReads::prepare(&cql),
            holds::HoldTables::prepare(&cql),
            users::UserTables::prepare(&cql),
        )?;
        let ends_with_handle = closing.clone().drop_guard();
        Ok(Self {
            cql,
            config,
            writes,
            reads,
            history,
            holds,
            users,
            scans: scan::Scans::new(),
            applied,
            tasks,
            closing,
            _ends_with_handle: ends_with_handle,
        })
    }
}
