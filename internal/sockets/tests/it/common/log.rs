//! A log with faults: it wraps another log, and behaves as a broker in trouble does from a node's point of view.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{LogError, PartitionReader, Record, SharedLog, Watermarks};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// Called, with the reader's number, each time a reader has read records and is about to return them.
pub type OnRead = Arc<dyn Fn(usize) -> BoxFuture<'static, ()> + Send + Sync>;

/// A log whose faults a test sets.
pub struct Doctored {
    inner: RwLock<SharedLog>,
    faults: Arc<Faults>,
}

struct Faults {
    /// Raised when the log is replaced or fails: open readers return one error, and are of no use afterwards.
    epoch: watch::Sender<u64>,
    /// Records below this offset are trimmed.
    low: AtomicU64,
    /// Readers with these numbers return nothing.
    held: watch::Sender<Range<usize>>,
    /// How many readers were opened.
    opened: AtomicUsize,
    on_read: RwLock<Option<OnRead>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the broker is not there at the moment")]
struct Away;

impl Doctored {
    pub fn new(inner: SharedLog) -> Arc<Self> {
        let faults = Faults {
            epoch: watch::Sender::new(0),
            low: AtomicU64::new(0),
            held: watch::Sender::new(0..0),
            opened: AtomicUsize::new(0),
            on_read: RwLock::default(),
        };
        Arc::new(Self { inner: RwLock::new(inner), faults: Arc::new(faults) })
    }

    /// The topic is deleted and re-created: from now on, `log` is the log.
    pub fn replace(&self, log: SharedLog) {
        *self.inner.write().unwrap() = log;
        self.hiccup();
    }

    /// The broker goes away for a moment: open readers fail once.
    pub fn hiccup(&self) {
        self.faults.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Retention deletes everything below `low`.
    pub fn trim(&self, low: u64) {
        self.faults.low.store(low, Ordering::SeqCst);
    }

    /// Open readers return nothing until [`Self::release`].
    pub fn hold_open_readers(&self) {
        self.faults.held.send_replace(0..self.opened());
    }

    /// Readers that are opened from now on return nothing until [`Self::release`].
    pub fn hold_new_readers(&self) {
        self.faults.held.send_replace(self.opened()..usize::MAX);
    }

    pub fn release(&self) {
        self.faults.held.send_replace(0..0);
    }

    pub fn opened(&self) -> usize {
        self.faults.opened.load(Ordering::SeqCst)
    }

    pub fn on_read(&self, act: OnRead) {
        *self.faults.on_read.write().unwrap() = Some(act);
    }
}

struct Reader {
    inner: Box<dyn PartitionReader>,
    faults: Arc<Faults>,
    number: usize,
    epoch: watch::Receiver<u64>,
    held: watch::Receiver<Range<usize>>,
    topic: String,
    partition: u32,
    next: u64,
}

#[async_trait]
impl PartitionReader for Reader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        loop {
            let number = self.number;
            self.held.wait_for(|held| !held.contains(&number)).await.unwrap();
            if self.next < self.faults.low.load(Ordering::SeqCst) {
                return Err(LogError::OutOfRange {
                    topic: self.topic.clone(),
                    partition: self.partition,
                    offset: self.next,
                });
            }
            tokio::select! {
                biased;
                _ = self.epoch.changed() => return Err(LogError::Transient(Box::new(Away))),
                _ = self.held.changed() => {}
                records = self.inner.next(records_max) => {
                    let records = records?;
                    self.next = records.last().unwrap().offset + 1;
                    let act = self.faults.on_read.read().unwrap().clone();
                    if let Some(act) = act {
                        act(self.number).await;
                    }
                    return Ok(records);
                }
            }
        }
    }
}

#[async_trait]
impl LogWrapper for Doctored {
    fn inner(&self) -> SharedLog {
        Arc::clone(&self.inner.read().unwrap())
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        Ok(Box::new(Reader {
            number: self.faults.opened.fetch_add(1, Ordering::SeqCst),
            epoch: self.faults.epoch.subscribe(),
            held: self.faults.held.subscribe(),
            inner: self.inner().reader(topic, partition, from).await?,
            faults: Arc::clone(&self.faults),
            topic: topic.to_owned(),
            partition,
            next: from,
        }))
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        let Watermarks { low, next } = self.inner().watermarks(topic, partition).await?;
        Ok(Watermarks { low: low.max(self.faults.low.load(Ordering::SeqCst)).min(next), next })
    }
}
