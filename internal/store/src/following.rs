//! A handle that goes on with whatever incarnation is current, without a restart of who holds it.
//!
//! Services that answer people hold one: a switch must not end their sockets. When another incarnation becomes current,
//! the handle waits until storage has come as far there as it had in the one before, in every source partition, and as
//! far as this handle has ever said (`vouched`); only then it turns to it. Until then reads are answered from the rows
//! before, and a wait for progress that they cannot answer waits for the turn, then goes on there. So whoever was told
//! that something is applied finds it in every later read, whichever incarnation answers: the switch itself need not
//! look at anybody's progress.
//!
//! The two consumers do not hold one: their state belongs to one incarnation, so they begin again with the new one.

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

/// How often is looked which incarnation is current, while nobody meets the end of the one before.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often is looked whether storage has come far enough in a new one.
const REACHED_EVERY: Duration = Duration::from_millis(20);
/// How often it is told that storage has not come far enough yet.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// A handle to the store that follows a switch. See the module.
pub struct Following {
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// The task that looks.
    tasks: TaskTracker,
    /// Ends it with the handle when nobody calls `close`.
    _ends_with_handle: DropGuard,
}

struct Shared {
    /// The handle that this one began with: for what outlives incarnations.
    root: SharedStore,
    pin: watch::Sender<Arc<Pin>>,
    /// Somebody met the end of the pinned incarnation: look now.
    look: Notify,
}

/// What reads are answered from.
struct Pin {
    store: SharedStore,
    /// What was said to be applied, by source.
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
    /// Follows from `root` on, which goes on being used for what outlives incarnations. Needs a runtime.
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

    /// The handle of now. Who has it may go on with it for one call.
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
                // It was true of the rows before; what is read next comes from others.
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
            // A store that does not answer: those who call it are told.
            if let Err(error) = self.catch_up().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "not told which incarnation is current");
                sleep(REACHED_EVERY).await;
            }
        }
    }

    /// Turns to the current incarnation, if it is another one, once its rows are no older.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let pin = Arc::clone(&self.pin.borrow());
        let current = self.root.current_incarnation().await?;
        if current == pin.store.incarnation() {
            return Ok(());
        }
        let next = Pin::new(self.root.at(current).await?);
        let mut told = Instant::now();
        while !self.turn(&pin, &next).await? {
            sleep(REACHED_EVERY).await;
            if self.root.current_incarnation().await? != current {
                return Ok(());
            }
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                tracing::warn!(incarnation = current, "waiting until storage has come as far as it had before");
            }
        }
        tracing::info!(from = pin.store.incarnation(), to = current, "reads go on in another incarnation");
        Ok(())
    }

    /// Turns to `next`, if storage has come as far there; says whether it did.
    async fn turn(&self, pin: &Arc<Pin>, next: &Arc<Pin>) -> Result<bool, StoreError> {
        let mut reached = BTreeMap::new();
        for topic in STORAGE_SOURCES {
            for partition in 0..spec_of(topic).partitions {
                let source = Source { topic, partition };
                let before = match pin.store.applied(source).await {
                    Ok(before) => before.map(|applied| applied.seq),
                    // The rows before are gone: there is nothing to go on with.
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
        // Nobody vouches for the rows before between this look and the turn: they hold the same lock.
        Ok(self.pin.send_if_modified(|pinned| {
            let all = reached.iter().all(|(source, now)| *now >= pin.vouched(*source));
            if all {
                *pinned = Arc::clone(next);
            }
            all
        }))
    }

    /// Notes that reads are told that `seq` is applied; `false` when they come from another incarnation by now.
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
