//! Measures the cost of a socket: memory while it is idle, CPU while frames are sent.
//!
//!     cargo run --release -p sockets --example figures
//!
//! The node runs in this process over the embedded log in memory; the devices run in a second process, so that the
//! figures are the node's own (log and store in memory included). CPU and memory are read from `/proc/self`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use auth::{SigningKey, Verifier};
use domain::{CommandId, ConversationId, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{NewRecord, SharedLog, append, partition_of_id};
use events::topics::{self, DELIVERIES};
use events::{Codec, Delivery, Encoded};
use futures_util::{SinkExt, StreamExt};
use kv::Database;
use protocol::{FeedFrame, FeedKind};
use sockets::{Config, Deps};
use store::embedded::EmbeddedStore;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Devices of the idle measurement. Each needs a file descriptor in both processes.
const IDLE_SOCKETS: usize = 5_000;
/// Devices of the delivery measurements, all of one partition and conversation.
const BUSY_SOCKETS: usize = 1_000;
/// Deliveries of a backlog: each is a frame for every device.
const BACKLOG: u64 = 2_000;
/// Deliveries per second of the paced measurement, which lasts `PACED_FOR`.
const PACE: u64 = 50;
const PACED_FOR: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("devices") {
        let (address, key) = (arguments.next().unwrap(), arguments.next().unwrap());
        let count = arguments.next().unwrap().parse().unwrap();
        return devices(address.parse().unwrap(), key.parse().unwrap(), count).await;
    }
    let bench = Bench::start().await;
    let (before, devices) = (resident_bytes(), bench.devices(IDLE_SOCKETS));
    bench.until("sockets_open", IDLE_SOCKETS as u64).await;
    sleep(Duration::from_secs(2)).await;
    let each = (resident_bytes() - before) as f64 / IDLE_SOCKETS as f64;
    println!("idle socket: {:.1} KiB of {IDLE_SOCKETS} (resident memory of the node)", each / 1024.0);
    bench.gone(devices).await;
    for (name, interval) in [("backlog", None), ("paced", Some(Duration::from_secs(1) / PACE as u32))] {
        bench.deliveries(name, interval).await;
    }
}

struct Bench {
    log: SharedLog,
    codec: Codec,
    metrics: process::Metrics,
    address: SocketAddr,
    seed: u64,
}

impl Bench {
    async fn start() -> Self {
        let (clock, codec, seed) = (Clock::system(), Codec::compiled_in(), 7);
        let entropy = Entropy::seeded(seed);
        let log: SharedLog = EmbeddedLog::open(Database::in_memory(), clock.clone()).await.unwrap();
        for topic in topics::all() {
            log.create(topic).await.unwrap();
            for partition in 0..topic.partitions {
                let Encoded { headers, payload } = codec.genesis(entropy.bytes(), topic.generation);
                let genesis = NewRecord { key: "genesis".into(), partition: Some(partition), headers, payload };
                append(&*log, &topic.name, genesis).await.unwrap();
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, metrics) = (listener.local_addr().unwrap(), process::Metrics::new());
        let deps = Deps {
            log: Arc::clone(&log),
            store: EmbeddedStore::open(Database::in_memory(), clock.clone()).await.unwrap(),
            codec: codec.clone(),
            verifier: Verifier::new(&key(seed).jwks(), clock.clone()).unwrap(),
            clock,
            entropy,
            readiness: process::Readiness::default(),
            metrics: metrics.clone(),
        };
        let config = Config { ping: Duration::from_secs(600), ..Config::default() };
        tokio::spawn(sockets::run(config, deps, listener, CancellationToken::new()));
        Self { log, codec, metrics, address, seed }
    }

    fn devices(&self, count: usize) -> Child {
        let program = std::env::current_exe().unwrap();
        let arguments = ["devices".to_owned(), self.address.to_string(), self.seed.to_string(), count.to_string()];
        Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
    }

    async fn gone(&self, mut devices: Child) {
        devices.kill().unwrap();
        devices.wait().unwrap();
        while self.count("sockets_open") > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn deliveries(&self, name: &str, interval: Option<Duration>) {
        let mut devices = self.devices(BUSY_SOCKETS);
        let mut said = BufReader::new(devices.stdout.take().unwrap());
        self.until("sockets_open", BUSY_SOCKETS as u64).await;
        said.read_line(&mut String::new()).unwrap();
        let users: Vec<UserId> = (0..BUSY_SOCKETS).map(user).collect();
        let (sent, cpu, begun) = (self.count("socket_frames_total"), cpu_seconds(), Instant::now());
        let deliveries = interval.map_or(BACKLOG, |_| PACE * PACED_FOR.as_secs());
        let mut receipts = Vec::new();
        for number in 1..=deliveries {
            if let Some(interval) = interval {
                tokio::time::sleep_until(begun + interval * number as u32).await;
            }
            receipts.push(self.log.enqueue(DELIVERIES, self.delivery(&users, number)).await.unwrap());
        }
        let frames = deliveries * BUSY_SOCKETS as u64;
        self.until("socket_frames_total", sent + frames).await;
        let (cpu, took) = (cpu_seconds() - cpu, begun.elapsed().as_secs_f64());
        let rate = frames as f64 / took;
        println!(
            "{name}: {frames} frames to {BUSY_SOCKETS} sockets in {took:.1} s ({rate:.0}/s), {:.0} per CPU second, \
             {:.1} us each; slow: {}",
            frames as f64 / cpu,
            cpu / frames as f64 * 1e6,
            self.count("socket_closes_total{reason=\"slow\"}"),
        );
        self.gone(devices).await;
    }

    fn delivery(&self, users: &[UserId], number: u64) -> NewRecord {
        let stamp = Uuid::from_u128(u128::from(number)).into_bytes();
        let id = uuid::Builder::from_unix_timestamp_millis(number, stamp[6..].try_into().unwrap()).into_uuid();
        let frame = FeedFrame::Event {
            conversation: ConversationId::direct(users[0], users[1]),
            seq: Seq::try_from(number).unwrap(),
            id: CommandId::try_from(id).unwrap(),
            author: users[0],
            time: 0,
            ordinal: Some(number),
            what: FeedKind::Message { body: ".".repeat(100).into(), reply_to: None },
        };
        let (event_key, frame) = (frame.event_key(), serde_json::to_string(&frame).unwrap());
        let Encoded { headers, payload } =
            self.codec.delivery(&Delivery { recipients: users.to_vec(), event_key, frame });
        NewRecord { key: "figures".into(), partition: Some(0), headers, payload }
    }

    fn count(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let line = text.lines().find(|line| line.strip_prefix("klatsch_").is_some_and(|line| line.starts_with(name)));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    async fn until(&self, name: &str, value: u64) {
        while self.count(name) < value {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The second process: devices that read every frame. Prints a line when all are welcomed.
async fn devices(address: SocketAddr, seed: u64, count: usize) {
    let (key, now_ms) = (key(seed), Clock::system().now_ms());
    let (welcomed, frames) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for index in 0..count {
        let token = key.sign(user(index), None, now_ms, Duration::from_secs(3600)).unwrap();
        let mut request = format!("ws://{address}/v1/socket").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (mut socket, _) = connect_async(request).await.unwrap();
        socket.send(Message::text(r#"{"type":"hello"}"#)).await.unwrap();
        socket.next().await.unwrap().unwrap();
        welcomed.fetch_add(1, Ordering::SeqCst);
        let frames = Arc::clone(&frames);
        tokio::spawn(async move {
            while let Some(Ok(_)) = socket.next().await {
                frames.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    println!("welcomed");
    std::future::pending().await
}

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&Entropy::seeded(seed)).unwrap()
}

/// The `index`-th user of partition 0.
fn user(index: usize) -> UserId {
    let partitions = topics::spec_of(DELIVERIES).partitions;
    let id = |nonce: u128| UserId::try_from(Uuid::from_u128((index as u128) << 64 | nonce)).unwrap();
    let here = |user: &UserId| partition_of_id(user.uuid(), partitions) == 0;
    (0..).map(id).find(here).unwrap()
}

/// User and system time of this process: fields 14 and 15 of `stat`, in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Resident memory of this process: the second field of `statm`, in pages.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
