//! Token buckets by key: rate limits.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// A token bucket for each key. The number of keys is bounded: the least recently used bucket is dropped, and so
/// counts as full.
pub struct Buckets<K: Hash + Eq> {
    burst: u32,
    one_per: Duration,
    /// The time at which each bucket will be full. A key that is missing has a full bucket.
    full_at: Mutex<LruCache<K, Instant>>,
}

impl<K: Hash + Eq> fmt::Debug for Buckets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buckets({} at once, one more in {:?})", self.burst, self.one_per)
    }
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Buckets of `burst` tokens, refilled by one token per `one_per`; for at most `keys_max` keys.
    #[must_use]
    pub fn new(burst: u32, one_per: Duration, keys_max: NonZeroUsize) -> Self {
        Self { burst: burst.max(1), one_per, full_at: Mutex::new(LruCache::new(keys_max)) }
    }

    /// Checks whether there is a token, without taking it.
    ///
    /// # Errors
    /// The time until there is one.
    pub fn look(&self, key: &K) -> Result<(), Duration> {
        self.next(&mut self.lock(), key).map(drop)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The time until there is one.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        self.take_many(key, 1)
    }

    /// Takes several tokens. One available token is enough; the others are owed, so the next wait is longer.
    ///
    /// # Errors
    /// The time until there is one.
    pub fn take_many(&self, key: &K, tokens: u32) -> Result<(), Duration> {
        let mut full_at = self.lock();
        let next = self.next(&mut full_at, key)?;
        full_at.put(key.clone(), next + self.one_per * tokens.saturating_sub(1));
        Ok(())
    }

    /// Returns a token.
    pub fn give_back(&self, key: &K) {
        let mut full_at = self.lock();
        if let Some(at) = full_at.peek_mut(key) {
            *at = at.checked_sub(self.one_per).unwrap_or(*at);
            if *at <= Instant::now() {
                full_at.pop(key);
            }
        }
    }

    /// Fills the bucket.
    pub fn forgive(&self, key: &K) {
        self.lock().pop(key);
    }

    /// The number of keys that are kept.
    pub fn remembered(&self) -> usize {
        self.lock().len()
    }

    /// The time at which the bucket will be full after taking one more token; the error is the time until there is
    /// a token.
    fn next(&self, full_at: &mut LruCache<K, Instant>, key: &K) -> Result<Instant, Duration> {
        let now = Instant::now();
        let next = full_at.get(key).copied().unwrap_or(now).max(now) + self.one_per;
        match next.duration_since(now).checked_sub(self.one_per * self.burst) {
            None | Some(Duration::ZERO) => Ok(next),
            Some(wait) => Err(wait),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<K, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS_MAX: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let buckets = Buckets::new(3, Duration::from_millis(500), KEYS_MAX);
        for _ in 0..3 {
            buckets.take(&1).unwrap();
        }
        assert_eq!(buckets.take(&1), Err(Duration::from_millis(500)));
        buckets.take(&2).unwrap();
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!(buckets.look(&1), Err(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(100)).await;
        buckets.take(&1).unwrap();
        assert!(buckets.take(&1).is_err());
        buckets.give_back(&1);
        buckets.take(&1).unwrap();
        buckets.forgive(&1);
        buckets.take(&1).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let buckets = Buckets::new(1, Duration::from_secs(9), KEYS_MAX);
        for key in 0..3 {
            buckets.take(&key).unwrap();
        }
        assert!(buckets.take(&2).is_err());
        buckets.take(&0).unwrap();
        assert_eq!(buckets.remembered(), 2);
    }
}
