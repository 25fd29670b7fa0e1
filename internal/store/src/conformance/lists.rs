//! The parts of a user's lists: own rows, heads, read marks and membership versions.

use domain::Role;

use crate::conformance::fixture::{self, Fixture, at, member, stamped};
use crate::{Head, LastMessage, Mark, Row, UserConversation};

/// The conversations of a user with many: more than any engine reads at once.
const LISTED: usize = 2005;

pub(super) async fn user_conversations(fixture: Fixture) {
    let (user, other) = (fixture.user(), fixture.user());
    let mut conversations = [fixture.conversation(), fixture.conversation(), fixture.conversation()];
    conversations.sort();
    let [staying, left, back] = conversations;
    let joined = |seq, role, ordinal| stamped(at(seq), Row::Joined { user, role, seq: at(seq), ordinal });
    let role = |seq, role| stamped(at(seq), Row::UserRole { user, role, seq: at(seq) });
    fixture.write(staying, vec![joined(5, Role::Member, 3), role(9, Some(Role::Admin))]).await;
    fixture.write(left, vec![role(8, None), joined(6, Role::Owner, 0)]).await;
    fixture.write(back, vec![joined(7, Role::Member, 1), role(10, None), joined(20, Role::Admin, 12)]).await;
    fixture
        .write(back, vec![stamped(at(7), Row::Joined { user: other, role: Role::Owner, seq: at(7), ordinal: 0 })])
        .await;
    let row = |conversation, role, changed, joined, joined_ordinal| UserConversation {
        conversation,
        role,
        changed: at(changed),
        joined: at(joined),
        joined_ordinal,
    };
    let rows =
        [row(staying, Some(Role::Admin), 9, 5, 3), row(left, None, 8, 6, 0), row(back, Some(Role::Admin), 20, 20, 12)];
    assert_eq!(fixture.store.conversations_of(user, None, 10).await.unwrap(), rows);
    for row in rows {
        assert_eq!(fixture.store.user_conversation(user, row.conversation).await.unwrap(), Some(row));
    }
    assert_eq!(fixture.store.user_conversation(other, staying).await.unwrap(), None);
    assert_eq!(fixture.store.conversations_of(fixture.user(), None, 10).await.unwrap(), []);
}

pub(super) async fn lists_are_read_in_pages(fixture: Fixture) {
    let user = fixture.user();
    let joined = Row::Joined { user, role: Role::Member, seq: at(1), ordinal: 0 };
    let left = Row::UserRole { user, role: None, seq: at(2) };
    let mut conversations: Vec<_> = (0..LISTED).map(|_| fixture.conversation()).collect();
    let write = |conversation: &_| joined.clone().write(*conversation, at(1));
    let mut rows: Vec<_> = conversations.iter().map(write).collect();
    // One conversation only has its leaving yet: it is not listed, and the page is still full.
    rows.push(left.write(fixture.conversation(), at(2)));
    fixture.store.write(rows).await.unwrap();
    conversations.sort_unstable();
    for limit in [LISTED / 3, LISTED / 2 + 1, LISTED, LISTED + 1] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = fixture.store.conversations_of(user, after, limit).await.unwrap();
            listed.extend(page.iter().map(|row| row.conversation));
            if page.len() < limit {
                break;
            }
            assert_eq!(page.len(), limit);
            after = listed.last().copied();
        }
        assert!(listed == conversations, "in pages of {limit}: {} of {LISTED}", listed.len());
    }
    assert_eq!(fixture.store.conversations_of(user, None, 0).await.unwrap(), []);
    let last = conversations.last().copied();
    assert_eq!(fixture.store.conversations_of(user, last, 1).await.unwrap(), []);
    assert_eq!(fixture.store.marks(user, &conversations).await.unwrap(), vec![None; LISTED]);
}

pub(super) async fn heads(fixture: Fixture) {
    let (one, two, none) = (fixture.conversation(), fixture.conversation(), fixture.conversation());
    let head = |seq, slot, ordinal| stamped(at(seq), Row::Head { seq: at(seq), time_ms: -5, slot, ordinal });
    let message = |seq, slot| stamped(at(seq), Row::LastMessage { seq: at(seq), slot });
    fixture.write(one, vec![head(4, 1, 0)]).await;
    fixture.write(two, vec![head(9, 70_000, 44), message(8, 69_999), head(7, 3, 3), message(3, 3)]).await;
    let first = Head { seq: at(4), time_ms: -5, slot: 1, ordinal: 0, last_message: None };
    let last_message = Some(LastMessage { seq: at(8), slot: 69_999 });
    let second = Head { seq: at(9), time_ms: -5, slot: 70_000, ordinal: 44, last_message };
    let read = fixture.store.heads(&[two, none, one, two]).await.unwrap();
    assert_eq!(read, [Some(second), None, Some(first), Some(second)]);
}

pub(super) async fn marks(fixture: Fixture) {
    let user = fixture.user();
    let mut conversations = [fixture.conversation(), fixture.conversation()];
    conversations.sort();
    let mark = |seq, ordinal| Mark { seq: at(seq), ordinal };
    let write = fixture::mark;
    let asked = [conversations[1], fixture.conversation(), conversations[0], conversations[1]];
    assert_eq!(fixture.store.marks(user, &asked).await.unwrap(), [None; 4]);
    assert_eq!(fixture.store.marks(user, &[]).await.unwrap(), []);
    fixture.store.write(write(user, conversations[1], mark(3, 1))).await.unwrap();
    fixture.store.write(write(user, conversations[0], mark(9, 4))).await.unwrap();
    fixture.store.write(write(user, conversations[0], mark(5, 2))).await.unwrap();
    fixture.store.write(write(user, conversations[0], mark(9, 4))).await.unwrap();
    fixture.store.write(write(fixture.user(), conversations[0], mark(90, 40))).await.unwrap();
    let expected = [Some(mark(3, 1)), None, Some(mark(9, 4)), Some(mark(3, 1))];
    assert_eq!(fixture.store.marks(user, &asked).await.unwrap(), expected);
    fixture.store.write(write(user, conversations[0], mark(10, 4))).await.unwrap();
    assert_eq!(fixture.store.marks(user, &conversations[..1]).await.unwrap(), [Some(mark(10, 4))]);
}

pub(super) async fn memberships(fixture: Fixture) {
    let conversation = fixture.conversation();
    let (user, other) = (fixture.user(), fixture.user());
    let rows = vec![
        member(user, at(30), Some(Role::Owner)),
        member(user, at(20), None),
        member(other, at(15), Some(Role::Owner)),
        member(user, at(10), Some(Role::Member)),
    ];
    fixture.write(conversation, rows).await;
    let expected = [(at(10), Some(Role::Member)), (at(20), None), (at(30), Some(Role::Owner))];
    assert_eq!(fixture.store.memberships(conversation, user).await.unwrap(), expected);
    assert_eq!(fixture.store.memberships(conversation, fixture.user()).await.unwrap(), []);
}

pub(super) async fn members_are_read_in_pages(fixture: Fixture) {
    let conversation = fixture.conversation();
    let mut users: Vec<_> = (0..6).map(|_| fixture.user()).collect();
    users.sort_unstable();
    // One member has left, one has rejoined, one has changed roles often, and one joins later.
    let role = |number: u64| Some(if number.is_multiple_of(2) { Role::Admin } else { Role::Member });
    let mut versions: Vec<_> = users[..5].iter().map(|user| member(*user, at(1), Some(Role::Member))).collect();
    versions.extend((2..9).map(|number| member(users[1], at(number), role(number))));
    versions.extend([member(users[2], at(9), None), member(users[3], at(10), None)]);
    versions.extend([member(users[3], at(11), Some(Role::Owner)), member(users[5], at(20), Some(Role::Member))]);
    fixture.write(conversation, versions).await;
    for as_of in [0, 1, 8, 9, 10, 11, 20].map(at) {
        let whole = fixture.store.conversation(conversation, as_of).await.unwrap().members;
        let whole: Vec<_> = whole.into_iter().collect();
        for limit in 1..8 {
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = fixture.store.members(conversation, as_of, after, limit).await.unwrap();
                let more = page.len() == limit;
                paged.extend(page);
                after = paged.last().map(|(user, _)| *user);
                if !more {
                    break;
                }
            }
            assert_eq!(paged, whole, "as of {as_of:?} in pages of {limit}");
        }
    }
    assert_eq!(fixture.store.members(conversation, at(20), None, 0).await.unwrap(), []);
    assert_eq!(fixture.store.members(fixture.conversation(), at(20), None, 5).await.unwrap(), []);
}
