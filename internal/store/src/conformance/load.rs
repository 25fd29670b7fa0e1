//! Large conversations, and many writers at once.

use domain::limits::{MEMBERS_MAX, MEMBERS_PER_EVENT_MAX};
use domain::{Membership, Role, UserId};

use crate::Row;
use crate::conformance::fixture::{Fixture, at, cells, entry_row, expect_timeline, member, stamped};

pub(super) async fn many_members(fixture: Fixture) {
    let conversation = fixture.conversation();
    let users: Vec<UserId> = (0..MEMBERS_MAX).map(|_| fixture.user()).collect();
    for (seq, joining) in (1..).map(at).zip(users.chunks(MEMBERS_PER_EVENT_MAX)) {
        let role = Role::Member;
        let joined = |user: &UserId| {
            let row = Row::Joined { user: *user, role, seq, ordinal: 0 };
            [member(*user, seq, Some(role)), stamped(seq, row)]
        };
        fixture.write(conversation, joining.iter().flat_map(joined).collect()).await;
    }
    let leaver = users[0];
    fixture.write(conversation, vec![member(leaver, at(100), None)]).await;
    let before = fixture.store.conversation(conversation, at(99)).await.unwrap();
    assert_eq!(before.members.len(), MEMBERS_MAX);
    assert_eq!(before.members[&leaver], Membership { role: Role::Member, since: at(1), changed: at(1) });
    let after = fixture.store.conversation(conversation, at(100)).await.unwrap();
    assert_eq!(after.members.len(), MEMBERS_MAX - 1);
    let versions = fixture.rows_of(conversation).await;
    assert_eq!(versions.len(), 2 * MEMBERS_MAX + 1, "every row is scanned, in however many pages");
    let first = fixture.store.conversation(conversation, at(1)).await.unwrap();
    assert!(first.members.keys().eq(std::collections::BTreeSet::from_iter(&users[..MEMBERS_PER_EVENT_MAX])));
}

pub(super) async fn many_writers(fixture: Fixture) {
    let conversations: Vec<_> = (0..8).map(|_| fixture.conversation()).collect();
    let mut timelines = Vec::new();
    let mut writers = Vec::new();
    for (number, conversation) in (0..).zip(&conversations) {
        // Eight partitions with very different offsets.
        let entry = |slot| fixture.message(at(1 + slot + number * 1_000_000), slot, slot + 1);
        let entries: Vec<_> = (0..60).map(entry).collect();
        let (store, conversation, written) = (fixture.store.clone(), *conversation, entries.clone());
        timelines.push(entries);
        writers.push(tokio::spawn(async move {
            for chunk in written.chunks(7) {
                let mut rows: Vec<_> = chunk.iter().map(entry_row).collect();
                let start = written[0].seq;
                rows.push(stamped(start, Row::Bucket { bucket: 0, start }));
                store.write(cells(conversation, rows)).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for (conversation, entries) in conversations.iter().zip(&timelines) {
        expect_timeline(&*fixture.store, *conversation, entries).await;
    }
}
