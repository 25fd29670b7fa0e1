//! An event that no version will be able to read: once it is dropped, it no longer holds its conversation, and every
//! replay gives the same rows.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use domain::kinds::{Create, SendMessage};
use domain::{Action, Content, ConversationId, ConversationKind, Event, RULES_NEWEST, RULES_TRIAL, Seq};
use environment::Entropy;
use eventlog::{NewRecord, SharedLog, append, partition_of_id};
use events::Codec;
use events::topics::{DELIVERIES, MESSAGES, QUARANTINE, spec_of};
use ops::checksum::checksum;
use ops::{OpsError, drops, holds};
use process::{Metrics, Readiness};
use store::embedded::EmbeddedStore;
use store::{Consumer, Direction, Dropped, HistoryStore, HoldStore, Page, SharedStore, StoreAdmin};
use support::{id, ready_log, replay_all, say, store, user};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

type Running = Vec<(CancellationToken, JoinHandle<()>)>;

/// Starts both consumers.
fn run(log: &SharedLog, store: &EmbeddedStore) -> Running {
    let (entropy, metrics, codec) = (Entropy::seeded(2), Metrics::new(), Codec::compiled_in());
    let (counters, pinned) = (storage::StorageMetrics::new(&metrics), store.attach().unwrap());
    let deps = storage::Deps::new(log.clone(), pinned, codec.clone(), entropy.clone(), counters);
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move { storage::run(deps, Readiness::default(), token).await.unwrap() });
    let mut running = vec![(stop, task)];
    let (counters, pinned) = (fanout::FanoutMetrics::new(&metrics), store.attach().unwrap());
    let deps = fanout::Deps::new(log.clone(), pinned, codec, entropy, counters);
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move { fanout::run(deps, Readiness::default(), token).await.unwrap() });
    running.push((stop, task));
    running
}

async fn end(running: Running) {
    for (stop, task) in running {
        stop.cancel();
        task.await.unwrap();
    }
}

fn message(body: &str) -> Action {
    Action::SendMessage(SendMessage { body: body.into(), reply_to: None, thread: None })
}

/// Appends a record in the wire format, with a schema id that the registry has not assigned to a schema of ours.
async fn put_unknown(log: &SharedLog, conversation: ConversationId) -> Seq {
    let (key, payload) = (conversation.to_string(), b"\0\0\0\x27\x0fnothing of ours".to_vec().into());
    let record = NewRecord { key, partition: None, headers: Vec::new(), payload };
    Seq::new(0, append(&**log, MESSAGES, record).await.unwrap().offset).unwrap()
}

/// The texts of a conversation's messages in the current incarnation.
async fn bodies(store: &EmbeddedStore, conversation: ConversationId) -> Vec<String> {
    let page = Page { anchor: None, direction: Direction::After, limit: 50 };
    let entries = store.attach().unwrap().timeline(conversation, page).await.unwrap().into_iter();
    let body = |content| match content {
        Content::Message { body, .. } => Some(body.text.reveal().to_owned()),
        _ => None,
    };
    entries.filter_map(|entry| body(entry.content)).collect()
}

/// The number of delivery records that contain this text.
async fn delivered(log: &SharedLog, what: &str) -> usize {
    let (codec, mut found) = (Codec::compiled_in(), 0);
    for partition in 0..spec_of(DELIVERIES).partitions {
        let (mut reader, mut at) = (log.reader(DELIVERIES, partition, 0).await.unwrap(), 0);
        while at < log.watermarks(DELIVERIES, partition).await.unwrap().next {
            for record in reader.next(500).await.unwrap() {
                at = record.offset + 1;
                let delivery = codec.read_delivery(&record.headers, &record.payload).unwrap();
                found += usize::from(delivery.is_some_and(|delivery| delivery.frame.contains(what)));
            }
        }
    }
    found
}

async fn until_held(store: &EmbeddedStore, conversation: ConversationId, held: bool) {
    let partition = partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions);
    for consumer in [Consumer::Storage, Consumer::Fanout] {
        let is = async || store.hold(consumer, partition, conversation).await.unwrap().is_held();
        let waiting = async {
            while is().await != held {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(300), waiting).await.unwrap_or_else(|_| panic!("{consumer:?}: held is not {held}"));
    }
}

fn drop_of(conversation: ConversationId, seq: Seq) -> Dropped {
    Dropped { seq, conversation, by: "ann, on call".into(), why: "a stranger's".into(), time_ms: 1 }
}

/// A direct conversation with a message, an event that holds it, and another message.
async fn held_conversation(log: &SharedLog) -> (ConversationId, Seq) {
    let conversation = ConversationId::direct(user(1), user(2));
    let create = Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![user(2)] });
    say(&**log, conversation, user(1), id(), create).await;
    say(&**log, conversation, user(1), id(), message("before")).await;
    let seq = put_unknown(log, conversation).await;
    say(&**log, conversation, user(1), id(), message("behind")).await;
    (conversation, seq)
}

#[tokio::test(start_paused = true)]
async fn a_dropped_event_holds_nobody_and_a_rebuild_comes_to_the_same_rows() {
    let (log, store) = (ready_log().await, store().await);
    let (conversation, seq) = held_conversation(&log).await;
    let running = run(&log, &store);
    until_held(&store, conversation, true).await;
    assert_eq!((bodies(&store, conversation).await, delivered(&log, "behind").await), (vec!["before".to_owned()], 0));

    let codec = Codec::compiled_in();
    let plan = drops::plan(&*store, &*log, &codec, drop_of(conversation, seq)).await.unwrap();
    assert!(plan.words.contains("does not know"), "{}", plan.words);
    assert_eq!(drops::list(&*store).await.unwrap(), [], "planned, not done");
    drops::perform(&*store, &*log, &codec, &plan).await.unwrap();
    until_held(&store, conversation, false).await;
    assert_eq!(bodies(&store, conversation).await, ["before", "behind"]);
    assert_eq!(delivered(&log, "behind").await, 2, "to each of the two, once");
    assert_eq!(holds::list(&*store).await.unwrap(), []);
    let listed = drops::list(&*store).await.unwrap();
    assert_eq!(listed.into_iter().map(|(_, dropped)| dropped).collect::<Vec<_>>(), [drop_of(conversation, seq)]);
    let copy = log.reader(QUARANTINE, 0, 1).await.unwrap().next(10).await.unwrap().remove(0);
    let said = String::from_utf8_lossy(&copy.payload).into_owned();
    assert!(said.contains("dropped by ann, on call (a stranger's)") && said.contains("nothing of ours"), "{said}");
    let again = drops::plan(&*store, &*log, &codec, drop_of(conversation, seq)).await.unwrap_err();
    assert!(again.to_string().contains("dropped already, by ann, on call"), "{again}");

    say(&*log, conversation, user(2), id(), message("and on")).await;
    timeout(Duration::from_secs(60), async {
        while bodies(&store, conversation).await.len() < 3 {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    end(running).await;
    let served: SharedStore = store.attach().unwrap();
    let full = checksum(&*served, None, |_, _| {}).await.unwrap();
    store.new_incarnation().await.unwrap();
    let rebuilt: SharedStore = store.attach().unwrap();
    replay_all(&log, &rebuilt).await;
    let sums = checksum(&*rebuilt, None, |_, _| {}).await.unwrap();
    assert_eq!((&sums.tables, &sums.applied), (&full.tables, &full.applied));
}

/// Every replay treats the event as dropped, even in a program that could judge it by then.
#[tokio::test(start_paused = true)]
async fn a_program_that_knows_the_event_by_then_drops_it_all_the_same() {
    let (log, store) = (ready_log().await, store().await);
    let conversation = ConversationId::direct(user(1), user(2));
    let create = Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![user(2)] });
    say(&*log, conversation, user(1), id(), create).await;
    let event = Event {
        id: id(),
        conversation,
        author: user(1),
        received_ms: support::BEGIN_MS,
        rules: RULES_TRIAL,
        key_id: None,
        looked_up: true,
        action: message("of newer rules"),
    };
    let (key, encoded) = (conversation.to_string(), Codec::compiled_in().event(&event));
    let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
    let seq = Seq::new(0, append(&*log, MESSAGES, record).await.unwrap().offset).unwrap();
    say(&*log, conversation, user(1), id(), message("behind")).await;
    let running = run(&log, &store);
    until_held(&store, conversation, true).await;
    let plan = drops::plan(&*store, &*log, &Codec::compiled_in(), drop_of(conversation, seq)).await.unwrap();
    drops::perform(&*store, &*log, &Codec::compiled_in(), &plan).await.unwrap();
    until_held(&store, conversation, false).await;
    end(running).await;
    assert_eq!(bodies(&store, conversation).await, ["behind"]);

    store.new_incarnation().await.unwrap();
    let metrics = storage::StorageMetrics::new(&Metrics::new());
    let (pinned, codec, entropy) = (store.attach().unwrap(), Codec::compiled_in(), Entropy::seeded(5));
    let mut deps = storage::Deps::new(log.clone(), pinned, codec, entropy, metrics);
    assert_eq!(deps.rules_newest, RULES_NEWEST);
    deps.rules_newest = RULES_TRIAL;
    let partition = partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions);
    let (deps, stop) = (std::sync::Arc::new(deps), CancellationToken::new());
    storage::replay(deps, partition, 0, seq.offset() + 2, stop, |_| {}).await.unwrap();
    assert_eq!(bodies(&store, conversation).await, ["behind"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_event_that_both_consumers_wait_at_can_be_dropped() {
    let (log, store) = (ready_log().await, store().await);
    let (conversation, seq) = held_conversation(&log).await;
    let (codec, other) = (Codec::compiled_in(), ConversationId::direct(user(1), user(3)));
    let refused = async |dropped: Dropped| drops::plan(&*store, &*log, &codec, dropped).await.unwrap_err();
    let early = refused(drop_of(conversation, seq)).await;
    assert!(early.to_string().contains("storage does not hold"), "nobody has come to it: {early}");
    let running = run(&log, &store);
    until_held(&store, conversation, true).await;
    for (wrong, words) in [
        (drop_of(other, seq), "does not hold"),
        (drop_of(conversation, seq.before().unwrap()), "does not hold"),
        (drop_of(conversation, seq.next()), "waits at"),
        (Dropped { by: " ".into(), ..drop_of(conversation, seq) }, "say who drops it"),
        (Dropped { why: "y".repeat(1001), ..drop_of(conversation, seq) }, "say why"),
    ] {
        let said = refused(wrong.clone()).await;
        assert!(said.to_string().contains(words), "{wrong:?}: {said}");
        assert!(matches!(said, OpsError::Refused(_) | OpsError::Usage(_)), "{said:?}");
    }
    assert_eq!(drops::list(&*store).await.unwrap(), []);
    end(running).await;
}
