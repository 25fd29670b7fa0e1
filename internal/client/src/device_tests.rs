//! Tests of the rules of a device.

mod commands;

use std::time::Duration;

use domain::{CommandId, ConversationId, Cursor, Fingerprint, Seq, UserId};
use protocol::{
    ClientFrame, CommandFrame, CommandKind, ErrorCode, FeedFrame, FeedKind, OutcomeBody, OutcomeState, Received,
    ServerFrame, StandsName, SyncConversation, SyncPage, SyncState,
};
use tokio::time::Instant;

use crate::device::{Asking, Device, Output};
use crate::error::ClientError;
use crate::state::DeviceState;
use crate::wire::Inbound;
use crate::{ClientEvent, Fate};

fn user(n: u8) -> UserId {
    format!("00000000-0000-4000-8000-0000000000{n:02}").parse().unwrap()
}

fn talk(n: u8) -> ConversationId {
    ConversationId::direct(user(1), user(n))
}

fn seq(n: u64) -> Seq {
    Seq::try_from(n).unwrap()
}

fn id(n: i64) -> CommandId {
    CommandId::first_at(n)
}

fn cursor(next: u64) -> Cursor {
    Cursor { generation: 0, partition: 1, next, fingerprint: Fingerprint(next) }
}

fn send(n: i64) -> CommandFrame {
    CommandFrame::new(id(n), talk(2), CommandKind::send("hi".into(), None))
}

/// A message in conversation 2 at seq `at`, by that author.
fn message(author: u8, at: u64, n: i64, next: u64) -> Inbound {
    message_in(2, author, at, n, next)
}

fn message_in(talk_with: u8, author: u8, at: u64, n: i64, next: u64) -> Inbound {
    let what = FeedKind::message("hi".into(), None);
    let (conversation, author) = (talk(talk_with), user(author));
    feed(FeedFrame::Event { conversation, seq: seq(at), id: id(n), author, time: 0, ordinal: Some(1), what }, next)
}

fn feed(frame: FeedFrame, next: u64) -> Inbound {
    Inbound::Feed(Box::new(Received { cursor: cursor(next), frame }))
}

fn welcome(next: u64, reset: Option<&str>) -> Inbound {
    let reset = reset.map(ToOwned::to_owned);
    Inbound::Server(ServerFrame::Welcome {
        cursor: cursor(next),
        user: user(1),
        partition: 1,
        reset,
        ping_ms: 1000,
        r#move: None,
    })
}

fn error(n: i64, code: ErrorCode) -> Inbound {
    let (id, message) = (Some(id(n)), "no".into());
    Inbound::Server(ServerFrame::Error { id, conversation: None, code, message, retry_after: None })
}

fn ack(n: i64) -> Inbound {
    Inbound::Server(ServerFrame::Ack { id: id(n), conversation: talk(2) })
}

fn page(complete: bool, of: &[(u8, SyncState, u64)]) -> SyncPage {
    let one = |&(n, state, head): &(u8, SyncState, u64)| SyncConversation {
        id: talk(n),
        state,
        member: true,
        changed: seq(1),
        head: seq(head),
        mark: None,
    };
    SyncPage { conversations: of.iter().map(one).collect(), complete, next: None }
}

fn settled(at: u64, stands: StandsName) -> OutcomeBody {
    let (id, stands) = (id(0), Some(stands));
    OutcomeBody { id, outcome: OutcomeState::Settled, seq: Some(seq(at)), stands, code: None, message: None }
}

fn absent() -> OutcomeBody {
    OutcomeBody { id: id(0), outcome: OutcomeState::Absent, seq: None, stands: None, code: None, message: None }
}

/// A device and the time, with its outputs sorted by type.
struct World {
    device: Device,
    now: Instant,
    seen: Vec<u64>,
    fates: Vec<(CommandId, Fate)>,
    /// How often the command of each fate was sent.
    sends: Vec<u32>,
    sent: Vec<CommandId>,
    marks: Vec<u64>,
    asked: Vec<Asking>,
    syncs: Vec<u64>,
    resets: usize,
    synced: Vec<usize>,
    dropped: bool,
}

impl World {
    fn new() -> Self {
        let device = Device::new(user(1), DeviceState::default());
        let (seen, fates, sent, marks, asked, syncs) = (vec![], vec![], vec![], vec![], vec![], vec![]);
        let (sends, resets, synced, dropped) = (vec![], 0, vec![], false);
        Self { device, now: Instant::now(), seen, fates, sends, sent, marks, asked, syncs, resets, synced, dropped }
    }

    /// A device after its sync, with conversation 2 at head 10 and the cursor at 5.
    fn live() -> Self {
        let mut world = Self::new();
        world.hear(welcome(5, Some("first")));
        world.answer_sync(page(true, &[(2, SyncState::Ready, 10)]));
        world
    }

    fn collect(&mut self) {
        while let Some(output) = self.device.out.pop_front() {
            match output {
                Output::Event(ClientEvent::Feed(frame)) => {
                    self.seen.extend(frame.event_key().map(|(_, seq)| seq.get()));
                }
                Output::Event(ClientEvent::Fate { id, fate, sends, .. }) => {
                    self.fates.push((id, fate));
                    self.sends.push(sends);
                }
                Output::Event(ClientEvent::Reset { .. }) => self.resets += 1,
                Output::Event(ClientEvent::Synced { conversations }) => self.synced.push(conversations.len()),
                Output::Event(_) => {}
                Output::Send(ClientFrame::Command(CommandFrame {
                    id,
                    what: CommandKind::Send { .. } | CommandKind::Withdraw { .. },
                    ..
                })) => {
                    self.sent.push(id);
                }
                Output::Send(ClientFrame::Mark { seq, .. }) => self.marks.push(seq.get()),
                Output::Send(_) => {}
                Output::Ask(asking) => self.asked.push(asking),
                Output::Sync(number) => self.syncs.push(number),
                Output::Drop(_) => self.dropped = true,
            }
        }
    }

    fn hear(&mut self, inbound: Inbound) {
        self.device.receive(inbound, self.now);
        self.collect();
    }

    fn answer_sync(&mut self, page: SyncPage) {
        let number = self.syncs.pop().expect("a sync was asked for");
        self.device.synced(number, Ok(page), self.now);
        self.collect();
    }

    fn answer_ask(&mut self, answer: Result<OutcomeBody, ClientError>) {
        let asked = self.asked.pop().expect("an outcome was asked for");
        self.device.outcome(asked, answer, self.now);
        self.collect();
        self.pass(Duration::ZERO);
    }

    fn submit(&mut self, command: CommandFrame) {
        self.device.submit(command, self.now).unwrap();
        self.collect();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.device.on_time(self.now);
        self.collect();
    }

    fn drop_socket(&mut self) {
        self.device.disconnected();
        self.collect();
    }
}

#[tokio::test]
async fn a_frame_counts_once_and_only_beyond_the_highest() {
    let mut world = World::live();
    for (at, next) in [(10, 6), (11, 7), (11, 8), (9, 9), (12, 10)] {
        world.hear(message(2, at, 1, next));
    }
    assert_eq!(world.seen, [11, 12]);
    assert_eq!((world.device.filtered, world.device.state.cursor), (3, Some(cursor(10))));
}

/// Joins single feed frames into one batch.
fn batch(frames: impl IntoIterator<Item = Inbound>, next: u64) -> Inbound {
    let frame = |inbound| if let Inbound::Feed(received) = inbound { Some(received.frame) } else { None };
    Inbound::Batch(cursor(next), frames.into_iter().map(frame).collect())
}

#[tokio::test]
async fn each_frame_of_a_batch_passes_the_filter_by_itself_and_the_cursor_is_that_of_all() {
    let mut world = World::live();
    world.hear(batch([message(2, 9, 1, 0), message(2, 11, 1, 0), Inbound::Unknown, message(2, 12, 1, 0)], 9));
    assert_eq!((&*world.seen, world.device.filtered), (&[11, 12][..], 1));
    assert_eq!(world.device.state.cursor, Some(cursor(9)));

    let mut world = World::new();
    world.hear(welcome(5, Some("first")));
    world.hear(batch([message(2, 10, 1, 0), message(2, 11, 2, 0), Inbound::Unknown], 8));
    assert_eq!((world.device.state.cursor, world.seen.len()), (None, 0));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 10)]));
    assert_eq!((&*world.seen, world.device.state.cursor), (&[11][..], Some(cursor(8))));
}

#[tokio::test]
async fn what_is_passed_over_moves_the_cursor_but_takes_no_welcome_s_place() {
    let mut world = World::live();
    world.hear(Inbound::Passed(cursor(6)));
    assert_eq!((world.device.state.cursor, world.dropped), (Some(cursor(6)), false));
    world.drop_socket();
    world.hear(Inbound::Passed(cursor(9)));
    assert_eq!((world.device.state.cursor, world.dropped), (Some(cursor(6)), true));
}

#[tokio::test]
async fn the_cursor_of_a_reset_is_kept_only_with_the_heads_and_frames_wait_for_them() {
    let mut world = World::new();
    world.hear(welcome(5, Some("first")));
    world.hear(message(2, 10, 1, 6));
    world.hear(message(2, 11, 2, 7));
    assert_eq!((world.device.state.cursor, world.seen.len()), (None, 0));

    world.drop_socket();
    let stale = world.syncs.pop().unwrap();
    world.hear(welcome(7, Some("first")));
    world.hear(message(2, 12, 3, 8));
    world.device.synced(stale, Ok(page(true, &[(2, SyncState::Ready, 9)])), world.now);
    world.collect();
    assert_eq!((world.device.state.cursor, world.synced.len()), (None, 0), "an answer from before does not count");

    world.answer_sync(page(true, &[(2, SyncState::Ready, 11)]));
    assert_eq!((&*world.seen, world.device.state.cursor), (&[12][..], Some(cursor(8))));
    assert_eq!((world.resets, &*world.synced), (1, &[1][..]));
}

#[tokio::test]
async fn a_reset_is_told_with_its_sync_and_not_when_another_node_knows_the_cursor_of_before() {
    let mut world = World::live();
    let told = (world.resets, world.synced.len());
    world.drop_socket();
    world.hear(welcome(9, Some("lapped")));
    world.drop_socket();
    world.hear(welcome(5, None));
    world.hear(message(2, 11, 2, 6));
    assert_eq!(((world.resets, world.synced.len()), &*world.seen), (told, &[11][..]), "what was cached is good");
    world.drop_socket();
    world.hear(welcome(9, Some("lapped")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 12)]));
    assert_eq!((world.resets, world.synced.len()), (told.0 + 1, told.1 + 1));
}

#[tokio::test]
async fn a_sync_that_fails_is_asked_again_and_one_with_too_many_frames_begins_anew() {
    let mut world = World::new();
    world.hear(welcome(5, Some("gone")));
    let number = *world.syncs.last().unwrap();
    let wait = world.device.synced(number, Err(ClientError::SignedOut), world.now);
    assert!(wait.is_some() && world.device.syncing.is_some());
    for next in 6..10_010 {
        world.hear(message(2, next, 1, next));
    }
    assert!(world.dropped);
}

#[tokio::test]
async fn a_conversation_that_cannot_be_synced_yet_is_asked_for_again() {
    let mut world = World::new();
    world.hear(welcome(5, Some("first")));
    world.hear(message(2, 11, 1, 6));
    world.answer_sync(page(true, &[(2, SyncState::Held, 7), (3, SyncState::Ready, 4)]));
    world.hear(message(2, 12, 2, 7));
    assert_eq!((world.seen.len(), world.device.state.cursor), (0, Some(cursor(7))));
    world.pass(Duration::from_secs(3));
    // The answer may not include frames that come from now on.
    world.hear(message(2, 13, 3, 8));
    world.hear(message(2, 14, 4, 9));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 13), (3, SyncState::Ready, 4)]));
    assert_eq!((&*world.seen, &*world.synced), (&[14][..], &[2, 1][..]));
    assert!(world.device.state.unsynced.is_empty());
    world.hear(message(2, 15, 5, 10));
    assert_eq!(world.seen, [14, 15]);
}

#[tokio::test]
async fn while_a_sync_is_incomplete_unnamed_conversations_are_unsynced_too() {
    let mut world = World::new();
    world.hear(welcome(5, Some("first")));
    world.answer_sync(page(false, &[(3, SyncState::Ready, 4)]));
    world.hear(message(2, 11, 1, 6));
    assert!(world.seen.is_empty() && world.device.state.unsynced.contains(&talk(2)));
    world.pass(Duration::from_secs(3));
    world.answer_sync(page(false, &[(3, SyncState::Ready, 9)]));
    assert_eq!(world.device.state.highest[&talk(3)], seq(4), "what is synced is not raised");
    assert!(world.device.state.unsynced.contains(&talk(2)));
    // Nothing became ready, so the pause before the next resync is twice as long.
    world.pass(Duration::from_secs(5));
    assert!(world.syncs.is_empty());
    world.pass(Duration::from_secs(1));
    world.hear(message(2, 12, 2, 7));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 11), (3, SyncState::Ready, 9)]));
    assert_eq!((&*world.seen, world.device.state.incomplete), (&[12][..], false));
}

#[tokio::test]
async fn a_conversation_that_comes_up_while_another_is_held_does_not_wait_for_long() {
    let mut world = World::new();
    world.hear(welcome(5, Some("first")));
    world.answer_sync(page(false, &[(3, SyncState::Held, 4)]));
    for pause in [3, 6, 12, 24, 30] {
        world.pass(Duration::from_secs(pause));
        world.answer_sync(page(false, &[(3, SyncState::Held, 4)]));
    }
    world.pass(Duration::from_secs(1));
    world.hear(message(2, 11, 1, 6));
    world.pass(Duration::from_secs(2));
    world.hear(message(2, 12, 2, 7));
    assert_eq!((world.seen.len(), world.syncs.len()), (0, 0));
    world.pass(Duration::from_secs(1));
    world.hear(message(2, 13, 3, 8));
    world.answer_sync(page(false, &[(2, SyncState::Ready, 12), (3, SyncState::Held, 4)]));
    assert_eq!(world.seen, [13]);

    // The same while a resync is running: the next one comes after the short pause.
    world.pass(Duration::from_secs(3));
    world.answer_sync(page(false, &[(3, SyncState::Held, 4)]));
    world.pass(Duration::from_secs(6));
    world.hear(message_in(4, 4, 21, 4, 9));
    world.answer_sync(page(false, &[(3, SyncState::Held, 4)]));
    world.pass(Duration::from_secs(3));
    world.answer_sync(page(false, &[(3, SyncState::Held, 4), (4, SyncState::Ready, 21)]));
    assert!(world.device.state.unsynced.iter().eq([&talk(3)]));
}

#[tokio::test]
async fn marks_are_sent_until_acknowledged_and_given_up_when_they_are_refused() {
    let mut world = World::live();
    world.device.state.marks.want(talk(2), seq(9));
    world.pass(Duration::ZERO);
    world.drop_socket();
    world.hear(welcome(6, None));
    assert_eq!(world.marks, [9, 9]);
    let code = ErrorCode::NotMember;
    world.hear(Inbound::Server(ServerFrame::Error {
        id: None,
        conversation: Some(talk(2)),
        code,
        message: "no".into(),
        retry_after: None,
    }));
    assert!(world.device.state.marks_are_acknowledged());
}

#[tokio::test]
async fn a_reset_on_a_standing_socket_takes_no_mark_off_its_way() {
    let mut world = World::live();
    let acked = |at| Inbound::Server(ServerFrame::MarkAck { conversation: talk(2), seq: seq(at) });
    world.device.state.marks.want(talk(2), seq(5));
    world.pass(Duration::ZERO);
    world.hear(welcome(50, Some("lapped")));
    world.device.state.marks.want(talk(2), seq(9));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 20)]));
    world.hear(acked(5));
    assert!(!world.device.state.marks_are_acknowledged(), "9 is not in the log");
    world.pass(Duration::ZERO);
    world.hear(acked(9));
    assert_eq!((&*world.marks, world.device.state.marks_are_acknowledged()), (&[5, 9][..], true));
}

#[tokio::test]
async fn another_user_s_state_is_not_taken() {
    let state = DeviceState { user: Some(user(2)), cursor: Some(cursor(5)), ..DeviceState::default() };
    assert_eq!(Device::new(user(1), state.clone()).state.cursor, None);
    assert_eq!(Device::new(user(2), state).state.cursor, Some(cursor(5)));
}
