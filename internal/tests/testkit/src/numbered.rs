//! Frames with numbers, appended to `chat.deliveries` by hand, and devices that check that each gets its own, once
//! and in order: what a websocket service is measured and attacked with.
//!
//! Users are invented and their tokens are signed here, since signing up ten thousand people would measure nothing
//! but password hashes.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use auth::{KeyRing, SigningKey};
use domain::{CommandId, ConversationId, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::{AppendReceipt, NewRecord, SharedLog};
use events::topics::DELIVERIES;
use events::{Codec, Delivery, Encoded};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use protocol::{FeedFrame, FeedKind};
use store::{Account, OutboxRow, SharedStore};
use store_scylla::{Keyspace, ScyllaConfig, ScyllaStore};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use uuid::Uuid;

use crate::programs::{Program, Ran, Setup};
use crate::servers::{Kafka, shared_cql, shared_registry};

/// Devices that connect from one loopback address.
const DEVICES_PER_ADDRESS: usize = 40;
/// Appends to Kafka that are not acknowledged yet.
const IN_FLIGHT_MAX: usize = 10_000;
/// Accounts that are written at the same time.
const WRITES_AT_ONCE: usize = 64;
/// The longest that a device may wait for its `welcome`.
const WELCOME_WITHIN: Duration = Duration::from_secs(60);
/// The bytes of a message's text.
const BODY_BYTES: usize = 100;

/// The socket of a device.
pub type Socket = WebSocketStream<TcpStream>;

/// What all devices have received.
#[derive(Debug, Default)]
pub struct Seen {
    /// Numbered frames.
    pub frames: AtomicU64,
    /// Devices that have received their last frame.
    pub complete: AtomicU64,
    /// Sockets that were closed.
    pub closes: AtomicU64,
    /// Devices that were told to sync.
    pub resets: AtomicU64,
    /// Numbers that were left out.
    pub gaps: AtomicU64,
    /// Numbers that came again.
    pub doubles: AtomicU64,
}

impl Seen {
    /// Everything that must not happen: closes, resets, gaps and doubles.
    #[must_use]
    pub fn faults(&self) -> [u64; 4] {
        [&self.closes, &self.resets, &self.gaps, &self.doubles].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// A Kafka with its topics, and the environment of services on it that accept the tokens of [`Users`].
#[derive(Debug)]
pub struct Cluster {
    /// Its own Kafka.
    pub kafka: Kafka,
    cql: String,
    keyspace: String,
    environment: Vec<(&'static str, String)>,
}

/// Invented users, each with a token.
pub struct Users {
    keys: KeyRing,
}

impl Users {
    /// Writes the public key to the file `jwks`, for services that check tokens.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(jwks: &Path) -> Result<Self> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let keys = KeyRing::of(SigningKey::generate(&entropy)?, &clock, &entropy)?;
        std::fs::write(jwks, serde_json::to_vec(&keys.jwks())?)?;
        Ok(Self { keys })
    }

    /// Users of a service that signs with the keys in that file, which is created where needed.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn of(signing_keys: &Path) -> Result<Self> {
        Ok(Self { keys: KeyRing::open(signing_keys, &Clock::system(), &Entropy::system())? })
    }

    /// The tokens of the first users, good for a day.
    ///
    /// # Errors
    /// When one cannot be signed.
    pub fn tokens(&self, count: usize) -> Result<Vec<String>> {
        let token = |index| Ok(self.keys.sign(user(index), None, Duration::from_secs(86_400))?);
        (0..count).map(token).collect()
    }
}

/// Gives the first users an account each, which nobody can sign in to: others can open conversations with them.
///
/// # Errors
/// When the store does not take one.
pub async fn register(store: &SharedStore, count: usize) -> Result<()> {
    let account = async |index| {
        let (id, name) = (user(index), format!("numbered-{index}"));
        let (display_name, account_name) = (name.clone(), name.clone());
        let account = Account { id, name, display_name, password_hash: "none".to_owned(), created_ms: 0 };
        let event = OutboxRow { id: *id.as_bytes(), user: id, account_name, payload: Vec::new() };
        store.create_account(&account, &event).await?;
        store.remove_outbox(&event.id).await?; // other services need not hear of it
        Ok::<_, anyhow::Error>(())
    };
    stream::iter(0..count).map(account).buffer_unordered(WRITES_AT_ONCE).try_collect().await
}

impl Cluster {
    /// Starts a Kafka and prepares it for services that check tokens by the keys in the file `jwks`.
    ///
    /// # Errors
    /// When a server or a tool fails.
    pub async fn start(jwks: &Path) -> Result<Self> {
        let (kafka, cql, registry) = tokio::try_join!(Kafka::start(), shared_cql(), shared_registry())?;
        let keyspace = format!("numbered_{}", &Uuid::now_v7().simple().to_string()[..24]);
        let environment = vec![
            ("KLATSCH_KAFKA", kafka.bootstrap().to_owned()),
            ("KLATSCH_CQL", cql.clone()),
            ("KLATSCH_KEYSPACE", keyspace.clone()),
            ("KLATSCH_REGISTRY", registry),
            ("KLATSCH_DEV", "true".to_owned()),
            ("KLATSCH_JWKS", jwks.to_string_lossy().into_owned()),
        ];
        for words in ["topics apply --yes", "schemas register", "migrate"] {
            let arguments = words.split(' ').map(Into::into).collect();
            let setup =
                Setup { program: "klatschctl", arguments, environment: environment.clone(), ..Setup::default() };
            Ran::of(setup).await?.success().context(words)?;
        }
        Ok(Self { kafka, cql, keyspace, environment })
    }

    /// The CQL server's address, and the keyspace of the first incarnation.
    ///
    /// # Panics
    /// Never: programs were started with that keyspace.
    #[must_use]
    pub fn tables(&self) -> (&str, String) {
        let keyspace: Keyspace = self.keyspace.parse().expect("the services accepted it");
        (&self.cql, keyspace.incarnation(1))
    }

    /// Its store.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn store(&self) -> Result<SharedStore> {
        let config = ScyllaConfig::new(vec![self.cql.clone()], self.keyspace.parse()?);
        ScyllaStore::connect(config).await.context("connecting to the store")
    }

    /// Starts a program on it, with these arguments. `limits` are shell commands that run before it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn program(&self, program: &'static str, arguments: &[&str], limits: &str) -> Result<Program> {
        let (environment, limits) = (self.environment.clone(), limits.to_owned());
        let arguments = arguments.iter().map(Into::into).collect();
        let mut program = Program::new(Setup { program, arguments, environment, limits }).await?;
        program.start().await?;
        Ok(program)
    }
}

/// Opens a socket for each token and starts a task that reads from it, until the frame with the number `each`.
///
/// # Errors
/// When one is not welcomed in time.
pub async fn connect(node: SocketAddr, tokens: Vec<String>, each: u64, seen: &Arc<Seen>) -> Result<JoinSet<()>> {
    let mut reading = JoinSet::new();
    for (index, token) in tokens.into_iter().enumerate() {
        let opening = timeout(WELCOME_WITHIN, open(node, index, &token));
        let socket = opening.await.context("no welcome in time")?.with_context(|| format!("device {index}"))?;
        reading.spawn(read(socket, each, Arc::clone(seen)));
    }
    Ok(reading)
}

/// Opens a socket and waits for its `welcome`. Sockets come from many addresses, as those of many people do.
///
/// # Errors
/// When it is refused, or closed before.
pub async fn open(node: SocketAddr, index: usize, token: &str) -> Result<Socket> {
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
        let text = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            Message::Close(frame) => {
                if add(&seen.closes) == 0 {
                    println!("the first close: {frame:?}");
                }
                return;
            }
            _ => continue,
        };
        if let Some(number) = number(text) {
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
        } else if has(text, r#""type":"ping""#) {
            if socket.send(Message::text(r#"{"type":"pong"}"#)).await.is_err() {
                break;
            }
        } else if has(text, r#""type":"welcome""#) {
            add(&seen.resets);
        }
    }
    add(&seen.closes);
}

/// The number of a frame: its seq.
fn number(frame: &[u8]) -> Option<u64> {
    let digits = frame.get(position(frame, r#""seq":"#)? + 6..)?;
    let digits = digits.iter().take_while(|digit| digit.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn has(frame: &[u8], part: &str) -> bool {
    position(frame, part).is_some()
}

fn position(frame: &[u8], part: &str) -> Option<usize> {
    frame.windows(part.len()).position(|window| window == part.as_bytes())
}

/// Appends the frames with these numbers: each number for every device, before the next number.
///
/// # Errors
/// When the log does not take one.
pub async fn append(log: &SharedLog, devices: usize, numbers: RangeInclusive<u64>) -> Result<()> {
    let mut appender = Appender::new(log);
    for number in numbers {
        for index in 0..devices {
            appender.append(index, number).await?;
        }
    }
    appender.finish().await
}

/// Appends frames, many of them in flight.
pub struct Appender {
    log: SharedLog,
    codec: Codec,
    receipts: VecDeque<AppendReceipt>,
}

impl Appender {
    /// Appends to that log.
    #[must_use]
    pub fn new(log: &SharedLog) -> Self {
        Self { log: Arc::clone(log), codec: Codec::compiled_in(), receipts: VecDeque::new() }
    }

    /// Appends the frame with that number for the device with that index; it need not be durable yet.
    ///
    /// # Errors
    /// When the log does not take it, or did not take an earlier one.
    pub async fn append(&mut self, index: usize, number: u64) -> Result<()> {
        let receipt = self.log.enqueue(DELIVERIES, record(&self.codec, user(index), number)?).await?;
        self.receipts.push_back(receipt);
        if self.receipts.len() >= IN_FLIGHT_MAX
            && let Some(oldest) = self.receipts.pop_front()
        {
            oldest.await?;
        }
        Ok(())
    }

    /// Waits until all are durable.
    ///
    /// # Errors
    /// When the log did not take one.
    pub async fn finish(self) -> Result<()> {
        for receipt in self.receipts {
            receipt.await?;
        }
        Ok(())
    }
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
        time: Clock::system().now_ms(),
        ordinal: Some(number),
        what: FeedKind::message(".".repeat(BODY_BYTES).into(), None),
    };
    let (event_key, frame) = (frame.event_key(), serde_json::to_string(&frame)?);
    let Encoded { headers, payload } = codec.delivery(&Delivery { recipients: vec![user], event_key, frame });
    Ok(NewRecord { key: user.to_string(), partition: None, headers, payload })
}

/// The user of the device with that index.
///
/// # Panics
/// Never: every UUID names a user.
#[must_use]
pub fn user(index: usize) -> UserId {
    UserId::try_from(Uuid::from_u128(0x0001_0000 + index as u128)).expect("every UUID names a user")
}

fn author() -> UserId {
    UserId::try_from(Uuid::from_u128(1)).expect("every UUID names a user")
}
