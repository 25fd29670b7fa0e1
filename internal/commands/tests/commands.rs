//! Commands and read marks with the embedded engines in memory. The tests act as storage, so that they decide how
//! far it has come.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use api::ApiError;
use commands::{Allowance, Barrier, Commands, MarkWriter};
use domain::kinds::SendMessage;
use domain::{
    Action, CommandId, Content, ConversationId, Event, Fingerprint, IdRow, PayloadHash, Role, Seq, Stands, UserId,
};
use environment::Clock;
use eventlog::embedded::EmbeddedLog;
use eventlog::{NewRecord, Record, SharedLog};
use events::{Codec, MessageRecord, topics};
use protocol::{CommandFrame, CommandKind, ErrorCode};
use store::embedded::EmbeddedStore;
use store::{Account, Applied, Consumer, Hold, Mark, OutboxRow, Row, SharedStore, Source};
use tokio_util::sync::CancellationToken;

const NOW_MS: i64 = 1_700_000_000_000;

struct World {
    log: SharedLog,
    store: SharedStore,
    commands: Commands,
    writer: Option<MarkWriter>,
    ids: AtomicI64,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::from_fn(|| NOW_MS);
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        for topic in [topics::MESSAGES, topics::RECEIPTS] {
            log.create(topics::spec_of(topic)).await.unwrap();
        }
        let store: SharedStore = EmbeddedStore::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        let (codec, rules) = (Codec::compiled_in(), domain::RULES_NEWEST);
        let (commands, writer) = Commands::new(SharedLog::clone(&log), SharedStore::clone(&store), codec, clock, rules);
        Self { log, store, commands, writer: Some(writer), ids: AtomicI64::new(1) }
    }

    /// Creates accounts for these users.
    async fn register(&self, users: &[UserId]) {
        for user in users {
            let account = Account {
                id: *user,
                name: format!("user-{user}"),
                display_name: String::new(),
                password_hash: String::new(),
                created_ms: NOW_MS,
            };
            let (account_name, payload) = (account.name.clone(), Vec::new());
            let event = OutboxRow { id: *user.as_bytes(), user: *user, account_name, payload };
            self.store.create_account(&account, &event).await.unwrap();
        }
    }

    fn id(&self) -> CommandId {
        let number = self.ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        CommandId::first_at(NOW_MS - 1000 + number)
    }

    async fn say(&self, author: UserId, conversation: ConversationId, body: &str) -> Result<CommandId, ApiError> {
        let id = self.id();
        let command = CommandFrame::new(id, conversation, CommandKind::send(body.into(), None));
        self.commands.submit(author, command, Some("00-trace-span-01")).await?.logged().await?;
        Ok(id)
    }

    /// All records in the conversation's partition of a topic.
    async fn logged(&self, topic: &'static str, conversation: ConversationId) -> Vec<Record> {
        let partition = Barrier::source_of(conversation).partition;
        let marks = self.log.watermarks(topic, partition).await.unwrap();
        if marks.next == marks.low {
            return Vec::new();
        }
        self.log.reader(topic, partition, marks.low).await.unwrap().next(1000).await.unwrap()
    }

    async fn events(&self, conversation: ConversationId) -> Vec<Event> {
        let read = |record: &Record| match Codec::compiled_in().read_message(&record.headers, &record.payload) {
            Ok(MessageRecord::Event(event)) => *event,
            other => panic!("{other:?}"),
        };
        self.logged(topics::MESSAGES, conversation).await.iter().map(read).collect()
    }

    async fn marks(&self, conversation: ConversationId) -> Vec<u64> {
        let read = |record: &Record| Codec::compiled_in().read_receipt(&record.headers, &record.payload).unwrap();
        let records = self.logged(topics::RECEIPTS, conversation).await;
        records.iter().filter_map(read).map(|mark| mark.seq.get()).collect()
    }

    /// Appends a record of somebody else to the partition.
    async fn pad(&self, conversation: ConversationId) {
        let record = NewRecord {
            key: conversation.to_string(),
            partition: None,
            headers: Vec::new(),
            payload: bytes::Bytes::from_static(b"x"),
        };
        eventlog::append(&*self.log, topics::MESSAGES, record).await.unwrap();
    }

    async fn rows(&self, conversation: ConversationId, at: u64, rows: Vec<Row>) {
        let writes = rows.into_iter().map(|row| row.write(conversation, seq(at))).collect();
        self.store.write(writes).await.unwrap();
    }

    async fn join(&self, user: UserId, conversation: ConversationId, at: u64) {
        let row = Row::Joined { user, role: Role::Member, seq: seq(at), ordinal: 0 };
        self.rows(conversation, at, vec![row]).await;
    }

    async fn entry(&self, conversation: ConversationId, slot: u64, at: u64) {
        let content = Content::Message { body: "hello".into(), reply_to: None, thread: None };
        let (id, author) = (self.id(), user(1));
        let entry = Row::Entry { seq: seq(at), slot, ordinal: slot + 1, id, author, time_ms: NOW_MS, content };
        let mut rows = vec![entry];
        if slot == 0 {
            rows.push(Row::Bucket { bucket: 0, start: seq(at) });
        }
        rows.push(Row::Head { seq: seq(at), time_ms: NOW_MS, slot: slot + 1, ordinal: slot + 1 });
        self.rows(conversation, at, rows).await;
    }

    async fn applied(&self, source: Source, at: u64) {
        let applied = Applied { seq: seq(at), fingerprint: Fingerprint(at) };
        self.store.set_applied(source, applied).await.unwrap();
    }

    /// Runs the writer of read marks; the token stops it.
    fn start_marks(&mut self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let token = CancellationToken::new();
        let writer = self.writer.take().unwrap();
        (token.clone(), tokio::spawn(writer.run(token)))
    }
}

fn user(number: u128) -> UserId {
    UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
}

fn seq(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

fn group() -> ConversationId {
    ConversationId::group(user(1), CommandId::first_at(1))
}

fn code<T>(result: Result<T, ApiError>) -> ErrorCode {
    result.err().expect("a refusal").code
}

/// The row of an accepted command at seq 1.
fn command_row(author: UserId, hash: [u8; 16]) -> IdRow {
    IdRow { author, seq: seq(1), hash: PayloadHash(hash), stands: Stands::Command, thread: None, deleted: None }
}

#[tokio::test(start_paused = true)]
async fn a_members_messages_stand_in_the_log_in_the_order_of_the_calls() {
    let (world, c) = (World::new().await, group());
    world.join(user(1), c, 1).await;
    let mut under_way = Vec::new();
    for number in 0..50 {
        let (id, body) = (world.id(), number.to_string());
        let command = CommandFrame::new(id, c, CommandKind::send(body.into(), None));
        under_way.push(world.commands.submit(user(1), command, Some("00-trace-span-01")).await.unwrap());
    }
    for submitted in under_way {
        let (id, accepted) = (submitted.id, submitted.logged().await.unwrap());
        assert_eq!((accepted.id, accepted.conversation), (id, c));
    }
    let bodies: Vec<_> = world.events(c).await.into_iter().map(|event| event.action).collect();
    let expected: Vec<_> = (0..50)
        .map(|number| {
            Action::SendMessage(SendMessage { body: number.to_string().into(), reply_to: None, thread: None })
        })
        .collect();
    assert_eq!(bodies, expected);
    let record = &world.logged(topics::MESSAGES, c).await[0];
    assert_eq!(record.key, c.to_string());
    assert_eq!(record.header(events::HEADER_TRACE), Some(&b"00-trace-span-01"[..]));
    let event = &world.events(c).await[0];
    assert_eq!((event.author, event.received_ms, event.rules), (user(1), NOW_MS, domain::RULES_NEWEST));
}

#[tokio::test(start_paused = true)]
async fn an_outsider_is_refused_once_storage_has_passed_the_watermark() {
    let (world, c) = (World::new().await, group());
    world.pad(c).await;
    world.applied(Barrier::source_of(c), 0).await;
    assert_eq!(code(world.say(user(2), c, "hi").await), ErrorCode::NotMember);
    assert_eq!(world.logged(topics::MESSAGES, c).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_send_right_after_a_creation_is_left_to_the_reducer() {
    let (world, c) = (World::new().await, group());
    world.pad(c).await;
    world.pad(c).await;
    world.applied(Barrier::source_of(c), 0).await;
    world.say(user(2), c, "hi").await.unwrap();
    assert_eq!(world.logged(topics::MESSAGES, c).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn storage_that_catches_up_in_time_is_waited_for() {
    let (world, c) = (World::new().await, group());
    world.pad(c).await;
    let (said, ()) = tokio::join!(world.say(user(2), c, "hi"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.applied(Barrier::source_of(c), 0).await;
    });
    assert_eq!(code(said), ErrorCode::NotMember);
}

#[tokio::test(start_paused = true)]
async fn a_held_conversation_is_left_to_the_reducer() {
    let (world, c) = (World::new().await, group());
    world.pad(c).await;
    let source = Barrier::source_of(c);
    let hold = Hold { skipped_to: Some(seq(0)), done_through: None };
    world.store.put_hold(Consumer::Storage, source.partition, c, hold).await.unwrap();
    world.applied(source, 0).await;
    world.say(user(2), c, "hi").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_retry_of_who_was_removed_meanwhile_reaches_the_reducer() {
    let (world, c) = (World::new().await, group());
    world.join(user(2), c, 1).await;
    world.rows(c, 2, vec![Row::UserRole { user: user(2), role: None, seq: seq(2) }]).await;
    let id = world.id();
    let row = command_row(user(2), [1; 16]);
    world.rows(c, 1, vec![Row::Id { id, row }]).await;
    for _ in 0..3 {
        world.pad(c).await;
    }
    world.applied(Barrier::source_of(c), 2).await;
    let again = CommandFrame::new(id, c, CommandKind::send("hi".into(), None));
    world.commands.submit(user(2), again, None).await.unwrap().logged().await.unwrap();
    world.applied(Barrier::source_of(c), 3).await;
    assert_eq!(code(world.say(user(2), c, "something new").await), ErrorCode::NotMember);
}

/// Issue 10, item 3: the answer is the same whether the conversation exists or not, and nothing is appended.
#[tokio::test(start_paused = true)]
async fn a_withdrawal_by_who_never_was_a_member_is_refused_and_one_by_who_was_is_not() {
    let (world, c) = (World::new().await, group());
    world.join(user(2), c, 1).await;
    world.rows(c, 2, vec![Row::UserRole { user: user(2), role: None, seq: seq(2) }]).await;
    for _ in 0..3 {
        world.pad(c).await;
    }
    world.applied(Barrier::source_of(c), 2).await;
    let withdraw = |conversation| CommandFrame::new(world.id(), conversation, CommandKind::Withdraw {});
    let here = world.commands.submit(user(3), withdraw(c), None).await.unwrap_err();
    let nowhere = world.commands.submit(user(3), withdraw(ConversationId::direct(user(8), user(9))), None).await;
    assert_eq!((here.code, here.message), (ErrorCode::NotMember, nowhere.unwrap_err().message));
    assert_eq!(world.logged(topics::MESSAGES, c).await.len(), 3);
    world.commands.submit(user(2), withdraw(c), None).await.unwrap();
}

/// Issue 10, item 3: a cached membership must not reveal entries from after it.
#[tokio::test(start_paused = true)]
async fn who_has_left_marks_nothing_and_who_joined_later_nothing_from_before() {
    let (mut world, c) = (World::new().await, group());
    world.start_marks();
    world.join(user(1), c, 1).await;
    world.entry(c, 0, 1).await;
    world.join(user(2), c, 3).await;
    world.entry(c, 1, 3).await;
    assert_eq!(world.commands.mark(user(1), c, seq(3)).await.unwrap(), seq(3));
    assert_eq!(code(world.commands.mark(user(2), c, seq(1)).await), ErrorCode::Invalid);
    assert_eq!(world.commands.mark(user(2), c, seq(3)).await.unwrap(), seq(3));
    world.rows(c, 4, vec![Row::UserRole { user: user(1), role: None, seq: seq(4) }]).await;
    assert_eq!(code(world.commands.mark(user(1), c, seq(3)).await), ErrorCode::NotMember);
}

#[tokio::test(start_paused = true)]
async fn creating_and_withdrawing_need_no_store() {
    let world = World::new().await;
    world.register(&[user(2)]).await;
    let create = |id| {
        CommandFrame::new(id, None, CommandKind::Create { kind: "direct".into(), title: None, members: vec![user(2)] })
    };
    let accepted = world.commands.submit(user(1), create(world.id()), None).await.unwrap().logged().await.unwrap();
    assert_eq!(accepted.conversation, ConversationId::direct(user(1), user(2)));
    world.store.close().await;
    // The service has cached users whom it has looked up before.
    let id = world.id();
    world.commands.submit(user(1), create(id), None).await.unwrap().logged().await.unwrap();
    let withdraw = CommandFrame::new(id, group(), CommandKind::Withdraw {});
    world.commands.submit(user(3), withdraw, None).await.unwrap().logged().await.unwrap();
    // An unavailable store does not block messages either.
    world.say(user(1), group(), "hi").await.unwrap();
    assert_eq!(world.events(group()).await.len(), 2);
}

/// Issue 10, item 4.
#[tokio::test(start_paused = true)]
async fn users_who_do_not_exist_are_taken_in_nowhere() {
    let (world, c) = (World::new().await, group());
    world.register(&[user(2), user(3)]).await;
    world.join(user(1), c, 1).await;
    let create = |kind: &str, members: Vec<UserId>| {
        CommandFrame::new(world.id(), None, CommandKind::Create { kind: kind.into(), title: None, members })
    };
    let add = |members| CommandFrame::new(world.id(), c, CommandKind::AddMembers { members });
    let ghosts: Vec<UserId> = (100..108).map(user).collect();
    for command in [
        create("direct", vec![ghosts[0]]),
        create("group", vec![user(2), ghosts[0]]),
        create("group", (2..4).chain(100..300).map(user).collect()),
    ] {
        let error = world.commands.submit(user(1), command, None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NoSuchUser);
        assert!(error.message.contains(&ghosts[0].to_string()) && error.message.len() < 300, "{error}");
        assert!(!error.message.contains(&user(2).to_string()), "{error}");
    }
    assert_eq!(world.events(c).await, []);
    world.commands.submit(user(1), add(vec![user(2), user(3)]), None).await.unwrap().logged().await.unwrap();
    // The author has an account, because the author is signed in.
    world.commands.submit(user(1), add(vec![user(1), user(2)]), None).await.unwrap().logged().await.unwrap();
    assert!(world.events(c).await.iter().all(|event| event.looked_up));
    // The reducer refuses additions to an existing group: the event says that a user was not found.
    world.commands.submit(user(1), add(vec![user(2), ghosts[0]]), None).await.unwrap().logged().await.unwrap();
    assert!(!world.events(c).await.last().unwrap().looked_up);
}

/// Issue 10, item 4: without the store, the service does not guess whether a user exists.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_takes_nobody_in() {
    let world = World::new().await;
    world.store.close().await;
    let create = CommandFrame::new(
        world.id(),
        None,
        CommandKind::Create { kind: "direct".into(), title: None, members: vec![user(2)] },
    );
    assert_eq!(code(world.commands.submit(user(1), create, None).await), ErrorCode::Unavailable);
    assert_eq!(world.events(ConversationId::direct(user(1), user(2))).await, []);
}

/// A group from before version 2 has members that were never looked up: a retry of its creation still learns its
/// outcome.
#[tokio::test(start_paused = true)]
async fn the_retry_of_a_command_that_stands_is_let_through_and_says_that_nobody_was_looked_up() {
    let (world, id) = (World::new().await, CommandId::first_at(NOW_MS - 1));
    let c = ConversationId::group(user(1), id);
    let create = CommandFrame::new(
        id,
        None,
        CommandKind::Create { kind: "group".into(), title: None, members: vec![user(100)] },
    );
    assert_eq!(code(world.commands.submit(user(1), create.clone(), None).await), ErrorCode::NoSuchUser);
    let row = command_row(user(1), [0; 16]);
    world.rows(c, 1, vec![Row::Id { id, row }]).await;
    world.applied(Barrier::source_of(c), 1).await;
    world.commands.submit(user(1), create, None).await.unwrap().logged().await.unwrap();
    assert!(world.events(c).await.iter().all(|event| !event.looked_up));
}

#[tokio::test(start_paused = true)]
async fn refusals_without_the_store_have_their_code() {
    let (world, c) = (World::new().await, group());
    world.join(user(1), c, 1).await;
    assert_eq!(code(world.say(user(1), c, " ").await), ErrorCode::Invalid);
    let from_future = CommandFrame::new(CommandId::first_at(NOW_MS + 60_001), c, CommandKind::Leave {});
    assert_eq!(code(world.commands.submit(user(1), from_future, None).await), ErrorCode::IdFromFuture);
    let nonsense =
        CommandFrame::new(world.id(), None, CommandKind::Create { kind: "crowd".into(), title: None, members: vec![] });
    assert_eq!(code(world.commands.submit(user(1), nonsense, None).await), ErrorCode::Invalid);
    world.log.close().await;
    assert_eq!(code(world.say(user(1), c, "hi").await), ErrorCode::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_mark_takes_its_numbers_from_the_row_at_or_before_it() {
    let (mut world, c) = (World::new().await, group());
    world.start_marks();
    world.join(user(1), c, 1).await;
    world.entry(c, 0, 1).await;
    world.entry(c, 1, 3).await;
    assert_eq!(world.commands.mark(user(1), c, seq(3)).await.unwrap(), seq(3));
    // The log ends before 5: no server has sent a client that seq.
    assert_eq!(code(world.commands.mark(user(1), c, seq(5)).await), ErrorCode::Invalid);
    for _ in 0..6 {
        world.pad(c).await;
    }
    assert_eq!(code(world.commands.mark(user(1), c, seq(5)).await), ErrorCode::Retry);
    world.applied(Barrier::source_of(c), 5).await;
    assert_eq!(world.commands.mark(user(1), c, seq(5)).await.unwrap(), seq(3), "an edit has no row: the entry before");
    assert_eq!(code(world.commands.mark(user(2), c, seq(3)).await), ErrorCode::NotMember);
    let records = world.logged(topics::RECEIPTS, c).await;
    let mark = Codec::compiled_in().read_receipt(&records[0].headers, &records[0].payload).unwrap().unwrap();
    assert_eq!((mark.user, mark.conversation, mark.ordinal), (user(1), c, 2));
}

#[tokio::test(start_paused = true)]
async fn the_mark_of_a_held_conversation_is_held() {
    let (world, c) = (World::new().await, group());
    world.join(user(1), c, 1).await;
    for _ in 0..3 {
        world.pad(c).await;
    }
    let source = Barrier::source_of(c);
    let hold = Hold { skipped_to: Some(seq(2)), done_through: Some(seq(1)) };
    world.store.put_hold(Consumer::Storage, source.partition, c, hold).await.unwrap();
    world.applied(source, 2).await;
    assert_eq!(code(world.commands.mark(user(1), c, seq(2)).await), ErrorCode::Held);
    assert_eq!(code(world.commands.mark(user(2), c, seq(2)).await), ErrorCode::Held);
}

#[tokio::test(start_paused = true)]
async fn marks_are_one_record_in_two_seconds_and_each_is_answered() {
    let (mut world, c) = (World::new().await, group());
    world.start_marks();
    world.join(user(1), c, 1).await;
    for slot in 0..10 {
        world.entry(c, slot, slot + 1).await;
    }
    world.commands.mark(user(1), c, seq(1)).await.unwrap();
    let begun = tokio::time::Instant::now();
    let marks = (2..=10).rev().map(|at| world.commands.mark(user(1), c, seq(at)));
    let answers = futures_util::future::join_all(marks).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
    assert_eq!(world.marks(c).await, [1, 10]);
    // A mark below one that is in the log is answered at once.
    world.commands.mark(user(1), c, seq(4)).await.unwrap();
    assert_eq!(world.marks(c).await, [1, 10]);
}

#[tokio::test(start_paused = true)]
async fn marks_that_wait_are_flushed_when_the_service_stops() {
    let (mut world, c) = (World::new().await, group());
    let (token, running) = world.start_marks();
    world.join(user(1), c, 1).await;
    world.entry(c, 0, 1).await;
    world.entry(c, 1, 2).await;
    world.commands.mark(user(1), c, seq(1)).await.unwrap();
    let begun = tokio::time::Instant::now();
    let (waiting, ()) = tokio::join!(world.commands.mark(user(1), c, seq(2)), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        token.cancel();
    });
    assert_eq!(waiting.unwrap(), seq(2));
    assert!(begun.elapsed() < Duration::from_secs(1));
    running.await.unwrap();
    assert_eq!(world.marks(c).await, [1, 2]);
    assert_eq!(code(world.commands.mark(user(1), c, seq(2)).await), ErrorCode::Unavailable);
    let mark = Mark { seq: seq(2), ordinal: 2 };
    assert!(mark > Mark { seq: seq(1), ordinal: 9 }, "marks are compared by their place");
}

/// Issue 10, item 4: a message in a large group is written once more for every member.
#[tokio::test(start_paused = true)]
async fn who_has_had_an_hours_share_written_is_told_when_there_is_room_again() {
    let (mut world, crowd) = (World::new().await, 2..9_991);
    world.commands = world.commands.clone().within(Allowance::new(100_000, 100_000));
    world.join(user(1), group(), 5).await;
    let members = crowd.map(|number| Row::Member { user: user(number), seq: seq(5), role: Some(Role::Member) });
    world.rows(group(), 5, members.collect()).await;
    world.applied(Barrier::source_of(group()), 5).await;
    let (mut said, mut paused) = (0, 0);
    let refused = loop {
        match world.say(user(1), group(), "x").await {
            Ok(_) => said += 1,
            // Refused for this second, not for the hour.
            Err(error) if error.message.contains("wait a moment") => {
                assert_eq!(error.code, ErrorCode::RateLimited);
                tokio::time::advance(error.retry_after.unwrap()).await;
                paused += 1;
            }
            Err(error) => break error,
        }
    };
    assert!((1_000..2_000).contains(&said) && paused > 200, "{said} letters, {paused} pauses");
    assert_eq!(refused.code, ErrorCode::RateLimited);
    let wait = refused.retry_after.unwrap();
    assert!(wait > Duration::from_secs(1) && wait < Duration::from_secs(10), "{wait:?}");
    tokio::time::advance(wait).await;
    world.say(user(1), group(), "x").await.unwrap();
}
