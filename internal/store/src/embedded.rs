//! The embedded engine: the store of one process on one machine, on disk or in memory.
//!
//! Every cell has a timestamp, and rows merge as in CQL, so what holds on a cluster holds here: a replay or an old
//! writer never overwrites a newer value. A write reads, merges and writes, so one task does all of them: it
//! drains a bounded queue, merges a batch in memory and commits it at once. Readers read the tables directly.
//! Derived tables have their incarnation in their name, and a handle is pinned to one. Rows of an incarnation that
//! is no longer current can be read, but only be written through a handle that was opened beside the current one.

mod admin;
mod change;
mod chat;
mod codec;
mod derived;
mod history;
mod holds;
mod incarnations;
mod progress;
mod row;
mod sessions;
mod users;
mod writer;

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use environment::Clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::StoreError;
use crate::observer::{Observer, Op, Outcome};
use change::{Changes, RankedTable};
use derived::Derived;
use progress::Progress;
use writer::{Job, Writer};

/// Changes in the writer's queue; at the bound, callers wait.
const JOBS_MAX: usize = 256;

/// The row of the meta table that names the current incarnation.
const INCARNATION_KEY: &[u8] = b"incarnation";

/// A handle to the embedded store, pinned to the incarnation that was current when it was opened.
/// [`EmbeddedStore::attach`] makes further handles.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// The tables of the pinned incarnation.
    pinned: Arc<Derived>,
    /// `None` once this handle is closed. The writer ends when all handles are closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// Wakes the waits on this handle when it is closed.
    closed: CancellationToken,
}

/// The state that all handles share.
#[derive(Debug)]
struct Shared {
    database: kv::Database,
    kept: Kept,
    /// The current incarnation.
    incarnation: watch::Receiver<u32>,
    progress: Arc<Progress>,
    /// The writer task.
    tasks: TaskTracker,
    clock: Clock,
    /// Is told of every request.
    observer: Observer,
}

/// The tables that do not belong to an incarnation.
#[derive(Debug, Clone)]
struct Kept {
    meta: RankedTable,
    fanout_holds: RankedTable,
    accounts: RankedTable,
    names: RankedTable,
    sessions: RankedTable,
    session_ends: RankedTable,
    outbox: RankedTable,
    listed_sessions: RankedTable,
    ended_sessions: RankedTable,
    session_cuts: RankedTable,
    drops: RankedTable,
    privacy: RankedTable,
}

impl Kept {
    fn open(database: &kv::Database) -> Result<Self, StoreError> {
        let slot = |rank: u32, name: &str| -> Result<RankedTable, StoreError> {
            Ok(RankedTable { rank, table: database.table(&format!("store/{name}")).map_err(broken)? })
        };
        Ok(Self {
            meta: slot(0, "meta")?,
            fanout_holds: slot(1, "fanout_holds")?,
            accounts: slot(2, "accounts")?,
            names: slot(3, "names")?,
            sessions: slot(4, "sessions")?,
            session_ends: slot(5, "session_ends")?,
            outbox: slot(6, "outbox")?,
            listed_sessions: slot(7, "listed_sessions")?,
            ended_sessions: slot(8, "ended_sessions")?,
            session_cuts: slot(9, "session_cuts")?,
            drops: slot(10, "drops")?,
            privacy: slot(11, "privacy")?,
        })
    }
}

impl EmbeddedStore {
    /// Opens the store in `database`, makes the first incarnation if there is none, and starts the writer.
    ///
    /// Only one writer may exist per database: two would overwrite one another's rows. Open further handles with
    /// [`Self::attach`].
    ///
    /// # Errors
    /// When the tables cannot be opened or read.
    pub async fn open(database: kv::Database, clock: Clock) -> Result<Arc<Self>, StoreError> {
        Self::open_observed(database, clock, Observer::default()).await
    }

    /// As [`Self::open`]; the observer is told of every request, of all handles.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_observed(
        database: kv::Database,
        clock: Clock,
        observer: Observer,
    ) -> Result<Arc<Self>, StoreError> {
        let kept = Kept::open(&database)?;
        let incarnation = match read_incarnation(&kept.meta.table)? {
            Some(incarnation) => incarnation,
            None => mint_first(&database, &kept.meta.table).await?,
        };
        let (current, incarnation_seen) = watch::channel(incarnation);
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let tasks = TaskTracker::new();
        let shared = Arc::new(Shared {
            kept: kept.clone(),
            incarnation: incarnation_seen,
            progress: Arc::new(Progress::default()),
            tasks: tasks.clone(),
            clock,
            database: database.clone(),
            observer: observer.clone(),
        });
        let pinned = Arc::new(Derived::open(&database, incarnation, false, observer)?);
        incarnations::remove_dropped(&database, &kept.meta.table)?;
        tasks.spawn(Writer { database, current, queue }.run());
        tasks.close();
        Ok(Arc::new(Self::handle(shared, pinned, jobs)))
    }

    /// Another handle to the same store, as another program would open it: pinned to the incarnation that is
    /// current now.
    ///
    /// # Errors
    /// When this handle is closed or the tables cannot be opened.
    pub fn attach(&self) -> Result<Arc<Self>, StoreError> {
        let jobs = self.jobs()?;
        let incarnation = *self.shared.incarnation.borrow();
        let pinned = if incarnation == self.pinned.incarnation {
            Arc::clone(&self.pinned)
        } else {
            Arc::new(Derived::open(&self.shared.database, incarnation, false, self.shared.observer.clone())?)
        };
        Ok(Arc::new(Self::handle(Arc::clone(&self.shared), pinned, jobs)))
    }

    fn handle(shared: Arc<Shared>, pinned: Arc<Derived>, jobs: mpsc::Sender<Job>) -> Self {
        Self { shared, pinned, jobs: Mutex::new(Some(jobs)), closed: CancellationToken::new() }
    }

    fn jobs(&self) -> Result<mpsc::Sender<Job>, StoreError> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    /// The pinned tables, if they are current or were opened beside the current ones.
    fn tables(&self) -> Result<&Arc<Derived>, StoreError> {
        self.open_still()?;
        self.pinned.check(*self.shared.incarnation.borrow())?;
        Ok(&self.pinned)
    }

    /// The pinned tables, for reads: they exist as long as the database is open, even when another incarnation is
    /// current. Reads never wait, so this call yields, for callers that read in a loop.
    async fn read(&self) -> Result<&Arc<Derived>, StoreError> {
        tokio::task::consume_budget().await;
        self.open_still()?;
        Ok(&self.pinned)
    }

    /// The tables that do not belong to an incarnation, for reads.
    fn kept(&self) -> Result<&Kept, StoreError> {
        self.open_still()?;
        Ok(&self.shared.kept)
    }

    fn open_still(&self) -> Result<(), StoreError> {
        if self.closed.is_cancelled() { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Sends a change to the writer and waits until its batch is committed.
    async fn change<T: Send + 'static>(
        &self,
        durability: kv::Durability,
        change: impl FnOnce(&mut Changes) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.change_as(Op::Write, durability, change).await
    }

    /// As [`Self::change`], for an observer that knows it by that operation.
    async fn change_as<T: Send + 'static>(
        &self,
        op: Op,
        durability: kv::Durability,
        change: impl FnOnce(&mut Changes) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let changed = async {
            let answer = self.begin(durability, change).await?;
            answer.await.map_err(|_| StoreError::Closed)?
        };
        let changed = changed.await;
        self.shared.observer.observe(op, Outcome::of(&changed), begun.elapsed());
        changed
    }

    /// The value of `key` in a table that does not belong to an incarnation.
    fn get(&self, table: &RankedTable, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.shared.observer.observed(Op::Read, || table.table.get(key).map_err(broken))
    }

    /// At most `limit` pairs of such a table, in order.
    fn scan(
        &self,
        table: &RankedTable,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<kv::Pair>, StoreError> {
        self.shared.observer.observed(Op::Page, || table.table.scan(from, to, limit).map_err(broken))
    }

    /// Sends a change to the writer. Changes take effect in the order in which they are sent.
    async fn begin<T: Send + 'static>(
        &self,
        durability: kv::Durability,
        change: impl FnOnce(&mut Changes) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let (job, answer) = writer::job(durability, change);
        self.jobs()?.send(job).await.map_err(|_| StoreError::Closed)?;
        Ok(answer)
    }

    /// Finishes the changes of this handle. The last handle to close ends the writer.
    async fn shut(&self) {
        self.closed.cancel();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(jobs) = jobs else { return };
        // The queue is in order: once this job is answered, all earlier ones are committed.
        let (job, answer) = writer::job(kv::Durability::Power, |_| Ok(()));
        if jobs.send(job).await.is_ok() {
            answer.await.map_or_else(|_| tracing::warn!("store writer ended early"), drop);
        }
        let last = jobs.strong_count() == 1;
        drop(jobs);
        if last {
            self.shared.tasks.wait().await;
        }
    }
}

fn read_incarnation(meta: &kv::Table) -> Result<Option<u32>, StoreError> {
    let Some(value) = meta.get(INCARNATION_KEY).map_err(broken)? else { return Ok(None) };
    let bytes =
        value.as_ref().try_into().map_err(|_| StoreError::NotMigrated("its incarnation is no number".into()))?;
    Ok(Some(u32::from_be_bytes(bytes)))
}

async fn mint_first(database: &kv::Database, meta: &kv::Table) -> Result<u32, StoreError> {
    let first = 1_u32;
    let mut batch = kv::Batch::default();
    batch.put(meta, INCARNATION_KEY, first.to_be_bytes().to_vec());
    database.commit(batch, kv::Durability::Power).await.map_err(broken)?;
    Ok(first)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(Box::new(error))
}

#[cfg(test)]
mod tests {
    use domain::{Fingerprint, Seq};
    use events::topics::MESSAGES;

    use super::*;
    use crate::{Account, Applied, ChatStore as _, OutboxRow, Source, StoreAdmin as _, UserStore as _};

    #[tokio::test]
    async fn an_observer_is_told_what_each_request_was_and_how_it_ended() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&told);
        let observer = Observer::new(move |op, outcome, _| noted.lock().unwrap().push((op, outcome)));
        let store = EmbeddedStore::open_observed(kv::Database::in_memory(), Clock::system(), observer).await.unwrap();
        let id = domain::UserId::try_from(uuid::Uuid::from_u128(7)).unwrap();
        let (name, display_name) = ("ann".to_owned(), "Ann".to_owned());
        let account = Account { id, name, display_name, password_hash: "hash".into(), created_ms: 1 };
        let event = OutboxRow { id: [1; 16], user: id, account_name: "ann".into(), payload: vec![1] };
        store.create_account(&account, &event).await.unwrap();
        assert_eq!(store.account(id).await.unwrap(), Some(account));
        assert_eq!(store.outbox(10).await.unwrap().len(), 1);
        let (source, applied) =
            (Source { topic: MESSAGES, partition: 3 }, Applied { seq: Seq::default(), fingerprint: Fingerprint(1) });
        store.set_applied(source, applied).await.unwrap();
        store.attach().unwrap().applied(source).await.unwrap();
        store.close().await;
        store.set_applied(source, applied).await.unwrap_err();
        let seen = std::mem::take(&mut *told.lock().unwrap());
        let expected = [
            (Op::Write, Outcome::Ok),
            (Op::Read, Outcome::Ok),
            (Op::Page, Outcome::Ok),
            (Op::Batch, Outcome::Ok),
            (Op::Read, Outcome::Ok),
        ];
        assert_eq!(seen, expected, "a closed store is asked nothing");
    }
}
