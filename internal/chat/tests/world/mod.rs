//! A chat service on embedded engines in memory, with storage behind it, and a client of it that checks every answer
//! against the OpenAPI document.
#![allow(clippy::unwrap_used, dead_code)] // every test file uses its part

pub(crate) mod contract;
pub(crate) mod leaderless;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use auth::{SigningKey, Verifier};
use chat::{Config, Deps};
use domain::{CommandId, ConversationId, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{NewRecord, Record, SharedLog, partition_of_id};
use events::{Codec, topics};
use process::{Metrics, Readiness, Serving, TaskError};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use storage::StorageMetrics;
use store::embedded::EmbeddedStore;
use store::{Account, OutboxRow, SharedStore, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const NOW_MS: i64 = 1_750_000_000_000;
/// Users of this and higher numbers have no account.
pub(crate) const USERS: u128 = 16;

/// The engines that outlive a process of the service.
pub(crate) struct World {
    pub(crate) now: Arc<AtomicI64>,
    pub(crate) log: SharedLog,
    pub(crate) store: SharedStore,
    key: SigningKey,
    ids: AtomicU64,
}

/// A task that can be stopped.
pub(crate) struct Running<E> {
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), E>>,
}

/// A running service.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    client: Client,
    running: Running<TaskError>,
}

/// A user's client.
pub(crate) struct User<'s> {
    pub(crate) id: UserId,
    service: &'s Service,
    world: &'s World,
    token: String,
}

/// An answer: status and body, or the text of a body that is no JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: bool,
    pub(crate) body: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        let now = Arc::new(AtomicI64::new(NOW_MS));
        let clock = Clock::manual(now.clone());
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        for topic in topics::all() {
            log.create(topic).await.unwrap();
            let genesis = Codec::compiled_in().genesis([0; 16], topic.generation);
            for partition in 0..topic.partitions {
                let (headers, payload) = (genesis.headers.clone(), genesis.payload.clone());
                let record = NewRecord { key: String::new(), partition: Some(partition), headers, payload };
                eventlog::append(&*log, &topic.name, record).await.unwrap();
            }
        }
        let store: SharedStore = EmbeddedStore::open(kv::Database::in_memory(), clock).await.unwrap();
        for number in 0..USERS {
            register(&*store, user_id(number)).await;
        }
        let key = SigningKey::generate(&Entropy::seeded(1)).unwrap();
        Self { now, log, store, key, ids: AtomicU64::new(0) }
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock::manual(self.now.clone())
    }

    pub(crate) fn storage(&self) -> Running<eventlog::consume::BoxError> {
        self.storage_of(domain::RULES_NEWEST)
    }

    /// A storage consumer that knows the rules up to that version.
    pub(crate) fn storage_of(&self, rules_newest: u32) -> Running<eventlog::consume::BoxError> {
        let metrics = StorageMetrics::new(&Metrics::new());
        let (log, store) = (self.log.clone(), self.store.clone());
        let deps = storage::Deps::new(log, store, Codec::compiled_in(), Entropy::seeded(3), metrics);
        let deps = storage::Deps { rules_newest, ..deps };
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(storage::run(deps, Readiness::default(), shutdown.clone()));
        Running { shutdown, ended }
    }

    pub(crate) async fn start(&self) -> Service {
        self.start_with(Config { read_wait: Duration::from_secs(5), ..Config::default() }).await
    }

    pub(crate) async fn start_with(&self, config: Config) -> Service {
        let listener = process::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Serving::new(Entropy::seeded(2), Readiness::default(), Metrics::new());
        let readiness = serving.readiness.clone();
        let deps = Deps {
            log: self.log.clone(),
            store: self.store.clone(),
            codec: Codec::compiled_in(),
            clock: self.clock(),
            verifier: Verifier::new(&self.key.jwks(), self.clock()).unwrap(),
            serving,
        };
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(chat::run(config, deps, listener, shutdown.clone()));
        Service { address, readiness, client: Client::new(), running: Running { shutdown, ended } }
    }

    pub(crate) fn user<'s>(&'s self, service: &'s Service, number: u128) -> User<'s> {
        let id = user_id(number);
        let token = self.key.sign(id, None, NOW_MS, Duration::from_secs(900)).unwrap();
        User { id, service, world: self, token }
    }

    pub(crate) fn id(&self) -> CommandId {
        let number = self.ids.fetch_add(1, Ordering::SeqCst);
        let stamp = u64::try_from(self.now.load(Ordering::SeqCst)).unwrap();
        let uuid = uuid::Builder::from_unix_timestamp_millis(
            stamp,
            &u128::from(number).to_be_bytes()[6..].try_into().unwrap(),
        );
        CommandId::try_from(uuid.into_uuid()).unwrap()
    }

    /// A group's id whose partition is not that of `other`.
    pub(crate) fn id_apart(&self, creator: UserId, other: ConversationId) -> CommandId {
        let partitions = topics::spec_of(topics::MESSAGES).partitions;
        let partition = |c: ConversationId| partition_of_id(c.uuid(), partitions);
        loop {
            let id = self.id();
            if partition(ConversationId::group(creator, id)) != partition(other) {
                return id;
            }
        }
    }
}

/// The rows of an account, as the user service writes them.
pub(crate) async fn register(store: &dyn Store, user: UserId) {
    let name = user.to_string();
    let event = OutboxRow { id: *user.as_bytes(), user, account_name: name.clone(), payload: Vec::new() };
    let (display_name, password_hash) = (name.clone(), String::new());
    let account = Account { id: user, name, display_name, password_hash, created_ms: NOW_MS };
    store.create_account(&account, &event).await.unwrap();
}

pub(crate) fn user_id(number: u128) -> UserId {
    UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
}

impl<E: std::fmt::Debug> Running<E> {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap();
    }

    /// Waits until it ends by itself; returns why.
    pub(crate) async fn ended(self) -> E {
        self.ended.await.unwrap().unwrap_err()
    }
}

impl Service {
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    /// Asks it to stop.
    pub(crate) fn shutdown(&self) {
        self.running.shutdown.cancel();
    }

    pub(crate) async fn ended(self) -> TaskError {
        self.running.ended().await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method.clone(), format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, retry_after) = (response.status(), response.headers().contains_key("retry-after"));
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        contract::check(method.as_str(), path, status.as_u16(), &body);
        Answer { status, retry_after, body }
    }
}

impl Answer {
    pub(crate) fn refused(&self, code: &str) {
        assert_eq!(self.body["code"], code, "{self:?}");
    }

    /// The seqs of a history page.
    pub(crate) fn seqs(&self) -> Vec<u64> {
        let entries = self.body["entries"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
    }

    /// The texts of the messages of a history page; `-` for one that is not there.
    pub(crate) fn texts(&self) -> Vec<String> {
        let entries = self.body["entries"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        let messages = entries.iter().filter(|entry| entry["kind"] == "message");
        messages.map(|entry| entry["body"].as_str().unwrap_or("-").to_owned()).collect()
    }
}

impl User<'_> {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.service.call(Method::GET, path, Some(&self.token), None).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = Some(body).filter(|body| !body.is_null());
        self.service.call(method, path, Some(&self.token), body).await
    }

    /// Sends a command that is a body, and returns its id.
    pub(crate) async fn command(&self, method: Method, path: &str, mut body: Value) -> (CommandId, Answer) {
        let id = self.world.id();
        body["id"] = json!(id);
        let answer = self.call(method, path, body).await;
        (id, answer)
    }

    /// The seq of the command, once storage has come to it.
    pub(crate) async fn seq_of(&self, conversation: ConversationId, id: CommandId) -> Seq {
        let answer = self.get(&format!("/v1/conversations/{conversation}/outcome/{id}")).await;
        assert_eq!(answer.body["outcome"], "settled", "{answer:?}");
        Seq::try_from(answer.body["seq"].as_u64().unwrap()).unwrap()
    }

    /// Sends a command that must be accepted; returns its seq.
    pub(crate) async fn done(&self, conversation: ConversationId, method: Method, path: &str, body: Value) -> Seq {
        let path = format!("/v1/conversations/{conversation}/{path}");
        let (id, answer) = self.command(method, &path, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        self.seq_of(conversation, id).await
    }

    /// Opens a group.
    pub(crate) async fn group(&self, members: &[UserId]) -> ConversationId {
        let body = json!({ "kind": "group", "title": "tea", "members": members });
        let (id, answer) = self.command(Method::POST, "/v1/conversations", body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let conversation: ConversationId = answer.body["conversation"].as_str().unwrap().parse().unwrap();
        self.seq_of(conversation, id).await;
        conversation
    }

    pub(crate) async fn say(&self, conversation: ConversationId, body: &str) -> Seq {
        self.done(conversation, Method::POST, "messages", json!({ "body": body })).await
    }

    /// The seqs of the marks in the log.
    pub(crate) async fn seqs_of_marks(&self, conversation: ConversationId) -> Vec<u64> {
        let partitions = topics::spec_of(topics::RECEIPTS).partitions;
        let partition = partition_of_id(conversation.uuid(), partitions);
        let mut reader = self.world.log.reader(topics::RECEIPTS, partition, 0).await.unwrap();
        let records = reader.next(100).await.unwrap();
        let read = |record: &Record| Codec::compiled_in().read_receipt(&record.headers, &record.payload).unwrap();
        records.iter().filter_map(read).map(|mark| mark.seq.get()).collect()
    }

    pub(crate) async fn history(&self, conversation: ConversationId, query: &str) -> Answer {
        self.get(&format!("/v1/conversations/{conversation}/messages{query}")).await
    }
}
