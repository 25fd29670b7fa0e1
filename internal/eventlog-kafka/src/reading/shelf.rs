//! A bounded buffer of records for one reader, filled by a reader thread.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use eventlog::{LogError, Record, TopicPartition};
use tokio::sync::Notify;

use crate::errors::{broken, transient};

/// Records that may wait for a reader; at the bound its partition is paused.
const RECORDS_MAX: usize = 8192;
/// Bytes that may wait for a reader; at the bound its partition is paused.
const BYTES_MAX: usize = 8 << 20;

/// Why a reader has failed.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    OutOfRange(u64),
    NoTopic,
    Transient(String),
    Broken(String),
}

/// The buffered records of one reader.
#[derive(Debug)]
pub(crate) struct Shelf {
    state: Mutex<State>,
    /// Notified when there is something to take.
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Record>,
    bytes: usize,
    failure: Option<Failure>,
    /// Whether the thread has paused the partition and waits for a request to resume it.
    paused: bool,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), filled: Notify::new() }
    }

    /// Adds a record; returns whether the partition must be paused now.
    pub(crate) fn push(&self, record: Record) -> bool {
        let mut state = self.lock();
        state.bytes += size(&record);
        state.records.push_back(record);
        let full = state.records.len() >= RECORDS_MAX || state.bytes >= BYTES_MAX;
        let pause = full && !state.paused;
        state.paused |= full;
        drop(state);
        self.filled.notify_one();
        pause
    }

    /// Makes the reader fail with this error once it has taken the buffered records.
    pub(crate) fn fail(&self, failure: Failure) {
        self.lock().failure.get_or_insert(failure);
        self.filled.notify_one();
    }

    /// Takes at most `records_max` records; also returns whether the thread must be asked to resume the partition.
    pub(crate) fn take(&self, records_max: usize) -> (Result<Vec<Record>, Failure>, bool) {
        let mut state = self.lock();
        let count = records_max.min(state.records.len());
        let records: Vec<Record> = state.records.drain(..count).collect();
        state.bytes -= records.iter().map(size).sum::<usize>();
        let resume = state.paused && state.records.len() < RECORDS_MAX / 2 && state.bytes < BYTES_MAX / 2;
        if resume {
            state.paused = false;
        }
        match &state.failure {
            Some(failure) if records.is_empty() => (Err(failure.clone()), resume),
            _ => (Ok(records), resume),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    pub(crate) fn into_error(self, at: &TopicPartition) -> LogError {
        match self {
            Self::OutOfRange(offset) => {
                LogError::OutOfRange { topic: at.topic.clone(), partition: at.partition, offset }
            }
            Self::NoTopic => LogError::NoTopic(at.topic.clone()),
            Self::Transient(reason) => transient(reason),
            Self::Broken(reason) => broken(reason),
        }
    }
}

fn size(record: &Record) -> usize {
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.len());
    record.key.len() + record.payload.len() + headers.sum::<usize>()
}
