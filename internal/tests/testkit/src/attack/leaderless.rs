//! A delivery partition without a leader, as the fan-out meets it: appends to it are not answered. Storage and the
//! fan-out run in this process, on the embedded log on disk. Users of the other partitions are served as before,
//! however much is sent to those of the leaderless one; when it has a leader again, they get all of it, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use domain::kinds::{Create, SendMessage};
use domain::{Action, CommandId, ConversationId, ConversationKind, Event, RULES_NEWEST, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::wrapper::LogWrapper;
use eventlog::{AppendError, AppendReceipt, NewRecord, Position, SharedLog, append, partition_of_id};
use events::Codec;
use events::topics::{self, DELIVERIES, MESSAGES, spec_of};
use process::{Metrics, Readiness};
use store::SharedStore;
use store::embedded::EmbeddedStore;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Wishes, memory, people};
use crate::engines::lay_out;
use crate::runs::percentiles;

/// Events that are appended while the partition has no leader.
const EVENTS: usize = 20_000;
/// Events that are appended before that.
const EVENTS_BEFORE: usize = 2_000;
/// Events per second.
const RATE: u64 = 500;
/// Pairs of users that talk: in each partition of the log, more conversations than may be parked there.
const PAIRS: u128 = 2_400;
/// How long the last deliveries may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was sent and what was delivered, each with its time: by recipient and conversation.
#[derive(Default)]
struct Book {
    said: BTreeMap<(UserId, ConversationId), Vec<(Seq, Instant)>>,
    came: BTreeMap<(UserId, ConversationId), Vec<(Seq, Instant)>>,
}

type SharedBook = Arc<Mutex<Book>>;

pub(super) async fn run(wishes: Wishes) -> Result<bool> {
    ensure!(wishes.url.is_none(), "this attack runs in its own process");
    let (folder, codec, entropy) = (tempfile::tempdir()?, Codec::compiled_in(), Entropy::system());
    let log: SharedLog = EmbeddedLog::open(kv::Database::open(&folder.path().join("log"))?, Clock::system()).await?;
    for spec in topics::all() {
        log.create(spec).await?;
    }
    lay_out(&log, &codec, &entropy).await?;
    let leaderless = Arc::new(Leaderless { inner: log.clone(), partition: home(person(1)), kept: Mutex::default() });
    let consumers: SharedLog = leaderless.clone();
    let (stop, book) = (CancellationToken::new(), SharedBook::default());
    let mut tasks = consume(&consumers, &codec, &stop).await?;
    for partition in 0..spec_of(DELIVERIES).partitions {
        tasks.spawn(watch(log.clone(), codec.clone(), partition, Arc::clone(&book), stop.clone()));
    }
    let sick = home(person(1));
    let well = |partition| partition != sick;
    talk(&log, &codec, &book, 0..EVENTS_BEFORE).await?;
    all_came(&book, |_| true).await?;
    let before = latencies(&book, 0, well);
    println!("before:  {EVENTS_BEFORE} events; to a delivery: {}", percentiles(&before));

    leaderless.with(|kept| *kept = Some(Vec::new()));
    let events = wishes.count.unwrap_or(EVENTS);
    talk(&log, &codec, &book, EVENTS_BEFORE..EVENTS_BEFORE + events).await?;
    all_came(&book, well).await?;
    let during = latencies(&book, EVENTS_BEFORE, well);
    let (missing, memory) = (missing(&book, |partition| partition == sick), resident_mib());
    println!("during:  {events} events; to a delivery elsewhere: {}; {memory:?} MiB", percentiles(&during));
    println!("         {missing} deliveries wait for partition {sick}");

    let begun = Instant::now();
    leaderless.heal().await;
    let back = all_came(&book, |_| true).await;
    println!("after:   everything came within {:?}; {:?} MiB", begun.elapsed(), resident_mib());
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(back.is_ok() && missing > 0 && people::as_good_as(&during, &before))
}

/// A log in which one partition of `chat.deliveries` answers no append while it has no leader.
struct Leaderless {
    inner: SharedLog,
    partition: u32,
    /// The appends that wait for a leader; `None` while the partition has one.
    kept: Mutex<Option<Vec<Kept>>>,
}

/// A record whose append is not answered yet, and the sender for its result.
type Kept = (NewRecord, oneshot::Sender<Result<Position, AppendError>>);

impl Leaderless {
    fn with<T>(&self, act: impl FnOnce(&mut Option<Vec<Kept>>) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the partition a leader again: appends the records that wait, in order. Records that come meanwhile
    /// queue behind them.
    async fn heal(&self) {
        loop {
            let waiting = self.with(|kept| {
                let waiting = kept.take().filter(|waiting| !waiting.is_empty());
                *kept = waiting.as_ref().map(|_| Vec::new());
                waiting
            });
            let Some(waiting) = waiting else { return };
            for (record, report) in waiting {
                // An append whose caller has given up has no receiver any more.
                let _ = report.send(append(&*self.inner, DELIVERIES, record).await);
            }
        }
    }
}

#[async_trait]
impl LogWrapper for Leaderless {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        if topic == DELIVERIES && record.partition == Some(self.partition) {
            let (report, receipt) = AppendReceipt::new();
            let record = self.with(|kept| match kept {
                Some(kept) => {
                    kept.push((record, report));
                    None
                }
                None => Some(record),
            });
            let Some(record) = record else { return Ok(receipt) };
            return self.inner.enqueue(topic, record).await;
        }
        self.inner.enqueue(topic, record).await
    }
}

/// Starts storage and the fan-out.
async fn consume(log: &SharedLog, codec: &Codec, stop: &CancellationToken) -> Result<JoinSet<Result<()>>> {
    let store: SharedStore = EmbeddedStore::open(kv::Database::in_memory(), Clock::system()).await?;
    let (metrics, entropy, mut tasks) = (Metrics::new(), Entropy::system(), JoinSet::new());
    let counters = storage::StorageMetrics::new(&metrics);
    let deps = storage::Deps::new(log.clone(), store.clone(), codec.clone(), entropy.clone(), counters);
    let token = stop.clone();
    tasks
        .spawn(async move { storage::run(deps, Readiness::default(), token).await.map_err(anyhow::Error::from_boxed) });
    let counters = fanout::FanoutMetrics::new(&metrics);
    let deps = fanout::Deps::new(log.clone(), store, codec.clone(), entropy, counters);
    let token = stop.clone();
    tasks.spawn(async move { fanout::run(deps, Readiness::default(), token).await.map_err(anyhow::Error::from_boxed) });
    Ok(tasks)
}

fn person(number: u128) -> UserId {
    UserId::try_from(Uuid::from_u128(0x4000_8000_0000_0000_0000 + number)).expect("a user's id is any UUID")
}

fn home(user: UserId) -> u32 {
    partition_of_id(user.uuid(), spec_of(DELIVERIES).partitions)
}

/// The pairs send messages in turn, at a steady rate.
async fn talk(log: &SharedLog, codec: &Codec, book: &SharedBook, numbers: std::ops::Range<usize>) -> Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(RATE)?);
    let mut sending = JoinSet::new();
    for number in numbers {
        ticks.tick().await;
        let (pair, turn) = (number as u128 % PAIRS, number as u128 / PAIRS);
        let (author, other) = (person(2 * pair), person(2 * pair + 1));
        let conversation = ConversationId::direct(author, other);
        let action = match turn {
            0 => Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![other] }),
            _ => Action::SendMessage(SendMessage {
                body: format!("message {turn}").into(),
                reply_to: None,
                thread: None,
            }),
        };
        let now_ms = Clock::system().now_ms();
        let id = CommandId::try_from(Entropy::system().uuid_v7(&Clock::system()))?;
        let event = Event {
            id,
            conversation,
            author,
            received_ms: now_ms,
            rules: RULES_NEWEST,
            key_id: None,
            looked_up: true,
            action,
        };
        let encoded = codec.event(&event);
        let (headers, payload) = (encoded.headers, encoded.payload);
        let record = NewRecord { key: conversation.to_string(), partition: None, headers, payload };
        let (log, book, begun) = (log.clone(), Arc::clone(book), Instant::now());
        sending.spawn(async move {
            let position = append(&*log, MESSAGES, record).await?;
            let seq = Seq::new(spec_of(MESSAGES).generation, position.offset)?;
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            for user in [author, other] {
                book.said.entry((user, conversation)).or_default().push((seq, begun));
            }
            anyhow::Ok(())
        });
        while let Some(sent) = sending.try_join_next() {
            sent??;
        }
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}

/// Notes what is delivered in a partition, after the filter that a device has: the highest seq of each conversation.
async fn watch(log: SharedLog, codec: Codec, partition: u32, book: SharedBook, stop: CancellationToken) -> Result<()> {
    let mut reader = log.reader(DELIVERIES, partition, 0).await?;
    while let Some(records) = stop.run_until_cancelled(reader.next(500)).await {
        for record in records? {
            let delivery = codec.read_delivery(&record.headers, &record.payload)?;
            let Some((delivery, (conversation, seq))) =
                delivery.and_then(|one| one.event_key.map(|place| (one, place)))
            else {
                continue;
            };
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            for user in delivery.recipients {
                let came = book.came.entry((user, conversation)).or_default();
                if came.last().is_none_or(|(last, _)| *last < seq) {
                    came.push((seq, Instant::now()));
                }
            }
        }
    }
    Ok(())
}

/// The number of deliveries that users of those partitions have not received.
fn missing(book: &SharedBook, of: impl Fn(u32) -> bool) -> usize {
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let said = book.said.iter().filter(|((user, _), _)| of(home(*user)));
    let came = |key| book.came.get(key).map_or(0, Vec::len);
    said.map(|(key, said)| said.len().saturating_sub(came(key))).sum()
}

async fn all_came(book: &SharedBook, of: impl Fn(u32) -> bool) -> Result<()> {
    let coming = timeout(PATIENCE, async {
        while missing(book, &of) > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    });
    coming.await.with_context(|| format!("{} deliveries do not come", missing(book, &of)))
}

/// Time from send to delivery, for users of those partitions and for events from number `from` on.
fn latencies(book: &SharedBook, from: usize, of: impl Fn(u32) -> bool) -> Vec<u64> {
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = book.said.values().flatten().map(|(_, at)| *at).collect::<std::collections::BTreeSet<_>>();
    let Some(since) = begun.iter().nth(from).copied() else { return Vec::new() };
    let mut all = Vec::new();
    for (key, came) in book.came.iter().filter(|((user, _), _)| of(home(*user))) {
        let said: BTreeMap<_, _> = book.said.get(key).into_iter().flatten().copied().collect();
        for (seq, at) in came {
            if let Some(begun) = said.get(seq).filter(|begun| **begun >= since) {
                all.push(u64::try_from(at.duration_since(*begun).as_micros()).unwrap_or(u64::MAX));
            }
        }
    }
    all
}

/// Memory of this process, which runs both the users and the consumers, in MiB.
fn resident_mib() -> Option<u64> {
    Some(memory::resident_kib(std::process::id())? / 1024)
}
