//! A log, a store with faults, both consumers, and conversations of one partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use domain::kinds::{Create, SendMessage};
use domain::{Action, CommandId, ConversationId, ConversationKind, Event, RULES_NEWEST, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{Commit, NewRecord, SharedLog, TopicPartition, append, partition_of_id};
use events::topics::{self, DELIVERIES, GROUP_FANOUT, MESSAGES, RECEIPTS, USERS, spec_of};
use events::{Codec, ReadMark};
use process::{Metrics, Readiness};
use store::embedded::EmbeddedStore;
use store::{Consumer, HoldStore, SharedStore};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::faulty::{Fate, FaultyStore};
use crate::slow::SlowLog;

/// When every record is appended.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;
/// The partition of all conversations.
pub(crate) const PARTITION: u32 = 0;

pub(crate) struct World {
    pub(crate) log: SharedLog,
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) fate: Arc<Fate>,
    /// How many milliseconds the consumers' reads of the log take.
    pub(crate) read_ms: Arc<AtomicU64>,
    /// Whether the consumers' appends are acknowledged.
    pub(crate) acknowledges: watch::Sender<bool>,
    codec: Codec,
    entropy: Entropy,
    clock: Clock,
    /// The time by which the metrics tell ages.
    pub(crate) metrics_ms: Arc<AtomicI64>,
    metrics: BTreeMap<&'static str, Metrics>,
    running: BTreeMap<&'static str, (CancellationToken, JoinHandle<()>)>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (clock, entropy, codec) = (Clock::from_fn(|| NOW_MS), Entropy::seeded(1), Codec::compiled_in());
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        for spec in topics::all() {
            log.create(spec).await.unwrap();
            for partition in (0..spec.partitions).map(Some) {
                let encoded = codec.genesis(entropy.bytes(), spec.generation);
                let (key, headers, payload) = ("genesis".to_owned(), encoded.headers, encoded.payload);
                append(&*log, &spec.name, NewRecord { key, partition, headers, payload }).await.unwrap();
            }
        }
        for topic in [MESSAGES, RECEIPTS, USERS] {
            let begin =
                |partition| (TopicPartition::new(topic, partition), Commit { next: 0, metadata: String::new() });
            let commits: Vec<_> = (0..spec_of(topic).partitions).map(begin).collect();
            log.commit_offline(GROUP_FANOUT, &commits).await.unwrap();
        }
        let store = EmbeddedStore::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        let (fate, read_ms, running) = (Arc::default(), Arc::default(), BTreeMap::new());
        let (metrics_ms, metrics) = (Arc::new(AtomicI64::new(NOW_MS)), BTreeMap::new());
        let acknowledges = watch::Sender::new(true);
        Self { log, store, fate, read_ms, acknowledges, codec, entropy, clock, metrics_ms, metrics, running }
    }

    pub(crate) fn start(&mut self, service: &'static str, rules_newest: u32) {
        let stop = CancellationToken::new();
        let metrics = Metrics::with_clock(Clock::manual(Arc::clone(&self.metrics_ms)));
        self.metrics.insert(service, metrics.clone());
        let inner: SharedStore = self.store.attach().unwrap();
        let store: SharedStore = Arc::new(FaultyStore { inner, fate: Arc::clone(&self.fate) });
        let (codec, entropy) = (self.codec.clone(), self.entropy.clone());
        let (read_ms, acknowledges) = (Arc::clone(&self.read_ms), self.acknowledges.subscribe());
        let log: SharedLog = Arc::new(SlowLog { inner: self.log.clone(), read_ms, acknowledges });
        let token = stop.clone();
        let task = if service == "storage" {
            let mut deps = storage::Deps::new(log, store, codec, entropy, storage::StorageMetrics::new(&metrics));
            deps.rules_newest = rules_newest;
            tokio::spawn(async move { storage::run(deps, Readiness::default(), token).await.unwrap() })
        } else {
            let mut deps = fanout::Deps::new(log, store, codec, entropy, fanout::FanoutMetrics::new(&metrics));
            deps.rules_newest = rules_newest;
            tokio::spawn(async move { fanout::run(deps, Readiness::default(), token).await.unwrap() })
        };
        self.running.insert(service, (stop, task));
    }

    pub(crate) async fn stop(&mut self, service: &'static str) {
        let (stop, task) = self.running.remove(service).unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    /// So many groups of the partition, by id, each with the event that creates it.
    pub(crate) fn groups(&self, count: usize) -> Vec<(ConversationId, Event)> {
        let (mut groups, author) = (BTreeMap::new(), UserId::try_from(Uuid::from_u128(7)).unwrap());
        while groups.len() < count {
            let id = CommandId::try_from(self.entropy.uuid_v7(&self.clock)).unwrap();
            let conversation = ConversationId::group(author, id);
            if partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions) == PARTITION {
                let action =
                    Action::Create(Create { kind: ConversationKind::Group, title: None, members: vec![author] });
                groups.insert(conversation, Event { id, ..self.event(conversation, action, RULES_NEWEST) });
            }
        }
        groups.into_iter().collect()
    }

    /// A message, made under those rules.
    pub(crate) fn message(&self, conversation: ConversationId, rules: u32) -> Event {
        self.event(
            conversation,
            Action::SendMessage(SendMessage { body: "hello".into(), reply_to: None, thread: None }),
            rules,
        )
    }

    fn event(&self, conversation: ConversationId, action: Action, rules: u32) -> Event {
        let id = CommandId::try_from(self.entropy.uuid_v7(&self.clock)).unwrap();
        let author = UserId::try_from(Uuid::from_u128(7)).unwrap();
        Event { id, conversation, author, received_ms: NOW_MS, rules, key_id: None, looked_up: true, action }
    }

    pub(crate) async fn append(&self, event: &Event) -> Seq {
        let encoded = self.codec.event(event);
        let key = event.conversation.to_string();
        let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
        Seq::new(0, append(&*self.log, MESSAGES, record).await.unwrap().offset).unwrap()
    }

    /// Appends a message to the conversation, under today's rules.
    pub(crate) async fn say(&self, conversation: ConversationId) -> Seq {
        self.append(&self.message(conversation, RULES_NEWEST)).await
    }

    /// Appends that somebody has read the conversation up to its first event.
    pub(crate) async fn read(&self, conversation: ConversationId, seq: Seq) {
        let user = UserId::try_from(Uuid::from_u128(7)).unwrap();
        let encoded = self.codec.read_mark(&ReadMark { user, conversation, seq, ordinal: 1 });
        let (key, headers, payload) = (conversation.to_string(), encoded.headers, encoded.payload);
        append(&*self.log, RECEIPTS, NewRecord { key, partition: None, headers, payload }).await.unwrap();
    }

    /// Waits until a service's metrics have that line.
    pub(crate) async fn shows(&self, service: &'static str, line: &str, within: Duration) {
        let shown = async {
            while !self.metrics[service].text().lines().any(|shown| shown == line) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let shown = timeout(within, shown).await;
        assert!(shown.is_ok(), "{service} does not show {line}:\n{}", self.metrics[service].text());
    }

    /// The delivered seqs, in order, as the clients' filter leaves them.
    pub(crate) async fn delivered(&self) -> BTreeMap<ConversationId, Vec<Seq>> {
        let mut seen = self.emitted().await;
        for seqs in seen.values_mut() {
            let mut last = None;
            seqs.retain(|seq| last < Some(*seq) && last.replace(*seq) != Some(*seq));
        }
        seen
    }

    /// The delivered seqs, as they are in the log.
    pub(crate) async fn emitted(&self) -> BTreeMap<ConversationId, Vec<Seq>> {
        let mut seen: BTreeMap<ConversationId, Vec<Seq>> = BTreeMap::new();
        for partition in 0..spec_of(DELIVERIES).partitions {
            let next = self.log.watermarks(DELIVERIES, partition).await.unwrap().next;
            let (mut reader, mut at) = (self.log.reader(DELIVERIES, partition, 0).await.unwrap(), 0);
            while at < next {
                for record in reader.next(500).await.unwrap() {
                    at = record.offset + 1;
                    let delivery = self.codec.read_delivery(&record.headers, &record.payload).unwrap();
                    let Some((conversation, seq)) = delivery.and_then(|delivery| delivery.event_key) else { continue };
                    seen.entry(conversation).or_default().push(seq);
                }
            }
        }
        seen
    }

    /// Waits until the conversation's deliveries are those, in that order.
    pub(crate) async fn delivers(&self, conversation: ConversationId, seqs: &[Seq], within: Duration) {
        let comes = async {
            while self.delivered().await.get(&conversation).map_or(&[][..], Vec::as_slice) != seqs {
                tokio::time::sleep(Duration::from_millis(100)).await; // virtual time
            }
        };
        if tokio::time::timeout(within, comes).await.is_err() {
            let delivered = self.delivered().await.remove(&conversation).unwrap_or_default();
            let same = seqs.iter().zip(&delivered).take_while(|(seq, came)| seq == came).count();
            let (wanted, came) = (seqs.get(same..), delivered.get(same..));
            panic!("{conversation}: within {within:?}, behind {same} right ones, {wanted:?}, not {came:?}");
        }
    }

    /// The conversations that are held.
    pub(crate) async fn held(&self, consumer: Consumer) -> BTreeSet<ConversationId> {
        let store = self.store.attach().unwrap();
        store.holds(consumer, PARTITION, None, 10_000).await.unwrap().into_iter().map(|(id, _)| id).collect()
    }

    /// Waits until so many conversations are held.
    pub(crate) async fn holds(&self, consumer: Consumer, count: usize, within: Duration) {
        let comes = async {
            while self.held(consumer).await.len() != count {
                tokio::time::sleep(Duration::from_millis(50)).await; // virtual time
            }
        };
        let came = tokio::time::timeout(within, comes).await.is_ok();
        assert!(came, "{count} held by {consumer:?}, not {}", self.held(consumer).await.len());
    }

    /// Waits until everything is committed.
    pub(crate) async fn commits(&self, within: Duration) {
        let at = TopicPartition::new(MESSAGES, PARTITION);
        let comes = async {
            let next = self.log.watermarks(MESSAGES, PARTITION).await.unwrap().next;
            loop {
                let commit = self.log.committed(GROUP_FANOUT, &at).await.unwrap().unwrap();
                // The version, the fingerprint, and nothing parked.
                if commit.next == next && commit.metadata.split(';').count() == 2 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await; // virtual time
            }
        };
        tokio::time::timeout(within, comes).await.expect("everything is committed");
    }
}
