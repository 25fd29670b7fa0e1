//! What only this engine does: creating tables, reporting faults in them, many partitions in one call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use domain::{CommandId, Content, ConversationId, Fingerprint, Seq, UserId};
use environment::{Clock, Entropy};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use store::{
    Applied, CellWrites, ChatStore as _, Direction, HistoryStore as _, Page, Row, Source, StoreAdmin as _, StoreError,
    bucket_of,
};
use store_scylla::{Observer, Op, Outcome, ScyllaConfig, ScyllaStore, migrate};

const SOURCE: Source = Source { topic: "chat.messages", partition: 3 };

async fn raw(config: &ScyllaConfig) -> Session {
    SessionBuilder::new().known_nodes(&config.contact_points).build().await.unwrap()
}

async fn run(config: &ScyllaConfig, text: &str) {
    let text = text.replace("{base}", config.keyspace.name()).replace("{derived}", &config.keyspace.incarnation(1));
    raw(config).await.query_unpaged(text, ()).await.unwrap();
}

fn at(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

/// What the metrics of the store are made of.
#[tokio::test]
async fn an_observer_is_told_what_each_request_was_and_how_it_ended() -> Result<()> {
    let Some(server) = support::server()? else { return Ok(()) };
    let config = support::fresh(&server)?;
    migrate(&config).await?;
    let requests = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&requests);
    let observer = Observer::new(move |op, outcome, waited| told.lock().unwrap().push((op, outcome, waited)));
    let store = ScyllaStore::open(ScyllaConfig { observer, ..config.clone() }).await?;
    let seen = |op: Option<Op>, outcome: Outcome| {
        let requests = requests.lock().unwrap();
        requests
            .iter()
            .any(|(one, how, waited)| op.is_none_or(|op| op == *one) && *how == outcome && *waited > Duration::ZERO)
    };
    store.set_applied(SOURCE, Applied { seq: at(1), fingerprint: Fingerprint(1) }).await?;
    assert!(seen(Some(Op::Write), Outcome::Ok), "{requests:?}");
    let user = UserId::try_from(uuid::Uuid::from_u128(1))?;
    let page = Page { anchor: None, direction: Direction::Before, limit: 1 };
    store.timeline(ConversationId::direct(user, user), page).await?;
    assert!(seen(Some(Op::Page), Outcome::Ok), "{requests:?}");
    assert!(!seen(None, Outcome::Transient) && !seen(None, Outcome::Failed), "{requests:?}");
    run(&config, "DROP TABLE {derived}.applied").await;
    assert!(store.set_applied(SOURCE, Applied { seq: at(2), fingerprint: Fingerprint(2) }).await.is_err());
    assert!(seen(Some(Op::Write), Outcome::Failed), "{requests:?}");
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn tables_are_made_once_and_a_store_opens_only_on_all_of_them() -> Result<()> {
    let Some(server) = support::server()? else { return Ok(()) };
    let config = support::fresh(&server)?;
    let opened = ScyllaStore::open(config.clone()).await;
    assert!(matches!(opened, Err(StoreError::NotMigrated(_))), "no keyspace");

    let first = migrate(&config).await?;
    assert!(first.minted && first.incarnation == 1 && first.applied.len() == 12, "{first:?}");
    assert_eq!(first.notes, Vec::<String>::new());
    let again = migrate(&ScyllaConfig { replication_factor: 2, ..config.clone() }).await?;
    assert!(!again.minted && again.incarnation == 1 && again.applied.is_empty(), "{again:?}");
    assert_eq!(again.notes.len(), 2, "another replication factor is told: {again:?}");
    let store = ScyllaStore::open(config.clone()).await?;
    assert_eq!((store.incarnation(), store.current_incarnation().await?), (1, 1));
    store.ping().await?;

    // The last migration was interrupted before it was recorded, with half of its tables created.
    run(&config, "DROP TABLE {derived}.applied").await;
    run(&config, "DELETE FROM {base}.schema_migrations WHERE keyspace_name = '{derived}' AND number = 2").await;
    let opened = ScyllaStore::open(config.clone()).await;
    assert!(matches!(&opened, Err(StoreError::NotMigrated(text)) if text.contains("0002_progress")));
    assert_eq!(migrate(&config).await?.applied.len(), 1);
    ScyllaStore::open(config.clone()).await?.close().await;
    // Another one had added its column, which not every server can do conditionally.
    run(&config, "DELETE FROM {base}.schema_migrations WHERE keyspace_name = '{base}' AND number = 6").await;
    assert_eq!(migrate(&config).await?.applied.len(), 1);
    ScyllaStore::open(config.clone()).await?.close().await;

    // Another program's migration with the same number.
    let edited = "UPDATE {base}.schema_migrations SET digest = 0x00 WHERE keyspace_name = '{derived}' AND number = 1";
    run(&config, edited).await;
    assert!(matches!(ScyllaStore::open(config.clone()).await, Err(StoreError::NotMigrated(_))));
    assert!(matches!(migrate(&config).await, Err(StoreError::Broken(_))));
    Ok(())
}

#[tokio::test]
async fn two_migrations_at_once_make_one_incarnation() -> Result<()> {
    let Some(server) = support::server()? else { return Ok(()) };
    let config = support::fresh(&server)?;
    let (one, other) = tokio::join!(migrate(&config), migrate(&config));
    let (one, other) = (one?, other?);
    assert_eq!((one.incarnation, other.incarnation), (1, 1));
    assert!(one.minted != other.minted, "{one:?} {other:?}");

    let store = ScyllaStore::open(config.clone()).await?;
    let made = tokio::join!(store.new_incarnation(), store.new_incarnation());
    let mut made = [made.0?, made.1?];
    made.sort_unstable();
    assert_eq!(made, [2, 3]);
    Ok(())
}

#[tokio::test]
async fn a_migration_goes_on_where_one_died() -> Result<()> {
    let Some(server) = support::server()? else { return Ok(()) };
    let config = support::fresh(&server)?;
    migrate(&config).await?;
    // Its tables were created, its number was not, and its lease has not expired yet.
    run(&config, "DELETE FROM {base}.incarnation WHERE scope = 'store' IF EXISTS").await;
    run(
        &config,
        "INSERT INTO {base}.migration_lease (scope, holder) VALUES ('store', uuid()) IF NOT EXISTS USING TTL 2",
    )
    .await;
    assert!(matches!(ScyllaStore::open(config.clone()).await, Err(StoreError::NotMigrated(_))));
    let report = migrate(&config).await?;
    assert!(report.minted && report.incarnation == 1 && report.applied.is_empty(), "{report:?}");
    ScyllaStore::open(config).await?;
    Ok(())
}

#[tokio::test]
async fn a_keyspace_that_the_store_never_made_is_not_taken_for_its_own() -> Result<()> {
    let Some(server) = support::server()? else { return Ok(()) };
    let config = support::fresh(&server)?;
    let replication = "WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
    run(&config, &format!("CREATE KEYSPACE {{derived}} {replication}")).await;
    let failed = migrate(&config).await;
    assert!(matches!(&failed, Err(StoreError::Broken(error)) if error.to_string().contains("never made it")));
    run(&config, "DROP KEYSPACE {derived}").await;
    assert!(migrate(&config).await?.minted);
    Ok(())
}

#[tokio::test]
async fn tables_that_are_gone_are_told_from_a_store_that_was_emptied() -> Result<()> {
    let Some(server) = support::server()? else { return Ok(()) };
    let config = support::fresh(&server)?;
    migrate(&config).await?;
    let store = ScyllaStore::open(config.clone()).await?;
    let applied = Applied { seq: at(7), fingerprint: Fingerprint(u64::MAX) };
    store.set_applied(SOURCE, applied).await?;
    assert_eq!(store.applied(SOURCE).await?, Some(applied));

    run(&config, "DROP TABLE {derived}.applied").await;
    let gone = store.applied(SOURCE).await;
    assert!(matches!(gone, Err(StoreError::NotMigrated(_))), "{gone:?}");
    assert_eq!(store.new_incarnation().await?, 2);
    let emptied = store.applied(SOURCE).await;
    assert!(matches!(emptied, Err(StoreError::Incarnation { pinned: 1, found: 2 })), "{emptied:?}");
    run(&config, "DROP KEYSPACE {derived}").await;
    let emptied = store.conversation(conversation(1), at(1)).await;
    assert!(matches!(emptied, Err(StoreError::Incarnation { pinned: 1, found: 2 })), "{emptied:?}");
    Ok(())
}

#[tokio::test]
async fn a_closed_store_says_so_and_lets_go_of_waiters() -> Result<()> {
    let Some(server) = support::server()? else { return Ok(()) };
    let config = support::fresh(&server)?;
    migrate(&config).await?;
    let store = std::sync::Arc::new(ScyllaStore::open(config).await?);
    assert!(!store.wait_applied(SOURCE, at(1), Duration::ZERO).await?);
    let waiter = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move { store.wait_applied(SOURCE, at(1), Duration::from_secs(60)).await }
    });
    store.applied(SOURCE).await?;
    store.close().await;
    assert!(matches!(waiter.await?, Err(StoreError::Closed)));
    assert!(matches!(store.ping().await, Err(StoreError::Closed)));
    assert!(matches!(store.new_incarnation().await, Err(StoreError::Closed)));
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient_and_a_wrong_datacenter_is_not() -> Result<()> {
    let Some(server) = support::server()? else { return Ok(()) };
    let nobody = support::fresh("127.0.0.1:1")?;
    assert!(matches!(ScyllaStore::open(nobody).await, Err(StoreError::Transient(_))));
    let elsewhere = ScyllaConfig { datacenter: Some("nowhere".into()), ..support::fresh(&server)? };
    let failed = ScyllaStore::open(elsewhere).await;
    assert!(matches!(&failed, Err(StoreError::Misconfigured(words)) if words.contains("datacenter1")));
    Ok(())
}

fn conversation(number: u128) -> ConversationId {
    uuid::Uuid::from_u128(number).try_into().unwrap()
}

/// Large bodies split batches, many conversations fill the bound on requests in flight, and pages end inside
/// results.
#[tokio::test]
async fn a_large_call_is_there_when_it_returns() -> Result<()> {
    const CONVERSATIONS: u128 = 400;
    const LONG: u64 = 1_200;
    let Some(server) = support::server()? else { return Ok(()) };
    let config = support::fresh(&server)?;
    migrate(&config).await?;
    let store = ScyllaStore::open(config).await?;
    let author: UserId = Entropy::system().uuid_v7(&Clock::system()).try_into()?;
    let entry = |slot: u64, bytes: usize| {
        let content = Content::Message { body: "m".repeat(bytes).into(), reply_to: None, thread: None };
        let (seq, id) = (at(slot + 1), CommandId::first_at(1));
        (seq, Row::Entry { seq, slot, ordinal: slot + 1, id, author, time_ms: 5, content })
    };
    let bucket = |slot: u64| (at(slot + 1), Row::Bucket { bucket: bucket_of(slot), start: at(slot + 1) });
    let of =
        |number, rows: Vec<(Seq, Row)>| rows.into_iter().map(move |(seq, row)| row.write(conversation(number), seq));
    let large = || vec![bucket(0), entry(0, 10), entry(1, 16_000), entry(2, 16_000), entry(3, 16_000)];
    let mut writes: Vec<CellWrites> = (1..CONVERSATIONS).flat_map(|number| of(number, large())).collect();
    writes.extend(of(CONVERSATIONS, (0..LONG).map(|slot| entry(slot, 50)).chain([bucket(0)]).collect()));
    store.write(writes).await?;

    for number in 1..CONVERSATIONS {
        let state = store.conversation(conversation(number), at(9)).await?;
        assert_eq!((state.slot, state.ordinal), (4, 4), "conversation {number}");
    }
    for direction in [Direction::Before, Direction::After] {
        let page = Page { anchor: None, direction, limit: 5000 };
        let mut entries = store.timeline(conversation(CONVERSATIONS), page).await?;
        if direction == Direction::Before {
            entries.reverse();
        }
        assert!(entries.iter().map(|entry| entry.slot).eq(0..LONG), "{direction:?}");
    }
    let mut scanned = 0;
    let mut after = None;
    loop {
        let (rows, next) = store.scan("timeline", after).await?;
        scanned += rows.len();
        let Some(next) = next else { break };
        after = Some(next);
    }
    assert_eq!(scanned as u128, (CONVERSATIONS - 1) * 4 + u128::from(LONG));
    Ok(())
}
