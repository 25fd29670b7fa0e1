//! A group whose members are nearly all in one delivery partition: its recipients are split into several records,
//! with each member in one of them, and the audit accepts that.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::kinds::{AddMembers, Create, SendMessage};
use domain::limits::{MEMBERS_PER_EVENT_MAX, RECIPIENTS_PER_RECORD_MAX};
use domain::{Action, ConversationId, ConversationKind, Seq, UserId};
use environment::Entropy;
use eventlog::embedded::EmbeddedLog;
use eventlog::{SharedLog, TopicPartition, partition_of_id};
use events::Codec;
use events::topics::{DELIVERIES, GROUP_FANOUT, MESSAGES, spec_of};
use kv::{Batch, Database, Durability};
use ops::audit::{AuditEvent, AuditScope, Difference, Engines, Fault, audit};
use process::{Metrics, Readiness};
use store::SharedStore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Number of members: more than one record may list, fewer than two may.
const MEMBERS: usize = 2_300;
/// The id of `chat.deliveries` in the embedded log: it is the third topic that was created.
const DELIVERIES_ID: u16 = 2;

/// Users whose deliveries go to partition 0.
fn crowd() -> Vec<UserId> {
    let partitions = spec_of(DELIVERIES).partitions;
    let users = (1_u64..).map(|number| UserId::try_from(Uuid::from_u128(u128::from(number))).unwrap());
    { users }.filter(|user| partition_of_id(user.uuid(), partitions) == 0).take(MEMBERS).collect()
}

/// Runs both consumers until they have reached the end of the conversation's partition.
async fn consume(log: &SharedLog, store: &SharedStore, conversation: ConversationId) {
    let (stop, metrics, codec) = (CancellationToken::new(), Metrics::new(), Codec::compiled_in());
    let (storing, fanning) = (storage::StorageMetrics::new(&metrics), fanout::FanoutMetrics::new(&metrics));
    let storing = storage::Deps::new(log.clone(), store.clone(), codec.clone(), Entropy::seeded(2), storing);
    let fanning = fanout::Deps::new(log.clone(), store.clone(), codec, Entropy::seeded(3), fanning);
    let (one, other) = (stop.clone(), stop.clone());
    let running = [
        tokio::spawn(async move { storage::run(storing, Readiness::default(), one).await.unwrap() }),
        tokio::spawn(async move { fanout::run(fanning, Readiness::default(), other).await.unwrap() }),
    ];
    let partition = partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions);
    let next = log.watermarks(MESSAGES, partition).await.unwrap().next;
    let (source, last) = (store::Source { topic: MESSAGES, partition }, Seq::new(0, next - 1).unwrap());
    assert!(store.wait_applied(source, last, Duration::from_secs(3600)).await.unwrap());
    let at = TopicPartition::new(MESSAGES, partition);
    while log.committed(GROUP_FANOUT, &at).await.unwrap().is_none_or(|commit| commit.next != next) {
        tokio::time::sleep(Duration::from_millis(100)).await; // virtual time
    }
    stop.cancel();
    for task in running {
        task.await.unwrap();
    }
}

async fn differences(log: &SharedLog, store: &SharedStore) -> Vec<Difference> {
    let engines = Engines { log: log.clone(), store: store.clone(), codec: Codec::compiled_in() };
    let (what, stop, mut found) = (AuditScope::everything(), CancellationToken::new(), Vec::new());
    let report = audit(&engines, &what, &stop, |event| {
        if let AuditEvent::Difference(difference) = event {
            found.push(difference.clone());
        }
        Ok(())
    });
    report.await.unwrap();
    found
}

/// Issue 10, item 4.
#[tokio::test(start_paused = true)]
async fn a_crowd_is_listed_in_several_records_and_each_member_once() {
    let (tables, codec) = (Database::in_memory(), Codec::compiled_in());
    let log: SharedLog = EmbeddedLog::open(tables.clone(), support::clock()).await.unwrap();
    ops::topics::apply(&*log, &codec, &Entropy::seeded(1), |_| {}).await.unwrap();
    let store: SharedStore = support::store().await;
    let (crowd, create) = (crowd(), support::id());
    let (owner, others) = crowd.split_first().unwrap();
    let group = ConversationId::group(*owner, create);
    let action = Action::Create(Create { kind: ConversationKind::Group, title: None, members: Vec::new() });
    support::say(&*log, group, *owner, create, action).await;
    for some in others.chunks(MEMBERS_PER_EVENT_MAX) {
        let action = Action::AddMembers(AddMembers { members: some.to_vec() });
        support::say(&*log, group, *owner, support::id(), action).await;
    }
    for _ in 0..3 {
        let action = Action::SendMessage(SendMessage { body: "said to all".into(), reply_to: None, thread: None });
        support::say(&*log, group, *owner, support::id(), action).await;
    }
    consume(&log, &store, group).await;

    let next = log.watermarks(DELIVERIES, 0).await.unwrap().next;
    let records = log.reader(DELIVERIES, 0, 0).await.unwrap().next(next as usize).await.unwrap();
    let (mut said, mut last): (BTreeMap<Seq, Vec<UserId>>, u64) = (BTreeMap::new(), 0);
    for record in records {
        let Some(delivery) = codec.read_delivery(&record.headers, &record.payload).unwrap() else { continue };
        assert!(delivery.recipients.len() <= RECIPIENTS_PER_RECORD_MAX, "{}", delivery.recipients.len());
        if delivery.frame.contains("said to all") {
            last = record.offset;
            said.entry(delivery.event_key.unwrap().1).or_default().extend(delivery.recipients);
        }
    }
    assert_eq!(said.len(), 3);
    let all: BTreeSet<UserId> = crowd.iter().copied().collect();
    for named in said.into_values() {
        assert_eq!((named.len(), named.into_iter().collect::<BTreeSet<_>>()), (MEMBERS, all.clone()));
    }
    assert_eq!(differences(&log, &store).await, []);

    // The record with the rest of the last message's recipients is replaced by a marker.
    let table = tables.table("log/records").unwrap();
    let key = |offset: u64| [&DELIVERIES_ID.to_be_bytes()[..], &[0, 0], &offset.to_be_bytes()].concat();
    let mut batch = Batch::default();
    batch.put(&table, key(last), table.get(&key(0)).unwrap().unwrap());
    tables.commit(batch, Durability::Power).await.unwrap();
    let found = differences(&log, &store).await;
    assert_eq!(found.iter().map(|found| found.fault).collect::<Vec<_>>(), [Fault::DeliveryMissing], "{found:?}");
    let named = crowd.iter().filter(|user| found[0].words.contains(&user.to_string())).count();
    assert_eq!(named, MEMBERS - RECIPIENTS_PER_RECORD_MAX, "the lost record's recipients, and no others");
}
