//! Read marks and account events: relayed to the user concerned, on every device. Nothing is judged.

use std::sync::Arc;
use std::time::Duration;

use domain::{Fingerprint, UserId};
use eventlog::consume::{Ended, Outcome};
use eventlog::{Assigned, Committer, NewRecord, Record};
use events::topics::{DELIVERIES, RECEIPTS, spec_of};
use events::{AccountEvent, DecodeError, Delivery, HEADER_ID, HEADER_TRACE};
use runtime::{Backoff, FaultLog, Stall, insist};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::commit::COMMIT_AT_END;
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
    let (outbox, committing) = (Outbox::default(), None);
    let mut relay = Relay { deps, assigned, stop, next: 0, last: None, committed: 0, committing, outbox };
    let outcome = match relay.consume(&*committer).await {
        Ok(()) | Err(FanoutError::Stopped) => relay.commit_at_end(&*committer).await,
        failed => failed,
    };
    match outcome {
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
    /// To commit once so many deliveries are acknowledged.
    committing: Option<(u64, Position)>,
    outbox: Outbox,
}

impl Relay {
    /// Until it is to stop.
    async fn consume(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        self.resume()?;
        let mut commits = interval_at(Instant::now() + COMMIT_EVERY, COMMIT_EVERY);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (entropy, stalled) = (self.deps.entropy.clone(), self.deps.metrics.stalled.clone());
        let (mut backoff, mut faults) = (Backoff::new(entropy.clone()), FaultLog::new("read the log"));
        let mut stall = Stall::new("relay records", entropy, stalled);
        loop {
            let (deps, at, stop) = (&self.deps, &self.assigned.at, &self.stop);
            let opening = place::reader(deps, at, self.next, self.last, stop);
            let mut reader = self.outbox.beside(opening).await??;
            let mut again = None;
            loop {
                self.commit_settled(committer).await?;
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Ok(()),
                    _ = commits.tick() => self.commit(),
                    acknowledged = self.outbox.oldest() => acknowledged?,
                    () = at_time(again) => break,
                    records = reader.next(BATCH_RECORDS_MAX), if again.is_none() => match records {
                        Ok(records) => {
                            faults.well();
                            backoff.reset();
                            match self.relay_all(&records).await {
                                Ok(()) => stall.go_on(),
                                Err(error @ FanoutError::UnknownSchema(..)) => again = Some(stall.stand_still(&error)),
                                Err(error) => return Err(error),
                            }
                        }
                        Err(error) if transient_log(&error) => {
                            faults.fault(&error);
                            again = Some(Instant::now() + backoff.next_wait());
                        }
                        Err(error) => return Err(error.into()),
                    },
                }
            }
        }
    }

    fn resume(&mut self) -> Result<(), FanoutError> {
        let at = &self.assigned.at;
        let commit = self.assigned.commit.as_ref().ok_or_else(|| FanoutError::NoPosition(at.clone()))?;
        let position = Position::from_commit(commit).map_err(|reason| FanoutError::Metadata(at.clone(), reason))?;
        (self.next, self.committed, self.last) = (position.next, position.next, position.fingerprint);
        Ok(())
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

    /// The position is to be committed, if it has changed.
    fn commit(&mut self) {
        if self.committing.is_none() && self.next != self.committed {
            let position = Position { next: self.next, fingerprint: self.last, parked: Vec::new() };
            self.committing = Some((self.outbox.mark(), position));
        }
    }

    /// Commits once the deliveries before the position are acknowledged.
    async fn commit_settled(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        let Some((_, position)) = self.committing.take_if(|(mark, _)| self.outbox.has_acknowledged(*mark)) else {
            return Ok(());
        };
        let commits = [(self.assigned.at.clone(), position.to_commit())];
        let commit = || committer.commit(&commits);
        let committing = insist("commit", &self.deps.entropy, &self.stop, transient_commit, commit);
        self.outbox.beside(committing).await??;
        self.deps.metrics.commits.inc();
        self.committed = position.next;
        Ok(())
    }

    /// The last commit: tried once, since the process is stopping.
    async fn commit_at_end(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        self.stop = CancellationToken::new();
        self.committing = None;
        let last = async {
            self.outbox.settle().await?;
            self.commit();
            self.commit_settled(committer).await
        };
        tokio::time::timeout(COMMIT_AT_END, last).await.unwrap_or(Ok(()))
    }
}

/// Then; never when there is no such time.
async fn at_time(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
