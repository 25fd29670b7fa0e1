//! A user service on embedded engines in memory, and a client of it.
#![allow(clippy::unwrap_used, dead_code)] // every test file uses its part

/// The check of each answer against the OpenAPI document, shared with the chat service's tests.
#[path = "../../../chat/tests/world/contract.rs"]
pub(crate) mod contract;
pub(crate) mod faulty;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use auth::{EndedSessions, KeyRing, SigningKey};
use domain::UserId;
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{EventLog, NewRecord, SharedLog, append, partition_of_id};
use events::topics::{USERS, spec_of};
use events::{Codec, HEADER_ID, UserEvent};
use process::{Metrics, Readiness};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use store::SharedStore;
use store::embedded::EmbeddedStore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use users::{Config, Deps, PasswordCost, UsersError};

pub(crate) const NOW_MS: i64 = 1_750_000_000_000;
pub(crate) const PASSWORD: &str = "correct horse battery";

/// The engines that outlive a process of the service.
pub(crate) struct World {
    pub(crate) now: Arc<AtomicI64>,
    pub(crate) store: SharedStore,
    pub(crate) log: SharedLog,
    pub(crate) key: SigningKey,
    seed: std::sync::atomic::AtomicU64,
}

/// The topic of the service, as `topics apply` leaves it.
pub(crate) async fn begin_topic(log: &dyn EventLog) {
    log.create(spec_of(USERS)).await.unwrap();
    for partition in 0..spec_of(USERS).partitions {
        let encoded = Codec::compiled_in().genesis([0; 16], spec_of(USERS).generation);
        let (headers, payload) = (encoded.headers, encoded.payload);
        let record = NewRecord { key: "genesis".into(), partition: Some(partition), headers, payload };
        append(log, USERS, record).await.unwrap();
    }
}

/// A running service.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    client: Client,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), UsersError>>,
}

/// An answer: status and body, or the text of a body that is no JSON.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        let now = Arc::new(AtomicI64::new(NOW_MS));
        let clock = Clock::manual(now.clone());
        let store = EmbeddedStore::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        let log = EmbeddedLog::open(kv::Database::in_memory(), clock).await.unwrap();
        let log: SharedLog = log;
        begin_topic(&*log).await;
        let key = SigningKey::generate(&Entropy::seeded(1)).unwrap();
        Self { now, store, log, key, seed: 2.into() }
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock::manual(self.now.clone())
    }

    pub(crate) fn advance_ms(&self, by: i64) {
        self.now.fetch_add(by, Ordering::SeqCst);
    }

    /// Another process of the service, with randomness of its own.
    pub(crate) async fn start(&self) -> Service {
        let listener = process::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let deps = Deps {
            store: self.store.clone(),
            log: self.log.clone(),
            codec: Codec::compiled_in(),
            clock: self.clock(),
            entropy: Entropy::seeded(self.seed.fetch_add(1, Ordering::SeqCst)),
            keys: KeyRing::of(self.key.clone(), &self.clock(), &Entropy::seeded(0)).unwrap(),
            ended: EndedSessions::default(),
            metrics: Metrics::new(),
            readiness: Readiness::default(),
        };
        let (readiness, metrics) = (deps.readiness.clone(), deps.metrics.clone());
        let config = Config { password_cost: PasswordCost::LEAST, ..Config::default() };
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(users::run(config, deps, listener, shutdown.clone()));
        Service { address, readiness, metrics, client: Client::new(), shutdown, ended }
    }

    /// The first `count` events of a user, with the id in their header; waits for them.
    pub(crate) async fn events_of(&self, user: UserId, count: usize) -> Vec<(UserEvent, String)> {
        let partition = partition_of_id(user.uuid(), spec_of(USERS).partitions);
        let mut reader = self.log.reader(USERS, partition, 0).await.unwrap();
        let mut events = Vec::new();
        while events.len() < count {
            for record in reader.next(100).await.unwrap() {
                let event = Codec::compiled_in().read_user_event(&record.headers, &record.payload).unwrap();
                let Some(event) = event else { continue };
                assert!(record.header("traceparent").unwrap().starts_with(b"00-"));
                let id = String::from_utf8(record.header(HEADER_ID).unwrap().to_vec()).unwrap();
                assert_eq!(record.key, event.user.to_string());
                if event.user == user {
                    events.push((event, id));
                }
            }
        }
        events
    }

    /// Waits until nothing is left to publish.
    pub(crate) async fn outbox_empty(&self) {
        while !self.store.outbox(1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

impl Service {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method.clone(), self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        contract::check(method.as_str(), path, status.as_u16(), &body);
        Answer { status, body }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, None, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, Some(token), None).await
    }

    /// Registers; returns the id.
    pub(crate) async fn register(&self, name: &str) -> UserId {
        let answer = self.post("/v1/users", json!({ "name": name, "password": PASSWORD })).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn sign_in(&self, name: &str, password: &str) -> Answer {
        self.post("/v1/sessions", json!({ "name": name, "password": password })).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/v1/sessions/refresh", json!({ "refresh_token": token })).await
    }

    /// The number behind a metric's name in `/metrics`; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |number| number.parse().unwrap())
    }

    pub(crate) async fn until_ready(&self) {
        while !self.readiness.is_ready() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap();
    }
}

impl Answer {
    pub(crate) fn text(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", self.body)).to_owned()
    }

    /// Asserts a refusal.
    pub(crate) fn refused(&self, code: &str) {
        assert_eq!(self.body["code"], code, "{}", self.body);
        assert!(self.status.is_client_error() || self.status.is_server_error());
    }
}
