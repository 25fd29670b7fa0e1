//! Replay and checksum on the embedded engines.
#![allow(clippy::unwrap_used)]

mod support;

use domain::kinds::Create;
use domain::{Action, ConversationId, ConversationKind, Seq};
use environment::Entropy;
use eventlog::{NewRecord, append};
use events::Codec;
use events::topics::RECEIPTS;
use ops::OpsError;
use ops::checksum::checksum;
use ops::replay::{Selection, plan, run};
use store::{SharedStore, StoreAdmin};
use support::{id, ready_log, replay_all, say, store, traffic, user};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn planning_a_replay_says_what_would_happen_and_writes_nothing() {
    let (log, store) = (ready_log().await, store().await);
    traffic(&*log).await;
    let store: SharedStore = store;
    let before = checksum(&*store, None, |_, _| {}).await.unwrap();
    let ranges = plan(&log, &store, Selection::FromStart).await.unwrap();
    let records: u64 = ranges.iter().map(|range| range.records()).sum();
    assert!(records > 24 && ranges.iter().all(|range| range.ahead() == range.records()));
    assert_eq!(checksum(&*store, None, |_, _| {}).await.unwrap(), before);
    assert_eq!(before.tables.iter().map(|table| table.rows).sum::<u64>(), 0);
    assert!(before.applied.is_empty());
}

#[tokio::test]
async fn a_rebuild_gives_the_same_rows_and_a_second_replay_changes_nothing() {
    let (log, embedded) = (ready_log().await, store().await);
    traffic(&*log).await;
    let (founder, founding) = (user(1), id());
    let create =
        Action::Create(Create { kind: ConversationKind::Group, title: Some("team".into()), members: vec![user(2)] });
    say(&*log, ConversationId::group(founder, founding), founder, founding, create).await;
    let first: SharedStore = embedded.clone();
    replay_all(&log, &first).await;
    let full = checksum(&*first, None, |_, _| {}).await.unwrap();
    assert!(full.tables.iter().all(|table| table.rows > 0), "{full:?}");

    replay_all(&log, &first).await;
    assert_eq!(checksum(&*first, None, |_, _| {}).await.unwrap(), full, "over the full store");

    embedded.new_incarnation().await.unwrap();
    let second: SharedStore = embedded.attach().unwrap();
    replay_all(&log, &second).await;
    let rebuilt = checksum(&*second, None, |_, _| {}).await.unwrap();
    assert_eq!((&rebuilt.tables, &rebuilt.total, &rebuilt.applied), (&full.tables, &full.total, &full.applied));
    assert_eq!(rebuilt.incarnation, full.incarnation + 1);
    assert_eq!(full.differences(&rebuilt), Vec::<String>::new());
}

#[tokio::test]
async fn a_part_of_a_partition_can_be_replayed_and_a_gap_is_refused() {
    let (log, store) = (ready_log().await, store().await);
    let conversations = traffic(&*log).await;
    let store: SharedStore = store;
    let partition = eventlog::partition_of_id(conversations[0].uuid(), 12);
    let from = Selection::From { partition, offset: 5 };
    assert!(matches!(plan(&log, &store, from).await, Err(OpsError::Usage(_))), "a gap");
    replay_all(&log, &store).await;
    let full = checksum(&*store, None, |_, _| {}).await.unwrap();
    let ranges = plan(&log, &store, from).await.unwrap();
    assert_eq!((ranges.len(), ranges[0].from, ranges[0].ahead()), (1, 5, 0));
    let (codec, stop, mut records) = (Codec::compiled_in(), CancellationToken::new(), 0);
    let tell = |_: &ops::replay::Range, done: storage::Replayed| records = done.records;
    run(&log, &store, &codec, &Entropy::seeded(1), &ranges, &stop, tell).await.unwrap();
    assert_eq!(records, ranges[0].records());
    assert_eq!(checksum(&*store, None, |_, _| {}).await.unwrap(), full);
    for wrong in [Selection::From { partition: 99, offset: 0 }, Selection::From { partition, offset: 1000 }] {
        assert!(matches!(plan(&log, &store, wrong).await, Err(OpsError::Usage(_))), "{wrong:?}");
    }
}

/// A replay of another cluster's log over a full store would overwrite rows wherever that log is further on.
#[tokio::test]
async fn a_log_that_is_not_the_stores_is_refused_before_anything_is_written() {
    let (log, store) = (ready_log().await, store().await);
    let conversations = traffic(&*log).await;
    let store: SharedStore = store;
    replay_all(&log, &store).await;
    let full = checksum(&*store, None, |_, _| {}).await.unwrap();
    let partition = eventlog::partition_of_id(conversations[0].uuid(), 12);
    let plans = [Selection::FromStart, Selection::From { partition, offset: 5 }];

    // The other log is as long, then longer: only the content of its records differs.
    let other = ready_log().await;
    for partition in 0..12 {
        let tick = Codec::compiled_in().tick();
        let (key, partition) = ("tick".to_owned(), Some(partition));
        let tick = NewRecord { key, partition, headers: tick.headers, payload: tick.payload };
        append(&*other, RECEIPTS, tick).await.unwrap();
    }
    traffic(&*other).await;
    traffic(&*other).await;
    for selection in plans {
        let refused = plan(&other, &store, selection).await.unwrap_err();
        assert_eq!(refused.exit(), ops::Exit::Differs);
        let said = refused.to_string();
        assert!(said.contains(&format!("chat.messages/{partition}: the record at offset")), "{said}");
        assert!(said.contains("chat.receipts/") && said.contains("nothing was written"), "{said}");
    }
    let empty = ready_log().await;
    let short = plan(&empty, &store, Selection::FromStart).await.unwrap_err().to_string();
    assert!(short.contains(&format!("chat.messages/{partition} ends at offset 1, but the store")), "{short}");

    // Planned on the right log, executed on the wrong one: every range is checked again.
    let ranges = plan(&log, &store, Selection::From { partition, offset: 0 }).await.unwrap();
    let (codec, stop) = (Codec::compiled_in(), CancellationToken::new());
    let ran = run(&other, &store, &codec, &Entropy::seeded(1), &ranges, &stop, |_, _| {}).await;
    assert!(matches!(ran, Err(OpsError::Refused(_))), "{ran:?}");
    assert_eq!(checksum(&*store, None, |_, _| {}).await.unwrap(), full);
}

#[tokio::test]
async fn one_cell_that_differs_shows() {
    let log = ready_log().await;
    let conversations = traffic(&*log).await;
    let (one, two): (SharedStore, SharedStore) = (store().await, store().await);
    replay_all(&log, &one).await;
    replay_all(&log, &two).await;
    let (first, second) = (checksum(&*one, None, |_, _| {}), checksum(&*two, None, |_, _| {}));
    let first = first.await.unwrap();
    assert_eq!(first.differences(&second.await.unwrap()), Vec::<String>::new());

    let mark = store::Mark { seq: Seq::try_from(6).unwrap(), ordinal: 3 };
    let mark = store::Row::Mark { user: user(2), mark };
    two.write(vec![mark.write(conversations[0], Seq::try_from(6).unwrap())]).await.unwrap();
    let second = checksum(&*two, None, |_, _| {}).await.unwrap();
    let rows = first.tables.iter().find(|table| table.table == "marks").unwrap().rows;
    assert_eq!(first.differences(&second), [format!("marks: {rows} rows in both, but not the same ones")]);
    let only = checksum(&*two, Some("heads"), |_, _| {}).await.unwrap();
    assert_eq!(only.tables.len(), 1);
    assert!(matches!(checksum(&*two, Some("users"), |_, _| {}).await, Err(OpsError::Usage(_))));
}
