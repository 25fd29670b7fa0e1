//! The time of day, in milliseconds since the Unix epoch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of wall-clock time. Cheap to clone.
///
/// Wall clocks differ between hosts and may run backwards: nothing that decides an event's meaning reads one.
#[derive(Clone)]
pub struct Clock {
    now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Clock {
    /// The operating system's clock.
    #[must_use]
    pub fn system() -> Self {
        // Only here is the operating system's clock read; all other code is given a `Clock`.
        #[allow(clippy::disallowed_methods)]
        Self::from_fn(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// A clock that returns `now_ms()`, in milliseconds since the Unix epoch.
    pub fn from_fn(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { now_ms: Arc::new(now_ms) }
    }

    /// A clock that returns the value of `cell` (milliseconds since the Unix epoch), which the caller sets.
    #[must_use]
    pub fn manual(cell: Arc<AtomicI64>) -> Self {
        Self::from_fn(move || cell.load(Ordering::SeqCst))
    }

    /// Now, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.now_ms)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now_ms", &self.now_ms()).finish()
    }
}
