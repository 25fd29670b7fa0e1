//! A third consumer, small: it counts the messages of each day. Everything else that it needs is in the crate, and no
//! other code knows of it.
//!
//! What one that lasts does besides: it commits its position (fan-out and storage do); it bounds the conversations in
//! memory; it waits for storage (`ChatStore::wait_applied`) before it reads facts beside a live one; it judges what it
//! held again after an upgrade, and passes over what an operator has dropped (`PartitionAccess::holds`, `drops`).

#![allow(clippy::unwrap_used)]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consumer::{
    BATCH_RECORDS_MAX, ConsumerError, Group, GroupMetrics, PartitionAccess, Route, Seams, judge, read_facts, run,
};
use domain::kinds::{Create, SendMessage};
use domain::{
    Action, Change, CommandId, Content, ConversationId, ConversationKind, Effects, Event, RULES_NEWEST, Seq, UserId,
};
use environment::{Clock, Entropy};
use eventlog::consume::{Ended, Outcome};
use eventlog::embedded::EmbeddedLog;
use eventlog::{Meaning, NewRecord, SharedLog, append};
use events::Codec;
use events::topics::{MESSAGES, spec_of};
use process::{Metrics, Readiness};
use prometheus_client::metrics::counter::Counter;
use store::embedded::EmbeddedStore;
use store::{FactsLookup, Loaded, SharedStore, load};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DAY_MS: i64 = 86_400_000;

/// Messages by day, as counted with one incarnation of the store.
type Days = BTreeMap<i64, u64>;

struct Counts {
    seams: Seams,
    days: Arc<watch::Sender<Days>>,
}

const GROUP: Group<Counts> = Group {
    name: "counts",
    id: "counts",
    routes: &[Route {
        topic: MESSAGES,
        begin: |counts, assigned, _, stop| {
            Box::pin(async move {
                let access = PartitionAccess::new(counts.seams.clone(), assigned.at, stop);
                count(&access, &counts.days).await
            })
        },
    }],
    writes: &[],
};

/// Counts from the beginning of the partition: it keeps no position.
async fn count(access: &PartitionAccess, days: &watch::Sender<Days>) -> Outcome {
    let (mut conversations, ids) = (BTreeMap::<ConversationId, Loaded>::new(), Counter::default());
    // Behind an event that this program cannot judge, nothing of its conversation can be judged.
    let mut held = BTreeSet::new();
    let mut reader = access.open(0).await?;
    loop {
        let records = tokio::select! {
            biased;
            () = access.stop.cancelled() => return Ok(Ended::Stopped),
            records = reader.next(BATCH_RECORDS_MAX) => records.map_err(ConsumerError::Log)?,
        };
        for record in records {
            let message = access.message(&record)?;
            let appended = message.appended;
            let event = match &message.meaning {
                Meaning::Event(event) if !held.contains(&event.conversation) => event,
                Meaning::Unknown(_) => {
                    held.extend(message.conversation);
                    continue;
                }
                Meaning::Event(_) | Meaning::Marker | Meaning::Corrupt(_) | Meaning::Dropped => continue,
            };
            let (key, time_ms) = (event.conversation, appended.append_time_ms);
            let loaded = match conversations.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(cold) => {
                    let load = move |store| load(store, key, Seq::default(), time_ms);
                    cold.insert(access.store("load a conversation", load).await?)
                }
            };
            let answers = read_facts(access, loaded, (event, appended), Vec::new, &ids).await?;
            let FactsLookup::Ready(facts) = loaded.facts(event, &answers) else {
                unreachable!("all of them were read")
            };
            let says = |effects: Effects| {
                let is_message =
                    |change: &Change| matches!(change, Change::Timeline { content: Content::Message { .. }, .. });
                effects.changes.iter().filter(|change| is_message(change)).count() as u64
            };
            match judge(loaded, (event, appended), &facts, RULES_NEWEST, says) {
                Ok(messages) => days.send_modify(|days| *days.entry(time_ms / DAY_MS).or_default() += messages),
                // The state may be half changed.
                Err(_) => {
                    conversations.remove(&key);
                    held.insert(key);
                }
            }
        }
    }
}

/// A log whose time stands still until a test moves it, and a store.
struct World {
    log: SharedLog,
    store: Arc<EmbeddedStore>,
    codec: Codec,
    entropy: Entropy,
    clock: Clock,
    now_ms: Arc<Mutex<i64>>,
}

impl World {
    async fn new() -> Self {
        let now_ms = Arc::new(Mutex::new(20_000 * DAY_MS));
        let clock = {
            let now_ms = Arc::clone(&now_ms);
            Clock::from_fn(move || *now_ms.lock().unwrap())
        };
        let (codec, entropy) = (Codec::compiled_in(), Entropy::seeded(1));
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        let spec = spec_of(MESSAGES);
        log.create(spec).await.unwrap();
        for partition in (0..spec.partitions).map(Some) {
            let encoded = codec.genesis(entropy.bytes(), spec.generation);
            let (key, headers, payload) = ("genesis".to_owned(), encoded.headers, encoded.payload);
            append(&*log, &spec.name, NewRecord { key, partition, headers, payload }).await.unwrap();
        }
        let store = EmbeddedStore::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        Self { log, store, codec, entropy, clock, now_ms }
    }

    fn seams(&self) -> Seams {
        let store: SharedStore = self.store.attach().unwrap();
        Seams { log: Arc::clone(&self.log), store, codec: self.codec.clone(), entropy: self.entropy.clone() }
    }

    fn id(&self) -> CommandId {
        CommandId::try_from(self.entropy.uuid_v7(&self.clock)).unwrap()
    }

    async fn append(&self, author: UserId, conversation: ConversationId, id: CommandId, action: Action) {
        let (received_ms, rules) = (self.clock.now_ms(), RULES_NEWEST);
        let event = Event { id, conversation, author, received_ms, rules, key_id: None, looked_up: true, action };
        let encoded = self.codec.event(&event);
        let (key, headers, payload) = (conversation.to_string(), encoded.headers, encoded.payload);
        append(&*self.log, MESSAGES, NewRecord { key, partition: None, headers, payload }).await.unwrap();
    }

    async fn say(&self, author: UserId, conversation: ConversationId) {
        let action = Action::SendMessage(SendMessage { body: "hello".into(), reply_to: None, thread: None });
        self.append(author, conversation, self.id(), action).await;
    }
}

fn user(number: u128) -> UserId {
    UserId::try_from(Uuid::from_u128(number)).unwrap()
}

/// Waits until the counts are those.
async fn reaches(days: &mut watch::Receiver<Days>, expected: &[(i64, u64)]) {
    let expected: Days = expected.iter().copied().collect();
    let reached = timeout(Duration::from_secs(60), days.wait_for(|days| *days == expected)).await;
    assert!(reached.is_ok(), "expected {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn a_third_consumer_is_its_own_work_and_follows_the_current_incarnation() {
    let (world, stop) = (World::new().await, CancellationToken::new());
    let (counted, mut days) = watch::channel(Days::new());
    let (author, stranger) = (user(1), user(2));
    let id = world.id();
    let conversation = ConversationId::group(author, id);
    let create = Action::Create(Create { kind: ConversationKind::Group, title: None, members: vec![author] });
    world.append(author, conversation, id, create).await;
    world.say(author, conversation).await;
    world.say(author, conversation).await;
    // Refused by the reducer: not a message.
    world.say(stranger, conversation).await;

    let (counted, (begins, mut begun)) = (Arc::new(counted), watch::channel(0));
    let deps = move |seams| {
        counted.send_replace(Days::new());
        begins.send_modify(|begins| *begins += 1);
        Counts { seams, days: Arc::clone(&counted) }
    };
    let metrics = GroupMetrics::new(&Metrics::new(), "counts");
    let running = tokio::spawn(run(world.seams(), GROUP, deps, metrics, Readiness::default(), stop.clone()));
    reaches(&mut days, &[(20_000, 2)]).await;
    *world.now_ms.lock().unwrap() += DAY_MS;
    world.say(author, conversation).await;
    reaches(&mut days, &[(20_000, 2), (20_001, 1)]).await;

    // Another incarnation becomes current: everything begins anew, and counts the same.
    let seams = world.seams();
    let next = seams.store.make_incarnation().await.unwrap();
    assert!(seams.store.switch_incarnation(1, next).await.unwrap());
    let again = timeout(Duration::from_secs(60), begun.wait_for(|begins| *begins == 2));
    drop(again.await.expect("it begins again").unwrap());
    reaches(&mut days, &[(20_000, 2), (20_001, 1)]).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}
