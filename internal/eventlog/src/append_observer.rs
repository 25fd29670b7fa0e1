//! Tells a program how its appends went, so that it can count them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use events::topics;
use tokio::time::Instant;

/// How an append ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It is durable.
    Acknowledged {
        /// The log's time of the append, milliseconds since the Unix epoch, where the log tells it with the
        /// acknowledgement.
        append_time_ms: Option<i64>,
    },
    /// It was refused, it failed, or its fate cannot be known.
    Failed,
}

/// Is told of every append to a topic of the table: the topic, how it ended, and the time from the call until then, also
/// the wait at the bound. By default nobody is told. Records of the lossy lane are no appends.
#[derive(Clone, Default)]
pub struct AppendObserver(Option<Arc<Observe>>);

type Observe = dyn Fn(&'static str, AppendOutcome, Duration) + Send + Sync;

impl AppendObserver {
    /// Calls `observe`, which must not block, from any thread.
    pub fn new(observe: impl Fn(&'static str, AppendOutcome, Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    /// An append that began at `begun` has ended. For engines.
    pub fn ended(&self, topic: &str, begun: Instant, outcome: AppendOutcome) {
        if let (Some(observe), Some(spec)) = (&self.0, topics::find(topic)) {
            observe(&spec.name, outcome, begun.elapsed());
        }
    }
}

impl fmt::Debug for AppendObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AppendObserver").field(&self.0.is_some()).finish()
    }
}
