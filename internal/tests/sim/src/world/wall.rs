//! The time of day: one for the world, with an offset on every host, and the broker's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use environment::Clock;
use tokio::time::Instant;

/// The time at which every world begins: five minutes before the edge of a week.
const BEGIN_MS: i64 = 2_900 * 7 * 86_400_000 - 300_000;

/// The time of day, in milliseconds since the Unix epoch. It advances with virtual time.
#[derive(Debug)]
pub(crate) struct Wall {
    begun: Instant,
    leapt_ms: AtomicI64,
    broker_off_ms: AtomicI64,
}

impl Wall {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), leapt_ms: AtomicI64::new(0), broker_off_ms: AtomicI64::new(0) })
    }

    pub(crate) fn now_ms(&self) -> i64 {
        let gone = i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        BEGIN_MS + gone + self.leapt_ms.load(Ordering::SeqCst)
    }

    /// Jumps forward by so many milliseconds.
    pub(crate) fn leap(&self, ms: i64) {
        self.leapt_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the offset of the broker's clock.
    pub(crate) fn set_broker(&self, off_ms: i64) {
        self.broker_off_ms.store(off_ms, Ordering::SeqCst);
    }

    /// The clock of a host with that offset.
    pub(crate) fn clock(self: &Arc<Self>, off_ms: i64) -> Clock {
        let wall = Arc::clone(self);
        Clock::from_fn(move || wall.now_ms() + off_ms)
    }

    /// The broker's clock, which append times come from.
    pub(crate) fn broker(self: &Arc<Self>) -> Clock {
        let wall = Arc::clone(self);
        Clock::from_fn(move || wall.now_ms() + wall.broker_off_ms.load(Ordering::SeqCst))
    }
}
