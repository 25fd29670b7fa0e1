//! Both consumers on logs with faults, on the embedded engines in memory.

#![allow(clippy::unwrap_used)] // in helpers of tests too

mod cut;
mod held;
mod leaderless;
mod log;
mod paused;
mod sick;

use std::sync::Arc;
use std::time::Duration;

use domain::kinds::{Create, SendMessage};
use domain::{Action, CommandId, ConversationId, ConversationKind, Event, RULES_NEWEST, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{Commit, NewRecord, SharedLog, TopicPartition, append};
use events::topics::{self, GROUP_FANOUT, MESSAGES, RECEIPTS, USERS, spec_of};
use events::{Codec, ReadMark};
use process::{Metrics, Readiness};
use store::embedded::EmbeddedStore;
use store::{ChatStore, Source};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Ended = Result<(), eventlog::consume::BoxError>;

fn user(n: u8) -> UserId {
    format!("00000000-0000-4000-8000-0000000000{n:02}").parse().unwrap()
}

fn conversation() -> ConversationId {
    ConversationId::direct(user(1), user(2))
}

/// The conversation's partition of that topic.
fn partition_in(topic: &str) -> TopicPartition {
    let partition = eventlog::partition_of_id(conversation().uuid(), spec_of(topic).partitions);
    TopicPartition::new(topic, partition)
}

/// All topics with their genesis records; the clock stands at `now_ms`.
async fn log(now_ms: i64) -> SharedLog {
    let (codec, entropy) = (Codec::compiled_in(), Entropy::seeded(1));
    let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), Clock::from_fn(move || now_ms)).await.unwrap();
    let mut begin = Vec::new();
    for spec in topics::all() {
        log.create(spec).await.unwrap();
        for partition in 0..spec.partitions {
            let genesis = codec.genesis(entropy.bytes(), spec.generation);
            put(&log, &TopicPartition::new(&spec.name, partition), genesis.headers, genesis.payload).await;
            if [MESSAGES, RECEIPTS, USERS].contains(&spec.name.as_str()) {
                let start = Commit { next: 0, metadata: String::new() };
                begin.push((TopicPartition::new(&spec.name, partition), start));
            }
        }
    }
    log.commit_offline(GROUP_FANOUT, &begin).await.unwrap();
    log
}

async fn put(log: &SharedLog, at: &TopicPartition, headers: Vec<eventlog::Header>, payload: bytes::Bytes) {
    let key = conversation().to_string();
    append(&**log, &at.topic, NewRecord { key, partition: Some(at.partition), headers, payload }).await.unwrap();
}

/// Appends the conversation's creation and `count - 1` messages.
async fn say(log: &SharedLog, count: u64) {
    say_on(log, 0..count).await;
}

/// Appends those of them.
async fn say_on(log: &SharedLog, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let action = if n == 0 {
            Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![user(2)] })
        } else {
            Action::SendMessage(SendMessage { body: format!("message {n}").into(), reply_to: None, thread: None })
        };
        let (id, author) = (CommandId::first_at(1_700_000_000_000 + i64::try_from(n).unwrap()), user(1));
        let (conversation, rules) = (conversation(), RULES_NEWEST);
        let event = Event {
            id,
            conversation,
            author,
            received_ms: 1_700_000_000_000,
            rules,
            key_id: None,
            looked_up: true,
            action,
        };
        let encoded = Codec::compiled_in().event(&event);
        put(log, &partition_in(MESSAGES), encoded.headers, encoded.payload).await;
    }
}

/// Appends that the second user has read up to that seq.
async fn read_up_to(log: &SharedLog, seq: u64) {
    let mark = ReadMark { user: user(2), conversation: conversation(), seq: Seq::new(0, seq).unwrap(), ordinal: 1 };
    let encoded = Codec::compiled_in().read_mark(&mark);
    put(log, &partition_in(RECEIPTS), encoded.headers, encoded.payload).await;
}

/// A running consumer.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<Ended>,
    metrics: Metrics,
}

impl Running {
    fn storage(log: &SharedLog, store: &Arc<EmbeddedStore>, rules_newest: u32) -> Self {
        Self::storage_with(Codec::compiled_in(), log, store, rules_newest)
    }

    fn storage_with(codec: Codec, log: &SharedLog, store: &Arc<EmbeddedStore>, rules_newest: u32) -> Self {
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let counters = storage::StorageMetrics::new(&metrics);
        let entropy = Entropy::seeded(2);
        let mut deps = storage::Deps::new(log.clone(), store.attach().unwrap(), codec, entropy, counters);
        deps.rules_newest = rules_newest;
        let task = tokio::spawn(storage::run(deps, Readiness::default(), stop.clone()));
        Self { stop, task, metrics }
    }

    fn fanout(log: &SharedLog, store: &Arc<EmbeddedStore>) -> Self {
        Self::fanout_with(Codec::compiled_in(), log, store)
    }

    fn fanout_with(codec: Codec, log: &SharedLog, store: &Arc<EmbeddedStore>) -> Self {
        Self::fanout_by(codec, log, store, RULES_NEWEST)
    }

    fn fanout_of(log: &SharedLog, store: &Arc<EmbeddedStore>, rules_newest: u32) -> Self {
        Self::fanout_by(Codec::compiled_in(), log, store, rules_newest)
    }

    fn fanout_by(codec: Codec, log: &SharedLog, store: &Arc<EmbeddedStore>, rules_newest: u32) -> Self {
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let counters = fanout::FanoutMetrics::new(&metrics);
        let entropy = Entropy::seeded(3);
        let mut deps = fanout::Deps::new(log.clone(), store.attach().unwrap(), codec, entropy, counters);
        deps.rules_newest = rules_newest;
        let task = tokio::spawn(fanout::run(deps, Readiness::default(), stop.clone()));
        Self { stop, task, metrics }
    }

    /// Whether its metrics contain that line.
    fn tells(&self, line: &str) -> bool {
        self.metrics.text().lines().any(|told| told.ends_with(line))
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Waits until storage has applied the partition up to `offset`.
async fn applied(store: &EmbeddedStore, at: &TopicPartition, offset: u64) {
    let topic = spec_of(&at.topic).name.as_str();
    let source = Source { topic, partition: at.partition };
    let seq = Seq::new(0, offset).unwrap();
    assert!(store.wait_applied(source, seq, Duration::from_secs(60)).await.unwrap(), "{at} is not applied to {offset}");
}

async fn new_store() -> Arc<EmbeddedStore> {
    EmbeddedStore::open(kv::Database::in_memory(), Clock::from_fn(|| 0)).await.unwrap()
}
