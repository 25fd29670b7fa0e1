//! A log whose reads take their time, and which acknowledges nothing while its gate is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{AppendError, AppendReceipt, LogError, NewRecord, PartitionReader, Record, SharedLog};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The log, with each read taking so many milliseconds.
pub(crate) struct SlowLog {
    pub(crate) inner: SharedLog,
    pub(crate) read_ms: Arc<AtomicU64>,
    /// Whether appends are acknowledged.
    pub(crate) acknowledges: watch::Receiver<bool>,
}

struct SlowReader {
    inner: Box<dyn PartitionReader>,
    read_ms: Arc<AtomicU64>,
    /// When the read in progress is done; its caller may have gone and come back meanwhile.
    done: Option<Instant>,
}

#[async_trait]
impl PartitionReader for SlowReader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        let takes = Duration::from_millis(self.read_ms.load(Ordering::SeqCst));
        sleep_until(*self.done.get_or_insert_with(|| Instant::now() + takes)).await;
        let records = self.inner.next(records_max).await;
        self.done = None;
        records
    }
}

#[async_trait]
impl LogWrapper for SlowLog {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        let durable = self.inner.enqueue(topic, record).await?;
        let mut acknowledges = self.acknowledges.clone();
        if *acknowledges.borrow() {
            return Ok(durable);
        }
        let (report, receipt) = AppendReceipt::new();
        tokio::spawn(async move {
            let opened = acknowledges.wait_for(|acknowledges| *acknowledges).await.is_ok();
            let _ = report.send(if opened { durable.await } else { Err(AppendError::Unknown) });
        });
        Ok(receipt)
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let inner = self.inner.reader(topic, partition, from).await?;
        Ok(Box::new(SlowReader { inner, read_ms: Arc::clone(&self.read_ms), done: None }))
    }
}
