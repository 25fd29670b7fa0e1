//! A node over an embedded log in memory, and devices that talk to it over real sockets.

mod device;
mod log;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::{EndedSessions, SigningKey, Verifier};
use domain::{CommandId, ConversationId, Cursor, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{EventLog, NewRecord, SharedLog, append, partition_of_id, record_at};
use events::topics::{self, DELIVERIES, spec_of};
use events::{Codec, Delivery, Encoded};
use kv::Database;
use process::Readiness;
use process::tasks::TaskError;
use protocol::{FeedFrame, FeedKind};
use sockets::{Config, Deps};
use store::SharedStore;
use store::embedded::EmbeddedStore;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use device::{Device, Said, number_of};
pub use log::Doctored;

/// A node that ends quickly.
pub fn quick() -> Config {
    // What devices have missed comes from range reads: most tests are about those.
    Config { drain_window: Duration::from_millis(200), ring_warm_records: 0, ..Config::default() }
}

/// The timeout of everything in these tests: longer than any of it takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A log and a store, and the key that signs tokens.
pub struct World {
    pub log: SharedLog,
    pub store: SharedStore,
    pub codec: Codec,
    pub clock: Clock,
    pub entropy: Entropy,
    pub key: SigningKey,
    pub ended: EndedSessions,
}

/// A running node.
pub struct Node {
    pub address: SocketAddr,
    pub readiness: Readiness,
    pub metrics: process::Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), TaskError>>,
}

impl World {
    pub async fn new() -> Self {
        Self::on(new_log(1).await).await
    }

    /// A world over that log, which has its topics.
    pub async fn on(log: SharedLog) -> Self {
        let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
        let store = EmbeddedStore::open(Database::in_memory(), clock.clone()).await.unwrap();
        let key = SigningKey::generate(&entropy).unwrap();
        Self { log, store, codec: Codec::compiled_in(), clock, entropy, key, ended: EndedSessions::default() }
    }

    pub async fn node(&self, config: Config) -> Node {
        self.node_on(Arc::clone(&self.log), config).await
    }

    /// A node on another log than the world's.
    pub async fn node_on(&self, log: SharedLog, config: Config) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (readiness, metrics) = (Readiness::default(), process::Metrics::new());
        let deps = Deps {
            log,
            store: Arc::clone(&self.store),
            codec: self.codec.clone(),
            verifier: Verifier::new(&self.key.jwks(), self.clock.clone()).unwrap().without(self.ended.clone()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        };
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let task = tokio::spawn(sockets::run(config, deps, listener, shutdown.clone()));
        Node { address, readiness, metrics, shutdown, task }
    }

    pub fn token(&self, user: UserId) -> String {
        self.key.sign(user, None, self.clock.now_ms(), Duration::from_secs(900)).unwrap()
    }

    /// A connected device that has sent `hello`; its welcome comes next: see [`Device::welcome`].
    pub async fn device(&self, node: &Node, user: UserId, cursor: Option<&Cursor>) -> Device {
        let mut device = Device::open(node.address, Some(&self.token(user))).await.unwrap();
        device.hello(None, cursor.map(ToString::to_string).as_deref()).await;
        device
    }

    /// A device that was welcomed with a reset, and its cursor.
    pub async fn fresh_device(&self, node: &Node, user: UserId) -> (Device, Cursor) {
        let mut device = self.device(node, user, None).await;
        let (cursor, reset) = device.welcome().await;
        assert_eq!(reset.as_deref(), Some("first"));
        (device, cursor)
    }

    /// Delivers message `number` of `users`' conversation to them, as the fan-out would.
    pub async fn deliver(&self, users: &[UserId], number: u64) {
        self.deliver_frame(users, &message(number, String::new())).await;
    }

    /// As [`Self::deliver`], with a body of four kilobytes.
    pub async fn deliver_long(&self, users: &[UserId], number: u64) {
        self.deliver_frame(users, &message(number, ".".repeat(4096))).await;
    }

    async fn deliver_frame(&self, users: &[UserId], frame: &FeedFrame) {
        for partition in 0..spec_of(DELIVERIES).partitions {
            let here = |user: &UserId| partition_of_user(*user) == partition;
            let recipients: Vec<_> = users.iter().copied().filter(here).collect();
            if recipients.is_empty() {
                continue;
            }
            let frame_text = serde_json::to_string(frame).unwrap();
            let delivery = Delivery { recipients, event_key: frame.event_key(), frame: frame_text };
            append_to(&*self.log, DELIVERIES, partition, self.codec.delivery(&delivery)).await;
        }
    }

    /// The cursor behind the last record of the user's partition.
    pub async fn end(&self, user: UserId) -> Cursor {
        let partition = partition_of_user(user);
        let next = self.log.watermarks(DELIVERIES, partition).await.unwrap().next;
        let last = record_at(&*self.log, DELIVERIES, partition, next - 1).await.unwrap().unwrap();
        let generation = spec_of(DELIVERIES).generation;
        Cursor { generation, partition, next, fingerprint: last.fingerprint() }
    }
}

impl Node {
    /// Stops it, and waits until it has ended in order.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await;
    }

    pub fn ask_to_stop(&self) {
        self.shutdown.cancel();
    }

    pub async fn ended(self) {
        timeout(PATIENCE, self.task).await.expect("ends in time").unwrap().unwrap();
    }

    /// The value of a metric, by its name and labels as `/metrics` shows them.
    pub fn count(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let line = text.lines().find(|line| line.strip_prefix("klatsch_").is_some_and(|line| line.starts_with(name)));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) as u64
    }

    pub async fn until(&self, name: &str, value: u64) {
        until(name, || self.count(name) >= value).await;
    }

    pub async fn until_at_most(&self, name: &str, value: u64) {
        until(name, || self.count(name) <= value).await;
    }
}

/// A log with all topics and their genesis records, whose nonces come from `seed`. Its clock is as many seconds
/// ahead as the seed says: otherwise the same record, at the same offset within the same millisecond, would have
/// the same fingerprint in two logs.
pub async fn new_log(seed: u64) -> SharedLog {
    let ahead_ms = i64::try_from(seed).unwrap() * 1_000;
    let clock = Clock::from_fn(move || Clock::system().now_ms() + ahead_ms);
    let log: SharedLog = EmbeddedLog::open(Database::in_memory(), clock).await.unwrap();
    let (codec, entropy) = (Codec::compiled_in(), Entropy::seeded(seed));
    for topic in topics::all() {
        log.create(topic).await.unwrap();
        for partition in 0..topic.partitions {
            let genesis = codec.genesis(entropy.bytes(), topic.generation);
            append_to(&*log, &topic.name, partition, genesis).await;
        }
    }
    log
}

pub async fn append_to(log: &dyn EventLog, topic: &str, partition: u32, encoded: Encoded) {
    let Encoded { headers, payload } = encoded;
    append(log, topic, NewRecord { key: "test".into(), partition: Some(partition), headers, payload }).await.unwrap();
}

/// Message `number`, whose seq is that number.
pub fn message(number: u64, body: String) -> FeedFrame {
    FeedFrame::Event {
        conversation: conversation(),
        seq: Seq::try_from(number).unwrap(),
        id: command_id(number),
        author: user_of(0, 0),
        time: 0,
        ordinal: Some(number),
        what: FeedKind::message(body.into(), None),
    }
}

pub fn command_id(number: u64) -> CommandId {
    let bytes = Uuid::from_u128(u128::from(number)).into_bytes();
    let id = uuid::Builder::from_unix_timestamp_millis(number, bytes[6..].try_into().unwrap()).into_uuid();
    CommandId::try_from(id).unwrap()
}

pub fn conversation() -> ConversationId {
    ConversationId::direct(user_of(0, 0), user_of(0, 1))
}

pub fn partition_of_user(user: UserId) -> u32 {
    partition_of_id(user.uuid(), spec_of(DELIVERIES).partitions)
}

/// The `index`-th user of a partition.
pub fn user_of(partition: u32, index: usize) -> UserId {
    let users = (1_u128..).map(|number| UserId::try_from(Uuid::from_u128(number << 64 | number)).unwrap());
    { users }.filter(|user| partition_of_user(*user) == partition).nth(index).unwrap()
}

/// Waits until `so` returns true.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never happened: {what}");
}
