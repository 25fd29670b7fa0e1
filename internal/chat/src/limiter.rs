//! How often a user may send commands, and read: a bucket of tokens each, per process, over all of the user's devices.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use api::{ApiError, ErrorCode};
use domain::UserId;
use lru::LruCache;
use tokio::time::Instant;

/// Users remembered. At the bound the least recent one's bucket counts as full again.
const USERS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// Buckets of tokens. Cheap to clone; clones share the buckets.
#[derive(Clone)]
pub(crate) struct Limiter {
    burst: f64,
    per_second: f64,
    /// What there are too many of.
    what: &'static str,
    buckets: Arc<Mutex<LruCache<UserId, Bucket>>>,
}

struct Bucket {
    tokens: f64,
    /// When `tokens` was right.
    at: Instant,
}

impl Limiter {
    pub(crate) fn new(burst: u32, per_second: u32, what: &'static str) -> Self {
        let buckets = Arc::new(Mutex::new(LruCache::new(USERS_MAX)));
        Self { burst: f64::from(burst), per_second: f64::from(per_second), what, buckets }
    }

    /// Takes one of the user's tokens, or refuses.
    pub(crate) fn take(&self, user: UserId) -> Result<(), ApiError> {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get_or_insert_mut(user, || Bucket { tokens: self.burst, at: now });
        let gained = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        *bucket = Bucket { tokens: (bucket.tokens + gained).min(self.burst), at: now };
        if bucket.tokens < 1.0 {
            let words = format!("too many {}: wait a moment and send it again", self.what);
            return Err(ApiError::new(ErrorCode::RateLimited, words));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let (limiter, user) = (Limiter::new(3, 2, "commands"), UserId::try_from(uuid::Uuid::nil()).unwrap());
        let other = UserId::try_from(uuid::Uuid::max()).unwrap();
        for _ in 0..3 {
            limiter.take(user).unwrap();
        }
        assert_eq!(limiter.take(user).unwrap_err().code, ErrorCode::RateLimited);
        limiter.take(other).unwrap();
        tokio::time::advance(Duration::from_millis(500)).await;
        limiter.take(user).unwrap();
        assert!(limiter.take(user).is_err());
    }
}
