//! One partition of a topic, as a consumer works on it: the log, the store and its holds. Each call is retried until it
//! is answered, or until the work is to stop.

use std::future::Future;

use domain::{ConversationId, Fingerprint, Seq, SeqError};
use eventlog::{DecodedRecord, LogError, PartitionReader, Quarantine, Record, TopicPartition, stands};
use events::topics::{TopicSpec, spec_of};
use process::retry_until_stopped;
use store::{Consumer, Hold, Source, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{ConsumerError, Seams};

/// One partition of a topic, with retrying access to log and store.
#[derive(Clone)]
pub struct PartitionAccess {
    /// The log, the store, the codec and the entropy.
    pub seams: Seams,
    /// The partition.
    pub at: TopicPartition,
    /// The specification of its topic.
    pub spec: &'static TopicSpec,
    /// Ends every call that is not answered.
    pub stop: CancellationToken,
}

impl PartitionAccess {
    /// The lane of that partition; its topic must be one of ours.
    #[must_use]
    pub fn new(seams: Seams, at: TopicPartition, stop: CancellationToken) -> Self {
        let spec = spec_of(&at.topic);
        Self { seams, at, spec, stop }
    }

    /// The partition as the store names it.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { topic: &self.spec.name, partition: self.at.partition }
    }

    /// The seq of an offset.
    ///
    /// # Errors
    /// When it is beyond what a generation holds.
    pub fn seq(&self, offset: u64) -> Result<Seq, SeqError> {
        Seq::new(self.spec.generation, offset)
    }

    /// Decodes a record of `chat.messages`.
    ///
    /// # Errors
    /// When its offset is beyond what a generation holds.
    pub fn message(&self, record: &Record) -> Result<DecodedRecord, SeqError> {
        DecodedRecord::read(&self.seams.codec, self.spec.generation, self.at.partition, self.spec.partitions, record)
    }

    /// Calls the store until it answers; gives up only on what a retry cannot mend.
    ///
    /// # Errors
    /// Such an error, or that the work is to stop.
    pub async fn store<'s, T, F, R>(&'s self, what: &'static str, call: F) -> Result<T, ConsumerError>
    where
        F: Fn(&'s dyn Store) -> R,
        R: Future<Output = Result<T, StoreError>> + 's,
    {
        let Seams { store, entropy, .. } = &self.seams;
        Ok(retry_until_stopped(what, entropy, &self.stop, StoreError::is_transient, || call(&**store)).await?)
    }

    /// Fails when the record at the offset of `last` is gone or has another fingerprint: the topic was re-created, or
    /// it was cut short by an unclean failover and has grown again. Must be called whenever reading begins or goes on
    /// after an error: the next offset alone would lead into the other log. Without a `last`, nothing was read yet.
    ///
    /// # Errors
    /// That difference, an error that a retry cannot mend, or that the work is to stop.
    pub async fn verify(&self, last: Option<(u64, Fingerprint)>) -> Result<(), ConsumerError> {
        let Some((offset, fingerprint)) = last else { return Ok(()) };
        let (log, at, Seams { entropy, .. }) = (&*self.seams.log, &self.at, &self.seams);
        let stands = || stands(log, &at.topic, at.partition, offset, fingerprint);
        let stands =
            retry_until_stopped("read the last record", entropy, &self.stop, LogError::is_transient, stands).await?;
        if stands { Ok(()) } else { Err(ConsumerError::NotTheLog(at.clone(), offset)) }
    }

    /// A reader from `from` on, without checking which log this is.
    ///
    /// # Errors
    /// What a retry cannot mend, or that the work is to stop.
    pub async fn open(&self, from: u64) -> Result<Box<dyn PartitionReader>, ConsumerError> {
        let (at, Seams { log, entropy, .. }) = (&self.at, &self.seams);
        let open = || log.reader(&at.topic, at.partition, from);
        Ok(retry_until_stopped("read the log", entropy, &self.stop, LogError::is_transient, open).await?)
    }

    /// A reader from `from` on, of the log that `last` was read from.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn reader(
        &self,
        from: u64,
        last: Option<(u64, Fingerprint)>,
    ) -> Result<Box<dyn PartitionReader>, ConsumerError> {
        self.verify(last).await?;
        self.open(from).await
    }

    /// Copies a corrupt record to the quarantine.
    pub async fn quarantine(&self, quarantine: &mut Quarantine, record: &Record, reason: &str) {
        let Seams { log, codec, .. } = &self.seams;
        quarantine.copy((&**log, codec), &self.at, record, reason, &self.stop).await;
    }

    /// The hold of that conversation by `consumer`.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub async fn hold(&self, consumer: Consumer, conversation: ConversationId) -> Result<Hold, ConsumerError> {
        self.store("read a hold", |store| store.hold(consumer, self.at.partition, conversation)).await
    }

    /// Writes a hold, or its end. The events that it calls done must be delivered or written by then.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub async fn put_hold(
        &self,
        consumer: Consumer,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), ConsumerError> {
        self.store("write a hold", |store| store.put_hold(consumer, self.at.partition, conversation, hold)).await
    }

    /// Holds the records of `key` from `first` to `last`. A hold that exists already keeps its earlier beginning.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub async fn hold_span(
        &self,
        consumer: Consumer,
        key: ConversationId,
        (first, last): (Seq, Seq),
    ) -> Result<(), ConsumerError> {
        let is_held = self.hold(consumer, key).await?.is_held();
        let hold = Hold { skipped_to: Some(last), done_through: first.before().filter(|_| !is_held) };
        self.put_hold(consumer, key, hold).await
    }

    /// The holds of `consumer`, behind the conversation `after`, at most so many.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub async fn holds(
        &self,
        consumer: Consumer,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, ConsumerError> {
        self.store("list holds", |store| store.holds(consumer, self.at.partition, after, limit)).await
    }

    /// The events that an operator has dropped.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub async fn drops(&self) -> Result<Vec<Seq>, ConsumerError> {
        let drops = self.store("read dropped events", |store| store.drops(self.at.partition)).await?;
        Ok(drops.into_iter().map(|dropped| dropped.seq).collect())
    }
}

/// The key of a record: a conversation, or a user, whose id has the same form.
#[must_use]
pub fn key_of(record: &Record) -> Option<ConversationId> {
    str::from_utf8(&record.key).ok()?.parse().ok()
}
