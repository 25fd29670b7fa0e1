//! Randomness: for ids, nonces, tokens and jitter.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, RngExt, SeedableRng};
use uuid::Uuid;

use crate::Clock;

/// A cryptographically strong generator, seeded by the operating system or, for tests, by a number. Cheap to clone;
/// clones draw from the same stream.
#[derive(Clone)]
pub struct Entropy {
    rng: Arc<Mutex<StdRng>>,
}

impl Entropy {
    /// Seeded by the operating system.
    ///
    /// # Panics
    /// When the operating system provides no randomness: then no id or token would be safe.
    #[must_use]
    pub fn system() -> Self {
        Self::from_rng(StdRng::try_from_rng(&mut SysRng).expect("the operating system provides randomness"))
    }

    /// The stream of `seed`, the same on every machine.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::from_rng(StdRng::seed_from_u64(seed))
    }

    fn from_rng(rng: StdRng) -> Self {
        Self { rng: Arc::new(Mutex::new(rng)) }
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut out);
        out
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..bound)
    }

    /// A UUIDv7 stamped with `clock`'s time.
    #[must_use]
    pub fn uuid_v7(&self, clock: &Clock) -> Uuid {
        let stamp_ms = u64::try_from(clock.now_ms()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(stamp_ms, &self.bytes::<10>()).into_uuid()
    }

    /// Full jitter for the `attempt`-th retry (from 0): a random wait below `base * 2^attempt`, at most `max`, never
    /// below a tenth of that bound, so that a failing dependency is not hammered.
    ///
    /// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    #[must_use]
    pub fn backoff(&self, attempt: u32, base: Duration, max: Duration) -> Duration {
        let bound = base.saturating_mul(2_u32.saturating_pow(attempt.min(20))).min(max);
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(bound_us / 10 + self.below(bound_us - bound_us / 10))
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_again() {
        let clock = Clock::from_fn(|| 1_700_000_000_000);
        let (a, b) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(a.uuid_v7(&clock), b.uuid_v7(&clock));
        assert_ne!(a.bytes::<16>(), Entropy::seeded(8).bytes::<16>());
    }

    #[test]
    fn backoff_stays_inside_its_bounds() {
        let entropy = Entropy::seeded(1);
        for attempt in 0..40 {
            let wait = entropy.backoff(attempt, Duration::from_millis(10), Duration::from_secs(1));
            assert!(wait >= Duration::from_millis(1) && wait <= Duration::from_secs(1), "{attempt}: {wait:?}");
        }
    }
}
