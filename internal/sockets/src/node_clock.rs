//! The clock for deadlines that devices must meet: it counts only time in which the node was running.
//!
//! A node that was stopped for a while (SIGSTOP, a frozen container, a machine that slept), or that is overloaded,
//! finds every deadline exceeded before it has read what its devices sent meanwhile. The node was silent then, not
//! the devices. So a deadline that a device must meet is a moment of this clock. A timer of the node advances it;
//! while that timer is late, the clock stands still.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often the timer advances the clock, and the most that the clock advances without the timer.
const TICK: Duration = Duration::from_millis(250);
/// The shortest sleep while waiting for a moment of this clock.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The clock of a node.
#[derive(Debug)]
pub(crate) struct NodeClock {
    driven: Mutex<Driven>,
}

#[derive(Debug)]
struct Driven {
    /// When the timer last fired.
    last: Instant,
    /// The time of the clock at `last`.
    shown: Duration,
}

impl Driven {
    fn now(&self) -> Duration {
        self.shown + self.last.elapsed().min(TICK)
    }
}

impl NodeClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { driven: Mutex::new(Driven { last: Instant::now(), shown: Duration::ZERO }) })
    }

    /// Advances the clock, for ever.
    pub(crate) async fn run(&self) {
        loop {
            sleep(TICK).await;
            self.with(|driven| *driven = Driven { shown: driven.now(), last: Instant::now() });
        }
    }

    /// The time for which the node was running since it started.
    pub(crate) fn now(&self) -> Duration {
        self.with(|driven| driven.now())
    }

    /// Waits until that moment of the clock. Cancel safe.
    pub(crate) async fn until(&self, moment: Duration) {
        while let Some(left) = self.left(moment) {
            sleep(left).await;
        }
    }

    /// The shortest time until that moment can have come; `None` when it has come.
    pub(crate) fn left(&self, moment: Duration) -> Option<Duration> {
        let left = moment.saturating_sub(self.now());
        (!left.is_zero()).then_some(left.max(WAIT_MIN))
    }

    /// The outcome of `future`; `None` when it takes longer than `wait` on this clock.
    pub(crate) async fn within<T>(&self, wait: Duration, future: impl Future<Output = T>) -> Option<T> {
        let deadline = self.now().saturating_add(wait);
        tokio::select! {
            biased;
            outcome = future => Some(outcome),
            () = self.until(deadline) => None,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Driven) -> T) -> T {
        act(&mut self.driven.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
impl NodeClock {
    /// A clock that advances for as long as the test runs.
    pub(crate) fn driven() -> Arc<Self> {
        let node_clock = Self::new();
        let clock = Arc::clone(&node_clock);
        tokio::spawn(async move { clock.run().await });
        node_clock
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_the_process_is_stopped() {
        let node_clock = NodeClock::driven();
        sleep(Duration::from_secs(10)).await;
        let before = node_clock.now();
        assert!(before > Duration::from_secs(9), "{before:?}");
        tokio::time::advance(HOUR).await; // no task runs meanwhile, as between SIGSTOP and SIGCONT
        let after = node_clock.now() - before;
        assert!(after <= TICK, "{after:?}");
        sleep(Duration::from_secs(10)).await;
        let after = node_clock.now() - before;
        assert!(after > Duration::from_secs(9) && after < Duration::from_secs(11), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_lasts_as_long_as_the_node_is_awake() {
        let node_clock = NodeClock::driven();
        let (clock, begun) = (Arc::clone(&node_clock), node_clock.now());
        let waits = tokio::spawn(async move { clock.within(Duration::from_secs(10), pending::<()>()).await });
        sleep(Duration::from_secs(1)).await;
        tokio::time::advance(HOUR).await;
        sleep(Duration::from_secs(1)).await;
        assert!(!waits.is_finished(), "an hour went by in which nobody was awake");
        assert_eq!(waits.await.unwrap(), None);
        let took = node_clock.now() - begun;
        assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(11), "{took:?}");
    }
}
