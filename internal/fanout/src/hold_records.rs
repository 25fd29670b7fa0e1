//! Holds the records that a relay cannot read, by key, until a program can, while everything else goes on.
//!
//! A hold begins with its first record. No record depends on another, so later records of the same key are relayed.

use std::time::Duration;

use consumer::{BATCH_RECORDS_MAX, ConsumerError, key_of};
use domain::{ConversationId, Seq};
use eventlog::Record;
use store::{Consumer, Hold};
use tokio::time::timeout;

use crate::FanoutError;
use crate::pending_holds::{Spans, StoreReply, Writing};
use crate::position::Position;
use crate::relay::{Framed, Relay, Relayed};

/// Keys that are tried again together; the next ones follow at the next time.
const HOLDS_AT_ONCE: usize = 100;
/// Records that are read again for one key at one time, about.
const LOOK_RECORDS_MAX: u64 = 20 * BATCH_RECORDS_MAX as u64;
/// How long a retry waits for its deliveries to be acknowledged; otherwise they are repeated at the next one.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

impl Relay {
    fn consumer(&self) -> Consumer {
        match self.relayed {
            Relayed::Marks => Consumer::MarksRelay,
            Relayed::Accounts => Consumer::AccountsRelay,
        }
    }

    fn seq(&self, record: &Record) -> Result<Seq, FanoutError> {
        Ok(self.access.seq(record.offset)?)
    }

    /// Holds a record. The row is written before a commit passes it.
    pub(crate) fn hold(&mut self, record: &Record, key: ConversationId, schema: &str) -> Result<(), FanoutError> {
        let (seq, at) = (self.seq(record)?, &self.access.at);
        tracing::warn!(partition = %at, offset = record.offset, %key, schema, "a record is held");
        self.deps.metrics.holds.inc();
        self.held.unwritten.entry(key).or_insert((seq, seq)).1 = seq;
        Ok(())
    }

    /// Returns the commit, unless rows must be written before it.
    pub(crate) fn write_holds_before(&mut self, commit: (u64, Position)) -> Option<(u64, Position)> {
        if self.held.unwritten.is_empty() {
            return Some(commit);
        }
        let spans = std::mem::take(&mut self.held.unwritten);
        let request = Box::pin(self.write(spans.clone()));
        self.held.writing = Some(Writing { spans, request, commit });
        None
    }

    /// Writes all rows that are not written yet, before the last commit.
    pub(crate) async fn write_last_holds(&mut self) -> Result<(), FanoutError> {
        if let Some(writing) = self.held.writing.take() {
            // Spans that are being written begin earlier.
            for (key, span) in std::mem::replace(&mut self.held.unwritten, writing.spans) {
                self.held.unwritten.entry(key).or_insert(span).1 = span.1;
            }
        }
        let spans = std::mem::take(&mut self.held.unwritten);
        self.write(spans).await
    }

    fn write(&self, spans: Spans) -> impl Future<Output = Result<(), FanoutError>> + Send + 'static {
        let (access, consumer) = (self.access.clone(), self.consumer());
        async move {
            for (key, span) in spans {
                access.hold_span(consumer, key, span).await?;
            }
            Ok(())
        }
    }

    /// Asks the store for some held keys, to try them again.
    pub(crate) fn list_holds(&mut self) {
        if self.follows.is_some() || self.held.listing.is_some() {
            return;
        }
        let (access, consumer, after) = (self.access.clone(), self.consumer(), self.held.looked_at);
        self.held.listing = Some(Box::pin(async move { Ok(access.holds(consumer, after, HOLDS_AT_ONCE).await?) }));
    }

    pub(crate) async fn take_back(&mut self, back: StoreReply) -> Result<(), FanoutError> {
        match back {
            StoreReply::Written(commit) => self.committing = Some(commit?),
            StoreReply::Listed(held) => {
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

    /// Relays the held records of one key, up to the first that is still unknown.
    async fn look_at(&mut self, key: ConversationId, hold: Hold) -> Result<(), FanoutError> {
        let Some(to) = hold.skipped_to else { return Ok(()) };
        let (first, mut done) = (hold.done_through.unwrap_or_default().next(), hold.done_through);
        // The follower of a lagging partition begins at a later offset: held records wait until it has caught up.
        if !self.lagging.is_empty() {
            return Ok(());
        }
        let mut reader = self.outbox.beside(self.access.open(first.offset())).await??;
        'look: while done < Some(to) && done.map_or(0, |done| done.offset()) < first.offset() + LOOK_RECORDS_MAX {
            let stop = self.access.stop.clone();
            let reading = stop.run_until_cancelled(reader.next(BATCH_RECORDS_MAX));
            let records = match self.outbox.beside(reading).await? {
                None => return Err(FanoutError::STOPPED),
                Some(Ok(records)) => records,
                // Tried again another time.
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
            tracing::info!(partition = %self.access.at, %key, "held records relayed");
        }
        let (consumer, partition, hold) =
            (self.consumer(), self.access.at.partition, Hold { skipped_to: None, done_through: done });
        let put = timeout(SETTLE_WITHIN, self.access.seams.store.put_hold(consumer, partition, key, hold));
        match put.await {
            Ok(Err(error)) if !error.is_transient() => Err(ConsumerError::Store(error).into()),
            // If the row was not written, the records are relayed again.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
