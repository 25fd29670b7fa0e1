//! The progress of storage: reading it, publishing it, and waiting for it with one poller for the whole handle.
//!
//! The server cannot notify, so progress must be polled. One task polls for all waiters: one read per source with
//! a waiter, every 2 ms while the progress moves and up to every 50 ms while it does not. The same task checks the
//! incarnation, so that no caller waits where storage no longer writes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Fingerprint, Seq};
use futures_util::{StreamExt as _, stream};
use scylla::statement::prepared::PreparedStatement;
use store::{Applied, Malformed, Source, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::cql::{Cql, Kind};

const POLL_MIN: Duration = Duration::from_millis(2);
const POLL_MAX: Duration = Duration::from_millis(50);
const INCARNATION_EVERY: Duration = Duration::from_secs(1);
/// Sources read at once; there are as many as source partitions.
const READS_IN_FLIGHT: usize = 32;

/// The last known progress of every source partition.
pub(crate) struct Progress {
    cql: Arc<Cql>,
    read: PreparedStatement,
    write: PreparedStatement,
    sources: Mutex<BTreeMap<Source, Watched>>,
    /// Wakes the poller for a new waiter.
    nudge: Notify,
    /// The incarnation that was found instead of the pinned one; 0 while there is none.
    moved_to: AtomicU32,
}

struct Watched {
    seen: watch::Sender<Seen>,
    /// Whether a caller has begun to wait since the last read.
    nudged: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The last applied seq. It never decreases, because `applied` does not within an incarnation.
    seq: Option<Seq>,
    /// The poller's read failed: waiters read for themselves and so get the error.
    failed: bool,
}

impl Progress {
    pub(crate) async fn prepare(cql: Arc<Cql>) -> Result<Self, StoreError> {
        let read = "SELECT seq, fingerprint FROM {derived}.applied WHERE topic = ? AND part = ?";
        let write =
            "INSERT INTO {derived}.applied (topic, part, seq, fingerprint) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
        Ok(Self {
            read: cql.prepare(Kind::Idempotent, read).await?,
            write: cql.prepare(Kind::Idempotent, write).await?,
            cql,
            sources: Mutex::default(),
            nudge: Notify::new(),
            moved_to: AtomicU32::new(0),
        })
    }

    pub(crate) async fn set(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        let Applied { seq, fingerprint } = applied;
        let (at, print) = (seq.timestamp(), fingerprint.0.cast_signed());
        self.cql.execute(&self.write, (source.topic, part(source.partition), at, print, at)).await?;
        self.saw(source, Some(seq), false);
        Ok(())
    }

    pub(crate) async fn get(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        let key = (source.topic, part(source.partition));
        let row = self.cql.first::<(i64, i64)>(&self.read, key).await?;
        let applied = row.map(|(seq, print)| {
            let seq = u64::try_from(seq).ok().and_then(|seq| Seq::try_from(seq).ok());
            let seq = seq.ok_or(Malformed { table: "applied", column: "seq" })?;
            Ok::<_, Malformed>(Applied { seq, fingerprint: Fingerprint(print.cast_unsigned()) })
        });
        let applied = applied.transpose()?;
        self.saw(source, applied.map(|applied| applied.seq), false);
        Ok(applied)
    }

    pub(crate) async fn wait(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        let mut seen = self.watch(source);
        if seen.borrow().seq >= Some(seq) {
            return Ok(true);
        }
        if wait.is_zero() {
            return self.look(source, seq).await;
        }
        let mut unanswered = None;
        let reached = async {
            loop {
                match self.look(source, seq).await {
                    Ok(true) => return Ok(true),
                    Ok(false) => unanswered = None,
                    Err(StoreError::Transient(error)) => unanswered = Some(error),
                    Err(error) => return Err(error),
                }
                self.nudge(source);
                let at = seen.wait_for(|seen| seen.failed || seen.seq >= Some(seq)).await;
                if at.map_err(|_| StoreError::Closed)?.seq >= Some(seq) {
                    return Ok(true);
                }
            }
        };
        // A read in progress may overtake the poller's notification, so closing is checked here, too.
        let outcome = tokio::select! {
            biased;
            () = self.cql.closing().cancelled() => return Err(StoreError::Closed),
            outcome = timeout(wait, reached) => outcome,
        };
        outcome.unwrap_or_else(|_| unanswered.map_or(Ok(false), |error| Err(StoreError::Transient(error))))
    }

    /// Reads once, and checks that the handle's incarnation is still current.
    async fn look(&self, source: Source, seq: Seq) -> Result<bool, StoreError> {
        let (found, applied) = tokio::try_join!(self.cql.current_incarnation(), self.get(source))?;
        self.cql.check(found)?;
        Ok(applied.is_some_and(|applied| applied.seq >= seq))
    }

    fn watch(&self, source: Source) -> watch::Receiver<Seen> {
        self.lock().entry(source).or_insert_with(Watched::new).seen.subscribe()
    }

    fn nudge(&self, source: Source) {
        if let Some(watched) = self.lock().get_mut(&source) {
            watched.nudged = true;
        }
        self.nudge.notify_one();
    }

    /// Notifies the waiters of a change.
    fn saw(&self, source: Source, seq: Option<Seq>, failed: bool) {
        let mut sources = self.lock();
        sources.entry(source).or_insert_with(Watched::new).seen.send_if_modified(|seen| {
            let news = seq > seen.seq || failed != seen.failed;
            *seen = Seen { seq: seen.seq.max(seq), failed };
            news
        });
    }

    fn fail_all(&self) {
        for watched in self.lock().values() {
            watched.seen.send_modify(|seen| seen.failed = true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, Watched>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check_incarnation(&self) {
        // An error is not reported: every waiter has a deadline, and every other call reports its own error.
        if let Ok(found) = self.cql.current_incarnation().await
            && self.cql.check(found).is_err()
            && self.moved_to.swap(found, Ordering::Relaxed) != found
        {
            tracing::info!(pinned = self.cql.pinned(), found, "another incarnation is current, waiters are told");
            self.fail_all();
        }
    }
}

impl Watched {
    fn new() -> Self {
        Self { seen: watch::Sender::new(Seen::default()), nudged: false }
    }
}

/// The polling interval of one source.
struct PollInterval {
    every: Duration,
    due: Instant,
}

/// Polls for all waiters, until `closing`.
pub(crate) async fn poll(progress: Arc<Progress>, closing: CancellationToken) {
    let polling = async {
        let mut intervals = BTreeMap::new();
        let mut incarnation_due = Instant::now() + INCARNATION_EVERY;
        loop {
            let next = intervals
                .values()
                .map(|interval: &PollInterval| interval.due)
                .min()
                .map_or(incarnation_due, |due| due.min(incarnation_due));
            tokio::select! {
                biased;
                () = sleep_until(next) => {}
                () = progress.nudge.notified() => {}
            }
            let now = Instant::now();
            if now >= incarnation_due {
                progress.check_incarnation().await;
                incarnation_due = Instant::now() + INCARNATION_EVERY;
            }
            progress.follow_waiters(&mut intervals);
            progress.read_due(&mut intervals, now).await;
        }
    };
    tokio::select! {
        biased;
        () = closing.cancelled() => {}
        () = polling => {}
    }
    progress.fail_all();
}

impl Progress {
    /// Adapts the intervals to the waiters: no reads without a waiter, and an early read for a new one.
    fn follow_waiters(&self, intervals: &mut BTreeMap<Source, PollInterval>) {
        let soon = Instant::now() + POLL_MIN;
        for (source, watched) in self.lock().iter_mut() {
            if watched.seen.receiver_count() == 0 {
                intervals.remove(source);
                watched.nudged = false;
            } else if std::mem::take(&mut watched.nudged) {
                let interval = intervals.entry(*source).or_insert(PollInterval { every: POLL_MIN, due: soon });
                interval.every = POLL_MIN;
                interval.due = interval.due.min(soon);
            }
        }
    }

    async fn read_due(&self, intervals: &mut BTreeMap<Source, PollInterval>, now: Instant) {
        let due = intervals.iter_mut().filter(|(_, interval)| interval.due <= now);
        stream::iter(due)
            .for_each_concurrent(READS_IN_FLIGHT, |(source, interval)| async move {
                let before = self.known(*source);
                match self.get(*source).await {
                    Ok(_) => {}
                    // The server is slow or unreachable: polling continues at a longer interval, and waiters have
                    // deadlines.
                    Err(StoreError::Transient(_)) => {}
                    Err(_) => self.saw(*source, None, true),
                }
                let moved = self.known(*source) > before;
                interval.every = if moved { POLL_MIN } else { (interval.every * 3 / 2).min(POLL_MAX) };
                interval.due = Instant::now() + interval.every;
            })
            .await;
    }

    fn known(&self, source: Source) -> Option<Seq> {
        self.lock().get(&source).and_then(|watched| watched.seen.borrow().seq)
    }
}

/// Partition numbers are far below 2^31.
pub(crate) fn part(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}
