//! A handle that follows the current incarnation, so that its users need no restart.
//!
//! Services that answer requests use one: a switch must not end their sockets. When another incarnation becomes
//! current, the handle keeps the old one until storage in the new one has come as far as in the old one, in every
//! source partition, and as far as this handle has ever answered (`vouched`); then it moves to the new one. Until
//! then reads are answered from the old rows; a wait for progress beyond the old rows waits for the move, then
//! continues in the new incarnation. So once a caller has learnt that a seq is applied, every later read includes
//! it, whichever incarnation answers, and the switch itself need not check any progress.
//!
//! Consumers do not use one: their state belongs to one incarnation, so they start again with the new one.

mod forward;

use environment::ErrorKind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Seq;
use events::topics::{STORAGE_SOURCES, spec_of};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::{SharedStore, Source, StoreError};

/// The interval of checks for another current incarnation, while no call reports that the old one has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The interval of checks whether storage has come far enough in the new incarnation.
const REACHED_EVERY: Duration = Duration::from_millis(20);
/// The interval of warnings that storage has not come far enough yet.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// A handle to the store that follows a switch; see the module's documentation.
pub struct Following {
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// The task that checks for a switch.
    tasks: TaskTracker,
    /// Ends the task when the handle is dropped without `close`.
    _ends_with_handle: DropGuard,
}

struct Shared {
    /// The handle that this one began with: it serves the tables that do not belong to an incarnation.
    root: SharedStore,
    pin: watch::Sender<Arc<Pin>>,
    /// Notified when a call finds that the pinned incarnation has ended: check now.
    look: Notify,
}

/// The incarnation that answers reads.
struct Pin {
    store: SharedStore,
    /// The highest seq that was answered as applied, by source.
    vouched: Mutex<BTreeMap<Source, Seq>>,
}

impl Pin {
    fn new(store: SharedStore) -> Arc<Self> {
        Arc::new(Self { store, vouched: Mutex::default() })
    }

    fn vouched(&self, source: Source) -> Option<Seq> {
        self.vouched.lock().unwrap_or_else(PoisonError::into_inner).get(&source).copied()
    }
}

impl Following {
    /// Follows the current incarnation, beginning with that of `root`. `root` stays in use for the tables that do
    /// not belong to an incarnation. Must be called within a runtime.
    #[must_use]
    pub fn new(root: SharedStore) -> Arc<Self> {
        let pin = watch::Sender::new(Pin::new(Arc::clone(&root)));
        let shared = Arc::new(Shared { root, pin, look: Notify::new() });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (following, stopped) = (Arc::clone(&shared), stop.clone());
        tasks.spawn(async move { stopped.run_until_cancelled(following.follow()).await });
        tasks.close();
        let ends_with_handle = stop.clone().drop_guard();
        Arc::new(Self { shared, stop, tasks, _ends_with_handle: ends_with_handle })
    }

    fn root(&self) -> &SharedStore {
        &self.shared.root
    }

    fn pin(&self) -> Arc<Pin> {
        Arc::clone(&self.shared.pin.borrow())
    }

    /// The current handle; the caller may use it for one call.
    fn store(&self) -> SharedStore {
        Arc::clone(&self.shared.pin.borrow().store)
    }

    async fn wait(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        let until = Instant::now() + wait;
        let mut pins = self.shared.pin.subscribe();
        loop {
            let pin = Arc::clone(&pins.borrow_and_update());
            let rest = until.saturating_duration_since(Instant::now());
            match pin.store.wait_applied(source, seq, rest).await {
                Ok(true) if self.shared.vouch(&pin, source, seq) => return Ok(true),
                // It was true of the old rows, but the next read is answered from new ones.
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Superseded => {
                    self.shared.look.notify_one();
                    if timeout_at(until, pins.changed()).await.is_err() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn shut(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
        let pin = self.store();
        if !Arc::ptr_eq(&pin, self.root()) {
            pin.close().await;
        }
        self.root().close().await;
    }
}

impl Shared {
    async fn follow(&self) {
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = self.look.notified() => {}
            }
            // The store does not answer: calls on this handle fail with that error, too.
            if let Err(error) = self.catch_up().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "not told which incarnation is current");
                sleep(REACHED_EVERY).await;
            }
        }
    }

    /// Moves to the current incarnation, if it is another one, once its rows are not older than those of the old
    /// one.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let pin = Arc::clone(&self.pin.borrow());
        let current = self.root.current_incarnation().await?;
        if current == pin.store.incarnation() {
            return Ok(());
        }
        let next = Pin::new(self.root.at(current).await?);
        let mut warned = Instant::now();
        while !self.turn(&pin, &next).await? {
            sleep(REACHED_EVERY).await;
            if self.root.current_incarnation().await? != current {
                return Ok(());
            }
            if warned.elapsed() >= WARN_EVERY {
                warned = Instant::now();
                tracing::warn!(incarnation = current, "waiting until storage has come as far as it had before");
            }
        }
        tracing::info!(from = pin.store.incarnation(), to = current, "reads go on in another incarnation");
        Ok(())
    }

    /// Moves to `next` if storage has come as far there; returns whether it did.
    async fn turn(&self, pin: &Arc<Pin>, next: &Arc<Pin>) -> Result<bool, StoreError> {
        let mut reached = BTreeMap::new();
        for topic in STORAGE_SOURCES {
            for partition in 0..spec_of(topic).partitions {
                let source = Source { topic, partition };
                let before = match pin.store.applied(source).await {
                    Ok(before) => before.map(|applied| applied.seq),
                    // The old rows are gone, so there is nothing to compare with.
                    Err(error) if matches!(error.kind(), ErrorKind::Superseded | ErrorKind::Missing) => None,
                    Err(error) => return Err(error),
                };
                let now = next.store.applied(source).await?.map(|applied| applied.seq);
                if now < before {
                    return Ok(false);
                }
                reached.insert(source, now);
            }
        }
        // No call can answer from the old rows between this check and the move: both hold the same lock.
        Ok(self.pin.send_if_modified(|pinned| {
            let all = reached.iter().all(|(source, now)| *now >= pin.vouched(*source));
            if all {
                *pinned = Arc::clone(next);
            }
            all
        }))
    }

    /// Notes that `seq` is answered as applied; `false` when the handle has moved to another incarnation.
    fn vouch(&self, pin: &Arc<Pin>, source: Source, seq: Seq) -> bool {
        let now = self.pin.borrow();
        if !Arc::ptr_eq(&now, pin) {
            return false;
        }
        let mut vouched = now.vouched.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = vouched.entry(source).or_insert(seq);
        *highest = seq.max(*highest);
        true
    }
}
