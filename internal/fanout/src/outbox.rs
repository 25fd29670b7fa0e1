//! Deliveries on their way into the log: in order, bounded, and never given up.

use std::collections::VecDeque;
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
            self.oldest().await?;
        }
        let mut backoff = Backoff::between(entropy.clone(), BUSY_BASE, Duration::from_secs(1));
        let mut faults = FaultLog::new("append a delivery");
        loop {
            match log.enqueue(topic, record.clone()).await {
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

    /// Whether everything is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Waits until the oldest record is acknowledged; for ever when there is none. Cancel safe.
    pub(crate) async fn oldest(&mut self) -> Result<(), FanoutError> {
        let Some(receipt) = self.in_flight.front_mut() else { return std::future::pending().await };
        let fate = receipt.await;
        self.in_flight.pop_front();
        if bites(Bug::ProducerGivesUp) {
            return Ok(());
        }
        fate.map(drop).map_err(sorted)
    }

    /// Waits until everything is acknowledged.
    pub(crate) async fn settle(&mut self) -> Result<(), FanoutError> {
        while !self.is_empty() {
            self.oldest().await?;
        }
        Ok(())
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
