//! Timelines: pages by key, buckets, every kind of entry, edits, deletions and reactions.

use domain::{Content, ConversationId, Stands, UserId};

use crate::conformance::fixture::{
    Fixture, NEW_YEAR_MS, Stamped, at, cells, entry_row, expect_timeline, id_row, stamped,
};
use crate::{BUCKET_SLOTS, Direction, Entry, MessageReaction, Page, REACTIONS_SHOWN_MAX, ReactionRow, Row, bucket_of};

/// Writes messages at these slots, with seqs ten apart from 10 on, and the rows of the buckets that they begin.
async fn write_messages(fixture: &Fixture, conversation: ConversationId, slots: &[u64]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (number, slot) in (1_u64..).zip(slots) {
        entries.push(fixture.message(at(number * 10), *slot, number));
    }
    let mut rows: Vec<Stamped> = entries.iter().map(entry_row).collect();
    let mut bucket = None;
    for entry in &entries {
        if bucket.replace(bucket_of(entry.slot)) != Some(bucket_of(entry.slot)) {
            let row = Row::Bucket { bucket: bucket_of(entry.slot), start: entry.seq };
            rows.push(stamped(entry.seq, row));
        }
    }
    fixture.write(conversation, rows).await;
    entries
}

/// Reads pages from every anchor, at and between entries, and compares them with a plain slice.
async fn expect_every_anchor(fixture: &Fixture, conversation: ConversationId, entries: &[Entry]) {
    let last = entries.last().unwrap().seq.offset() + 15;
    for anchor in (0..last).step_by(5).map(at) {
        for limit in [1, 2, entries.len()] {
            let page = |direction| Page { anchor: Some(anchor), direction, limit };
            let after = fixture.store.timeline(conversation, page(Direction::After)).await.unwrap();
            let newer = entries.iter().filter(|entry| entry.seq > anchor).take(limit);
            assert_eq!(after, newer.cloned().collect::<Vec<_>>(), "{limit} after {anchor:?}");
            let before = fixture.store.timeline(conversation, page(Direction::Before)).await.unwrap();
            let older = entries.iter().rev().filter(|entry| entry.seq < anchor).take(limit);
            assert_eq!(before, older.cloned().collect::<Vec<_>>(), "{limit} before {anchor:?}");
        }
    }
}

pub(super) async fn pages(fixture: Fixture) {
    let conversation = fixture.conversation();
    let entries = write_messages(&fixture, conversation, &(0..12).collect::<Vec<_>>()).await;
    // The rows of another conversation are never visible.
    write_messages(&fixture, fixture.conversation(), &[0, 1, 2]).await;
    expect_timeline(&*fixture.store, conversation, &entries).await;
    expect_every_anchor(&fixture, conversation, &entries).await;
    let none = Page { anchor: None, direction: Direction::Before, limit: 0 };
    assert_eq!(fixture.store.timeline(conversation, none).await.unwrap(), []);
}

pub(super) async fn pages_across_buckets(fixture: Fixture) {
    let conversation = fixture.conversation();
    let edge = BUCKET_SLOTS;
    // A full bucket edge, a bucket with one entry, and a bucket that begins late.
    let slots = [0, 1, edge - 2, edge - 1, edge, edge + 1, 2 * edge, 3 * edge - 1, 3 * edge, 4 * edge + 7];
    let entries = write_messages(&fixture, conversation, &slots).await;
    expect_timeline(&*fixture.store, conversation, &entries).await;
    expect_every_anchor(&fixture, conversation, &entries).await;
}

/// Edits whose entries are not written yet lie before, between and after the entries: pages are still full.
pub(super) async fn pages_behind_rows_in_part(fixture: Fixture) {
    let (conversation, edge) = (fixture.conversation(), BUCKET_SLOTS);
    let slots = [0, 1, 2, edge - 1, edge, edge + 1, 2 * edge];
    let entries = write_messages(&fixture, conversation, &slots).await;
    let edit = |(seq, slot): (u64, u64)| {
        let changed = at(500);
        stamped(
            changed,
            Row::Edit { seq: at(seq), slot, body: "early".into(), whole: false, changed, time_ms: NEW_YEAR_MS },
        )
    };
    let early =
        [(4, 0), (6, 0), (12, 1), (14, 1), (16, 1), (36, 3), (38, edge - 1), (54, edge), (56, edge), (58, edge)];
    fixture.write(conversation, early.into_iter().map(edit).collect()).await;
    expect_timeline(&*fixture.store, conversation, &entries).await;
    expect_every_anchor(&fixture, conversation, &entries).await;
}

pub(super) async fn empty(fixture: Fixture) {
    let conversation = fixture.conversation();
    for anchor in [None, Some(at(0)), Some(at(7))] {
        for direction in [Direction::Before, Direction::After] {
            let page = Page { anchor, direction, limit: 10 };
            assert_eq!(fixture.store.timeline(conversation, page).await.unwrap(), []);
        }
    }
    assert_eq!(fixture.store.entry(conversation, 0, at(1)).await.unwrap(), None);
    assert_eq!(fixture.store.heads(&[conversation, fixture.conversation()]).await.unwrap(), [None, None]);
    assert_eq!(fixture.store.heads(&[]).await.unwrap(), []);
}

pub(super) async fn every_kind(fixture: Fixture) {
    let conversation = fixture.conversation();
    let many: Vec<UserId> = (0..domain::limits::MEMBERS_PER_EVENT_MAX).map(|_| fixture.user()).collect();
    let long = "\u{1F600}".repeat(domain::limits::BODY_BYTES_MAX / 4);
    let contents = [
        Content::Created,
        Content::Joined(many.clone()),
        Content::Joined(vec![many[0]]),
        Content::Left(many[1]),
        Content::Title("a title".into()),
        Content::Title(String::new()),
        Content::Message { body: long.into(), reply_to: None, thread: None },
        Content::Message { body: "yes".into(), reply_to: Some(fixture.id().into()), thread: None },
        Content::Message { body: "\0 nul, \u{202e} and '".into(), reply_to: None, thread: None },
    ];
    let mut entries = Vec::new();
    for (slot, content) in (0..).zip(contents) {
        entries.push(Entry { content, ..fixture.message(at(slot + 1), slot, slot) });
    }
    let mut rows: Vec<_> = entries.iter().map(entry_row).collect();
    rows.push(stamped(at(1), Row::Bucket { bucket: 0, start: at(1) }));
    fixture.write(conversation, rows).await;
    expect_timeline(&*fixture.store, conversation, &entries).await;
}

pub(super) async fn edits_and_deletions(fixture: Fixture) {
    let conversation = fixture.conversation();
    let mut entries = write_messages(&fixture, conversation, &[0, 1, BUCKET_SLOTS]).await;
    let reply_to = Some(fixture.id().into());
    entries[0].content = Content::Message { body: "as sent".into(), reply_to, thread: None };
    let edit = |seq, slot, changed, body: &str| {
        let time_ms = NEW_YEAR_MS + changed;
        let changed = at(u64::try_from(changed).unwrap());
        stamped(changed, Row::Edit { seq: at(seq), slot, body: body.into(), whole: false, changed, time_ms })
    };
    let deletion = |seq, slot, changed, by| {
        stamped(at(changed), Row::Deletion { seq: at(seq), slot, changed: at(changed), by, whole: false, kept: false })
    };
    let admin = Some(fixture.user());
    let rows = vec![
        stamped(at(11), Row::Bucket { bucket: 0, start: at(11) }),
        edit(10, 0, 40, "edited"),
        edit(20, 1, 41, "edited, then deleted"),
        edit(20, 1, 42, "twice"),
        deletion(20, 1, 43, admin),
        deletion(30, BUCKET_SLOTS, 44, None),
    ];
    fixture.write(conversation, rows).await;
    fixture.write(conversation, vec![entry_row(&entries[0])]).await;
    let message = |body: &str, reply_to| Content::Message { body: body.into(), reply_to, thread: None };
    entries[0] = Entry {
        content: message("edited", reply_to),
        changed: at(40),
        edited_ms: Some(NEW_YEAR_MS + 40),
        ..entries[0].clone()
    };
    entries[1] = Entry {
        content: message("", None),
        changed: at(43),
        edited_ms: Some(NEW_YEAR_MS + 42),
        deleted: true,
        deleted_by: admin,
        ..entries[1].clone()
    };
    entries[2] = Entry { content: message("", None), changed: at(44), deleted: true, ..entries[2].clone() };
    for entry in &entries {
        assert_eq!(fixture.store.entry(conversation, entry.slot, entry.seq).await.unwrap().as_ref(), Some(entry));
    }
}

pub(super) async fn reactions(fixture: Fixture) {
    let conversation = fixture.conversation();
    let mut entries = write_messages(&fixture, conversation, &[0, 1, BUCKET_SLOTS - 1, BUCKET_SLOTS]).await;
    let mut users = [fixture.user(), fixture.user(), fixture.user()];
    users.sort();
    let react = |of: &Entry, user: usize, emoji: &str, changed| {
        let (message, slot, user) = (of.seq, of.slot, users[user]);
        let row = Row::Reaction(ReactionRow::Only { message, slot, user, emoji: emoji.into(), changed: at(changed) });
        stamped(at(changed), row)
    };
    let rows = vec![
        react(&entries[0], 2, "\u{1F44D}", 50),
        react(&entries[0], 0, "a", 51),
        react(&entries[0], 1, "b", 52),
        react(&entries[0], 1, "", 53),
        react(&entries[0], 0, "later", 60),
        react(&entries[0], 0, "replaced by later", 55),
        react(&entries[2], 1, "x", 61),
        react(&entries[3], 1, "", 62),
    ];
    fixture.write(conversation, rows).await;
    let edit = Row::Edit {
        seq: entries[2].seq,
        slot: entries[2].slot,
        body: "e".into(),
        whole: false,
        changed: at(70),
        time_ms: 5,
    };
    fixture.write(conversation, vec![stamped(at(70), edit)]).await;
    let reaction = |user: usize, emoji: &str| MessageReaction { user: users[user], emoji: emoji.into() };
    entries[0].reactions = vec![reaction(0, "later"), reaction(2, "\u{1F44D}")];
    entries[0].changed = at(60);
    entries[2].reactions = vec![reaction(1, "x")];
    entries[2].content = Content::Message { body: "e".into(), reply_to: None, thread: None };
    (entries[2].changed, entries[2].edited_ms) = (at(70), Some(5));
    entries[3].changed = at(62); // a removed reaction is a change, too
    expect_timeline(&*fixture.store, conversation, &entries).await;
    for entry in &entries {
        assert_eq!(fixture.store.entry(conversation, entry.slot, entry.seq).await.unwrap().as_ref(), Some(entry));
    }
}

/// Several reactions of one user, since version 3 of the rules; and what programs under older rules still write besides.
pub(super) async fn reactions_by_emoji(fixture: Fixture) {
    let conversation = fixture.conversation();
    let mut entries = write_messages(&fixture, conversation, &[0, 1, BUCKET_SLOTS - 1, BUCKET_SLOTS]).await;
    let mut users = [fixture.user(), fixture.user()];
    users.sort();
    let react = |of: &Entry, user: usize, emoji: &str, stands, changed| {
        let (message, slot, user, changed) = (of.seq, of.slot, users[user], at(changed));
        stamped(
            changed,
            Row::Reaction(ReactionRow::ByEmoji { message, slot, user, emoji: emoji.into(), stands, changed }),
        )
    };
    let only = |of: &Entry, user: usize, emoji: &str, changed| {
        let (message, slot, user, changed) = (of.seq, of.slot, users[user], at(changed));
        stamped(changed, Row::Reaction(ReactionRow::Only { message, slot, user, emoji: emoji.into(), changed }))
    };
    let rows = vec![
        react(&entries[0], 1, "b", true, 50),
        react(&entries[0], 1, "a", true, 51),
        react(&entries[0], 0, "b", true, 52),
        react(&entries[0], 0, "c", true, 53),
        react(&entries[0], 0, "c", false, 54),
        // An only reaction replaces what was there, and what comes later stands beside it.
        react(&entries[1], 0, "gone", true, 60),
        only(&entries[1], 0, "only", 61),
        react(&entries[1], 0, "beside", true, 62),
        // One that was taken back by its emoji is gone; the same emoji is not shown twice.
        only(&entries[2], 0, "x", 70),
        react(&entries[2], 0, "x", false, 71),
        only(&entries[2], 1, "y", 72),
        react(&entries[2], 1, "y", true, 73),
        // So is all of them, by an only reaction that is none.
        react(&entries[3], 1, "z", true, 80),
        only(&entries[3], 1, "", 81),
    ];
    fixture.write(conversation, rows).await;
    let reaction = |user: usize, emoji: &str| MessageReaction { user: users[user], emoji: emoji.into() };
    entries[0].reactions = vec![reaction(0, "b"), reaction(1, "a"), reaction(1, "b")];
    entries[1].reactions = vec![reaction(0, "beside"), reaction(0, "only")];
    entries[2].reactions = vec![reaction(1, "y")];
    for (entry, changed) in entries.iter_mut().zip([54, 62, 73, 81]) {
        entry.changed = at(changed);
    }
    expect_timeline(&*fixture.store, conversation, &entries).await;
    for entry in &entries {
        assert_eq!(fixture.store.entry(conversation, entry.slot, entry.seq).await.unwrap().as_ref(), Some(entry));
    }
}

/// Issue 10, item 1: an entry is bounded, however many have reacted to it.
pub(super) async fn more_reactions_than_an_entry_shows(fixture: Fixture) {
    let conversation = fixture.conversation();
    let mut entries = write_messages(&fixture, conversation, &[0, 1]).await;
    let mut users: Vec<_> = (0..=REACTIONS_SHOWN_MAX).map(|_| fixture.user()).collect();
    users.sort_unstable();
    let (message, slot) = (entries[0].seq, entries[0].slot);
    let react = |(user, changed): (&domain::UserId, u64)| {
        let row =
            Row::Reaction(ReactionRow::Only { message, slot, user: *user, emoji: "x".into(), changed: at(changed) });
        stamped(at(changed), row)
    };
    fixture.write(conversation, users.iter().zip(100..).map(react).collect()).await;
    let shown = &users[..REACTIONS_SHOWN_MAX];
    entries[0].reactions = shown.iter().map(|user| MessageReaction { user: *user, emoji: "x".into() }).collect();
    entries[0].changed = at(100 + REACTIONS_SHOWN_MAX as u64);
    expect_timeline(&*fixture.store, conversation, &entries).await;
}

/// The rows of messages in the wrong order: heads, then ids, then entries.
fn backwards(messages: &[Entry]) -> Vec<Stamped> {
    let (mut heads, mut ids, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for entry in messages {
        let (seq, slot) = (entry.seq, entry.slot);
        heads.push(stamped(seq, Row::LastMessage { seq, slot }));
        heads.push(stamped(seq, Row::Head { seq, time_ms: 0, slot: slot + 1, ordinal: entry.ordinal }));
        let row = id_row(entry.author, seq, Stands::Message { slot });
        ids.push(stamped(seq, Row::Id { id: entry.id, row }));
        entries.push(entry_row(entry));
        if slot == 0 {
            entries.push(stamped(seq, Row::Bucket { bucket: 0, start: seq }));
        }
    }
    [heads, ids, entries].concat()
}

pub(super) async fn what_a_head_names_is_there(fixture: Fixture) {
    let conversation = fixture.conversation();
    let (store, reader) = (fixture.store.clone(), fixture.subject.open().await.unwrap());
    let messages: Vec<Entry> = (1..2_000).map(|seq| fixture.message(at(seq), seq - 1, seq)).collect();
    let written = messages.clone();
    let writing = tokio::spawn(async move {
        // One by one at first, then more than an engine may write at once.
        let (single, large) = written.split_at(100);
        for messages in single.chunks(1).chain([large]) {
            store.write(cells(conversation, backwards(messages))).await.unwrap();
        }
    });
    // A task of its own, so that the two alternate on one thread.
    let reading = tokio::spawn(async move {
        let mut seen = 0;
        while seen < messages.len() {
            give_way().await;
            let head = reader.heads(&[conversation]).await.unwrap()[0];
            let Some(message) = head.and_then(|head| head.last_message) else { continue };
            seen = usize::try_from(message.slot + 1).unwrap();
            for expected in [&messages[seen - 1], fixture.one_of(&messages[..seen])] {
                let row = reader.id(conversation, expected.id, message.seq).await.unwrap();
                assert_eq!(row.map(|row| row.seq), Some(expected.seq), "ids are written before heads");
                let entry = reader.entry(conversation, expected.slot, expected.seq).await.unwrap();
                assert_eq!(entry.as_ref(), Some(expected), "rows are written before ids");
            }
        }
    });
    writing.await.unwrap();
    reading.await.unwrap();
}

/// Yields only to the tasks that are queued: `yield_now` waits until the runtime has nothing else to do.
async fn give_way() {
    let mut given = false;
    let wait = |context: &mut std::task::Context<'_>| {
        if std::mem::replace(&mut given, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    };
    std::future::poll_fn(wait).await;
}
