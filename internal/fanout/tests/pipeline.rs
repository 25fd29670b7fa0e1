//! Both consumers over random histories on the embedded engines in memory, killed and restarted at any moment, compared
//! with the oracle: every delivery, in order, once after the clients' filter; every row, byte for byte.

#![allow(clippy::unwrap_used)] // in helpers of tests too

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::{Appended, ConversationId, Event, RULES_NEWEST, Seq, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{Commit, EventLog, NewRecord, SharedLog, TopicPartition, append, partition_of_id};
use events::Codec;
use events::topics::{self, DELIVERIES, GROUP_FANOUT, MESSAGES, RECEIPTS, TopicSpec, USERS, spec_of};
use process::{Metrics, Readiness};
use store::embedded::EmbeddedStore;
use store::{ChatStore, Consumer, HoldStore, SharedStore, Source, StoreAdmin};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workload::{Random, Reference, Stories, StoryConfig};

const START_MS: i64 = 10 * 7 * 86_400_000 - 300_000; // shortly before a week's edge

/// One world: a log, a store, and the two consumers.
struct World {
    now_ms: Arc<AtomicI64>,
    log: SharedLog,
    store: Arc<EmbeddedStore>,
    codec: Codec,
    entropy: Entropy,
    readiness: Readiness,
    running: BTreeMap<&'static str, (CancellationToken, JoinHandle<()>)>,
}

/// Writes the topic's genesis records, as `topics apply` does.
async fn begin(log: &dyn EventLog, spec: &TopicSpec, entropy: &Entropy) {
    for partition in 0..spec.partitions {
        let encoded = Codec::compiled_in().genesis(entropy.bytes(), spec.generation);
        let (headers, payload) = (encoded.headers, encoded.payload);
        let record = NewRecord { key: "genesis".into(), partition: Some(partition), headers, payload };
        append(log, &spec.name, record).await.unwrap();
    }
}

impl World {
    async fn new(seed: u64) -> Self {
        Self::with_unbegun("", seed).await
    }

    /// A world in which one topic lacks its genesis records.
    async fn with_unbegun(unbegun: &str, seed: u64) -> Self {
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let (clock, entropy, codec) = (Clock::manual(Arc::clone(&now_ms)), Entropy::seeded(seed), Codec::compiled_in());
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        for spec in topics::all() {
            log.create(spec).await.unwrap();
            if spec.name != unbegun {
                begin(&*log, spec, &entropy).await;
            }
        }
        let begin = Commit { next: 0, metadata: String::new() };
        let commits: Vec<_> = [MESSAGES, RECEIPTS, USERS]
            .into_iter()
            .flat_map(|topic| {
                (0..spec_of(topic).partitions).map(move |partition| TopicPartition::new(topic, partition))
            })
            .map(|at| (at, begin.clone()))
            .collect();
        log.commit_offline(GROUP_FANOUT, &commits).await.unwrap();
        let store = EmbeddedStore::open(kv::Database::in_memory(), clock).await.unwrap();
        let readiness = Readiness::default();
        Self { now_ms, log, store, codec, entropy, readiness, running: BTreeMap::new() }
    }

    /// Starts a service; `rules_newest` below the newest makes it an older program, which holds what it cannot judge.
    fn start(&mut self, service: &'static str, rules_newest: u32) {
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let (log, store): (SharedLog, SharedStore) = (Arc::clone(&self.log), self.store.attach().unwrap());
        let (codec, entropy, token) = (self.codec.clone(), self.entropy.clone(), stop.clone());
        let readiness = self.readiness.clone();
        let task = if service == "storage" {
            let mut deps = storage::Deps::new(log, store, codec, entropy, storage::StorageMetrics::new(&metrics));
            deps.rules_newest = rules_newest;
            tokio::spawn(async move { storage::run(deps, readiness, token).await.unwrap() })
        } else {
            let mut deps = fanout::Deps::new(log, store, codec, entropy, fanout::FanoutMetrics::new(&metrics));
            deps.rules_newest = rules_newest;
            tokio::spawn(async move { fanout::run(deps, readiness, token).await.unwrap() })
        };
        self.running.insert(service, (stop, task));
    }

    async fn stop(&mut self, service: &'static str) {
        let Some((stop, task)) = self.running.remove(service) else { return };
        stop.cancel();
        task.await.unwrap();
    }

    /// As in a crash: nothing is finished, nothing committed.
    async fn kill(&mut self, service: &'static str) {
        let Some((_, task)) = self.running.remove(service) else { return };
        task.abort();
        let ended = task.await;
        assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()), "{service} ended by itself");
    }

    async fn append(&self, event: &Event) -> Appended {
        let encoded = self.codec.event(event);
        let key = event.conversation.to_string();
        let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
        let place = append(&*self.log, MESSAGES, record).await.unwrap();
        let record = eventlog::record_at(&*self.log, MESSAGES, place.partition, place.offset).await.unwrap().unwrap();
        Appended { seq: Seq::new(0, place.offset).unwrap(), append_time_ms: record.append_time_ms }
    }

    async fn wait_stored(&self) {
        for partition in 0..spec_of(MESSAGES).partitions {
            let last = self.log.watermarks(MESSAGES, partition).await.unwrap().next - 1;
            let source = Source { topic: MESSAGES, partition };
            let seq = Seq::new(0, last).unwrap();
            let stored = self.store.attach().unwrap().wait_applied(source, seq, Duration::from_secs(3600)).await;
            assert!(stored.unwrap(), "storage does not come to {last} in partition {partition}");
        }
    }

    async fn held(&self) -> usize {
        let (store, mut held) = (self.store.attach().unwrap(), 0);
        for partition in 0..spec_of(MESSAGES).partitions {
            for consumer in [Consumer::Storage, Consumer::Fanout] {
                held += store.holds(consumer, partition, None, 100).await.unwrap().len();
            }
        }
        held
    }

    /// The deliveries of each user, as the devices' filter leaves them, in order per conversation.
    async fn delivered(&self) -> BTreeMap<(UserId, ConversationId), Vec<(Seq, String)>> {
        let mut seen: BTreeMap<(UserId, ConversationId), Vec<(Seq, String)>> = BTreeMap::new();
        for partition in 0..spec_of(DELIVERIES).partitions {
            let next = self.log.watermarks(DELIVERIES, partition).await.unwrap().next;
            let (mut reader, mut at) = (self.log.reader(DELIVERIES, partition, 0).await.unwrap(), 0);
            while at < next {
                for record in reader.next(500).await.unwrap() {
                    at = record.offset + 1;
                    let Some(delivery) = self.codec.read_delivery(&record.headers, &record.payload).unwrap() else {
                        continue;
                    };
                    let (conversation, seq) = delivery.event_key.unwrap();
                    for user in delivery.recipients {
                        assert_eq!(partition_of_id(user.uuid(), spec_of(DELIVERIES).partitions), partition);
                        let feed = seen.entry((user, conversation)).or_default();
                        if feed.last().is_none_or(|(highest, _)| *highest < seq) {
                            feed.push((seq, delivery.frame.clone()));
                        } else {
                            // A repetition must have the same content. An event that only comes out of order would be
                            // lost in the filter.
                            let before = feed.iter().find(|(earlier, _)| *earlier == seq);
                            assert_eq!(
                                before.map(|(_, frame)| frame),
                                Some(&delivery.frame),
                                "{user} {seq:?} filtered"
                            );
                        }
                    }
                }
            }
        }
        seen
    }

    async fn rows(store: &EmbeddedStore) -> BTreeMap<&'static str, BTreeSet<Vec<u8>>> {
        let mut tables = BTreeMap::new();
        for table in store.derived_tables() {
            let (mut rows, mut after) = (BTreeSet::new(), None);
            loop {
                let (page, next) = store.scan(table, after).await.unwrap();
                rows.extend(page);
                if next.is_none() {
                    break;
                }
                after = next;
            }
            tables.insert(table, rows);
        }
        tables
    }
}

type Expected = BTreeMap<(UserId, ConversationId), Vec<(Seq, String)>>;

/// The faults of the consumers during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    None,
    /// Kills, stops and restarts.
    Kills,
    /// Kills, and older programs that take over for a while.
    Upgrades,
}

async fn live(seed: u64, events: u64, faults: Faults) -> (World, Expected, usize) {
    let (mut world, mut random) = (World::new(seed).await, Random::new(seed ^ 0xfa17));
    let mut stories = Stories::new(seed, StoryConfig::default(), START_MS);
    let (mut reference, mut expected) = (Reference::default(), Expected::new());
    world.start("storage", RULES_NEWEST);
    world.start("fanout", RULES_NEWEST);
    let mut held = 0;
    for _ in 0..events {
        let now_ms = world.now_ms.load(Ordering::SeqCst);
        let step = *random.pick(&[0, 1, 20, 1000, 60_000, 200_000]);
        let back = if random.chance(5) { *random.pick(&[30_000, 400_000]) } else { 0 };
        world.now_ms.store(now_ms + step - back, Ordering::SeqCst);
        let event = stories.next(now_ms, &reference);
        let appended = world.append(&event).await;
        let effects = reference.judge(&event, appended);
        let frame = protocol::FeedFrame::of(&event, appended, &effects);
        for user in effects.recipients {
            // The frame of each recipient: those who may not read the message get one without its content.
            let frame = if effects.blind.contains(&user) { frame.clone().withheld() } else { frame.clone() };
            let frame = serde_json::to_string(&frame).unwrap();
            expected.entry((user, event.conversation)).or_default().push((appended.seq, frame));
        }
        if faults != Faults::None {
            disturb(&mut world, &mut random, faults).await;
        }
    }
    if faults == Faults::Upgrades {
        held = world.held().await;
        world.stop("storage").await;
        world.stop("fanout").await;
    }
    for service in ["storage", "fanout"] {
        if !world.running.contains_key(service) {
            world.start(service, RULES_NEWEST);
        }
    }
    world.wait_stored().await;
    while world.held().await > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await; // virtual time: the owners look at their holds every minute
    }
    let all: usize = expected.values().map(Vec::len).sum();
    tokio::time::timeout(Duration::from_secs(3600), async {
        while world.delivered().await.values().map(Vec::len).sum::<usize>() < all {
            tokio::time::sleep(Duration::from_millis(100)).await; // virtual time: lets the fan-out go on
        }
    })
    .await
    .expect("the fan-out delivers everything");
    (world, expected, held)
}

async fn disturb(world: &mut World, random: &mut Random, faults: Faults) {
    for _ in 0..random.below(6) {
        tokio::task::yield_now().await;
    }
    if random.chance(20) {
        tokio::time::sleep(Duration::from_millis(random.below(700))).await; // virtual time
    }
    let service = *random.pick(&["storage", "fanout"]);
    match random.below(20) {
        0 => world.kill(service).await,
        1 => world.stop(service).await,
        2..6 if !world.running.contains_key(service) => {
            let old = faults == Faults::Upgrades && random.chance(30);
            world.start(service, if old { RULES_NEWEST - 1 } else { RULES_NEWEST });
        }
        _ => {}
    }
}

/// Returns the number of timeline rows.
async fn check(seed: u64, world: &mut World, expected: &Expected) -> usize {
    assert_eq!(&world.delivered().await, expected, "seed {seed}: deliveries");
    let rows = World::rows(&world.store).await;
    // A replay into an empty store, in one go, gives the same rows.
    world.stop("storage").await;
    let fresh = EmbeddedStore::open(kv::Database::in_memory(), Clock::from_fn(|| 0)).await.unwrap();
    let metrics = storage::StorageMetrics::new(&Metrics::new());
    let (log, codec, entropy) = (Arc::clone(&world.log), world.codec.clone(), world.entropy.clone());
    let deps = Arc::new(storage::Deps::new(log, fresh.attach().unwrap(), codec, entropy, metrics));
    for partition in 0..spec_of(MESSAGES).partitions {
        let to = world.log.watermarks(MESSAGES, partition).await.unwrap().next;
        for _twice in 0..2 {
            let stop = CancellationToken::new();
            storage::replay(Arc::clone(&deps), partition, 0, to, stop, |_| {}).await.unwrap();
        }
    }
    let again = World::rows(&fresh).await;
    for (table, rows) in &rows {
        assert_eq!(rows.len(), again[table].len(), "seed {seed}: rows of {table}");
        assert!(rows == &again[table], "seed {seed}: {table} differs");
    }
    world.stop("fanout").await;
    rows["timeline"].len()
}

fn worlds(seeds: std::ops::Range<u64>, events: u64, faults: Faults) {
    let (count, mut entries, mut holds) = (seeds.end - seeds.start, 0, 0);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        entries += runtime.block_on(async {
            let (mut world, expected, held) = live(seed, events, faults).await;
            holds += held;
            check(seed, &mut world, &expected).await
        });
    }
    let per_world = entries as u64 / count;
    assert_eq!(holds > 0, faults == Faults::Upgrades, "conversations held at the end of the histories: {holds}");
    assert!(per_world > events / 8, "the histories say something: {per_world} entries of {events} events");
}

/// `KLATSCH_SEEDS=FROM..TO` runs other seeds than the usual ones.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("KLATSCH_SEEDS") else { return usual };
    let (from, to) = text.split_once("..").expect("KLATSCH_SEEDS=FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn undisturbed_consumers_deliver_and_store_what_the_oracle_says() {
    worlds(0..4, 150, Faults::None);
}

#[test]
fn consumers_killed_at_any_moment_lose_double_and_reorder_nothing() {
    worlds(seeds(100..130), 80, Faults::Kills);
}

#[test]
fn older_programs_hold_what_they_cannot_judge_and_newer_ones_heal_it() {
    worlds(seeds(200..230), 80, Faults::Upgrades);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_ready_once_all_its_topics_are_what_they_must_be() {
    for service in ["storage", "fanout"] {
        let mut world = World::with_unbegun(RECEIPTS, 1).await;
        world.start(service, RULES_NEWEST);
        let says = |words: &str| world.readiness.reasons().iter().any(|found| found.reason.contains(words));
        while !says(&format!("{RECEIPTS}/0 has no genesis record")) {
            tokio::time::sleep(Duration::from_millis(100)).await; // virtual time
        }
        begin(&*world.log, spec_of(RECEIPTS), &world.entropy).await;
        while !world.readiness.is_ready() {
            tokio::time::sleep(Duration::from_millis(100)).await; // virtual time
        }
        world.stop(service).await;
    }
}
