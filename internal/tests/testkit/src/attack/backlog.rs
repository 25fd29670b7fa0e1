//! A websocket node that was stopped and, when it goes on, has a million frames to send to its sockets: on a real
//! Kafka, to devices that read as fast as they can.
//!
//! No device may be closed, reset or miss a frame, however far behind the node is: the frames of a device are
//! numbered, and each must arrive once and in order. Users are invented and their tokens are signed here, since
//! signing up ten thousand people would measure nothing but password hashes.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use auth::SigningKey;
use domain::{CommandId, ConversationId, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::{NewRecord, SharedLog};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use events::topics::DELIVERIES;
use events::{Codec, Delivery, Encoded};
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::{FeedFrame, FeedKind};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use uuid::Uuid;

use super::Wishes;
use crate::programs::{Program, Ran, Setup};
use crate::servers::{Kafka, shared_cql, shared_registry};

/// Number of devices, unless `--count` is given.
const DEVICES: usize = 1_000;
/// Frames in the backlog, over all devices: each frame is for one device.
const BACKLOG: u64 = 1_000_000;
/// Frames that are appended behind the backlog while the node sends it.
const BEHIND: u64 = 50_000;
/// Devices that connect from one loopback address.
const DEVICES_PER_ADDRESS: usize = 40;
/// Appends to Kafka that are not acknowledged yet.
const IN_FLIGHT_MAX: usize = 10_000;
/// The devices are considered done when no frame has come for this long.
const QUIET: Duration = Duration::from_secs(90);
/// The longest that a device may wait for its `welcome`.
const WELCOME_WITHIN: Duration = Duration::from_secs(60);
/// The longest that the whole attack may take.
const WITHIN: Duration = Duration::from_secs(1800);

type Socket = WebSocketStream<TcpStream>;

/// What all devices have received.
#[derive(Debug, Default)]
struct Seen {
    frames: AtomicU64,
    complete: AtomicU64,
    closes: AtomicU64,
    resets: AtomicU64,
    gaps: AtomicU64,
    doubles: AtomicU64,
}

pub(super) async fn run(wishes: Wishes) -> Result<bool> {
    ensure!(wishes.url.is_none(), "the backlog needs a Kafka of its own");
    let devices = wishes.count.unwrap_or(DEVICES);
    raise_descriptors()?;
    let folder = tempfile::tempdir()?;
    let key = SigningKey::generate(&Entropy::system())?;
    let jwks = folder.path().join("jwks.json");
    std::fs::write(&jwks, serde_json::to_vec(&key.jwks())?)?;
    let (tokens, now_ms) = (0..devices, Clock::system().now_ms());
    let tokens = tokens.map(|index| key.sign(user(index), None, now_ms, Duration::from_secs(86_400)));
    let tokens = tokens.collect::<Result<Vec<String>, _>>()?;
    let (kafka, mut node) = start(jwks.to_string_lossy().into_owned()).await?;
    let log = KafkaLog::connect(KafkaConfig { dev: true, ..KafkaConfig::new(kafka.bootstrap(), "backlog") }).await?;
    let (seen, each) = (Arc::new(Seen::default()), (BACKLOG + BEHIND) / devices as u64);
    let mut reading = connect(node.address(), tokens, each, Arc::clone(&seen)).await?;
    println!("{devices} devices are welcomed");

    node.pause()?;
    let begun = Instant::now();
    append(Arc::clone(&log), devices, 1..=BACKLOG / devices as u64).await?;
    println!("stopped for {:.1} s, in which {BACKLOG} frames came", begun.elapsed().as_secs_f64());
    node.resume()?;
    let begun = Instant::now();
    append(Arc::clone(&log), devices, BACKLOG / devices as u64 + 1..=each).await?;
    let (mut last, mut since) = (0, Instant::now());
    while seen.complete.load(Ordering::Relaxed) < devices as u64 && begun.elapsed() < WITHIN && since.elapsed() < QUIET
    {
        sleep(Duration::from_secs(1)).await;
        let frames = seen.frames.load(Ordering::Relaxed);
        if frames != last {
            (last, since) = (frames, Instant::now());
        }
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (frames, took) = (count(&seen.frames), begun.elapsed().as_secs_f64());
    println!("{frames} of {} frames in {took:.1} s ({:.0}/s)", each * devices as u64, frames as f64 / took);
    let incomplete = devices as u64 - count(&seen.complete);
    let (closes, resets) = (count(&seen.closes), count(&seen.resets));
    let (gaps, doubles) = (count(&seen.gaps), count(&seen.doubles));
    println!("closes: {closes}, resets: {resets}, gaps: {gaps}, doubles: {doubles}, incomplete devices: {incomplete}");
    reading.abort_all();
    log.close().await;
    node.kill().await?;
    Ok([closes, resets, gaps, doubles, incomplete] == [0; 5])
}

/// Starts Kafka with its topics, and a websocket node on it that accepts tokens signed by the keys in the file
/// `jwks`.
async fn start(jwks: String) -> Result<(Kafka, Program)> {
    let (kafka, cql, registry) = tokio::try_join!(Kafka::start(), shared_cql(), shared_registry())?;
    let environment = vec![
        ("KLATSCH_KAFKA", kafka.bootstrap().to_owned()),
        ("KLATSCH_CQL", cql),
        ("KLATSCH_KEYSPACE", format!("backlog_{}", &Uuid::now_v7().simple().to_string()[..24])),
        ("KLATSCH_REGISTRY", registry),
        ("KLATSCH_DEV", "true".to_owned()),
        ("KLATSCH_JWKS", jwks),
    ];
    control(environment.clone(), "topics apply --yes".into()).await?;
    control(environment.clone(), "schemas register".into()).await?;
    control(environment.clone(), "migrate".into()).await?;
    let mut node = Program::new(Setup { program: "websocket-service", environment, ..Setup::default() }).await?;
    node.start().await?;
    Ok((kafka, node))
}

/// Runs `klatschctl` with these arguments, separated by spaces.
async fn control(environment: Vec<(&'static str, String)>, words: String) -> Result<()> {
    let arguments = words.split(' ').map(Into::into).collect();
    Ran::of(Setup { program: "klatschctl", arguments, environment, ..Setup::default() })
        .await?
        .success()
        .context(words)?;
    Ok(())
}

/// Opens a socket for each token and starts a task that reads from it.
async fn connect(node: SocketAddr, tokens: Vec<String>, each: u64, seen: Arc<Seen>) -> Result<JoinSet<()>> {
    let mut reading = JoinSet::new();
    for (index, token) in tokens.into_iter().enumerate() {
        let opening = timeout(WELCOME_WITHIN, open(node, index, token));
        let socket = opening.await.context("no welcome in time")?.with_context(|| format!("device {index}"))?;
        reading.spawn(read(socket, each, Arc::clone(&seen)));
    }
    Ok(reading)
}

/// Opens a socket and waits for its `welcome`. Sockets come from many addresses, as those of many people do.
async fn open(node: SocketAddr, index: usize, token: String) -> Result<Socket> {
    let host = u32::try_from(index / DEVICES_PER_ADDRESS)? + 1;
    let tcp = TcpSocket::new_v4()?;
    tcp.bind((Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + host), 0).into())?;
    let tcp = tcp.connect(node).await?;
    tcp.set_nodelay(true)?;
    let mut request = format!("ws://{node}/v1/socket").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let (mut socket, _) = client_async_with_config(request, tcp, Some(config)).await?;
    socket.send(Message::text(r#"{"type":"hello"}"#)).await?;
    while let Some(message) = socket.next().await {
        if matches!(&message?, Message::Text(text) if text.contains(r#""type":"welcome""#)) {
            return Ok(socket);
        }
    }
    anyhow::bail!("it was closed before the welcome")
}

/// Reads frames and checks that their numbers are consecutive.
async fn read(mut socket: Socket, each: u64, seen: Arc<Seen>) {
    let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let mut expected = 1;
    while let Some(Ok(message)) = socket.next().await {
        let text = match message {
            Message::Text(text) => text,
            Message::Close(frame) => {
                if add(&seen.closes) == 0 {
                    println!("the first close: {frame:?}");
                }
                return;
            }
            _ => continue,
        };
        if let Some(number) = number(&text) {
            add(&seen.frames);
            match number {
                _ if number == expected => expected += 1,
                _ if number < expected => drop(add(&seen.doubles)),
                _ => {
                    add(&seen.gaps);
                    expected = number + 1;
                }
            }
            if number == each {
                add(&seen.complete);
            }
        } else if text.contains(r#""type":"ping""#) {
            if socket.send(Message::text(r#"{"type":"pong"}"#)).await.is_err() {
                break;
            }
        } else if text.contains(r#""type":"welcome""#) {
            add(&seen.resets);
        }
    }
    add(&seen.closes);
}

/// The number of a frame of the backlog: its seq.
fn number(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(r#""seq":"#)?;
    rest[..rest.find(|letter: char| !letter.is_ascii_digit())?].parse().ok()
}

/// Appends the frames with these numbers: each number for every device, before the next number.
async fn append(log: SharedLog, devices: usize, numbers: std::ops::RangeInclusive<u64>) -> Result<()> {
    let (codec, mut receipts) = (Codec::compiled_in(), std::collections::VecDeque::new());
    for number in numbers {
        for index in 0..devices {
            let receipt = log.enqueue(DELIVERIES, record(&codec, user(index), number)?).await?;
            receipts.push_back(receipt);
            if receipts.len() < IN_FLIGHT_MAX {
                continue;
            }
            if let Some(oldest) = receipts.pop_front() {
                oldest.await?;
            }
        }
    }
    while let Some(receipt) = receipts.pop_front() {
        receipt.await?;
    }
    Ok(())
}

fn record(codec: &Codec, user: UserId, number: u64) -> Result<NewRecord> {
    let stamp = Uuid::from_u128(u128::from(number)).into_bytes();
    let mut random = [0; 10];
    random.copy_from_slice(&stamp[6..]);
    let id = uuid::Builder::from_unix_timestamp_millis(number, &random).into_uuid();
    let frame = FeedFrame::Event {
        conversation: ConversationId::direct(user, author()),
        seq: Seq::try_from(number)?,
        id: CommandId::try_from(id)?,
        author: author(),
        time: 0,
        ordinal: Some(number),
        what: FeedKind::Message { body: ".".repeat(100).into(), reply_to: None },
    };
    let (event_key, frame) = (frame.event_key(), serde_json::to_string(&frame)?);
    let Encoded { headers, payload } = codec.delivery(&Delivery { recipients: vec![user], event_key, frame });
    Ok(NewRecord { key: user.to_string(), partition: None, headers, payload })
}

fn user(index: usize) -> UserId {
    UserId::try_from(Uuid::from_u128(0x0001_0000 + index as u128)).expect("every UUID names a user")
}

fn author() -> UserId {
    UserId::try_from(Uuid::from_u128(1)).expect("every UUID names a user")
}

/// Raises this process's limit of open descriptors to the hard limit: each device needs one.
fn raise_descriptors() -> Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit of descriptors")?;
    let hard = line.split_whitespace().nth(4).context("no hard limit of descriptors")?;
    let process = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &process, &format!("--nofile={hard}:{hard}")]).status()?;
    ensure!(raised.success(), "prlimit could not raise the limit of descriptors to {hard}");
    Ok(())
}
