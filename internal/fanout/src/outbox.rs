//! Deliveries in flight to the log: in order per delivery partition, bounded in bytes for each of them, and never given
//! up. Each partition's acknowledgements count at once, independent of the others.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use environment::Entropy;
use environment::seeded_bugs::{Bug, seeded};
use eventlog::{AppendError, AppendReceipt, EventLog, NewRecord, RECORD_BYTES_MAX};
use events::topics::DELIVERIES;
use process::{Backoff, FaultLog};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::FanoutError;

/// Bytes in flight to all delivery partitions together, of all source partitions of a process, each record counted with
/// [`RECORD_COST`] on top. It stays below what a log takes at once, so that a partition that acknowledges nothing can
/// never use up what the others need.
const ROOM_BYTES_MAX: usize = 32 << 20;
/// What a record costs besides its bytes.
const RECORD_COST: usize = 1024;
/// A delivery partition that is full, and has acknowledged nothing for this long, is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// A partition that is not full is stuck when it has not acknowledged a record for this long while others went on:
/// commits, and the rows of holds, wait for that record.
const STALE_AFTER: Duration = Duration::from_secs(5);
/// The first wait for a full queue is at most this long.
const BUSY_BASE: Duration = Duration::from_millis(5);

/// The bound in bytes of each delivery partition, shared by all source partitions of a process.
#[derive(Debug)]
pub struct InFlightLimits {
    limits: Vec<Arc<Semaphore>>,
    /// The bound of each partition.
    bytes_max: usize,
}

impl InFlightLimits {
    /// Equal shares of [`ROOM_BYTES_MAX`], each at least as large as the largest record.
    pub(crate) fn new(partitions: u32) -> Self {
        let bytes_max = (ROOM_BYTES_MAX / partitions.max(1) as usize).max(RECORD_BYTES_MAX + RECORD_COST);
        Self { limits: (0..partitions).map(|_| Arc::new(Semaphore::new(bytes_max))).collect(), bytes_max }
    }

    fn of(&self, partition: u32) -> Arc<Semaphore> {
        Arc::clone(&self.limits[partition as usize])
    }

    /// The bytes that a record is counted with.
    fn cost(&self, record: &NewRecord) -> u32 {
        // The log refuses a larger record.
        u32::try_from((record.bytes() + RECORD_COST).min(self.bytes_max)).unwrap_or(u32::MAX)
    }
}

/// A record that the log has not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The number among all records handed over, in order.
    number: u64,
    /// The offset of the event that it was made from.
    source: u64,
    /// When that event was appended; see [`Destination::appended_ms`].
    appended_ms: Option<i64>,
    at: Instant,
    receipt: AppendReceipt,
    _room: OwnedSemaphorePermit,
}

/// The destination of a record, and the event that it was made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    /// The delivery partition.
    pub(crate) partition: u32,
    /// The offset in the source partition; `u64::MAX` for a record that was made from no event.
    pub(crate) source: u64,
    /// When that event was appended, milliseconds since the Unix epoch; `None` where nobody has waited for the record
    /// since then. For the metrics.
    pub(crate) appended_ms: Option<i64>,
    /// Whether to wait for a stuck partition; otherwise the record is not handed over.
    pub(crate) patient: bool,
}

/// The result of handing over a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandOver {
    Over,
    /// Not handed over: its partition is full and acknowledges nothing.
    Stuck,
}

/// The records handed to the log that are not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Arc<InFlightLimits>,
    /// The records by delivery partition, in order.
    in_flight: BTreeMap<u32, VecDeque<Sent>>,
    /// When each partition acknowledged a record last.
    acknowledged: BTreeMap<u32, Instant>,
    /// The number of records handed over so far.
    handed: u64,
    /// The earliest append time of the events whose records were acknowledged since [`Self::take_delivered`].
    delivered_ms: Option<i64>,
}

impl Outbox {
    pub(crate) fn new(limits: Arc<InFlightLimits>) -> Self {
        Self { limits, in_flight: BTreeMap::new(), acknowledged: BTreeMap::new(), handed: 0, delivered_ms: None }
    }

    /// An outbox that begins with records of that partition that another outbox has handed over.
    pub(crate) fn beginning(limits: Arc<InFlightLimits>, partition: u32, mut sent: VecDeque<Sent>) -> Self {
        let handed = sent.len() as u64;
        for (number, sent) in (0..).zip(&mut sent) {
            sent.number = number;
        }
        Self { in_flight: BTreeMap::from([(partition, sent)]), handed, ..Self::new(limits) }
    }

    /// Hands a record to the log, behind all earlier ones of its partition.
    pub(crate) async fn send(
        &mut self,
        log: &dyn EventLog,
        record: NewRecord,
        destination: Destination,
        entropy: &Entropy,
        stop: &CancellationToken,
    ) -> Result<HandOver, FanoutError> {
        let Some(room) = self.room(&record, destination, stop).await? else { return Ok(HandOver::Stuck) };
        let mut backoff = Backoff::between(entropy.clone(), BUSY_BASE, Duration::from_secs(1));
        let mut faults = FaultLog::new("append a delivery");
        loop {
            let enqueued = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(FanoutError::STOPPED),
                enqueued = log.enqueue(DELIVERIES, record.clone()) => enqueued,
            };
            match enqueued {
                Ok(receipt) => {
                    let sent = Sent {
                        number: self.handed,
                        source: destination.source,
                        appended_ms: destination.appended_ms,
                        at: Instant::now(),
                        receipt,
                        _room: room,
                    };
                    self.in_flight.entry(destination.partition).or_default().push_back(sent);
                    self.handed += 1;
                    return Ok(HandOver::Over);
                }
                Err(error @ AppendError::Busy) => {
                    faults.fault(&error);
                    if !backoff.wait(stop).await {
                        return Err(FanoutError::STOPPED);
                    }
                }
                Err(error) => return Err(sorted(error)),
            }
        }
    }

    /// Room for the record; `None` when its partition is stuck and not to be waited for.
    async fn room(
        &mut self,
        record: &NewRecord,
        destination: Destination,
        stop: &CancellationToken,
    ) -> Result<Option<OwnedSemaphorePermit>, FanoutError> {
        let (room, cost) = (self.limits.of(destination.partition), self.limits.cost(record));
        if let Ok(permit) = Arc::clone(&room).try_acquire_many_owned(cost) {
            return Ok(Some(permit));
        }
        let waited = self.in_flight.get(&destination.partition).and_then(VecDeque::front).map(|sent| sent.at.elapsed());
        if !destination.patient && waited.is_some_and(|waited| waited >= STUCK_AFTER) {
            return Ok(None);
        }
        let mut acquired = pin!(room.acquire_many_owned(cost));
        let mut sick = pin!(sleep(STUCK_AFTER));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(FanoutError::STOPPED),
                acknowledged = self.acknowledged() => acknowledged?,
                permit = &mut acquired => return Ok(Some(permit.expect("semaphores are never closed"))),
                () = &mut sick, if !destination.patient => return Ok(None),
            }
        }
    }

    /// The present mark: [`Self::has_acknowledged`] tells when everything up to it is acknowledged.
    pub(crate) fn mark(&self) -> u64 {
        self.handed
    }

    /// Whether everything up to `mark` is acknowledged.
    pub(crate) fn has_acknowledged(&self, mark: u64) -> bool {
        self.in_flight.values().filter_map(VecDeque::front).all(|sent| sent.number >= mark)
    }

    /// Waits until something is acknowledged; pending when nothing is in flight. Cancel-safe.
    pub(crate) async fn acknowledged(&mut self) -> Result<(), FanoutError> {
        poll_fn(|context| self.poll_acknowledged(context)).await
    }

    fn poll_acknowledged(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FanoutError>> {
        let mut any = false;
        for (partition, sent) in &mut self.in_flight {
            // A partition acknowledges in order.
            while let Some(oldest) = sent.front_mut() {
                let Poll::Ready(fate) = Pin::new(&mut oldest.receipt).poll(context) else { break };
                self.delivered_ms = earliest(self.delivered_ms, oldest.appended_ms);
                sent.pop_front();
                self.acknowledged.insert(*partition, Instant::now());
                any = true;
                if let Err(error) = fate
                    && !seeded(Bug::ProducerGivesUp)
                {
                    return Poll::Ready(Err(sorted(error)));
                }
            }
        }
        if any { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Waits until everything is acknowledged.
    pub(crate) async fn settle(&mut self) -> Result<(), FanoutError> {
        while !self.has_acknowledged(self.mark()) {
            self.acknowledged().await?;
        }
        Ok(())
    }

    /// Waits for `other`, and handles acknowledgements meanwhile: a producer that failed is replaced only once all who
    /// wrote through it know.
    pub(crate) async fn beside<T>(&mut self, other: impl Future<Output = T>) -> Result<T, FanoutError> {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return Ok(done),
                acknowledged = self.acknowledged() => acknowledged?,
            }
        }
    }

    /// Partitions that have left a record unacknowledged for long while others acknowledged later ones.
    pub(crate) fn stale(&self) -> Vec<u32> {
        let others = |partition: u32, since: Instant| {
            self.acknowledged.iter().any(|(other, at)| *other != partition && *at > since)
        };
        let oldest = self.in_flight.iter().filter_map(|(partition, sent)| Some((*partition, sent.front()?.at)));
        oldest
            .filter(|(partition, at)| at.elapsed() >= STALE_AFTER && others(*partition, *at))
            .map(|(p, _)| p)
            .collect()
    }

    /// The earliest append time of the events whose records were acknowledged since the last call.
    pub(crate) fn take_delivered(&mut self) -> Option<i64> {
        self.delivered_ms.take()
    }

    /// The earliest append time of the events, or relayed records, whose deliveries are in flight.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        // Each partition's records are in the order of their events.
        self.in_flight.values().filter_map(|sent| sent.front()?.appended_ms).min()
    }

    /// Partitions with records in flight.
    pub(crate) fn unsettled(&self) -> Vec<u32> {
        self.in_flight.iter().filter(|(_, sent)| !sent.is_empty()).map(|(partition, _)| *partition).collect()
    }

    /// Takes out the records in flight to a partition, which are waited for elsewhere.
    pub(crate) fn take(&mut self, partition: u32) -> VecDeque<Sent> {
        self.in_flight.remove(&partition).unwrap_or_default()
    }
}

fn earliest(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// The lowest source offset of the records.
pub(crate) fn first_source(sent: &VecDeque<Sent>) -> Option<u64> {
    sent.iter().map(|sent| sent.source).min()
}

/// Maps an error of the log. A record that may be missing means that all since the last commit are sent again.
fn sorted(error: AppendError) -> FanoutError {
    match error {
        AppendError::Unknown | AppendError::Fatal(_) | AppendError::Busy => FanoutError::Again(error),
        AppendError::TooLarge | AppendError::NoTopic(_) => FanoutError::Delivery(error),
        AppendError::Closed => FanoutError::STOPPED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(limits: &InFlightLimits, partition: u32, number: u64, receipt: AppendReceipt) -> Sent {
        let room = limits.of(partition).acquire_owned().await.unwrap();
        Sent { number, source: number, appended_ms: Some(1_000), at: Instant::now(), receipt, _room: room }
    }

    /// A producer that failed is not replaced before a partition whose source cannot be read has heard of it.
    #[tokio::test]
    async fn a_failure_is_heard_of_while_something_else_is_waited_for() {
        let (limits, (report, receipt)) = (Arc::new(InFlightLimits::new(12)), AppendReceipt::new());
        let in_flight = VecDeque::from([sent(&limits, 0, 0, receipt).await]);
        let mut outbox = Outbox::beginning(limits, 0, in_flight);
        report.send(Err(AppendError::Unknown)).unwrap();
        let heard = outbox.beside(std::future::pending::<()>()).await;
        assert!(matches!(heard, Err(FanoutError::Again(_))), "{heard:?}");
        assert_eq!(outbox.beside(async { 7 }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_is_acknowledged_leaves_whatever_stands_before_it_elsewhere() {
        let limits = Arc::new(InFlightLimits::new(12));
        let ((_silent, first), (report, second)) = (AppendReceipt::new(), AppendReceipt::new());
        let mut outbox = Outbox::new(Arc::clone(&limits));
        for (partition, receipt) in [(3, first), (5, second)] {
            let sent = sent(&limits, partition, outbox.handed, receipt).await;
            outbox.in_flight.entry(partition).or_default().push_back(sent);
            outbox.handed += 1;
        }
        report.send(Ok(eventlog::Position { partition: 5, offset: 9 })).unwrap();
        outbox.acknowledged().await.unwrap();
        assert_eq!(outbox.unsettled(), [3]);
        assert_eq!(
            (outbox.oldest_ms(), outbox.take_delivered(), outbox.take_delivered()),
            (Some(1_000), Some(1_000), None)
        );
        assert!(outbox.has_acknowledged(0) && !outbox.has_acknowledged(1));
        assert_eq!(first_source(&outbox.take(3)), Some(0));
        assert!(outbox.has_acknowledged(2));
    }

    #[test]
    fn full_partitions_leave_a_log_room_for_the_others() {
        let partitions = events::topics::spec_of(DELIVERIES).partitions;
        let all = InFlightLimits::new(partitions).bytes_max * partitions as usize;
        assert!(all <= ROOM_BYTES_MAX, "{all} bytes");
    }
}
