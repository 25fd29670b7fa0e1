//! State and facts as of a seq in the log: rows after that seq are never visible.

use std::collections::BTreeMap;

use domain::{CommandId, ConversationKind, ConversationState, IdRow, Membership, Role, Settings, Stands};

use crate::conformance::fixture::{Fixture, NEW_YEAR_MS, at, entry_row, id_row, member, stamped};
use crate::{ReactionRow, Row};

const WEEK_MS: i64 = 7 * 86_400_000;

pub(super) async fn members(fixture: Fixture) {
    let conversation = fixture.conversation();
    let (ann, bob) = (fixture.user(), fixture.user());
    let rows = vec![
        member(ann, at(10), Some(Role::Owner)),
        member(bob, at(10), Some(Role::Member)),
        member(bob, at(20), Some(Role::Admin)),
        member(bob, at(30), None),
        member(bob, at(40), Some(Role::Member)),
        member(ann, at(50), None),
        member(bob, at(50), Some(Role::Owner)),
    ];
    fixture.write(conversation, rows).await;
    let owner = (ann, Membership { role: Role::Owner, since: at(10), changed: at(10) });
    let bob_as = |role, since, changed| (bob, Membership { role, since: at(since), changed: at(changed) });
    let expected: [(u64, Vec<_>); 10] = [
        (0, vec![]),
        (9, vec![]),
        (10, vec![owner, bob_as(Role::Member, 10, 10)]),
        (19, vec![owner, bob_as(Role::Member, 10, 10)]),
        (20, vec![owner, bob_as(Role::Admin, 10, 20)]),
        (30, vec![owner]),
        (39, vec![owner]),
        (40, vec![owner, bob_as(Role::Member, 40, 40)]),
        (50, vec![bob_as(Role::Owner, 40, 50)]),
        (1 << 41, vec![bob_as(Role::Owner, 40, 50)]),
    ];
    for (as_of, members) in expected {
        let state = fixture.store.conversation(conversation, at(as_of)).await.unwrap();
        assert_eq!(state.members, BTreeMap::from_iter(members), "as of {as_of}");
    }
}

pub(super) async fn settings(fixture: Fixture) {
    let conversation = fixture.conversation();
    let titled = |title: &str| Settings { kind: ConversationKind::Group, title: title.into() };
    let version = |seq, title: &str| stamped(at(seq), Row::Settings { seq: at(seq), settings: titled(title) });
    fixture.write(conversation, vec![version(10, ""), version(25, "later"), version(20, "first")]).await;
    for (as_of, title) in [(9, None), (10, Some("")), (19, Some("")), (20, Some("first")), (99, Some("later"))] {
        let state = fixture.store.conversation(conversation, at(as_of)).await.unwrap();
        assert_eq!(state.settings, title.map(titled), "as of {as_of}");
        assert_eq!(fixture.store.settings(conversation, at(as_of)).await.unwrap(), state.settings, "as of {as_of}");
    }
    let other = fixture.store.conversation(fixture.conversation(), at(99)).await.unwrap();
    assert_eq!(other, ConversationState::default(), "one that does not exist");
}

pub(super) async fn counters(fixture: Fixture) {
    let conversation = fixture.conversation();
    // Every second entry is a message; the slots lie on both sides of each bucket's edge, and some buckets have
    // one entry.
    let slots = [0, 1, 16_382, 16_383, 16_384, 16_385, 32_767, 32_768, 49_151, 49_152, 65_536];
    let mut starts = BTreeMap::new();
    let mut rows = Vec::new();
    for (number, slot) in (1_u64..).zip(slots) {
        let seq = at(number * 10);
        rows.push(entry_row(&fixture.message(seq, slot, number / 2)));
        starts.entry(crate::bucket_of(slot)).or_insert(seq);
    }
    let bucket = |(bucket, start)| stamped(start, Row::Bucket { bucket, start });
    rows.extend(starts.into_iter().map(bucket));
    fixture.write(conversation, rows).await;
    for as_of in 0..125 {
        let state = fixture.store.conversation(conversation, at(as_of)).await.unwrap();
        let last = usize::try_from(as_of / 10).unwrap().min(slots.len());
        let slot = if last == 0 { 0 } else { slots[last - 1] + 1 };
        assert_eq!((state.slot, state.ordinal), (slot, last as u64 / 2), "as of {as_of}");
    }
}

pub(super) async fn ids(fixture: Fixture) {
    let (conversation, author) = (fixture.conversation(), fixture.user());
    let (message, command, withdrawn) = (fixture.id(), fixture.id(), fixture.id());
    let message_row = id_row(author, at(10), Stands::Message { slot: 70_000 });
    let command_row = id_row(author, at(11), Stands::Command);
    let withdrawn_row = id_row(author, at(12), Stands::Withdrawal);
    let rows = vec![
        stamped(at(10), Row::Id { id: message, row: message_row }),
        stamped(at(11), Row::Id { id: command, row: command_row }),
        stamped(at(12), Row::Id { id: withdrawn, row: withdrawn_row }),
        stamped(at(20), Row::IdDeleted { id: message, deleted: at(20) }),
    ];
    fixture.write(conversation, rows).await;
    let expected = [
        (message, 9, None),
        (message, 10, Some(message_row)),
        (message, 19, Some(message_row)),
        (message, 20, Some(IdRow { deleted: Some(at(20)), ..message_row })),
        (message, 99, Some(IdRow { deleted: Some(at(20)), ..message_row })),
        (command, 10, None),
        (command, 11, Some(command_row)),
        (withdrawn, 12, Some(withdrawn_row)),
        (fixture.id(), 99, None),
    ];
    for (id, as_of, row) in expected {
        assert_eq!(fixture.store.id(conversation, id, at(as_of)).await.unwrap(), row, "as of {as_of}");
    }
    assert_eq!(fixture.store.id(fixture.conversation(), message, at(99)).await.unwrap(), None, "another's id");
}

pub(super) async fn ids_from(fixture: Fixture) {
    let (conversation, author) = (fixture.conversation(), fixture.user());
    let edge = CommandId::week_of(NEW_YEAR_MS) * WEEK_MS;
    assert_eq!(fixture.store.ids_from(conversation, 0, at(99)).await.unwrap(), []);
    // Stamps around the edges of three weeks, two of them in one millisecond; the order of seqs differs from that
    // of stamps.
    let stamps = [edge - 2, edge - 1, edge, edge, edge + 1, edge + WEEK_MS - 1, edge + WEEK_MS, edge + 2 * WEEK_MS];
    let mut ids = BTreeMap::new();
    let mut rows = Vec::new();
    for (number, stamp_ms) in (0_u64..).zip(stamps) {
        let (id, seq) = (fixture.id_at(stamp_ms), at(10 + number * 7 % 8));
        let row = id_row(author, seq, Stands::Command);
        ids.insert(id, row);
        rows.push(stamped(seq, Row::Id { id, row }));
    }
    let newest = |stamp_ms| stamped(at(1), Row::NewestStamp { stamp_ms });
    fixture.write(conversation, rows).await;
    assert_eq!(fixture.store.ids_from(conversation, 0, at(99)).await.unwrap(), [], "no newest stamp: no id counts");
    for newest_ms in [edge, edge + WEEK_MS - 1, edge + 2 * WEEK_MS] {
        fixture.write(conversation, vec![newest(newest_ms), newest(edge)]).await;
        for from_ms in [edge - WEEK_MS, edge - 1, edge, edge + 1, edge + WEEK_MS, edge + 3 * WEEK_MS] {
            for as_of in [9, 13, 99] {
                let mut read = fixture.store.ids_from(conversation, from_ms, at(as_of)).await.unwrap();
                read.sort_by_key(|(id, _)| *id);
                let inside = |(id, row): &(CommandId, IdRow)| {
                    (from_ms..=newest_ms).contains(&id.stamp_ms()) && row.seq <= at(as_of)
                };
                let expected: Vec<_> = ids.clone().into_iter().filter(inside).collect();
                assert_eq!(read, expected, "from {from_ms} to {newest_ms} as of {as_of}");
            }
        }
    }
}

pub(super) async fn emojis(fixture: Fixture) {
    let conversation = fixture.conversation();
    let emoji = |message, slot, emoji: &str, first| {
        let row =
            Row::Reaction(ReactionRow::NewEmoji { message: at(message), slot, emoji: emoji.into(), first: at(first) });
        stamped(at(first), row)
    };
    let rows = vec![
        emoji(10, 0, "b", 20),
        emoji(10, 0, "a", 21),
        emoji(11, 1, "c", 22),
        emoji(12, crate::BUCKET_SLOTS, "d", 23),
    ];
    fixture.write(conversation, rows).await;
    let store = &fixture.store;
    let expected: [(u64, u64, u64, &[&str]); 8] = [
        (10, 0, 19, &[]),
        (10, 0, 20, &["b"]),
        (10, 0, 21, &["a", "b"]),
        (10, 0, 99, &["a", "b"]),
        (11, 1, 99, &["c"]),
        (12, crate::BUCKET_SLOTS, 22, &[]),
        (12, crate::BUCKET_SLOTS, 23, &["d"]),
        (13, 2, 99, &[]),
    ];
    for (message, slot, as_of, emojis) in expected {
        assert_eq!(store.emojis(conversation, slot, at(message), at(as_of)).await.unwrap(), emojis, "as of {as_of}");
    }
}
