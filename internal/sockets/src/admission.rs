//! Admission: how fast a node welcomes devices, and in which order.
//!
//! When another node has crashed, all of its devices come at once. A device that brings a cursor is cheap: it is served from
//! the ring, or shares a read of the log. One without has to sync, which costs many reads of the store. Welcomed at a
//! bounded rate, they leave the node the time to serve those that are connected, and the store the time to answer.
//!
//! A device waits after its `hello`, when it is known whose it is and what it brings: those with a cursor first, and one
//! of [`FIRST_ONE_OF`] is one without, or with one that leads nowhere (see `feed::Brought::may_resume`), so that nobody
//! waits for ever. Beyond as many as can be welcomed within [`ADMISSION_WAIT`], devices are told to come later: at the
//! upgrade with 429 and `Retry-After`, before anything is spent on them. Those that came just before are closed with
//! `TooMany`.
//!
//! A device that gives up while it waits leaves the queue at once. If it stayed, the queue after a crash would fill up with
//! devices that have gone and come again, and those that are there would wait behind them until they give up, too.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use environment::Entropy;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;

/// The longest that a device waits to be welcomed. Beyond, it is closed with `TooMany`.
pub const ADMISSION_WAIT: Duration = Duration::from_secs(10);
/// Of so many devices that are welcomed, one has no cursor, if such a device waits.
const FIRST_ONE_OF: u32 = 8;
/// The part of a second (one in so many) whose devices are welcomed at once, after a pause.
const BURST_SHARE: u32 = 10;

/// The devices that wait to be welcomed.
#[derive(Debug)]
pub(crate) struct Admission {
    /// The time between two devices in the long run; `None` when there is no bound.
    interval: Option<Duration>,
    /// Devices that are welcomed at once, after a pause.
    burst: u32,
    /// The most devices that wait.
    waiting_max: usize,
    waiting: Mutex<Waiting>,
    /// Notified when a device begins to wait.
    begun: Notify,
}

#[derive(Debug)]
struct Waiting {
    /// When the token bucket would be full.
    full_at: Instant,
    /// Devices that bring a cursor which may be good, by the order in which they came.
    returning: BTreeMap<u64, oneshot::Sender<()>>,
    /// All others.
    first: BTreeMap<u64, oneshot::Sender<()>>,
    /// The number of the next device that comes.
    next: u64,
    /// How many of those with a cursor were welcomed while others waited.
    preferred: u32,
}

/// Too many devices wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

impl Admission {
    /// Welcomes so many devices per second; with 0, any number.
    pub(crate) fn new(per_second: u32) -> Self {
        let waiting = Waiting {
            full_at: Instant::now(),
            returning: BTreeMap::new(),
            first: BTreeMap::new(),
            next: 0,
            preferred: 0,
        };
        Self {
            interval: (per_second > 0).then(|| Duration::from_secs(1) / per_second.max(1)),
            burst: (per_second / BURST_SHARE).max(1),
            waiting_max: per_second as usize * usize::try_from(ADMISSION_WAIT.as_secs()).unwrap_or(usize::MAX),
            waiting: Mutex::new(waiting),
            begun: Notify::new(),
        }
    }

    /// The time after which a device should come that comes now, when too many wait already. It is random, so that those
    /// who are turned away together come back one after another.
    pub(crate) fn turned_away(&self, entropy: &Entropy) -> Option<Duration> {
        let crowded = self.interval.is_some() && self.waiting().count() >= self.waiting_max;
        // From half of the time in which those who wait are welcomed to one and a half of it.
        let wait_ms = u64::try_from(ADMISSION_WAIT.as_millis()).unwrap_or(u64::MAX);
        crowded.then(|| Duration::from_millis(wait_ms / 2 + entropy.below(wait_ms)))
    }

    /// Waits until a device may be welcomed that brings a cursor, or none. Where this is dropped, the device waits no
    /// longer.
    pub(crate) async fn admitted(&self, returning: bool, metrics: &Metrics) -> Result<(), Crowded> {
        let Some(interval) = self.interval else { return Ok(()) };
        let (admit, admitted) = oneshot::channel();
        let number = {
            let mut waiting = self.waiting();
            if waiting.count() == 0 && waiting.spend(interval, self.burst).is_ok() {
                return Ok(());
            }
            if waiting.count() >= self.waiting_max {
                return Err(Crowded);
            }
            waiting.enter(returning, admit)
        };
        self.begun.notify_one();
        metrics.waiting.inc();
        let _queued = Queued { admission: self, returning, number, metrics };
        // The sender is dropped unused only when the node ends.
        admitted.await.map_err(|_| Crowded)
    }

    /// Admits devices, for ever.
    pub(crate) async fn run(&self) {
        let Some(interval) = self.interval else { return };
        loop {
            let next = self.waiting().admit(interval, self.burst);
            match next {
                Next::Admitted => {}
                Next::At(moment) => sleep_until(moment).await,
                Next::Nobody => self.begun.notified().await,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device that waits, until this is dropped: then it is in neither the queue nor the metric any more.
struct Queued<'a> {
    admission: &'a Admission,
    returning: bool,
    number: u64,
    metrics: &'a Metrics,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.metrics.waiting.dec();
        self.admission.waiting().queue(self.returning).remove(&self.number); // not there any more if it was admitted
    }
}

/// What [`Admission::run`] does next.
enum Next {
    /// A device was admitted: look again.
    Admitted,
    /// There is no token before that moment.
    At(Instant),
    /// No device waits.
    Nobody,
}

impl Waiting {
    fn count(&self) -> usize {
        self.returning.len() + self.first.len()
    }

    fn queue(&mut self, returning: bool) -> &mut BTreeMap<u64, oneshot::Sender<()>> {
        if returning { &mut self.returning } else { &mut self.first }
    }

    /// Adds a device; returns its number.
    fn enter(&mut self, returning: bool, admit: oneshot::Sender<()>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.queue(returning).insert(number, admit);
        number
    }

    /// Takes a token, or tells when there will be one.
    fn spend(&mut self, interval: Duration, burst: u32) -> Result<(), Instant> {
        let now = Instant::now();
        let full_at = self.full_at.max(now) + interval;
        let span = interval * burst;
        if full_at <= now + span {
            self.full_at = full_at;
            return Ok(());
        }
        Err(full_at - span)
    }

    fn admit(&mut self, interval: Duration, burst: u32) -> Next {
        if self.count() == 0 {
            return Next::Nobody;
        }
        if let Err(moment) = self.spend(interval, burst) {
            return Next::At(moment);
        }
        let others = !self.first.is_empty();
        let in_turn = others && self.preferred + 1 >= FIRST_ONE_OF;
        let device = if in_turn || self.returning.is_empty() {
            self.preferred = 0;
            self.first.pop_first()
        } else {
            self.preferred = if others { self.preferred + 1 } else { 0 };
            self.returning.pop_first()
        };
        if device.is_some_and(|(_, device)| device.send(()).is_err()) {
            self.full_at -= interval; // it has gone just now: the token is for the next one
        }
        Next::Admitted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use tokio::time::advance;

    use super::*;

    /// Devices that wait, and report under their names when they are admitted.
    struct Gate {
        admission: Arc<Admission>,
        metrics: Metrics,
        admitted: mpsc::UnboundedReceiver<&'static str>,
        report: mpsc::UnboundedSender<&'static str>,
    }

    impl Gate {
        /// A gate whose burst is used up.
        async fn new(per_second: u32) -> Self {
            let (report, admitted) = mpsc::unbounded_channel();
            let admission = Arc::new(Admission::new(per_second));
            let metrics = Metrics::new(&process::Metrics::new());
            while admission.waiting().spend(Duration::from_secs(1) / per_second, admission.burst).is_ok() {}
            let running = Arc::clone(&admission);
            tokio::spawn(async move { running.run().await });
            Self { admission, metrics, admitted, report }
        }

        /// A device begins to wait.
        async fn comes(&self, name: &'static str, returning: bool) -> tokio::task::JoinHandle<()> {
            let (admission, metrics, report) = (Arc::clone(&self.admission), self.metrics.clone(), self.report.clone());
            let waiting = self.admission.waiting().count();
            let task = tokio::spawn(async move {
                if admission.admitted(returning, &metrics).await.is_ok() {
                    let _ = report.send(name);
                }
            });
            while self.admission.waiting().count() == waiting {
                tokio::task::yield_now().await;
            }
            task
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_brings_a_cursor_is_welcomed_first_and_nobody_waits_for_ever() {
        let mut gate = Gate::new(10).await;
        for _ in 0..2 {
            gate.comes("first", false).await;
        }
        for _ in 0..20 {
            gate.comes("returning", true).await;
        }
        assert_eq!(gate.metrics.waiting.get(), 22);
        let begun = Instant::now();
        let mut order = Vec::new();
        while order.len() < 22 {
            order.extend(gate.admitted.recv().await);
        }
        let first: Vec<_> = (0..22).filter(|index| order[*index] == "first").collect();
        assert_eq!(first, [7, 15], "one of eight has no cursor");
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(2_000) && took < Duration::from_millis(2_300), "{took:?}");
        assert_eq!(gate.metrics.waiting.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_what_can_be_welcomed_in_time_devices_are_turned_away() {
        let gate = Gate::new(1).await;
        let entropy = Entropy::seeded(1);
        let mut waiting = Vec::new();
        for _ in 0..10 {
            assert_eq!(gate.admission.turned_away(&entropy), None);
            waiting.push(gate.comes("waits", true).await);
        }
        let after = gate.admission.turned_away(&entropy).unwrap();
        assert!(after >= ADMISSION_WAIT / 2 && after <= ADMISSION_WAIT * 3 / 2, "{after:?}");
        assert_eq!(gate.admission.admitted(true, &gate.metrics).await, Err(Crowded));
        // Those who have gone make room, and take no token.
        for task in waiting {
            task.abort();
            let _ = task.await;
        }
        assert_eq!(gate.metrics.waiting.get(), 0);
        assert_eq!(gate.admission.turned_away(&entropy), None);
        let last = gate.admission.admitted(true, &gate.metrics);
        advance(Duration::from_millis(1)).await;
        assert_eq!(last.await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_welcomed_at_once_and_without_a_bound_everybody_is() {
        let metrics = Metrics::new(&process::Metrics::new());
        let begun = Instant::now();
        let admission = Admission::new(100);
        for _ in 0..10 {
            assert_eq!(admission.admitted(false, &metrics).await, Ok(()));
        }
        let unbounded = Admission::new(0);
        for _ in 0..10_000 {
            assert_eq!(unbounded.admitted(false, &metrics).await, Ok(()));
        }
        assert_eq!(unbounded.turned_away(&Entropy::seeded(1)), None);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
