//! The audit over both consumers on the embedded engines: a healthy system has no difference; each damage that the
//! tests cause is found with its offset, and nothing else is.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::{RULES_NEWEST, Seq};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{NewRecord, SharedLog, TopicPartition, append};
use events::topics::{DELIVERIES, GROUP_FANOUT, MESSAGES, spec_of};
use events::{Codec, Delivery};
use kv::{Batch, Database, Durability};
use ops::audit::{AuditEvent, AuditScope, Conversations, Difference, Engines, Fault, Report, Sample, audit};
use process::{Metrics, Readiness};
use store::embedded::EmbeddedStore;
use store::{Consumer, Row, SharedStore, Source};
use support::BEGIN_MS;
use support::fitful::Fitful;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workload::{Reference, Stories, StoryConfig};

/// The id of `chat.deliveries` in the embedded log: it is the third topic that was created.
const DELIVERIES_ID: u16 = 2;

struct World {
    now_ms: Arc<AtomicI64>,
    log_tables: Database,
    store_tables: Database,
    log: SharedLog,
    store: Arc<EmbeddedStore>,
    running: Vec<(CancellationToken, JoinHandle<()>)>,
}

impl World {
    async fn new() -> Self {
        let now_ms = Arc::new(AtomicI64::new(BEGIN_MS));
        let clock = Clock::manual(Arc::clone(&now_ms));
        let (log_tables, store_tables) = (Database::in_memory(), Database::in_memory());
        let log: SharedLog = EmbeddedLog::open(log_tables.clone(), clock.clone()).await.unwrap();
        ops::topics::apply(&*log, &Codec::compiled_in(), &Entropy::seeded(1), |_| {}).await.unwrap();
        let store = EmbeddedStore::open(store_tables.clone(), clock).await.unwrap();
        Self { now_ms, log_tables, store_tables, log, store, running: Vec::new() }
    }

    /// Appends so many events of random users.
    async fn say(&self, seed: u64, events: u64) {
        let config = StoryConfig { users: 12, directs: 6, groups: 14, ..StoryConfig::default() };
        let mut stories = Stories::new(seed, config, self.now_ms.load(Ordering::SeqCst));
        let mut reference = Reference::default();
        for _ in 0..events {
            let now_ms = self.now_ms.fetch_add(40, Ordering::SeqCst);
            let event = stories.next(now_ms, &reference);
            let encoded = Codec::compiled_in().event(&event);
            let key = event.conversation.to_string();
            let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
            let position = append(&*self.log, MESSAGES, record).await.unwrap();
            let seq = Seq::new(0, position.offset).unwrap();
            reference.judge(&event, domain::Appended { seq, append_time_ms: now_ms + 40 });
        }
    }

    fn start_storage(&mut self, rules_newest: u32) {
        let (stop, metrics) = (CancellationToken::new(), storage::StorageMetrics::new(&Metrics::new()));
        let (log, store, codec) = (self.log.clone(), self.store.attach().unwrap(), Codec::compiled_in());
        let mut deps = storage::Deps::new(log, store, codec, Entropy::seeded(2), metrics);
        deps.rules_newest = rules_newest;
        let token = stop.clone();
        let task = tokio::spawn(async move { storage::run(deps, Readiness::default(), token).await.unwrap() });
        self.running.push((stop, task));
    }

    fn start_fanout(&mut self) {
        let (stop, metrics) = (CancellationToken::new(), fanout::FanoutMetrics::new(&Metrics::new()));
        let (log, store, codec) = (self.log.clone(), self.store.attach().unwrap(), Codec::compiled_in());
        let deps = fanout::Deps::new(log, store, codec, Entropy::seeded(3), metrics);
        let token = stop.clone();
        let task = tokio::spawn(async move { fanout::run(deps, Readiness::default(), token).await.unwrap() });
        self.running.push((stop, task));
    }

    /// Waits until both consumers have reached the end of the log, then stops them.
    async fn settle(&mut self) {
        for partition in 0..spec_of(MESSAGES).partitions {
            let next = self.log.watermarks(MESSAGES, partition).await.unwrap().next;
            let (source, last) = (Source { topic: MESSAGES, partition }, Seq::new(0, next - 1).unwrap());
            let store: SharedStore = self.store.attach().unwrap();
            assert!(store.wait_applied(source, last, Duration::from_secs(3600)).await.unwrap());
            let at = TopicPartition::new(MESSAGES, partition);
            let done = |commit: eventlog::Commit| commit.next == next && commit.metadata.split(';').count() <= 2;
            while !self.log.committed(GROUP_FANOUT, &at).await.unwrap().is_some_and(done) {
                tokio::time::sleep(Duration::from_millis(100)).await; // virtual time
            }
        }
        self.stop().await;
    }

    async fn stop(&mut self) {
        for (stop, task) in self.running.drain(..) {
            stop.cancel();
            task.await.unwrap();
        }
    }

    async fn healthy(seed: u64, events: u64) -> Self {
        let mut world = Self::new().await;
        world.say(seed, events).await;
        world.start_storage(RULES_NEWEST);
        world.start_fanout();
        world.settle().await;
        world
    }

    async fn audit(&self, what: &AuditScope) -> (Report, Vec<Difference>) {
        let store: SharedStore = self.store.attach().unwrap();
        let engines = Engines { log: self.log.clone(), store, codec: Codec::compiled_in() };
        let (stop, mut found) = (CancellationToken::new(), Vec::new());
        let report = audit(&engines, what, &stop, |event| {
            if let AuditEvent::Difference(difference) = event {
                println!("{difference}");
                found.push(difference.clone());
            }
            Ok(())
        });
        let report = report.await.unwrap();
        println!("{report}");
        assert_eq!(report.differences(), found.len() as u64);
        (report, found)
    }

    /// Changes one row of a table behind the engine's back: the first one that `change` returns a new value for, or
    /// `Some(None)` to remove the row. Returns its key.
    async fn spoil(
        tables: &Database,
        table: &str,
        mut change: impl FnMut(&[u8], &[u8]) -> Option<Option<Vec<u8>>>,
    ) -> Vec<u8> {
        let table = tables.table(table).unwrap();
        let rows = table.scan_prefix(&[], usize::MAX).unwrap();
        let (key, value) = rows.iter().find_map(|(key, value)| Some((key.clone(), change(key, value)?))).unwrap();
        let mut batch = Batch::default();
        match value {
            Some(value) => batch.put(&table, key.clone(), value),
            None => batch.remove(&table, key.clone()),
        }
        tables.commit(batch, Durability::Power).await.unwrap();
        key.to_vec()
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

/// The value with `to` in place of `from`, if it contains `from`.
fn replaced(value: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let at = value.windows(from.len()).position(|some| some == from)?;
    Some([&value[..at], to, &value[at + from.len()..]].concat())
}

#[tokio::test(start_paused = true)]
async fn a_healthy_system_has_no_difference_and_what_is_spoiled_is_found_by_position() {
    let world = World::healthy(7, 3000).await;
    let (report, found) = world.audit(&AuditScope::everything()).await;
    assert_eq!(found, []);
    let counts = report.counts;
    assert_eq!(counts.records, 3000 + u64::from(spec_of(MESSAGES).partitions));
    assert_eq!(counts.events, 3000);
    assert!(counts.accepted > 500 && counts.rows > 2 * counts.accepted && counts.deliveries > 3000, "{counts:?}");
    assert_eq!((counts.storage_lag, counts.fanout_lag, counts.held, counts.trimmed), (0, 0, 0, 0));

    let altered = |_: &[u8], value: &[u8]| Some(Some(replaced(value, b"message 1", b"massage 1")?));
    let altered = World::spoil(&world.store_tables, "store/i1/timeline", altered).await;
    let mut rows = 0;
    let removed = World::spoil(&world.store_tables, "store/i1/ids", |_, _| {
        rows += 1;
        (rows == 300).then_some(None)
    });
    let removed = removed.await;
    // The embedded log would notice a missing record, so a marker takes the delivery's offset.
    let (mut deliveries, mut marker) = (0, Vec::new());
    let dropped = World::spoil(&world.log_tables, "log/records", |key, value| {
        if key[..2] == DELIVERIES_ID.to_be_bytes() {
            deliveries += 1;
            marker = if number(&key[4..]) == 0 { value.to_vec() } else { std::mem::take(&mut marker) };
        }
        (deliveries == 1000).then(|| Some(marker.clone()))
    });
    let dropped = dropped.await;

    let (_, found) = world.audit(&AuditScope::everything()).await;
    let by: BTreeMap<Fault, &Difference> = found.iter().map(|found| (found.fault, found)).collect();
    assert_eq!((found.len(), by.len()), (3, 3), "{found:#?}");
    let row = by[&Fault::RowAltered];
    assert_eq!((row.table, row.offset), (Some("timeline"), number(&altered[24..])));
    assert_eq!(row.conversation.as_bytes(), &altered[..16]);
    assert!(row.words.contains("body"), "{row}");
    let row = by[&Fault::RowMissing];
    assert_eq!(row.table, Some("ids"));
    assert_eq!(row.conversation.as_bytes(), &removed[..16]);
    assert_eq!(row.key["id"], removed[24..].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let delivery = by[&Fault::DeliveryMissing];
    assert_eq!(delivery.delivery_partition, Some(u32::from(u16::from_be_bytes([dropped[2], dropped[3]]))));
    let line = serde_json::to_value(delivery).unwrap();
    assert_eq!((&line["fault"], &line["topic"]), (&"delivery_missing".into(), &MESSAGES.into()));
    assert!(delivery.to_string().contains(&format!("{MESSAGES}/{}/{}", delivery.partition, delivery.offset)));
}

#[tokio::test(start_paused = true)]
async fn rows_and_deliveries_that_no_event_has_made_are_found() {
    let world = World::healthy(8, 600).await;
    let store: SharedStore = world.store.attach().unwrap();
    let (_, found) = world.audit(&AuditScope::everything()).await;
    assert_eq!(found, []);
    // The last event of a partition that had no effect, and the last that had one.
    let codec = Codec::compiled_in();
    let mut without: Option<(domain::Event, Seq)> = None;
    let mut delivered: Option<(NewRecord, Delivery)> = None;
    for partition in 0..spec_of(DELIVERIES).partitions {
        let next = world.log.watermarks(DELIVERIES, partition).await.unwrap().next;
        for record in world.log.reader(DELIVERIES, partition, 0).await.unwrap().next(next as usize).await.unwrap() {
            let Some(delivery) = codec.read_delivery(&record.headers, &record.payload).unwrap() else { continue };
            let (conversation, seq) = delivery.event_key.unwrap();
            if delivery.frame.contains("\"refused\"") && !delivery.frame.contains("conflict") {
                let home = eventlog::partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions);
                let event = eventlog::record_at(&*world.log, MESSAGES, home, seq.offset()).await.unwrap().unwrap();
                let event = codec.read_message(&event.headers, &event.payload).unwrap();
                let events::MessageRecord::Event(event) = event else { continue };
                without = Some((*event, seq));
            } else if delivery.frame.contains("\"message\"") {
                let key = delivery.recipients[0].to_string();
                let record =
                    NewRecord { key, partition: Some(partition), headers: record.headers, payload: record.payload };
                delivered = Some((record, delivery));
            }
        }
    }
    let ((refused, seq), (record, delivery)) = (without.unwrap(), delivered.unwrap());
    let content = domain::Content::Message { body: "a ghost".into(), reply_to: None, thread: None };
    let (id, author, conversation) = (refused.id, refused.author, refused.conversation);
    let state = store.conversation(conversation, seq).await.unwrap();
    let (slot, ordinal) = (state.slot, state.ordinal + 1);
    let row = Row::Entry { seq, slot, ordinal, id, author, time_ms: 1, content };
    store.write(vec![row.write(conversation, seq)]).await.unwrap();
    // A repetition is allowed; deliveries with a wrong recipient, with other content, or of no event are not.
    append(&*world.log, DELIVERIES, record.clone()).await.unwrap();
    let stranger: domain::UserId = "00000000-0000-4000-8000-0000000000ff".parse().unwrap();
    let (at, nobody) = (delivery.event_key, Some((conversation, Seq::default())));
    for forged in [
        Delivery { recipients: vec![stranger], ..delivery.clone() },
        Delivery { frame: delivery.frame.replace("\"body\":\"", "\"body\":\"not "), ..delivery.clone() },
        Delivery { event_key: nobody, ..delivery.clone() },
    ] {
        let encoded = codec.delivery(&forged);
        let forged = NewRecord { headers: encoded.headers, payload: encoded.payload, ..record.clone() };
        append(&*world.log, DELIVERIES, forged).await.unwrap();
    }
    let (_, mut found) = world.audit(&AuditScope::everything()).await;
    found.sort_by_key(|found| found.fault);
    let faults: Vec<Fault> = found.iter().map(|found| found.fault).collect();
    let altered = Fault::DeliveryAltered;
    assert_eq!(faults, [Fault::RowUnexpected, altered, altered, Fault::DeliveryUnexpected], "{found:#?}");
    assert_eq!((found[0].seq, found[0].table), (seq, Some("timeline")));
    assert!(found[1..3].iter().all(|found| Some((found.conversation, found.seq)) == at));
    assert_eq!((found[3].conversation, found[3].seq), (conversation, Seq::default()));
}

#[tokio::test(start_paused = true)]
async fn deliveries_out_of_order_are_found() {
    let world = World::healthy(12, 300).await;
    // Two consecutive deliveries of one conversation in a partition are swapped.
    let (codec, mut lasts, mut swap) = (Codec::compiled_in(), BTreeMap::new(), None);
    for partition in 0..spec_of(DELIVERIES).partitions {
        let next = world.log.watermarks(DELIVERIES, partition).await.unwrap().next;
        for record in world.log.reader(DELIVERIES, partition, 0).await.unwrap().next(next as usize).await.unwrap() {
            let Some(delivery) = codec.read_delivery(&record.headers, &record.payload).unwrap() else { continue };
            let (conversation, seq) = delivery.event_key.unwrap();
            if let Some((before, at)) = lasts.insert((partition, conversation), (seq, record.offset)) {
                swap = swap.or(Some((partition, at, record.offset, conversation, before)));
            }
        }
    }
    let (partition, one, other, conversation, first) = swap.unwrap();
    let table = world.log_tables.table("log/records").unwrap();
    let key = |offset: u64| {
        let partition = u16::try_from(partition).unwrap().to_be_bytes();
        [&DELIVERIES_ID.to_be_bytes()[..], &partition, &offset.to_be_bytes()].concat()
    };
    let mut batch = Batch::default();
    batch.put(&table, key(one), table.get(&key(other)).unwrap().unwrap());
    batch.put(&table, key(other), table.get(&key(one)).unwrap().unwrap());
    world.log_tables.commit(batch, Durability::Power).await.unwrap();
    // A log has its newest records in memory; the one that is opened now reads what the tables have.
    let log = EmbeddedLog::open(world.log_tables.clone(), Clock::manual(Arc::clone(&world.now_ms))).await.unwrap();
    let (_, found) = World { log, ..world }.audit(&AuditScope::everything()).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = &found[0];
    assert_eq!((found.fault, found.conversation, found.seq), (Fault::DeliveryOutOfOrder, conversation, first));
    assert_eq!((found.delivery_partition, found.delivery_offset), (Some(partition), Some(other)));
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_or_held_is_no_difference() {
    let mut world = World::new().await;
    world.say(9, 500).await;
    let (report, found) = world.audit(&AuditScope::everything()).await;
    assert_eq!((found, report.counts.events), (vec![], 0));
    assert_eq!(report.counts.storage_lag, 500 + 12);
    assert!(report.next.values().all(|next| *next == 0));

    // Only storage runs: rows are compared, deliveries count as lag, and the next audit begins before them.
    world.start_storage(RULES_NEWEST);
    for partition in 0..12 {
        let next = world.log.watermarks(MESSAGES, partition).await.unwrap().next;
        let (source, last) = (Source { topic: MESSAGES, partition }, Seq::new(0, next - 1).unwrap());
        let store: SharedStore = world.store.attach().unwrap();
        assert!(store.wait_applied(source, last, Duration::from_secs(3600)).await.unwrap());
    }
    let (report, found) = world.audit(&AuditScope::everything()).await;
    assert_eq!(found, []);
    assert_eq!((report.counts.events, report.counts.fanout_lag > 0, report.counts.deliveries), (500, true, 0));
    assert!(report.next.values().all(|next| *next == 0));

    world.start_fanout();
    world.settle().await;
    let what = AuditScope {
        from: report.next.iter().map(|(partition, next)| (*partition, Some(*next))).collect(),
        ..AuditScope::everything()
    };
    let (report, found) = world.audit(&what).await;
    assert_eq!((found, report.counts.events, report.counts.fanout_lag), (vec![], 500, 0));
    assert!(report.counts.deliveries > 0);

    // Every conversation is held.
    let mut world = World::new().await;
    world.say(10, 200).await;
    world.start_storage(RULES_NEWEST - 1);
    for partition in 0..12 {
        let next = world.log.watermarks(MESSAGES, partition).await.unwrap().next;
        let (source, last) = (Source { topic: MESSAGES, partition }, Seq::new(0, next - 1).unwrap());
        let store: SharedStore = world.store.attach().unwrap();
        assert!(store.wait_applied(source, last, Duration::from_secs(3600)).await.unwrap());
    }
    world.stop().await;
    let (report, found) = world.audit(&AuditScope::everything()).await;
    assert_eq!((found, report.counts.held, report.counts.events), (vec![], 200, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_held_is_looked_at_once_it_is_healed() {
    let mut world = World::new().await;
    world.say(10, 200).await;
    world.start_storage(RULES_NEWEST - 1);
    world.start_fanout();
    world.settle().await;
    let (report, found) = world.audit(&AuditScope::everything()).await;
    assert_eq!((found, report.counts.held, report.counts.events), (vec![], 200, 0));
    let what = AuditScope {
        from: report.next.iter().map(|(partition, next)| (*partition, Some(*next))).collect(),
        ..AuditScope::everything()
    };

    // An audit that follows the log waits at the first held event, and reports it.
    let store: SharedStore = world.store.attach().unwrap();
    let engines = Engines { log: world.log.clone(), store, codec: Codec::compiled_in() };
    let (stop, follow) = (CancellationToken::new(), AuditScope { follow: true, ..AuditScope::everything() });
    let token = stop.clone();
    let following = tokio::spawn(async move { audit(&engines, &follow, &token, |_| Ok(())).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(10)).await; // virtual time
    stop.cancel();
    let report = following.await.unwrap();
    assert_eq!((report.counts.events, report.counts.storage_lag, report.counts.fanout_lag), (0, 0, 0));
    assert!(report.counts.held >= 200, "{report}");

    world.start_storage(RULES_NEWEST);
    world.start_fanout();
    let store: SharedStore = world.store.attach().unwrap();
    for consumer in [Consumer::Storage, Consumer::Fanout] {
        for partition in 0..spec_of(MESSAGES).partitions {
            while !store.holds(consumer, partition, None, 1).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await; // virtual time
            }
        }
    }
    world.settle().await;
    let (report, found) = world.audit(&what).await;
    assert_eq!((found, report.counts.held, report.counts.events), (vec![], 0, 200));
    assert!(report.counts.deliveries > 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn an_audit_outlasts_a_log_that_is_silent_now_and_then() {
    let mut world = World::healthy(13, 300).await;
    world.log = Arc::new(Fitful { inner: world.log.clone(), entropy: Entropy::seeded(13) });
    let (report, found) = world.audit(&AuditScope::everything()).await;
    assert_eq!((found, report.counts.events), (vec![], 300));
    assert!(report.counts.deliveries > 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn an_audit_goes_on_where_another_stopped_and_follows_the_log() {
    let mut world = World::healthy(11, 1000).await;
    let half = AuditScope { to: Some(40), ..AuditScope::everything() };
    let (first, found) = world.audit(&half).await;
    assert_eq!(found, []);
    assert!(first.next.values().all(|next| *next <= 40));
    let rest = AuditScope {
        from: first.next.iter().map(|(partition, next)| (*partition, Some(*next))).collect(),
        rate: 500,
        ..AuditScope::everything()
    };
    let (second, found) = world.audit(&rest).await;
    assert_eq!(found, []);
    assert_eq!(first.counts.events + second.counts.events, 1000);

    let sample =
        AuditScope { conversations: Conversations::Sample(Sample { percent: 30 }), ..AuditScope::everything() };
    let (sampled, found) = world.audit(&sample).await;
    assert_eq!(found, []);
    assert!(sampled.counts.events < 1000 && sampled.counts.events > 0);

    // The audit runs continuously while the consumers work.
    world.start_storage(RULES_NEWEST);
    world.start_fanout();
    let store: SharedStore = world.store.attach().unwrap();
    let engines = Engines { log: world.log.clone(), store, codec: Codec::compiled_in() };
    let stop = CancellationToken::new();
    let token = stop.clone();
    let (progress, mut seen) = tokio::sync::watch::channel(0);
    let following = tokio::spawn(async move {
        let what = AuditScope { follow: true, ..AuditScope::everything() };
        audit(&engines, &what, &token, |event| {
            if let AuditEvent::Portion(report) = event {
                progress.send_replace(report.counts.events);
            }
            Ok(())
        })
        .await
        .unwrap()
    });
    for seed in 20..24 {
        world.say(seed, 200).await;
        tokio::time::sleep(Duration::from_secs(2)).await; // virtual time
    }
    seen.wait_for(|events| *events == 1800).await.unwrap();
    stop.cancel();
    let report = following.await.unwrap();
    assert_eq!((report.differences(), report.counts.events), (0, 1800));
    world.stop().await;
}
