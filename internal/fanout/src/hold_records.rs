//! Holding what a relay cannot read yet, by its key, until a program knows it, while everything else goes on.
//!
//! A hold begins with its first record; nothing depends on what is held, so later records of the same key are relayed.

use std::time::Duration;

use consumer::{BATCH_RECORDS_MAX, ConsumerError, key_of};
use domain::{ConversationId, Seq};
use eventlog::Record;
use store::{Consumer, Hold};
use tokio::time::timeout;

use crate::FanoutError;
use crate::held::{Back, Spans, Writing};
use crate::position::Position;
use crate::relay::{Framed, Relay, Relayed};

/// Keys that are looked at together; the next ones at the next look.
const HOLDS_AT_ONCE: usize = 100;
/// Records that one look reads at about most, for one key.
const LOOK_RECORDS_MAX: u64 = 20 * BATCH_RECORDS_MAX as u64;
/// How long a look waits for its deliveries; they are repeated at the next one otherwise.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

impl Relay {
    fn consumer(&self) -> Consumer {
        match self.relayed {
            Relayed::Marks => Consumer::MarksRelay,
            Relayed::Accounts => Consumer::AccountsRelay,
        }
    }

    fn seq(&self, record: &Record) -> Result<Seq, FanoutError> {
        Ok(self.lane.seq(record.offset)?)
    }

    /// Holds a record. The row is written before a commit passes it.
    pub(crate) fn hold(&mut self, record: &Record, key: ConversationId, schema: &str) -> Result<(), FanoutError> {
        let (seq, at) = (self.seq(record)?, &self.lane.at);
        tracing::warn!(partition = %at, offset = record.offset, %key, schema, "a record is held");
        self.deps.metrics.holds.inc();
        self.held.unwritten.entry(key).or_insert((seq, seq)).1 = seq;
        Ok(())
    }

    /// Gives the commit back, unless rows go before it.
    pub(crate) fn write_holds_before(&mut self, commit: (u64, Position)) -> Option<(u64, Position)> {
        if self.held.unwritten.is_empty() {
            return Some(commit);
        }
        let spans = std::mem::take(&mut self.held.unwritten);
        let request = Box::pin(self.write(spans.clone()));
        self.held.writing = Some(Writing { spans, request, commit });
        None
    }

    /// Writes all rows that are not written yet; for the last commit.
    pub(crate) async fn write_last_holds(&mut self) -> Result<(), FanoutError> {
        if let Some(writing) = self.held.writing.take() {
            // The first of a key comes from there.
            for (key, span) in std::mem::replace(&mut self.held.unwritten, writing.spans) {
                self.held.unwritten.entry(key).or_insert(span).1 = span.1;
            }
        }
        let spans = std::mem::take(&mut self.held.unwritten);
        self.write(spans).await
    }

    fn write(&self, spans: Spans) -> impl Future<Output = Result<(), FanoutError>> + Send + 'static {
        let (lane, consumer) = (self.lane.clone(), self.consumer());
        async move {
            for (key, span) in spans {
                lane.hold_span(consumer, key, span).await?;
            }
            Ok(())
        }
    }

    /// Asks for some of what is held: whether this program knows it.
    pub(crate) fn list_holds(&mut self) {
        if self.follows.is_some() || self.held.listing.is_some() {
            return;
        }
        let (lane, consumer, after) = (self.lane.clone(), self.consumer(), self.held.looked_at);
        self.held.listing = Some(Box::pin(async move { Ok(lane.holds(consumer, after, HOLDS_AT_ONCE).await?) }));
    }

    pub(crate) async fn take_back(&mut self, back: Back) -> Result<(), FanoutError> {
        match back {
            Back::Written(commit) => self.committing = Some(commit?),
            Back::Listed(held) => {
                let held = held?;
                let more = held.len() == HOLDS_AT_ONCE;
                self.held.looked_at = held.last().map(|(key, _)| *key).filter(|_| more);
                for (key, hold) in held {
                    self.look_at(key, hold).await?;
                }
            }
        }
        Ok(())
    }

    /// Relays what was held of one key, up to the first record that is still not known.
    async fn look_at(&mut self, key: ConversationId, hold: Hold) -> Result<(), FanoutError> {
        let Some(to) = hold.skipped_to else { return Ok(()) };
        let (first, mut done) = (hold.done_through.unwrap_or_default().next(), hold.done_through);
        // A partition that lags has a follower from a later place on: what is held waits for it to catch up.
        if !self.lagging.is_empty() {
            return Ok(());
        }
        let mut reader = self.outbox.beside(self.lane.open(first.offset())).await??;
        'look: while done < Some(to) && done.map_or(0, |done| done.offset()) < first.offset() + LOOK_RECORDS_MAX {
            let stop = self.lane.stop.clone();
            let reading = stop.run_until_cancelled(reader.next(BATCH_RECORDS_MAX));
            let records = match self.outbox.beside(reading).await? {
                None => return Err(FanoutError::STOPPED),
                Some(Ok(records)) => records,
                // Another time.
                Some(Err(error)) if error.is_transient() => break,
                Some(Err(error)) => return Err(error.into()),
            };
            for record in records.into_iter().filter(|record| record.offset <= to.offset()) {
                if key_of(&record) == Some(key) {
                    match self.frame(&record).await? {
                        Framed::Nobody => {}
                        Framed::For(user, frame) => self.deliver_to(&record, user, &frame).await?,
                        Framed::Unknown(..) => break 'look,
                    }
                }
                done = Some(self.seq(&record)?);
            }
        }
        if done == hold.done_through || !self.lagging.is_empty() {
            return Ok(());
        }
        match timeout(SETTLE_WITHIN, self.outbox.settle()).await {
            Ok(settled) => settled?,
            Err(_) => return Ok(()),
        }
        if done >= Some(to) {
            self.deps.metrics.healed.inc();
            tracing::info!(partition = %self.lane.at, %key, "held records relayed");
        }
        let (consumer, partition, hold) =
            (self.consumer(), self.lane.at.partition, Hold { skipped_to: None, done_through: done });
        let put = timeout(SETTLE_WITHIN, self.lane.seams.store.put_hold(consumer, partition, key, hold));
        match put.await {
            Ok(Err(error)) if !error.is_transient() => Err(ConsumerError::Store(error).into()),
            // If it was not written, it is relayed again.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
