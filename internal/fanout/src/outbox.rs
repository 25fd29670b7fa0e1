//! Deliveries on their way into the log: in order, bounded, and never given up.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use eventlog::{AppendError, EventLog, NewRecord, Receipt};
use host::Entropy;
use host::teeth::{Bug, bites};
use runtime::{Backoff, FaultLog};
use tokio_util::sync::CancellationToken;

use crate::FanoutError;

/// Records in flight per source partition; at the bound, the intake waits for the oldest.
const IN_FLIGHT_MAX: usize = 4096;
/// How long the first wait for a full queue is at most.
const BUSY_BASE: Duration = Duration::from_millis(5);

/// What was handed to the log and is not acknowledged yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    in_flight: VecDeque<Receipt>,
    /// How many were acknowledged, ever.
    acknowledged: u64,
}

impl Outbox {
    /// Hands a record to the log, behind all earlier ones.
    pub(crate) async fn send(
        &mut self,
        log: &dyn EventLog,
        topic: &str,
        record: NewRecord,
        entropy: &Entropy,
        stop: &CancellationToken,
    ) -> Result<(), FanoutError> {
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(FanoutError::Stopped),
                acknowledged = self.oldest() => acknowledged?,
            }
        }
        let mut backoff = Backoff::between(entropy.clone(), BUSY_BASE, Duration::from_secs(1));
        let mut faults = FaultLog::new("append a delivery");
        loop {
            let enqueued = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(FanoutError::Stopped),
                enqueued = log.enqueue(topic, record.clone()) => enqueued,
            };
            match enqueued {
                Ok(receipt) => {
                    self.in_flight.push_back(receipt);
                    return Ok(());
                }
                Err(error @ AppendError::Busy) => {
                    faults.fault(&error);
                    if !backoff.wait(stop).await {
                        return Err(FanoutError::Stopped);
                    }
                }
                Err(error) => return Err(sorted(error)),
            }
        }
    }

    /// Where it stands: [`Self::has_acknowledged`] says when everything up to here is acknowledged.
    pub(crate) fn mark(&self) -> u64 {
        self.acknowledged + self.in_flight.len() as u64
    }

    /// Whether everything up to `mark` is acknowledged.
    pub(crate) fn has_acknowledged(&self, mark: u64) -> bool {
        self.acknowledged >= mark
    }

    /// Waits until the oldest record is acknowledged; for ever when there is none. Cancel safe.
    pub(crate) async fn oldest(&mut self) -> Result<(), FanoutError> {
        let Some(receipt) = self.in_flight.front_mut() else { return std::future::pending().await };
        let fate = receipt.await;
        self.in_flight.pop_front();
        self.acknowledged += 1;
        if bites(Bug::ProducerGivesUp) {
            return Ok(());
        }
        fate.map(drop).map_err(sorted)
    }

    /// Waits until everything is acknowledged.
    pub(crate) async fn settle(&mut self) -> Result<(), FanoutError> {
        while !self.in_flight.is_empty() {
            self.oldest().await?;
        }
        Ok(())
    }

    /// Waits for `other`, and hears meanwhile what becomes of records: a producer that failed is replaced only once all
    /// who wrote through it know.
    pub(crate) async fn beside<T>(&mut self, other: impl Future<Output = T>) -> Result<T, FanoutError> {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return Ok(done),
                acknowledged = self.oldest() => acknowledged?,
            }
        }
    }
}

/// A record that may be missing means that all since the last commit are sent again.
fn sorted(error: AppendError) -> FanoutError {
    match error {
        AppendError::Unknown | AppendError::Fatal(_) | AppendError::Busy => FanoutError::Again(error),
        AppendError::TooLarge | AppendError::NoTopic(_) => FanoutError::Delivery(error),
        AppendError::Closed => FanoutError::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A producer that failed is not replaced while a partition whose source cannot be read has not heard of it.
    #[tokio::test]
    async fn a_failure_is_heard_of_while_something_else_is_waited_for() {
        let (report, receipt) = Receipt::new();
        let mut outbox = Outbox { in_flight: VecDeque::from([receipt]), ..Outbox::default() };
        report.send(Err(AppendError::Unknown)).unwrap();
        let heard = outbox.beside(std::future::pending::<()>()).await;
        assert!(matches!(heard, Err(FanoutError::Again(_))), "{heard:?}");
        assert_eq!(outbox.beside(async { 7 }).await.unwrap(), 7);
    }
}
