//! People on sockets who send messages to one another: how long each message takes until its sender has the `ack`, and
//! until the others have the message.
//!
//! The text of a message says when it was sent, by which device, and as which of its messages: so every device checks
//! that it gets each message of its conversation once, and those of each sender in order.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use testkit::numbered::{self, Socket};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::report::{Figures, percentile_ms};

/// A run is void when nothing has come for this long that should.
const QUIET: Duration = Duration::from_secs(30);
/// A run at a rate is void when a message is sent this long after its time.
const LATE_MAX: Duration = Duration::from_millis(100);
/// How long doubles are waited for after the last message.
const AFTERWARDS: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often messages are sent at a rate.
const TICK: Duration = Duration::from_millis(1);
/// The bytes of a message's text.
const BODY_BYTES: usize = 100;

/// Devices in conversations of the same size.
pub(crate) struct Talk {
    devices: Vec<Device>,
    members: usize,
    heard: Arc<Heard>,
    reading: JoinSet<()>,
    sent: u64,
}

/// What the devices sent and received during one period.
#[derive(Debug, Default)]
pub(crate) struct Period {
    pub(crate) messages: u64,
    /// From the first message until every message had arrived everywhere.
    pub(crate) took: Duration,
    /// Until every message was acknowledged.
    pub(crate) acked_in: Duration,
    /// From send to `ack`, in microseconds.
    pub(crate) ack_us: Vec<u64>,
    /// From send to arrival at another device, in microseconds.
    pub(crate) arrival_us: Vec<u64>,
}

/// A device, as its sender sees it.
struct Device {
    index: usize,
    conversation: String,
    numbers: u64,
    line: Arc<Line>,
    texts: mpsc::UnboundedSender<String>,
}

/// What the sender and the reader of a device share.
#[derive(Default)]
struct Line {
    /// Commands that are not acknowledged yet, with the time when each was sent.
    awaited: Mutex<VecDeque<(String, Instant)>>,
    /// Told of each `ack`.
    acked: Notify,
    /// The conversation that the last `ack` named.
    conversation: Mutex<String>,
}

/// What all devices have received.
struct Heard {
    /// Times are counted from here.
    zero: Instant,
    ack_us: Mutex<Vec<u64>>,
    arrival_us: Mutex<Vec<u64>>,
    /// Messages that came back to the device that had sent them.
    own: AtomicU64,
    /// Gaps, doubles, closes and refusals.
    faults: AtomicU64,
}

impl Talk {
    /// Opens a socket for each token, and a direct conversation of each two.
    ///
    /// # Errors
    /// When a socket or a conversation is not opened.
    pub(crate) async fn pairs(node: SocketAddr, tokens: &[String]) -> Result<Self> {
        ensure!(tokens.len().is_multiple_of(2), "{} devices are not pairs", tokens.len());
        let mut talk = Self::connect(node, tokens, 2).await?;
        for pair in talk.devices.chunks_mut(2) {
            let [one, other] = pair else { continue };
            one.conversation = one.open(other.index).await?;
            other.conversation.clone_from(&one.conversation);
        }
        locked(&talk.heard.ack_us).clear();
        Ok(talk)
    }

    /// Opens a socket for each token; all of them talk in that conversation, and are its members.
    ///
    /// # Errors
    /// When a socket is not opened.
    pub(crate) async fn join(node: SocketAddr, tokens: &[String], conversation: &str) -> Result<Self> {
        let mut talk = Self::connect(node, tokens, tokens.len()).await?;
        talk.devices.iter_mut().for_each(|device| conversation.clone_into(&mut device.conversation));
        Ok(talk)
    }

    async fn connect(node: SocketAddr, tokens: &[String], members: usize) -> Result<Self> {
        let (mut devices, mut reading, heard) = (Vec::new(), JoinSet::new(), Arc::new(Heard::new()));
        for (index, token) in tokens.iter().enumerate() {
            let socket = numbered::open(node, index, token).await.with_context(|| format!("device {index}"))?;
            let (texts, to_send) = mpsc::unbounded_channel();
            let device = Device { index, conversation: String::new(), numbers: 0, line: Arc::default(), texts };
            reading.spawn(read(socket, index, to_send, Arc::clone(&device.line), Arc::clone(&heard)));
            devices.push(device);
        }
        Ok(Self { devices, members, heard, reading, sent: 0 })
    }

    /// Lets that many devices send at once, each its next message when it has the `ack` of the one before. They take
    /// turns with the other devices, since each may send only so many a second.
    ///
    /// # Errors
    /// When the period is void.
    pub(crate) async fn at_once(&mut self, senders: usize, time: Duration) -> Result<Period> {
        let (begun, heard) = (Instant::now(), &self.heard);
        let sending = shares(&mut self.devices, senders).into_iter().map(async |some| {
            let mut sent = 0;
            while begun.elapsed() < time {
                for device in some.iter_mut() {
                    device.send(heard);
                    device.acked().await?;
                    sent += 1;
                }
            }
            Ok::<u64, anyhow::Error>(sent)
        });
        let sent = try_join_all(sending).await?.iter().sum();
        self.settle(begun, begun.elapsed(), sent).await
    }

    /// Sends so many messages a second, one device after the other.
    ///
    /// # Errors
    /// When the period is void.
    pub(crate) async fn at_rate(&mut self, rate: f64, time: Duration) -> Result<Period> {
        let (begun, messages) = (Instant::now(), (rate * time.as_secs_f64()).max(1.0) as u64);
        let (mut ticks, mut next, count) = (interval(TICK), 0, self.devices.len() as u64);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while next < messages {
            ticks.tick().await;
            let now = begun.elapsed();
            // The first one at once.
            let due = (now.as_secs_f64() * rate) as u64 + 1;
            while next < due.min(messages) {
                let late = now.saturating_sub(Duration::from_secs_f64(next as f64 / rate));
                ensure!(late < LATE_MAX, "void: a message was sent {late:.1?} late");
                let at = usize::try_from(next % count)?;
                self.devices[at].send(&self.heard);
                next += 1;
            }
        }
        self.settle(begun, begun.elapsed(), messages).await
    }

    /// Waits until everything has arrived, and looks that nothing else has.
    async fn settle(&mut self, begun: Instant, acked_in: Duration, messages: u64) -> Result<Period> {
        self.sent += messages;
        let others = self.members as u64 - 1;
        let (mut last, mut since) = ((0, 0, 0), Instant::now());
        let took = loop {
            let now = self.heard.counts();
            if now == (messages as usize, (messages * others) as usize, self.sent) {
                break begun.elapsed();
            }
            if now != last {
                (last, since) = (now, Instant::now());
            }
            ensure!(since.elapsed() < QUIET, "void: of {messages} messages came acks, arrivals, own: {now:?}");
            self.sound()?;
            sleep(LOOK_EVERY).await;
        };
        sleep(AFTERWARDS).await;
        self.sound()?;
        let ack_us = std::mem::take(&mut *locked(&self.heard.ack_us));
        let arrival_us = std::mem::take(&mut *locked(&self.heard.arrival_us));
        Ok(Period { messages, took, acked_in, ack_us, arrival_us })
    }

    fn sound(&self) -> Result<()> {
        let faults = self.heard.faults.load(Ordering::Relaxed);
        ensure!(faults == 0, "void: {faults} gaps, doubles, closes and refusals");
        Ok(())
    }

    /// Closes all sockets.
    pub(crate) async fn end(mut self) {
        self.reading.shutdown().await;
    }
}

impl Period {
    /// The times from send to `ack` and to arrival.
    pub(crate) fn latencies(&self) -> Figures {
        vec![
            ("ack p50 ms", percentile_ms(&self.ack_us, 50)),
            ("ack p99 ms", percentile_ms(&self.ack_us, 99)),
            ("arrival p50 ms", percentile_ms(&self.arrival_us, 50)),
            ("arrival p99 ms", percentile_ms(&self.arrival_us, 99)),
        ]
    }
}

impl Device {
    /// Opens a direct conversation with the user of that index, and returns its id.
    async fn open(&mut self, other: usize) -> Result<String> {
        let (id, other) = (Uuid::now_v7(), numbered::user(other));
        self.submit(id, format!(r#"{{"type":"create","id":"{id}","kind":"direct","members":["{other}"]}}"#));
        self.acked().await?;
        Ok(locked(&self.line.conversation).clone())
    }

    fn send(&mut self, heard: &Heard) {
        self.numbers += 1;
        let id = Uuid::now_v7();
        let mut body = format!("{}:{}:{}:", heard.zero.elapsed().as_micros(), self.index, self.numbers);
        body.extend(std::iter::repeat_n('.', BODY_BYTES.saturating_sub(body.len())));
        let mut text = String::with_capacity(BODY_BYTES * 3);
        let conversation = &self.conversation;
        let _ = write!(text, r#"{{"type":"send","id":"{id}","conversation":"{conversation}","body":"{body}"}}"#);
        self.submit(id, text);
    }

    fn submit(&self, id: Uuid, text: String) {
        locked(&self.line.awaited).push_back((id.to_string(), Instant::now()));
        let _ = self.texts.send(text); // fails when the reader has ended, which counts as a fault there
    }

    async fn acked(&self) -> Result<()> {
        timeout(QUIET, self.line.acked.notified()).await.context("void: no ack came")
    }
}

impl Heard {
    fn new() -> Self {
        Self {
            zero: Instant::now(),
            ack_us: Mutex::default(),
            arrival_us: Mutex::default(),
            own: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// Acks and arrivals of this period, and own messages of all.
    fn counts(&self) -> (usize, usize, u64) {
        (locked(&self.ack_us).len(), locked(&self.arrival_us).len(), self.own.load(Ordering::Relaxed))
    }

    fn fault(&self, what: &str) {
        if self.faults.fetch_add(1, Ordering::Relaxed) == 0 {
            println!("the first fault: {what}");
        }
    }

    /// Notes a message, and that it is the next one of its sender.
    fn message(&self, index: usize, body: &str, last: &mut BTreeMap<usize, u64>) {
        let mut fields = body.split(':').map_while(|field| field.parse::<u64>().ok());
        let (Some(at_us), Some(author), Some(number)) = (fields.next(), fields.next(), fields.next()) else { return };
        let author = author as usize;
        let before = last.insert(author, number).unwrap_or(0);
        if number != before + 1 {
            self.fault(&format!("device {index} got message {number} of {author} after {before}"));
        }
        if author == index {
            self.own.fetch_add(1, Ordering::Relaxed);
        } else {
            let now_us = self.zero.elapsed().as_micros() as u64;
            locked(&self.arrival_us).push(now_us.saturating_sub(at_us));
        }
    }
}

/// Sends what the device has to send, and reads what comes.
async fn read(
    mut socket: Socket,
    index: usize,
    mut texts: mpsc::UnboundedReceiver<String>,
    line: Arc<Line>,
    heard: Arc<Heard>,
) {
    let mut last = BTreeMap::new();
    loop {
        let message = tokio::select! {
            text = texts.recv() => {
                let Some(text) = text else { return };
                if socket.send(Message::text(text)).await.is_err() {
                    return heard.fault(&format!("device {index} could not send"));
                }
                continue;
            }
            message = socket.next() => message,
        };
        let frame = match &message {
            Some(Ok(Message::Text(text))) => text.as_str(),
            Some(Ok(Message::Binary(bytes))) => std::str::from_utf8(bytes).unwrap_or_default(),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            ended => return heard.fault(&format!("device {index} was closed: {ended:?}")),
        };
        if let Some(body) = after(frame, r#""body":""#) {
            heard.message(index, body, &mut last);
        } else if frame.contains(r#""type":"ack""#) {
            ack(frame, &line, &heard);
        } else if frame.contains(r#""type":"ping""#) {
            if socket.send(Message::text(r#"{"type":"pong"}"#)).await.is_err() {
                return heard.fault(&format!("device {index} could not answer"));
            }
        } else if [r#""type":"error""#, r#""type":"welcome""#].iter().any(|part| frame.contains(part)) {
            heard.fault(frame);
        }
    }
}

fn ack(frame: &str, line: &Line, heard: &Heard) {
    let acked = locked(&line.awaited).pop_front();
    let Some((_, sent)) = acked.filter(|(id, _)| frame.contains(id.as_str())) else {
        return heard.fault(&format!("an ack out of turn: {frame}"));
    };
    let conversation = after(frame, r#""conversation":""#).unwrap_or_default();
    conversation.clone_into(&mut locked(&line.conversation));
    locked(&heard.ack_us).push(sent.elapsed().as_micros() as u64);
    line.acked.notify_one();
}

/// Cuts the slice into so many parts of nearly the same size.
fn shares<T>(mut rest: &mut [T], parts: usize) -> Vec<&mut [T]> {
    let mut shares = Vec::new();
    for left in (1..=parts).rev() {
        let (share, others) = rest.split_at_mut(rest.len() / left);
        shares.push(share);
        rest = others;
    }
    shares
}

/// What follows the part, up to the next quotation mark.
fn after<'a>(frame: &'a str, part: &str) -> Option<&'a str> {
    let (_, rest) = frame.split_once(part)?;
    rest.split('"').next()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
