//! What a relay cannot read yet: held by its key until a program knows it, while everything else goes on.
//!
//! A hold begins with its first record; nothing depends on what is held, so later records of the same key are relayed.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use domain::{ConversationId, Seq};
use eventlog::Record;
use events::topics::{RECEIPTS, spec_of};
use runtime::insist;
use store::{Consumer, Hold, StoreError};
use tokio::time::timeout;

use crate::partition::BATCH_RECORDS_MAX;
use crate::position::Position;
use crate::relay::{Framed, Relay};
use crate::{Deps, FanoutError, place};

/// Keys that are looked at together; the next ones at the next look.
const HOLDS_AT_ONCE: usize = 100;
/// Records that one look reads at about most, for one key.
const LOOK_RECORDS_MAX: u64 = 20 * BATCH_RECORDS_MAX as u64;
/// How long a look waits for its deliveries; they are repeated at the next one otherwise.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// What the record is keyed by: a conversation, or a user, whose id is another id of the same form.
pub(crate) fn key_of(record: &Record) -> Option<ConversationId> {
    str::from_utf8(&record.key).ok()?.parse().ok()
}

/// Who cannot go on before it is back: nobody. The store may be away, and what can be read is relayed.
type Errand<T> = Pin<Box<dyn Future<Output = Result<T, FanoutError>> + Send>>;

/// The first and the last record of each key.
type Spans = BTreeMap<ConversationId, (Seq, Seq)>;

/// What a relay holds, as far as it is on its way to the store or back.
#[derive(Default)]
pub(crate) struct Held {
    /// Since the last commit was made up.
    unwritten: Spans,
    writing: Option<Writing>,
    listing: Option<Errand<Vec<(ConversationId, Hold)>>>,
    /// The last key that was looked at.
    looked_at: Option<ConversationId>,
}

/// Rows on their way, and the commit that comes after them.
struct Writing {
    spans: Spans,
    errand: Errand<()>,
    commit: (u64, Position),
}

/// What is back from the store.
pub(crate) enum Back {
    /// The rows before this commit are written.
    Written(Result<(u64, Position), FanoutError>),
    /// These are held.
    Listed(Result<Vec<(ConversationId, Hold)>, FanoutError>),
}

impl Held {
    /// The commit that waits for rows.
    pub(crate) fn committing(&mut self) -> Option<&mut (u64, Position)> {
        self.writing.as_mut().map(|writing| &mut writing.commit)
    }

    /// What comes back next; dropping it loses nothing.
    pub(crate) async fn back(&mut self) -> Back {
        poll_fn(|context| {
            if let Some(writing) = &mut self.writing
                && let Poll::Ready(written) = writing.errand.as_mut().poll(context)
                && let Some(writing) = self.writing.take()
            {
                return Poll::Ready(Back::Written(written.map(|()| writing.commit)));
            }
            if let Some(listing) = &mut self.listing
                && let Poll::Ready(listed) = listing.as_mut().poll(context)
            {
                self.listing = None;
                return Poll::Ready(Back::Listed(listed));
            }
            Poll::Pending
        })
        .await
    }
}

impl Relay {
    fn consumer(&self) -> Consumer {
        if self.assigned.at.topic == RECEIPTS { Consumer::MarksRelay } else { Consumer::AccountsRelay }
    }

    fn seq(&self, record: &Record) -> Result<Seq, FanoutError> {
        Ok(Seq::new(spec_of(&self.assigned.at.topic).generation, record.offset)?)
    }

    /// Holds a record. The row is written before a commit passes it.
    pub(crate) fn hold(&mut self, record: &Record, key: ConversationId, schema: &str) -> Result<(), FanoutError> {
        let (seq, at) = (self.seq(record)?, &self.assigned.at);
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
        let errand = Box::pin(self.write(spans.clone()));
        self.held.writing = Some(Writing { spans, errand, commit });
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
        let (deps, stop, consumer) = (Arc::clone(&self.deps), self.stop.clone(), self.consumer());
        let partition = self.assigned.at.partition;
        async move {
            let Deps { store, entropy, .. } = &*deps;
            for (key, (first, last)) in spans {
                let read = || store.hold(consumer, partition, key);
                // Where one is held already, what it waits for comes first.
                let held = insist("read a hold", entropy, &stop, StoreError::is_transient, read).await?.is_held();
                let hold = Hold { skipped_to: Some(last), done_through: first.before().filter(|_| !held) };
                let write = || store.put_hold(consumer, partition, key, hold);
                insist("write a hold", entropy, &stop, StoreError::is_transient, write).await?;
            }
            Ok(())
        }
    }

    /// Sends for some of what is held: whether this program knows it.
    pub(crate) fn list_holds(&mut self) {
        if self.follows.is_some() || self.held.listing.is_some() {
            return;
        }
        let (deps, stop, consumer) = (Arc::clone(&self.deps), self.stop.clone(), self.consumer());
        let (partition, after) = (self.assigned.at.partition, self.held.looked_at);
        self.held.listing = Some(Box::pin(async move {
            let Deps { store, entropy, .. } = &*deps;
            let list = || store.holds(consumer, partition, after, HOLDS_AT_ONCE);
            Ok(insist("list holds", entropy, &stop, StoreError::is_transient, list).await?)
        }));
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
        let opening = place::open(&self.deps, &self.assigned.at, first.offset(), &self.stop);
        let mut reader = self.outbox.beside(opening).await??;
        'look: while done < Some(to) && done.map_or(0, |done| done.offset()) < first.offset() + LOOK_RECORDS_MAX {
            let stop = self.stop.clone();
            let reading = stop.run_until_cancelled(reader.next(BATCH_RECORDS_MAX));
            let records = match self.outbox.beside(reading).await? {
                None => return Err(FanoutError::Stopped),
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
            tracing::info!(partition = %self.assigned.at, %key, "held records relayed");
        }
        let (consumer, partition, hold) =
            (self.consumer(), self.assigned.at.partition, Hold { skipped_to: None, done_through: done });
        let put = timeout(SETTLE_WITHIN, self.deps.store.put_hold(consumer, partition, key, hold));
        match put.await {
            Ok(Err(error)) if !error.is_transient() => Err(error.into()),
            // If it was not written, it is relayed again.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
