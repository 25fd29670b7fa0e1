//! Building rows beside the served ones: killed at any point, compared, switched under load, and switched back.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::kinds::{Create, SendMessage};
use domain::{Action, CommandId, ConversationId, ConversationKind, Role, Seq};
use environment::Entropy;
use eventlog::{SharedLog, partition_of_id};
use events::Codec;
use events::topics::{MESSAGES, spec_of};
use ops::checksum::{Checksum, checksum};
use ops::rebuild::{Engines, Pair, before, begun, compare};
use process::Readiness;
use store::{Direction, Following, Mark, Page, Row, SharedStore, Source, Stage, Store};
use support::{BEGIN_MS, id, ready_log, replay_all, say, store, traffic, user};
use tokio_util::sync::CancellationToken;

fn engines(log: &SharedLog, store: &SharedStore) -> Engines {
    Engines { log: log.clone(), store: store.clone(), codec: Codec::compiled_in(), entropy: Entropy::seeded(1) }
}

async fn sums(store: &dyn Store) -> Checksum {
    checksum(store, None, |_, _| {}).await.unwrap()
}

/// Calls [`Pair::bring_up`] and kills it at the first batch that brings it to `until` records.
async fn killed_at(pair: &Pair, engines: &Engines, until: u64) -> bool {
    let stop = CancellationToken::new();
    let mut tell = |now: ops::rebuild::Progress| {
        if now.done >= until {
            stop.cancel();
        }
    };
    let ended = pair.bring_up(engines, &stop, &mut tell).await;
    ended.is_err()
}

#[tokio::test]
async fn a_rebuild_that_is_killed_anywhere_changes_nothing_that_is_served_and_goes_on() {
    let (log, served) = (ready_log().await, store().await);
    for _ in 0..3 {
        traffic(&*log).await;
    }
    let served: SharedStore = served;
    replay_all(&log, &served).await;
    let full = sums(&*served).await;
    let engines = engines(&log, &served);
    assert_eq!(begun(&served.incarnations().await.unwrap()), None);
    let number = served.make_incarnation().await.unwrap();

    let (mut kills, mut lacks) = (0, u64::MAX);
    loop {
        // The state that a new process finds in the store.
        assert_eq!(begun(&served.incarnations().await.unwrap()), Some(number));
        let pair = Pair::open(&*served, number).await.unwrap();
        let behind: u64 = pair.behind(&log).await.unwrap().iter().map(ops::replay::Range::records).sum();
        assert!(behind < lacks, "what was applied is not applied again: {behind}");
        lacks = behind;
        if !killed_at(&pair, &engines, 1).await {
            break;
        }
        kills += 1;
        assert_eq!(served.incarnations().await.unwrap().current, 1);
        assert_eq!(sums(&*served).await, full);
    }
    assert!(kills > 3, "{kills}");
    let (pair, stop) = (Pair::open(&*served, number).await.unwrap(), CancellationToken::new());
    let found = compare(&engines, &pair, &stop, |_, _| {}).await.unwrap();
    assert_eq!((found.different, found.changing, found.examples), (0, 0, Vec::new()));
    let rows = full.tables.iter().map(|table| table.rows).sum::<u64>();
    assert_eq!(found.rows.values().sum::<u64>(), rows);
    assert_eq!(pair.holds().await.unwrap(), Vec::<String>::new());
    pair.switch(&engines, &stop).await.unwrap();
    let there = served.incarnations().await.unwrap();
    assert_eq!((there.current, before(&there), begun(&there)), (number, Some(1), None));
    let new = sums(&*pair.beside).await;
    assert_eq!((&new.tables, &new.applied), (&full.tables, &full.applied));
    assert!(pair.switch(&engines, &stop).await.is_err(), "it is current already");
}

/// Every planted difference is found and named.
#[tokio::test]
async fn a_row_that_differs_is_missing_or_too_many_is_found() {
    let (log, served) = (ready_log().await, store().await);
    let conversations = traffic(&*log).await;
    let served: SharedStore = served;
    replay_all(&log, &served).await;
    let engines = engines(&log, &served);
    let pair = Pair::open(&*served, served.make_incarnation().await.unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    pair.bring_up(&engines, &stop, &mut |_| {}).await.unwrap();

    let planted = |seq: u64, row: Row| vec![row.write(conversations[0], Seq::try_from(seq).unwrap())];
    // A version that only one incarnation has, and a cell with another value under a timestamp that both have
    // applied.
    let joined = Row::Joined { user: user(9), role: Role::Owner, seq: Seq::try_from(3).unwrap(), ordinal: 0 };
    pair.beside.write(planted(3, joined.clone())).await.unwrap();
    let stray = Row::Bucket { bucket: 7, start: Seq::try_from(2).unwrap() };
    pair.served.write(planted(2, stray)).await.unwrap();
    let mark = Mark { seq: Seq::try_from(9).unwrap(), ordinal: 9 };
    pair.served.write(planted(9, Row::Mark { user: user(2), mark })).await.unwrap();
    let found = compare(&engines, &pair, &stop, |_, _| {}).await.unwrap();
    let examples = found.examples.join("\n");
    assert!(
        found.different >= 3 && examples.contains("buckets") && examples.contains("only in the served rows"),
        "{examples}"
    );
    assert!(examples.contains("not in the served rows") && examples.contains("marks"), "{examples}");
    assert!(examples.contains(&conversations[0].to_string()), "{examples}");
}

/// A conversation that grows continuously.
struct Talk {
    log: SharedLog,
    store: SharedStore,
    conversation: ConversationId,
    /// Number of messages in the log.
    said: AtomicU64,
}

impl Talk {
    async fn begin(log: &SharedLog, store: SharedStore) -> Arc<Self> {
        let conversation = ConversationId::direct(user(1), user(8));
        let create = Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![user(8)] });
        say(&**log, conversation, user(1), id(), create).await;
        Arc::new(Self { log: log.clone(), store, conversation, said: AtomicU64::new(0) })
    }

    fn source(&self) -> Source {
        let partition = partition_of_id(self.conversation.uuid(), spec_of(MESSAGES).partitions);
        Source { topic: MESSAGES, partition }
    }

    async fn go_on(self: Arc<Self>) {
        loop {
            let send = Action::SendMessage(SendMessage { body: "more".into(), reply_to: None, thread: None });
            // A new id each time, beyond those that `id` returns: a repeated id would make no message.
            let stamp = BEGIN_MS + 1_000 + i64::try_from(self.said.load(Ordering::SeqCst)).unwrap();
            say(&*self.log, self.conversation, user(1), CommandId::first_at(stamp), send).await;
            self.said.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asserts that a read behind the barrier shows all messages sent before this call (I4), whatever is built,
    /// switched or killed.
    async fn is_all_there(&self) {
        let said = self.said.load(Ordering::SeqCst);
        let source = self.source();
        let next = self.log.watermarks(source.topic, source.partition).await.unwrap().next;
        let seq = Seq::new(spec_of(MESSAGES).generation, next - 1).unwrap();
        assert!(self.store.wait_applied(source, seq, Duration::from_secs(60)).await.unwrap(), "storage goes on");
        let page = Page { anchor: None, direction: Direction::After, limit: usize::MAX };
        let entries = self.store.timeline(self.conversation, page).await.unwrap();
        // The first entries tell who has joined.
        let messages = entries.iter().filter(|entry| entry.ordinal > 0).count() as u64;
        assert!(messages >= said, "{messages} of {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_built_switched_and_switched_back_under_load_and_nothing_is_ever_missing() {
    let (log, root) = (ready_log().await, store().await);
    traffic(&*log).await;
    let root: SharedStore = root;
    let following: SharedStore = Following::new(root.clone());
    let (stop, readiness) = (CancellationToken::new(), Readiness::default());
    let metrics = storage::StorageMetrics::new(&process::Metrics::new());
    let codec = Codec::compiled_in();
    let deps = storage::Deps::new(log.clone(), following.clone(), codec, Entropy::seeded(1), metrics);
    let consuming = tokio::spawn(storage::run(deps, readiness, stop.clone()));
    let talk = Talk::begin(&log, following.clone()).await;
    let talking = tokio::spawn(Arc::clone(&talk).go_on());
    let engines = engines(&log, &following);

    for (kills, number) in [(5_u64, 2)] {
        assert_eq!(following.make_incarnation().await.unwrap(), number);
        for kill in 0..kills {
            let pair = Pair::open(&*following, number).await.unwrap();
            killed_at(&pair, &engines, kill * 7 % 11).await;
            talk.is_all_there().await;
        }
        let pair = Pair::open(&*following, number).await.unwrap();
        let found = compare(&engines, &pair, &stop, |_, _| {}).await.unwrap();
        assert_eq!((found.different, found.examples), (0, Vec::new()));
        pair.switch(&engines, &stop).await.unwrap();
        for _ in 0..20 {
            talk.is_all_there().await;
        }
        assert_eq!(following.incarnation(), number);
        // Switching back: what the old incarnation lacks is applied first, storage applies the rest.
        let there = following.incarnations().await.unwrap();
        let old = before(&there).unwrap();
        Pair::open(&*following, old).await.unwrap().switch(&engines, &stop).await.unwrap();
        for _ in 0..20 {
            talk.is_all_there().await;
        }
        assert_eq!(following.incarnation(), old);
        let stages: Vec<Stage> = following.incarnations().await.unwrap().beside.iter().map(|one| one.stage).collect();
        assert!(stages.iter().all(|stage| *stage == Stage::Served), "{stages:?}");
    }
    // The conversation still grows after the last switch.
    let said = talk.said.load(Ordering::SeqCst);
    while talk.said.load(Ordering::SeqCst) < said + 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    talking.abort();
    talk.is_all_there().await;
    stop.cancel();
    consuming.await.unwrap().unwrap();
    // The rows equal those of a replay from nothing, byte for byte.
    let fresh: SharedStore = store().await;
    replay_all(&log, &fresh).await;
    assert_eq!(sums(&*following).await.tables, sums(&*fresh).await.tables);
}
