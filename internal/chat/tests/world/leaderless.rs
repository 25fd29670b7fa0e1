//! A log with partitions without a leader: their ends cannot be read, which fails at once.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{LogError, SharedLog, Watermarks};

pub(crate) struct Leaderless {
    log: SharedLog,
    without: Mutex<Vec<(&'static str, u32)>>,
}

impl Leaderless {
    pub(crate) fn new(log: SharedLog) -> Arc<Self> {
        Arc::new(Self { log, without: Mutex::default() })
    }

    /// Makes these partitions leaderless, and no others.
    pub(crate) fn set(&self, without: Vec<(&'static str, u32)>) {
        *self.without.lock().unwrap() = without;
    }
}

#[async_trait]
impl LogWrapper for Leaderless {
    fn inner(&self) -> SharedLog {
        self.log.clone()
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        let without = self.without.lock().unwrap().contains(&(topic, partition));
        if without { Err(LogError::Transient("no leader".into())) } else { self.log.watermarks(topic, partition).await }
    }
}
