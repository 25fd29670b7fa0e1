//! The speed of the embedded engine on disk. Not run by default, because it asserts figures:
//! `cargo test --release -p store --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]
// Real time is measured here.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{
    CommandId, Content, ConversationId, ConversationKind, Fingerprint, IdRow, PayloadHash, Role, Seq, Settings, Stands,
    UserId,
};
use environment::Clock;
use store::embedded::EmbeddedStore;
use store::{Applied, CellWrites, ChatStore, Direction, HistoryStore, Page, Row, Source, StoreAdmin, load};
use uuid::Uuid;

const SOURCE: Source = Source { topic: "chat.messages", partition: 0 };
/// 2025-01-01.
const START_MS: i64 = 1_735_689_600_000;
const CONVERSATIONS: u64 = 2_000;
const MESSAGES: u64 = 200_000;
const BATCH_EVENTS: u64 = 500;

fn user(number: u64) -> UserId {
    Uuid::from_u128(1 << 96 | u128::from(number)).try_into().unwrap()
}

fn conversation(number: u64) -> ConversationId {
    ConversationId::direct(user(number), user(number + CONVERSATIONS))
}

fn id(seq: Seq) -> CommandId {
    let time_ms = u64::try_from(START_MS).unwrap() + seq.offset();
    uuid::Builder::from_unix_timestamp_millis(time_ms, &[5; 10]).into_uuid().try_into().unwrap()
}

fn at(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

fn written(conversation: ConversationId, seq: Seq, rows: Vec<Row>) -> Vec<CellWrites> {
    rows.into_iter().map(|row| row.write(conversation, seq)).collect()
}

fn creation(number: u64) -> Vec<CellWrites> {
    let seq = at(number);
    let settings = Settings { kind: ConversationKind::Direct, title: String::new() };
    let mut rows = vec![Row::Settings { seq, settings }, Row::Bucket { bucket: 0, start: seq }];
    for user in [user(number), user(number + CONVERSATIONS)] {
        rows.push(Row::Member { user, seq, role: Some(Role::Member) });
        rows.push(Row::Joined { user, role: Role::Member, seq, ordinal: 0 });
    }
    written(conversation(number), seq, rows)
}

/// The five rows of a message: entry, id, head, last message, newest stamp.
fn message(number: u64) -> Vec<CellWrites> {
    let (which, slot) = (number % CONVERSATIONS, number / CONVERSATIONS);
    let seq = at(CONVERSATIONS + number);
    let (id, author, time_ms) = (id(seq), user(which), START_MS + i64::try_from(number).unwrap());
    let content = Content::Message {
        body: "a message of a hundred bytes or so, as people write them. ".repeat(2).into(),
        reply_to: None,
        thread: None,
    };
    let stands = Stands::Message { slot };
    let rows = vec![
        Row::Entry { seq, slot, ordinal: slot + 1, id, author, time_ms, content },
        Row::Id { id, row: IdRow { author, seq, hash: PayloadHash([3; 16]), stands, thread: None, deleted: None } },
        Row::Head { seq, time_ms, slot: slot + 1, ordinal: slot + 1 },
        Row::LastMessage { seq, slot },
        Row::NewestStamp { stamp_ms: id.stamp_ms() },
    ];
    written(conversation(which), seq, rows)
}

async fn write_all(store: &EmbeddedStore) -> f64 {
    let begin = Instant::now();
    store.write((0..CONVERSATIONS).flat_map(creation).collect()).await.unwrap();
    for from in (0..MESSAGES).step_by(usize::try_from(BATCH_EVENTS).unwrap()) {
        store.write((from..from + BATCH_EVENTS).flat_map(message).collect()).await.unwrap();
        let seq = at(CONVERSATIONS + from + BATCH_EVENTS - 1);
        store.set_applied(SOURCE, Applied { seq, fingerprint: Fingerprint(1) }).await.unwrap();
    }
    let rows = CONVERSATIONS * 6 + MESSAGES * 5;
    rows as f64 / begin.elapsed().as_secs_f64()
}

fn percentiles(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
    at(50)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "asserts figures: run it on an idle machine, in release"]
async fn writes_and_cold_reads() {
    let folder = tempfile::tempdir().unwrap();
    let database = kv::Database::open(folder.path()).unwrap();
    let store = EmbeddedStore::open(database, Clock::system()).await.unwrap();
    let rate = write_all(&store).await;
    println!("first write: {rate:.0} row writes/s");
    let again = write_all(&store).await;
    println!("the same again (a replay): {again:.0} row writes/s");

    let mut single = Vec::new();
    for number in MESSAGES..MESSAGES + 2_000 {
        let begin = Instant::now();
        store.write(message(number)).await.unwrap();
        single.push(begin.elapsed());
    }
    percentiles("one message, written alone", single);
    let tasks: Vec<_> = (0..64_u64)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in (0..500).map(|number| MESSAGES + 2_000 + number * 64 + task) {
                    store.write(message(number)).await.unwrap();
                }
            })
        })
        .collect();
    let begin = Instant::now();
    for task in tasks {
        task.await.unwrap();
    }
    println!("64 tasks, a message each: {:.0} messages/s", 32_000.0 / begin.elapsed().as_secs_f64());

    store.close().await;
    drop(store);
    let begin = Instant::now();
    let database = kv::Database::open(folder.path()).unwrap();
    let tables = begin.elapsed();
    let store = EmbeddedStore::open(database, Clock::system()).await.unwrap();
    println!("reopened in {:?}, of which the tables took {tables:?}", begin.elapsed());
    let as_of = at(CONVERSATIONS + MESSAGES + 34_000);
    let append_ms = START_MS + i64::try_from(MESSAGES + 34_000).unwrap();
    let (mut loads, mut pages, mut points) = (Vec::new(), Vec::new(), Vec::new());
    for number in (0..CONVERSATIONS).map(|number| number * 7 % CONVERSATIONS) {
        let begin = Instant::now();
        let loaded = load(&*store, conversation(number), as_of, append_ms).await.unwrap();
        loads.push(begin.elapsed());
        assert_eq!((loaded.state.members.len(), loaded.state.slot > 99), (2, true));
        let begin = Instant::now();
        let page = Page { anchor: None, direction: Direction::Before, limit: 50 };
        assert_eq!(store.timeline(conversation(number), page).await.unwrap().len(), 50);
        pages.push(begin.elapsed());
        let begin = Instant::now();
        assert!(store.id(conversation(number), id(at(CONVERSATIONS + number)), as_of).await.unwrap().is_some());
        points.push(begin.elapsed());
    }
    let load = percentiles("load of a cold conversation, with its ids of three minutes", loads);
    percentiles("the newest 50 entries", pages);
    percentiles("one old id", points);
    store.close().await;
    assert!(rate > 50_000.0 && again > 50_000.0, "too slow");
    assert!(load < Duration::from_millis(1), "too slow");
}
