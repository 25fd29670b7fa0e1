//! How often one may try to sign in to a name.
//!
//! A name has [`BURST`] attempts, and gets one back every [`ONE_PER`]; signing in gives all of them back, and an attempt
//! that was not judged is given back by itself: the service being busy locks nobody out. Names that do not exist count
//! like others, so the answer tells nothing. At [`NAMES_MAX`] names the one tried longest ago is
//! forgotten; what an attacker could gain by that is bounded by the cost of the hashes.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// Attempts in a row.
const BURST: u32 = 10;
/// One attempt comes back in this time.
const ONE_PER: Duration = Duration::from_secs(6);
/// Names that are remembered.
const NAMES_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Attempts by name.
pub(crate) struct Attempts {
    /// When a name will have all its attempts back.
    whole_at: Mutex<LruCache<String, Instant>>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { whole_at: Mutex::new(LruCache::new(NAMES_MAX)) }
    }
}

impl Attempts {
    /// Takes an attempt; false when there is none left.
    pub(crate) fn take(&self, name: &str) -> bool {
        let mut names = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let whole_at = names.get(name).copied().unwrap_or(now).max(now) + ONE_PER;
        if whole_at.duration_since(now) > ONE_PER * BURST {
            return false;
        }
        names.put(name.to_owned(), whole_at);
        true
    }

    /// Gives one attempt back.
    pub(crate) fn give_back(&self, name: &str) {
        let mut names = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(whole_at) = names.peek_mut(name) {
            *whole_at = whole_at.checked_sub(ONE_PER).unwrap_or(*whole_at);
        }
    }

    /// Gives all attempts back.
    pub(crate) fn forgive(&self, name: &str) {
        self.whole_at.lock().unwrap_or_else(PoisonError::into_inner).pop(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_run_out_and_come_back() {
        let attempts = Attempts::default();
        assert!((0..BURST).all(|_| attempts.take("ada")));
        assert!(!attempts.take("ada"));
        assert!(attempts.take("bob"), "every name has its own");
        tokio::time::advance(ONE_PER).await;
        assert!(attempts.take("ada"));
        assert!(!attempts.take("ada"), "refused attempts cost nothing and one came back");
        attempts.give_back("ada");
        assert!(attempts.take("ada"));
        assert!(!attempts.take("ada"), "one was given back, not more");
        attempts.give_back("nobody");
        attempts.forgive("ada");
        assert!((0..BURST).all(|_| attempts.take("ada")));
    }

    #[tokio::test]
    async fn the_table_is_bounded() {
        let attempts = Attempts::default();
        for number in 0..NAMES_MAX.get() + 10 {
            attempts.take(&number.to_string());
        }
        assert_eq!(attempts.whole_at.lock().unwrap().len(), NAMES_MAX.get());
    }
}
