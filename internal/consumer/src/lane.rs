//! One partition of a topic, as a consumer works on it: the log, the store and its holds, each call made until it is
//! answered, or until the work is to stop.

use std::future::Future;

use domain::{ConversationId, Fingerprint, Seq, SeqError};
use eventlog::{LogError, Message, PartitionReader, Quarantine, Record, TopicPartition, stands};
use events::topics::{TopicSpec, spec_of};
use process::insist;
use store::{Consumer, Hold, Source, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{ConsumerError, Seams};

/// One partition of a topic.
#[derive(Clone)]
pub struct Lane {
    /// What it works with.
    pub seams: Seams,
    /// The partition.
    pub at: TopicPartition,
    /// Its topic.
    pub spec: &'static TopicSpec,
    /// Ends every call that is not answered.
    pub stop: CancellationToken,
}

impl Lane {
    /// That partition; its topic is one of ours.
    #[must_use]
    pub fn new(seams: Seams, at: TopicPartition, stop: CancellationToken) -> Self {
        let spec = spec_of(&at.topic);
        Self { seams, at, spec, stop }
    }

    /// As the store knows it.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { topic: &self.spec.name, partition: self.at.partition }
    }

    /// The place of an offset.
    ///
    /// # Errors
    /// When it is beyond what a generation holds.
    pub fn seq(&self, offset: u64) -> Result<Seq, SeqError> {
        Seq::new(self.spec.generation, offset)
    }

    /// What a record of `chat.messages` says.
    ///
    /// # Errors
    /// When its offset is beyond what a generation holds.
    pub fn message(&self, record: &Record) -> Result<Message, SeqError> {
        Message::read(&self.seams.codec, self.spec.generation, self.at.partition, self.spec.partitions, record)
    }

    /// Calls the store until it answers; gives up only on what a retry cannot mend.
    ///
    /// # Errors
    /// That, or that the work is to stop.
    pub async fn store<'s, T, F, R>(&'s self, what: &'static str, call: F) -> Result<T, ConsumerError>
    where
        F: Fn(&'s dyn Store) -> R,
        R: Future<Output = Result<T, StoreError>> + 's,
    {
        let Seams { store, entropy, .. } = &self.seams;
        Ok(insist(what, entropy, &self.stop, StoreError::is_transient, || call(&**store)).await?)
    }

    /// Fails when the record at the offset of `last` is gone or not the one of that fingerprint: the topic was
    /// re-created, or it was cut short by an unclean failover and has grown again. To be looked at whenever reading
    /// begins or goes on after an error: the next offset alone would lead into the other log. Without a `last`, nothing
    /// was read yet.
    ///
    /// # Errors
    /// That, what a retry cannot mend, or that the work is to stop.
    pub async fn verify(&self, last: Option<(u64, Fingerprint)>) -> Result<(), ConsumerError> {
        let Some((offset, fingerprint)) = last else { return Ok(()) };
        let (log, at, Seams { entropy, .. }) = (&*self.seams.log, &self.at, &self.seams);
        let stands = || stands(log, &at.topic, at.partition, offset, fingerprint);
        let stands = insist("read the last record", entropy, &self.stop, LogError::is_transient, stands).await?;
        if stands { Ok(()) } else { Err(ConsumerError::NotTheLog(at.clone(), offset)) }
    }

    /// A reader from `from` on, whatever log this is.
    ///
    /// # Errors
    /// What a retry cannot mend, or that the work is to stop.
    pub async fn open(&self, from: u64) -> Result<Box<dyn PartitionReader>, ConsumerError> {
        let (at, Seams { log, entropy, .. }) = (&self.at, &self.seams);
        let open = || log.reader(&at.topic, at.partition, from);
        Ok(insist("read the log", entropy, &self.stop, LogError::is_transient, open).await?)
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

    /// Copies a corrupt record to where people look.
    pub async fn quarantine(&self, quarantine: &mut Quarantine, record: &Record, reason: &str) {
        let Seams { log, codec, .. } = &self.seams;
        quarantine.copy((&**log, codec), &self.at, record, reason, &self.stop).await;
    }

    /// What `consumer` holds of that conversation.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub async fn hold(&self, consumer: Consumer, conversation: ConversationId) -> Result<Hold, ConsumerError> {
        self.store("read a hold", |store| store.hold(consumer, self.at.partition, conversation)).await
    }

    /// Writes a hold, or that it is over. What it is said to come after must be out by then.
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

    /// Holds what is keyed by `key` from `first` to `last`. Where something is held already, what that waits for comes
    /// first.
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

    /// What `consumer` holds, behind the conversation `after`, at most so many.
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

/// What a record is keyed by: a conversation, or a user, whose id is another id of the same form.
#[must_use]
pub fn key_of(record: &Record) -> Option<ConversationId> {
    str::from_utf8(&record.key).ok()?.parse().ok()
}
