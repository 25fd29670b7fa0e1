//! The fixture of this crate's tests: an embedded log and store in memory, and conversations of one partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use consumer::Seams;
use domain::kinds::{Create, SendMessage};
use domain::{Action, CommandId, ConversationId, ConversationKind, Event, RULES_NEWEST, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::wrapper::{LogWrapper, SilentReader};
use eventlog::{
    Header, LogError, NewRecord, PartitionReader, Record, SharedLog, TopicPartition, Watermarks, append,
    partition_of_id,
};
use events::Codec;
use events::topics::{MESSAGES, QUARANTINE, RECEIPTS, spec_of};
use process::Metrics;
use store::embedded::EmbeddedStore;
use store::{Consumer, Hold, HoldStore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::partition::Partition;
use crate::{Deps, StorageMetrics};

const NOW_MS: i64 = 1_700_000_000_000;
/// The partition of all conversations.
pub(crate) const PARTITION: u32 = 0;

pub(crate) struct Fixture {
    pub(crate) log: SharedLog,
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) codec: Codec,
    entropy: Entropy,
    clock: Clock,
}

impl Fixture {
    /// An environment with all topics, each partition with its genesis record.
    pub(crate) async fn new() -> Self {
        let (clock, entropy, codec) = (Clock::from_fn(|| NOW_MS), Entropy::seeded(1), Codec::compiled_in());
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        for spec in [MESSAGES, RECEIPTS, QUARANTINE].map(spec_of) {
            log.create(spec).await.unwrap();
            for partition in (0..spec.partitions).map(Some) {
                let encoded = codec.genesis(entropy.bytes(), spec.generation);
                let (key, headers, payload) = ("genesis".to_owned(), encoded.headers, encoded.payload);
                append(&*log, &spec.name, NewRecord { key, partition, headers, payload }).await.unwrap();
            }
        }
        let store = EmbeddedStore::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        Self { log, store, codec, entropy, clock }
    }

    /// The dependencies of a program that knows the rules up to those.
    pub(crate) fn deps(&self, rules_newest: u32) -> Arc<Deps> {
        let (log, store) = (Arc::clone(&self.log), self.store.attach().unwrap());
        let metrics = StorageMetrics::new(&Metrics::new());
        let deps = Deps::new(log, store, self.codec.clone(), self.entropy.clone(), metrics);
        Arc::new(Deps { rules_newest, ..deps })
    }

    /// The dependencies of a program that knows all rules, over another log.
    pub(crate) fn deps_over(&self, log: SharedLog) -> Arc<Deps> {
        let deps = (*self.deps(RULES_NEWEST)).clone();
        Arc::new(Deps { seams: Seams { log, ..deps.seams.clone() }, ..deps })
    }

    /// The partition, just taken over by such a program.
    pub(crate) async fn partition(&self, rules_newest: u32) -> Partition {
        let (deps, at) = (self.deps(rules_newest), TopicPartition::new(MESSAGES, PARTITION));
        let mut partition = Partition::new(deps, at, CancellationToken::new());
        partition.resume().await.unwrap();
        partition
    }

    /// The records that the partition has not applied yet.
    pub(crate) async fn ahead(&self, partition: &Partition) -> Vec<Record> {
        let end = self.log.watermarks(MESSAGES, PARTITION).await.unwrap().next;
        let mut reader = partition.access.open(partition.next_offset()).await.unwrap();
        let (mut records, mut next) = (Vec::new(), partition.next_offset());
        while next < end {
            records.append(&mut reader.next(500).await.unwrap());
            next = records.last().unwrap().offset + 1;
        }
        records
    }

    /// So many groups of the partition, by id, each with the event that creates it.
    pub(crate) fn groups(&self, count: usize) -> Vec<(ConversationId, Event)> {
        let (mut groups, author) = (BTreeMap::new(), author());
        while groups.len() < count {
            let id = CommandId::try_from(self.entropy.uuid_v7(&self.clock)).unwrap();
            let conversation = ConversationId::group(author, id);
            if partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions) == PARTITION {
                let action =
                    Action::Create(Create { kind: ConversationKind::Group, title: None, members: vec![author] });
                groups.insert(conversation, event(id, conversation, action));
            }
        }
        groups.into_iter().collect()
    }

    pub(crate) fn message(&self, conversation: ConversationId) -> Event {
        let id = CommandId::try_from(self.entropy.uuid_v7(&self.clock)).unwrap();
        event(id, conversation, Action::SendMessage(SendMessage { body: "hello".into(), reply_to: None, thread: None }))
    }

    pub(crate) async fn append(&self, event: &Event) -> Seq {
        let encoded = self.codec.event(event);
        self.append_bytes(event.conversation, encoded.headers, encoded.payload).await
    }

    pub(crate) async fn append_bytes(&self, conversation: ConversationId, headers: Vec<Header>, payload: Bytes) -> Seq {
        let record = NewRecord { key: conversation.to_string(), partition: Some(PARTITION), headers, payload };
        Seq::new(0, append(&*self.log, MESSAGES, record).await.unwrap().offset).unwrap()
    }

    /// The conversations that are held.
    pub(crate) async fn held(&self) -> Vec<(ConversationId, Hold)> {
        self.store.holds(Consumer::Storage, PARTITION, None, 10_000).await.unwrap()
    }
}

fn author() -> UserId {
    UserId::try_from(Uuid::from_u128(7)).unwrap()
}

fn event(id: CommandId, conversation: ConversationId, action: Action) -> Event {
    let (author, rules) = (author(), RULES_NEWEST);
    Event { id, conversation, author, received_ms: NOW_MS, rules, key_id: None, looked_up: true, action }
}

/// A log whose first readers wait for ever, like those of a partition without a leader.
pub(crate) struct Silent {
    inner: SharedLog,
    /// The number of readers that still wait.
    readers: AtomicU32,
    /// Offsets at its ends that hold no record.
    beyond: u64,
}

impl Silent {
    pub(crate) fn new(inner: &SharedLog, readers: u32) -> Self {
        Self { inner: Arc::clone(inner), readers: AtomicU32::new(readers), beyond: 0 }
    }

    /// A log without waiting readers, but every partition ends with so many offsets without a record.
    pub(crate) fn longer(inner: &SharedLog, beyond: u64) -> Self {
        Self { beyond, ..Self::new(inner, 0) }
    }
}

#[async_trait]
impl LogWrapper for Silent {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let left = self.readers.load(Ordering::SeqCst);
        if let Some(left) = left.checked_sub(1) {
            self.readers.store(left, Ordering::SeqCst);
            return Ok(Box::new(SilentReader));
        }
        self.inner.reader(topic, partition, from).await
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        let marks = self.inner.watermarks(topic, partition).await?;
        Ok(Watermarks { next: marks.next + self.beyond, ..marks })
    }
}
