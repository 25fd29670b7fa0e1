//! The cost of an audit: many messages through both consumers on the embedded engines on disk, audited without a
//! throttle; then one row altered, one removed and one delivery overwritten by hand, and audited again.
//!
//!     cargo run --release -p ops --example audit -- 100000

use std::sync::Arc;
use std::time::Duration;

use domain::kinds::{Create, EditMessage, SendMessage};
use domain::{Action, CommandId, ConversationId, ConversationKind, Event, RULES_NEWEST, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{NewRecord, SharedLog, TopicPartition, append};
use events::Codec;
use events::topics::{DELIVERIES, GROUP_FANOUT, MESSAGES, spec_of};
use kv::{Batch, Database, Durability};
use ops::audit::{AuditEvent, AuditScope, Engines, audit};
use process::{Metrics, Readiness};
use store::embedded::EmbeddedStore;
use store::{SharedStore, Source};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use workload::Random;

type Fallible = Result<(), Box<dyn std::error::Error>>;

const USERS: usize = 50;
const CONVERSATIONS: usize = 200;
/// Messages that are appended before the example waits for the consumers.
const AHEAD: usize = 5000;
/// Appends that are not acknowledged yet.
const APPENDS: usize = 512;

#[tokio::main]
async fn main() -> Fallible {
    let messages: usize = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let database = Database::open(folder.path())?;
    let log: SharedLog = EmbeddedLog::open(database.clone(), Clock::system()).await?;
    let codec = Codec::compiled_in();
    ops::topics::apply(&*log, &codec, &Entropy::system(), |_| {}).await?;
    let store = EmbeddedStore::open(database.clone(), Clock::system()).await?;

    let begun = Instant::now();
    let mut world = World { random: Random::new(1), clock: Clock::system(), groups: Vec::new() };
    // Messages are appended no faster than the consumers process them: after a lag, an audit reads more of
    // `chat.deliveries` than it needs.
    let mut said = 0;
    while said < messages {
        let some = AHEAD.min(messages - said);
        world.say(&log, &codec, some).await?;
        consume(&log, &store).await?;
        said += some;
    }
    println!("{messages} messages said, stored and delivered in {:.1?}", begun.elapsed());

    let shared: SharedStore = store.attach()?;
    let engines = Engines { log: log.clone(), store: shared, codec };
    look(&engines).await?;
    spoil(&database).await?;
    println!("\none row altered, one removed, one delivery overwritten:");
    look(&engines).await
}

/// Groups of 2 to 50 members, and messages in them; one in twenty is edited.
struct World {
    random: Random,
    clock: Clock,
    groups: Vec<(ConversationId, Vec<UserId>)>,
}

impl World {
    async fn say(&mut self, log: &SharedLog, codec: &Codec, messages: usize) -> Fallible {
        let Self { random, clock, groups } = self;
        let user = |n: usize| UserId::try_from(uuid::Uuid::from_u64_pair(7, n as u64));
        let users: Vec<UserId> = (0..USERS).map(user).collect::<Result<_, _>>()?;
        let creations = CONVERSATIONS - groups.len();
        let mut receipts = std::collections::VecDeque::new();
        for number in 0..creations + messages {
            let stamp = u64::try_from(clock.now_ms())?;
            let random_bytes = *random.uuid().as_bytes().first_chunk::<10>().expect("ten of sixteen");
            let id = CommandId::try_from(uuid::Builder::from_unix_timestamp_millis(stamp, &random_bytes).into_uuid())?;
            let (conversation, author, action) = if number < creations {
                let many = 2 + usize::try_from(random.below(49))?;
                let first = usize::try_from(random.below(USERS as u64))?;
                let members: Vec<UserId> = (0..many).map(|n| users[(first + n) % USERS]).collect();
                let conversation = ConversationId::group(members[0], id);
                groups.push((conversation, members.clone()));
                (
                    conversation,
                    members[0],
                    Action::Create(Create { kind: ConversationKind::Group, title: None, members }),
                )
            } else {
                let (conversation, members) = random.pick(groups).clone();
                let body = format!("message {number}: {}", "so much is said, and so little of it is ".repeat(2)).into();
                (
                    conversation,
                    *random.pick(&members),
                    Action::SendMessage(SendMessage { body, reply_to: None, thread: None }),
                )
            };
            let event = Event {
                id,
                conversation,
                author,
                received_ms: 0,
                rules: RULES_NEWEST,
                key_id: None,
                looked_up: true,
                action,
            };
            let encoded = codec.event(&event);
            let key = conversation.to_string();
            let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
            receipts.push_back(log.enqueue(MESSAGES, record).await?);
            if number % 20 == 19 && number >= creations {
                let action = Action::EditMessage(EditMessage { target: id, body: format!("edited {number}").into() });
                let again = CommandId::try_from(
                    uuid::Builder::from_unix_timestamp_millis(stamp, &[number as u8; 10]).into_uuid(),
                )?;
                let event = Event { id: again, action, ..event };
                let encoded = codec.event(&event);
                let key = conversation.to_string();
                let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
                append(&**log, MESSAGES, record).await?;
            }
            while receipts.len() >= APPENDS {
                if let Some(receipt) = receipts.pop_front() {
                    receipt.await?;
                }
            }
        }
        for receipt in receipts {
            receipt.await?;
        }
        Ok(())
    }
}

/// Runs both consumers until they have reached the end of the log.
async fn consume(log: &SharedLog, store: &Arc<EmbeddedStore>) -> Fallible {
    let (stop, metrics, entropy) = (CancellationToken::new(), Metrics::new(), Entropy::system());
    let shared: SharedStore = store.attach()?;
    let deps = storage::Deps::new(
        log.clone(),
        shared.clone(),
        Codec::compiled_in(),
        entropy.clone(),
        storage::StorageMetrics::new(&metrics),
    );
    let storage = tokio::spawn(storage::run(deps, Readiness::default(), stop.clone()));
    let metrics = fanout::FanoutMetrics::new(&metrics);
    let deps = fanout::Deps::new(log.clone(), shared.clone(), Codec::compiled_in(), entropy, metrics);
    let fanout = tokio::spawn(fanout::run(deps, Readiness::default(), stop.clone()));
    for partition in 0..spec_of(MESSAGES).partitions {
        let next = log.watermarks(MESSAGES, partition).await?.next;
        let source = Source { topic: MESSAGES, partition };
        while !shared.wait_applied(source, Seq::new(0, next - 1)?, Duration::from_secs(60)).await? {}
        let at = TopicPartition::new(MESSAGES, partition);
        let done = |commit: eventlog::Commit| commit.next == next && commit.metadata.split(';').count() <= 2;
        while !log.committed(GROUP_FANOUT, &at).await?.is_some_and(done) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    stop.cancel();
    for ended in [storage.await?, fanout.await?] {
        ended.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn look(engines: &Engines) -> Fallible {
    // Resets the peak, so that memory used before does not count.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = memory("VmRSS");
    let begun = Instant::now();
    let tell = |event: AuditEvent<'_>| {
        if let AuditEvent::Difference(difference) = event {
            println!("{difference}");
        }
        Ok(())
    };
    let report = audit(engines, &AuditScope::everything(), &CancellationToken::new(), tell).await?;
    let took = begun.elapsed();
    println!("{report}");
    println!(
        "{took:.1?}: {:.0} events/s, {:.0} records of the log/s; memory {before} before, at most {} meanwhile",
        report.counts.events as f64 / took.as_secs_f64(),
        (report.counts.records + report.counts.delivery_records) as f64 / took.as_secs_f64(),
        memory("VmHWM"),
    );
    Ok(())
}

/// The memory of this process, as the system reports it.
fn memory(what: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}

async fn spoil(database: &Database) -> Fallible {
    let mut batch = Batch::default();
    let timeline = database.table("store/i1/timeline")?;
    let rows = timeline.scan_prefix(&[], 2000)?;
    let (key, value) = rows.last().ok_or("no rows")?;
    let mut altered = value.to_vec();
    let at = value.windows(4).position(|some| some == b"much").ok_or("no body")?;
    altered[at] = b'M';
    batch.put(&timeline, key.clone(), altered);
    let ids = database.table("store/i1/ids")?;
    batch.remove(&ids, ids.scan_prefix(&[], 3000)?.pop().ok_or("no ids")?.0);
    // The third topic's records. The embedded log would notice a missing record by itself, so a marker takes the
    // delivery's offset.
    let topic = events::topics::all().iter().position(|topic| topic.name == DELIVERIES).ok_or("no topic")?;
    let records = database.table("log/records")?;
    let prefix = [0, u8::try_from(topic)?, 0, 3];
    let found = records.scan_prefix(&prefix, 500)?;
    let ((_, marker), (delivery, _)) = found.first().zip(found.last()).ok_or("no deliveries")?;
    batch.put(&records, delivery.clone(), marker.clone());
    Ok(database.commit(batch, Durability::Power).await?)
}
