//! What only the embedded engine promises: reopening, surviving a kill, one writer for all handles, bounded
//! sessions.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::{CommandId, Content, ConversationId, Fingerprint, Seq, UserId};
use environment::Clock;
use store::embedded::EmbeddedStore;
use store::{
    Account, Applied, Beside, CellWrites, ChatStore, Consumer, Direction, Entry, HistoryStore, Hold, HoldStore,
    IncarnationStore, Incarnations, Mark, OutboxRow, Page, Row, Session, SessionStore, Source, Stage, StoreAdmin,
    StoreError, UserStore,
};
use uuid::Uuid;

const SOURCE: Source = Source { topic: "chat.messages", partition: 2 };

fn user(number: u128) -> UserId {
    Uuid::from_u128(number).try_into().unwrap()
}

fn conversation() -> ConversationId {
    ConversationId::direct(user(1), user(2))
}

fn at(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

/// The rows of the message at `offset`, which is also its number in the conversation.
fn message(offset: u64) -> Vec<CellWrites> {
    let (seq, slot) = (at(offset), offset);
    let content = Content::Message { body: format!("message {offset}").into(), reply_to: None, thread: None };
    let (id, author) = (CommandId::first_at(1 + i64::try_from(offset).unwrap()), user(1));
    let mut rows = vec![
        Row::Entry { seq, slot, ordinal: offset + 1, id, author, time_ms: 5, content },
        Row::Head { seq, time_ms: 5, slot: slot + 1, ordinal: offset + 1 },
    ];
    if offset == 0 {
        rows.push(Row::Bucket { bucket: 0, start: seq });
    }
    rows.into_iter().map(|row| row.write(conversation(), seq)).collect()
}

/// The writes of a read mark of that user.
fn mark(seq: Seq, ordinal: u64) -> Vec<CellWrites> {
    vec![Row::Mark { user: user(1), mark: Mark { seq, ordinal } }.write(conversation(), seq)]
}

async fn all_entries(store: &EmbeddedStore) -> Vec<Entry> {
    let page = Page { anchor: None, direction: Direction::After, limit: usize::MAX };
    store.timeline(conversation(), page).await.unwrap()
}

async fn open(folder: &Path) -> Arc<EmbeddedStore> {
    EmbeddedStore::open(kv::Database::open(folder).unwrap(), Clock::system()).await.unwrap()
}

fn account() -> (Account, OutboxRow) {
    let (id, name) = (user(7), "ann".to_owned());
    let event = OutboxRow { id: [9; 16], user: id, account_name: name.clone(), payload: vec![1] };
    let (display_name, password_hash) = ("Ann".to_owned(), "$argon2id$".to_owned());
    (Account { id, name, display_name, password_hash, created_ms: 3 }, event)
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (ann, event) = account();
    let session = Session { id: [1; 16], user: ann.id, secret_hash: [2; 32], expires_ms: i64::MAX, family: None };
    let applied = Applied { seq: at(2), fingerprint: Fingerprint(8) };
    let hold = Hold { skipped_to: Some(at(4)), done_through: None };
    store.write((0..3).flat_map(message).collect()).await.unwrap();
    store.set_applied(SOURCE, applied).await.unwrap();
    store.write(mark(at(2), 3)).await.unwrap();
    store.put_hold(Consumer::Storage, 2, conversation(), hold).await.unwrap();
    store.put_hold(Consumer::Fanout, 2, conversation(), hold).await.unwrap();
    store.create_account(&ann, &event).await.unwrap();
    store.create_session(&session).await.unwrap();
    let entries = all_entries(&store).await;
    store.close().await;
    drop(store);

    let store = open(folder.path()).await;
    assert_eq!(store.incarnation(), 1);
    assert_eq!((entries.len(), all_entries(&store).await), (3, entries));
    assert_eq!(store.applied(SOURCE).await.unwrap(), Some(applied));
    assert!(store.wait_applied(SOURCE, at(2), Duration::ZERO).await.unwrap());
    assert_eq!(store.marks(user(1), &[conversation()]).await.unwrap(), [Some(Mark { seq: at(2), ordinal: 3 })]);
    for consumer in [Consumer::Storage, Consumer::Fanout] {
        assert_eq!(store.holds(consumer, 2, None, 9).await.unwrap(), [(conversation(), hold)]);
    }
    assert_eq!(store.account_by_name("ann").await.unwrap(), Some(ann));
    assert_eq!(store.session(&[1; 16]).await.unwrap(), Some(session));
    assert_eq!(store.outbox(9).await.unwrap(), [event]);
}

#[tokio::test]
async fn what_was_current_before_stays_over_reopening_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.write(message(0)).await.unwrap();
    assert_eq!(store.new_incarnation().await.unwrap(), 2);
    store.close().await;
    drop(store);

    let store = open(folder.path()).await;
    assert_eq!((store.incarnation(), all_entries(&store).await.len()), (2, 0));
    let served = Beside { number: 1, stage: Stage::Served };
    assert_eq!(store.incarnations().await.unwrap(), Incarnations { current: 2, beside: vec![served] });
    assert!(store.switch_incarnation(2, 1).await.unwrap(), "a way back");
    store.close().await;
    drop(store);

    let store = open(folder.path()).await;
    assert_eq!((store.incarnation(), all_entries(&store).await.len()), (1, 1));
    store.drop_incarnation(2).await.unwrap();
    assert_eq!(store.incarnations().await.unwrap(), Incarnations { current: 1, beside: vec![] });
    assert!(store.at(2).await.is_err() && store.switch_incarnation(1, 2).await.is_err());
    store.close().await;
    drop(store);

    let database = kv::Database::open(folder.path()).unwrap();
    let store = EmbeddedStore::open(database.clone(), Clock::system()).await.unwrap();
    let names = database.table_names();
    assert!(names.iter().any(|name| name.starts_with("store/i1/")), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("store/i2/")), "{names:?}");
    assert_eq!(store.make_incarnation().await.unwrap(), 3, "numbers are never used again");
}

/// Folders from before stages existed do not store the stages of their incarnations.
#[tokio::test]
async fn a_folder_without_stages_opens_and_what_was_current_in_it_is_a_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.write(message(0)).await.unwrap();
    store.new_incarnation().await.unwrap();
    store.close().await;
    drop(store);
    let database = kv::Database::open(folder.path()).unwrap();
    let meta = database.table("store/meta").unwrap();
    let mut batch = kv::Batch::default();
    for (key, _) in meta.scan_prefix(b"incarnation/", 9).unwrap() {
        batch.remove(&meta, key);
    }
    database.commit(batch, kv::Durability::Power).await.unwrap();

    let store = EmbeddedStore::open(database, Clock::system()).await.unwrap();
    let served = Beside { number: 1, stage: Stage::Served };
    assert_eq!(store.incarnations().await.unwrap(), Incarnations { current: 2, beside: vec![served] });
}

#[tokio::test]
async fn a_handle_of_an_earlier_incarnation_reads_on_and_fails_every_write_and_wait() {
    let old = EmbeddedStore::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
    old.write(message(0)).await.unwrap();
    old.attach().unwrap().new_incarnation().await.unwrap();
    let applied = Applied { seq: at(2), fingerprint: Fingerprint(8) };
    let errors = [
        old.write(message(1)).await.err(),
        old.set_applied(SOURCE, applied).await.err(),
        old.wait_applied(SOURCE, at(1), Duration::ZERO).await.err(),
        old.write(mark(at(2), 3)).await.err(),
        old.put_hold(Consumer::Fanout, 0, conversation(), Hold::default()).await.err(),
    ];
    for (call, error) in errors.iter().enumerate() {
        assert!(matches!(error, Some(StoreError::Incarnation { pinned: 1, found: 2 })), "call {call}: {error:?}");
    }
    assert_eq!(all_entries(&old).await.len(), 1, "a read that began before a switch finishes on its rows");
    assert_eq!(old.account(user(1)).await.unwrap(), None, "the user tables go on");
}

#[tokio::test]
async fn closing_finishes_what_was_begun_and_refuses_the_rest() {
    let database = kv::Database::in_memory();
    let store = EmbeddedStore::open(database.clone(), Clock::system()).await.unwrap();
    let other = store.attach().unwrap();
    let writes: Vec<_> = (0..100)
        .map(|offset| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.write(message(offset)).await })
        })
        .collect();
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.wait_applied(SOURCE, at(1), Duration::from_secs(60)).await }
    });
    tokio::task::yield_now().await;
    store.close().await;
    let mut written = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(()) => written += 1,
            Err(error) => assert!(matches!(error, StoreError::Closed), "{error}"),
        }
    }
    assert!(matches!(waiting.await.unwrap(), Err(StoreError::Closed)));
    assert!(matches!(store.ping().await, Err(StoreError::Closed)));
    assert!(matches!(store.write(message(0)).await, Err(StoreError::Closed)));
    assert!(matches!(store.account(user(1)).await, Err(StoreError::Closed)));
    store.close().await;
    // Closing one handle does not close another.
    assert_eq!(all_entries(&other).await.len(), written);
    other.write(message(200)).await.unwrap();
    other.close().await;
    let again = EmbeddedStore::open(database, Clock::system()).await.unwrap();
    assert_eq!(all_entries(&again).await.len(), written + 1);
}

#[tokio::test]
async fn sessions_that_have_ended_are_swept_as_new_ones_begin() {
    let now = Arc::new(AtomicI64::new(1000));
    let store = EmbeddedStore::open(kv::Database::in_memory(), Clock::manual(Arc::clone(&now))).await.unwrap();
    let session = |number: u8, expires_ms| {
        let (id, secret_hash) = ([number; 16], [number; 32]);
        Session { id, user: user(1), secret_hash, expires_ms, family: None }
    };
    for number in 0..20 {
        store.create_session(&session(number, 2000 + i64::from(number))).await.unwrap();
    }
    // One session is refreshed, one is signed out, the others expire.
    assert!(store.rotate_session(&[3; 32], &session(3, 9000)).await.unwrap());
    store.end_session(user(1), &[4; 16], 0).await.unwrap();
    now.store(5000, Ordering::SeqCst);
    for number in 20..26 {
        store.create_session(&session(number, 9000)).await.unwrap();
    }
    for number in 0..26 {
        let stands = store.session(&[number; 16]).await.unwrap().is_some();
        assert_eq!(stands, number == 3 || number >= 20, "session {number}");
    }
}

/// Set in the environment of the child that is killed: the folder that it writes to.
const CHILD_FOLDER: &str = "STORE_KILL_TEST_FOLDER";

/// Not a test by itself: the program that [`what_was_acknowledged_survives_a_kill`] starts and kills.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let store = open(Path::new(&folder)).await;
    let mut next = u64::try_from(all_entries(&store).await.len()).unwrap();
    loop {
        store.write(message(next)).await.unwrap();
        let applied = Applied { seq: at(next), fingerprint: Fingerprint(next) };
        store.set_applied(SOURCE, applied).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nwritten {next}").unwrap();
        out.flush().unwrap();
        drop(out);
        next += 1;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut least = 0;
    for round in 1..=5_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_writes_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut written = lines.filter_map(|line| line.strip_prefix("written ")?.parse::<u64>().ok());
        let last = written.by_ref().find(|written| *written >= least + 37 * round).unwrap();
        child.kill().unwrap();
        // Lines that it printed before it died count as well.
        let last = written.last().unwrap_or(last);
        child.wait().unwrap();

        let store = open(folder.path()).await;
        let entries = all_entries(&store).await;
        let applied = store.applied(SOURCE).await.unwrap().unwrap();
        assert!(applied.seq >= at(last), "{applied:?} after {last} was acknowledged");
        // All entries up to `applied` are there, in order; and rows are written before the rows that name them.
        let count = u64::try_from(entries.len()).unwrap();
        assert!(count > applied.seq.offset(), "{count} entries, {applied:?}");
        assert!(entries.iter().map(|entry| entry.seq).eq((0..count).map(at)));
        assert_eq!(store.heads(&[conversation()]).await.unwrap()[0].unwrap().slot, count);
        least = count;
        store.close().await;
    }
}

/// Issue 11, item 2: a program with a bug gets an error, and the store goes on.
#[tokio::test]
async fn a_write_that_is_not_of_its_table_is_refused_whole() {
    let store = EmbeddedStore::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
    let mut writes = message(0);
    writes[1] = writes[1].set().write(1, &[], &[("title", "of another table".into())]);
    let refused = store.write(writes).await.unwrap_err();
    assert!(matches!(refused, StoreError::Broken(_)), "{refused:?}");
    assert_eq!(all_entries(&store).await, []);
    store.write(message(0)).await.unwrap();
    assert_eq!(all_entries(&store).await.len(), 1);
}
