//! Read marks and account events: relayed to the user concerned, on every device. Nothing is judged.

use std::sync::Arc;
use std::time::Duration;

use domain::{Fingerprint, UserId};
use eventlog::consume::{Ended, Outcome};
use eventlog::{Assigned, Committer, NewRecord, PartitionReader, Record};
use events::topics::{DELIVERIES, RECEIPTS, spec_of};
use events::{AccountEvent, DecodeError, Delivery, HEADER_ID, HEADER_TRACE};
use runtime::{Stall, insist};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::emit::by_partition;
use crate::error::{transient_commit, transient_log};
use crate::outbox::Outbox;
use crate::partition::BATCH_RECORDS_MAX;
use crate::position::Position;
use crate::{Deps, FanoutError, place};

/// How often the position is committed while something changes.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let mut relay = Relay { deps, assigned, stop, next: 0, last: None, committed: 0, outbox: Outbox::default() };
    match relay.consume(&*committer).await {
        Ok(()) | Err(FanoutError::Stopped) => Ok(Ended::Stopped),
        Err(FanoutError::Again(_) | FanoutError::Fenced) => Ok(Ended::Again),
        Err(error) => Err(error.into()),
    }
}

struct Relay {
    deps: Arc<Deps>,
    assigned: Assigned,
    stop: CancellationToken,
    /// The next offset to relay.
    next: u64,
    /// The record before it.
    last: Option<Fingerprint>,
    committed: u64,
    outbox: Outbox,
}

impl Relay {
    async fn consume(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        self.resume().await?;
        let mut commits = interval_at(Instant::now() + COMMIT_EVERY, COMMIT_EVERY);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (entropy, stalled) = (self.deps.entropy.clone(), self.deps.metrics.stalled.clone());
        let mut stall = Stall::new("relay records", entropy, stalled);
        loop {
            let mut reader = self.reader().await?;
            let mut again = None;
            loop {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => {
                        self.stop = CancellationToken::new();
                        let last = tokio::time::timeout(Duration::from_secs(5), self.commit(committer));
                        return last.await.unwrap_or(Ok(()));
                    }
                    _ = commits.tick() => self.commit(committer).await?,
                    acknowledged = self.outbox.oldest() => acknowledged?,
                    () = at(again) => break,
                    records = reader.next(BATCH_RECORDS_MAX), if again.is_none() => match records {
                        Ok(records) => match self.relay_all(&records).await {
                            Ok(()) => stall.go_on(),
                            Err(error @ FanoutError::UnknownSchema(..)) => again = Some(stall.stand_still(&error)),
                            Err(error) => return Err(error),
                        },
                        Err(error) if transient_log(&error) => break,
                        Err(error) => return Err(error.into()),
                    },
                }
            }
            self.verify().await?;
        }
    }

    async fn resume(&mut self) -> Result<(), FanoutError> {
        let at = &self.assigned.at;
        let commit = self.assigned.commit.as_ref().ok_or_else(|| FanoutError::NoPosition(at.clone()))?;
        let position = Position::from_commit(commit).map_err(|reason| FanoutError::Metadata(at.clone(), reason))?;
        (self.next, self.committed, self.last) = (position.next, position.next, position.fingerprint);
        self.verify().await
    }

    /// Fails when the log is not the one that it was.
    async fn verify(&self) -> Result<(), FanoutError> {
        place::verify(&self.deps, &self.assigned.at, self.next, self.last, &self.stop).await
    }

    async fn reader(&self) -> Result<Box<dyn PartitionReader>, FanoutError> {
        let (Deps { log, entropy, .. }, at) = (&*self.deps, &self.assigned.at);
        let open = || log.reader(&at.topic, at.partition, self.next);
        Ok(insist("read the log", entropy, &self.stop, transient_log, open).await?)
    }

    /// Relays what comes before the first record of a schema that this program does not know, and fails there if there is
    /// one: nothing could be held for it, so its partition waits for the upgrade.
    async fn relay_all(&mut self, records: &[Record]) -> Result<(), FanoutError> {
        for record in records {
            self.relay(record).await?;
        }
        Ok(())
    }

    async fn relay(&mut self, record: &Record) -> Result<(), FanoutError> {
        if let Some((user, frame)) = self.frame(record)? {
            let partitions = spec_of(DELIVERIES).partitions;
            let partition = by_partition(&[user], partitions).into_keys().next();
            let delivery = Delivery { recipients: vec![user], place: None, frame };
            let encoded = self.deps.codec.delivery(&delivery);
            let mut headers = encoded.headers;
            let kept = record.headers.iter().filter(|(name, _)| name == HEADER_TRACE || name == HEADER_ID);
            headers.extend(kept.cloned());
            let record = NewRecord { key: user.to_string(), partition, headers, payload: encoded.payload };
            let Deps { log, entropy, .. } = &*self.deps;
            self.outbox.send(&**log, DELIVERIES, record, entropy, &self.stop).await?;
            self.deps.metrics.deliveries.inc();
        }
        self.next = record.offset + 1;
        self.last = Some(record.fingerprint());
        Ok(())
    }

    /// Whom the record concerns, and the frame for their devices.
    fn frame(&self, record: &Record) -> Result<Option<(UserId, String)>, FanoutError> {
        let codec = &self.deps.codec;
        let frame = if self.assigned.at.topic == RECEIPTS {
            codec.read_receipt(&record.headers, &record.payload).map(|read| {
                let read = read?;
                let (conversation, user) = (read.conversation, read.user);
                Some((user, api::FeedFrame::Read { conversation, user, mark: read.seq, ordinal: read.ordinal }))
            })
        } else {
            codec.read_user_event(&record.headers, &record.payload).map(|event| {
                let event = event?;
                let name = match event.what {
                    AccountEvent::Registered { .. } => "registered",
                    AccountEvent::SessionStarted => "signed_in",
                    AccountEvent::SessionEnded => "signed_out",
                };
                Some((event.user, api::FeedFrame::Account { event: name.to_owned(), time: event.time_ms }))
            })
        };
        match frame {
            Ok(None) => Ok(None),
            Ok(Some((user, frame))) => {
                Ok(Some((user, serde_json::to_string(&frame).expect("a feed frame has string keys only"))))
            }
            Err(DecodeError::Corrupt(reason)) => {
                self.deps.metrics.corrupt.inc();
                tracing::warn!(partition = %self.assigned.at, offset = record.offset, reason, "corrupt record");
                Ok(None)
            }
            Err(DecodeError::UnknownSchema(schema)) => {
                Err(FanoutError::UnknownSchema(self.assigned.at.clone(), record.offset, schema))
            }
        }
    }

    async fn commit(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        if self.next == self.committed {
            return Ok(());
        }
        let position = Position { next: self.next, fingerprint: self.last, parked: Vec::new() };
        self.outbox.settle().await?;
        let commits = [(self.assigned.at.clone(), position.to_commit())];
        let commit = || committer.commit(&commits);
        insist("commit", &self.deps.entropy, &self.stop, transient_commit, commit).await?;
        self.deps.metrics.commits.inc();
        self.committed = position.next;
        Ok(())
    }
}

/// Then; never when there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
