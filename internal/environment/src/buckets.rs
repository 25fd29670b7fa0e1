//! Token buckets by key: how often somebody may do something.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// A bucket for each key. The keys that are remembered are bounded: the least recently used is forgotten, and its bucket
/// counts as full again.
pub struct Buckets<K: Hash + Eq> {
    burst: u32,
    one_per: Duration,
    /// When a bucket will be full again. What is not there is full.
    full_at: Mutex<LruCache<K, Instant>>,
}

impl<K: Hash + Eq> fmt::Debug for Buckets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buckets({} at once, one more in {:?})", self.burst, self.one_per)
    }
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Buckets of `burst` tokens, one of which comes back in `one_per`; of at most so many keys.
    #[must_use]
    pub fn new(burst: u32, one_per: Duration, keys_max: NonZeroUsize) -> Self {
        Self { burst: burst.max(1), one_per, full_at: Mutex::new(LruCache::new(keys_max)) }
    }

    /// Whether there is a token. None is taken.
    ///
    /// # Errors
    /// After how long there will be one.
    pub fn look(&self, key: &K) -> Result<(), Duration> {
        self.next(&mut self.lock(), key).map(drop)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// After how long there will be one.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        self.take_many(key, 1)
    }

    /// Takes so many tokens. It is enough that there is one: what the others lack is owed, and the next wait is longer.
    ///
    /// # Errors
    /// After how long there will be one.
    pub fn take_many(&self, key: &K, tokens: u32) -> Result<(), Duration> {
        let mut full_at = self.lock();
        let next = self.next(&mut full_at, key)?;
        full_at.put(key.clone(), next + self.one_per * tokens.saturating_sub(1));
        Ok(())
    }

    /// Gives a token back.
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

    /// How many keys are remembered.
    pub fn remembered(&self) -> usize {
        self.lock().len()
    }

    /// When the bucket would be full if one more is taken; after how long there is one, when there is none.
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
