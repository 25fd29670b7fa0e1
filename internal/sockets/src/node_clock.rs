//! Time in which the node got on: what the bounds on devices are measured in.
//!
//! A node that was stopped for a while (SIGSTOP, a frozen container, a machine that slept), or that has more to do than
//! it can, finds every deadline past before it has read what its devices sent meanwhile. It was the one that was silent.
//! So a deadline that judges a device is a moment of this clock: it is driven by a timer of the node's own, and where
//! that timer is late, the clock has stood still.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often the clock is driven: what it goes on by, at most, without being driven.
const TICK: Duration = Duration::from_millis(250);
/// The shortest wait for a moment of it.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The clock of a node.
#[derive(Debug)]
pub(crate) struct NodeClock {
    driven: Mutex<Driven>,
}

#[derive(Debug)]
struct Driven {
    last: Instant,
    /// What the clock showed then.
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

    /// Drives the clock, for ever.
    pub(crate) async fn run(&self) {
        loop {
            sleep(TICK).await;
            self.with(|driven| *driven = Driven { shown: driven.now(), last: Instant::now() });
        }
    }

    /// How long the node was awake, since it began.
    pub(crate) fn now(&self) -> Duration {
        self.with(|driven| driven.now())
    }

    /// Returns at that moment. Cancel safe.
    pub(crate) async fn until(&self, moment: Duration) {
        while let Some(left) = self.left(moment) {
            sleep(left).await;
        }
    }

    /// How long to wait, at least, until it is worth looking whether that moment has come; `None` when it has.
    pub(crate) fn left(&self, moment: Duration) -> Option<Duration> {
        let left = moment.saturating_sub(self.now());
        (!left.is_zero()).then_some(left.max(WAIT_MIN))
    }

    /// The outcome of `future`; `None` when it takes longer than so much time awake.
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
    /// A clock that is driven for as long as the test runs.
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
        tokio::time::advance(HOUR).await; // nobody runs meanwhile: what SIGSTOP and SIGCONT do
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
