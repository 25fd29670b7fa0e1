//! Tests of the view: rows and frames in any order.

use domain::{CommandId, ConversationId, Doing, SIGNAL_SHOWN, Seq, UserId};
use protocol::{DoingName, EntryBody, FeedFrame, FeedKind, SignalFrame};
use tokio::time::Instant;

use crate::view::{Applied, ENTRIES_MAX, Typing, View};

fn seq(n: u64) -> Seq {
    Seq::try_from(n).unwrap()
}

fn user(n: u8) -> UserId {
    format!("00000000-0000-4000-8000-0000000000{n:02}").parse().unwrap()
}

fn frame(n: u64, what: FeedKind) -> FeedFrame {
    let conversation = ConversationId::direct(user(1), user(2));
    let id = CommandId::first_at(i64::try_from(n).unwrap());
    FeedFrame::Event { conversation, seq: seq(n), id, author: user(1), time: 1000, ordinal: Some(n), what }
}

#[test]
fn what_was_kept_from_before_an_absence_is_not_built_on() {
    let conversation = ConversationId::direct(user(1), user(2));
    let mut view = View::new(conversation, user(2));
    view.read([]);
    view.apply(&frame(1, message("old")));
    // The user was removed at 2, the text edited at 3, the user added again at 4.
    assert_eq!(view.apply(&frame(4, FeedKind::Joined { members: vec![user(2)] })).reread, Some(seq(4)));
    let reacted = FeedKind::Reacted { target: CommandId::first_at(1), emoji: Some("+1".into()) };
    assert_eq!(view.apply(&frame(5, reacted)).reread, Some(seq(5)), "rows as of the reaction are wanted");
    let mut writer = View::new(conversation, user(1));
    writer.apply(&frame(1, message("old")));
    writer.apply(&frame(3, FeedKind::edited(CommandId::first_at(1), "new".into())));
    writer.apply(&frame(5, FeedKind::Reacted { target: CommandId::first_at(1), emoji: Some("+1".into()) }));
    view.read(writer.entries().cloned().collect::<Vec<_>>());
    let shown = view.entry(CommandId::first_at(1)).unwrap();
    assert_eq!((&shown.body, shown.reactions.len()), (&Some("new".into()), 1));
    assert_eq!(view.apply(&frame(6, message("next"))).reread, None);
}

#[test]
fn a_frame_that_comes_before_the_rows_wants_them_as_of_its_place() {
    let conversation = ConversationId::direct(user(1), user(2));
    let edited = |n| frame(n, FeedKind::edited(CommandId::first_at(1), "new".into()));
    let mut writer = View::new(conversation, user(1));
    writer.apply(&frame(1, message("old")));
    let older: Vec<EntryBody> = writer.entries().cloned().collect();
    writer.apply(&edited(3));

    // After a reset at 2, the edit is buffered until the sync is complete, and storage has not reached it yet.
    let mut view = View::new(conversation, user(2));
    assert_eq!(view.apply(&edited(3)).reread, Some(seq(3)), "there is nothing yet that it changes");
    view.merge(older);
    assert_eq!(view.apply(&frame(4, message("next"))).reread, Some(seq(4)), "rows as of whenever do not do");
    view.read(writer.entries().cloned().collect::<Vec<_>>());
    assert_eq!(view.entry(CommandId::first_at(1)).unwrap().body, Some("new".into()));
    assert_eq!(view.apply(&frame(5, message("more"))).reread, None);
}

fn withheld_edit(target: CommandId) -> FeedKind {
    FeedKind::Edited { target, body: None, mentions: None, content: None, mentioned: Vec::new(), mentioned_all: false }
}

/// Issue 10, item 8: for a user who joined after the message was sent, the frame only says that it has
/// changed.
#[test]
fn a_change_that_a_frame_withholds_is_read() {
    let conversation = ConversationId::direct(user(1), user(2));
    let withheld = |n| frame(n, withheld_edit(CommandId::first_at(1)));
    let mut view = View::new(conversation, user(2));
    view.read([]);
    assert_eq!(view.apply(&withheld(2)), Applied::default(), "there is nothing that it changes");
    view.apply(&frame(1, message("old")));
    assert_eq!(view.apply(&withheld(3)).reread, Some(seq(3)));
    let mut writer = View::new(conversation, user(1));
    writer.apply(&frame(1, message("old")));
    writer.apply(&frame(3, FeedKind::edited(CommandId::first_at(1), "new".into())));
    view.read(writer.entries().cloned().collect::<Vec<_>>());
    assert_eq!(view.entry(CommandId::first_at(1)).unwrap().body, Some("new".into()));
}

/// The entry is as history shows it: present members and title belong to the conversation, not to the entry.
#[test]
fn the_entry_of_a_creation_names_nobody_and_stays_as_it_is() {
    let mut view = View::new(ConversationId::direct(user(1), user(2)), user(2));
    let members = vec![user(1), user(2)];
    view.apply(&frame(1, FeedKind::Created { conversation_kind: "group".into(), title: "Tea".into(), members }));
    view.read([]);
    let created = view.entry(CommandId::first_at(1)).unwrap().clone();
    assert_eq!((created.kind.as_str(), &created.body, created.users.len()), ("created", &None, 0));
    for (n, later) in [
        (2, FeedKind::TitleChanged { title: "Coffee".into() }),
        (3, FeedKind::Left { user: user(2), owner: None }),
        // The entry with that id is no message, so no edit applies to it.
        (4, FeedKind::edited(CommandId::first_at(1), "Coffee".into())),
    ] {
        view.apply(&frame(n, later));
    }
    assert_eq!(view.entry(CommandId::first_at(1)), Some(&created));
}

fn message(body: &str) -> FeedKind {
    FeedKind::message(body.into(), None)
}

#[test]
fn rows_and_frames_come_to_the_same_in_any_order() {
    let frames = [
        frame(1, message("a")),
        frame(2, message("b")),
        frame(3, FeedKind::edited(CommandId::first_at(1), "a!".into())),
        frame(4, FeedKind::Reacted { target: CommandId::first_at(2), emoji: Some("+1".into()) }),
        frame(5, FeedKind::Deleted { target: CommandId::first_at(2) }),
    ];
    let conversation = ConversationId::direct(user(1), user(2));
    let mut live = View::new(conversation, user(2));
    for frame in &frames {
        assert_eq!(live.apply(frame).changes.len(), 1, "{frame:?}");
        assert_eq!(live.apply(frame).changes, [], "a second time changes nothing");
    }
    let rows: Vec<EntryBody> = live.entries().cloned().collect();
    assert_eq!(rows[0].body, Some("a!".into()));
    assert!(rows[1].deleted && rows[1].reactions.is_empty());

    // Rows that are ahead of the feed, then the feed.
    let mut read = View::new(conversation, user(2));
    assert_eq!(read.merge(rows.clone()).len(), 2);
    for frame in &frames {
        assert_eq!(read.apply(frame).changes, []);
    }
    assert_eq!(read.entries().cloned().collect::<Vec<_>>(), rows);
}

#[tokio::test(start_paused = true)]
async fn somebody_is_typing_for_six_seconds_or_until_they_say_it() {
    let mut view = View::new(ConversationId::direct(user(1), user(2)), user(2));
    let (doing, thread) = (DoingName::Text, None);
    let conversation = ConversationId::direct(user(1), user(2));
    let typing = |n| SignalFrame::Typing { conversation, user: user(n), doing, thread };
    let shown = |view: &View| view.typing(Instant::now()).map(|typing| typing.user).collect::<Vec<_>>();
    let conversation = ConversationId::direct(user(1), user(3));
    let elsewhere = SignalFrame::Typing { conversation, user: user(1), doing, thread };
    for signal in [typing(2), elsewhere] {
        view.signal(&signal, Instant::now());
        assert_eq!(shown(&view), [], "neither oneself, nor what is said elsewhere");
    }
    view.signal(&typing(1), Instant::now());
    view.signal(&typing(3), Instant::now());
    tokio::time::advance(SIGNAL_SHOWN / 2).await;
    view.signal(&typing(3), Instant::now());
    assert_eq!(shown(&view), [user(1), user(3)]);
    tokio::time::advance(SIGNAL_SHOWN / 2).await;
    assert_eq!(shown(&view), [user(3)], "for so long from the last one");
    view.signal(&typing(1), Instant::now());
    view.apply(&frame(1, message("a")));
    assert_eq!(shown(&view), [user(3)], "the message of user 1 is there");
    view.apply(&frame(2, FeedKind::Left { user: user(2), owner: None }));
    view.signal(&typing(3), Instant::now());
    assert_eq!(shown(&view), [], "who has left is shown nothing");
    view.apply(&frame(3, FeedKind::Joined { members: vec![user(2)] }));
    view.signal(&typing(3), Instant::now());
    assert_eq!(shown(&view), [user(3)]);
    // The newest counts: the text has become a file in a thread.
    let (doing, thread) = (DoingName::File, Some(CommandId::first_at(1)));
    let conversation = ConversationId::direct(user(1), user(2));
    view.signal(&SignalFrame::Typing { conversation, user: user(3), doing, thread }, Instant::now());
    let shown: Vec<_> = view.typing(Instant::now()).collect();
    assert_eq!(shown, [Typing { user: user(3), doing: Doing::File, thread }]);
}

#[test]
fn joining_asks_for_the_rows_before() {
    let conversation = ConversationId::direct(user(1), user(2));
    let mut view = View::new(conversation, user(2));
    view.read([]);
    let joined = |members: Vec<UserId>| frame(9, FeedKind::Joined { members });
    assert_eq!(view.apply(&joined(vec![user(3)])).reread, None);
    assert_eq!(view.apply(&joined(vec![user(2)])).reread, Some(seq(9)));
}

#[test]
fn the_oldest_entries_are_forgotten_at_the_bound() {
    let mut view = View::new(ConversationId::direct(user(1), user(2)), user(2));
    for n in 1..=ENTRIES_MAX as u64 + 5 {
        view.apply(&frame(n, message("x")));
    }
    assert_eq!(view.entries().count(), ENTRIES_MAX);
    assert_eq!(view.entry(CommandId::first_at(1)), None);
    assert_eq!(view.newest(), Some(seq(ENTRIES_MAX as u64 + 5)));
}
