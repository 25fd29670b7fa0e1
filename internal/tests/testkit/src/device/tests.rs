//! How a device merges frames and rows that arrive in different orders.

use domain::{CommandId, ConversationId, Cursor, Fingerprint, Seq, UserId};
use protocol::{EntryBody, FeedFrame, FeedKind, ReactionBody, Received};
use tokio::time::Instant;

use super::Memory;

fn user(number: u128) -> UserId {
    UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
}

fn seq(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

fn conversation() -> ConversationId {
    ConversationId::group(user(1), CommandId::first_at(1))
}

fn hear(memory: &mut Memory, offset: u64, author: u128, what: FeedKind) {
    let id = CommandId::first_at(i64::try_from(offset).unwrap());
    let (conversation, author) = (conversation(), user(author));
    let frame = FeedFrame::Event { conversation, seq: seq(offset), id, author, time: 1, ordinal: Some(1), what };
    let cursor = Cursor { generation: 0, partition: 0, next: offset + 1, fingerprint: Fingerprint(1) };
    memory.receive(&Received { cursor, frame }.into(), Instant::now());
}

fn reacted(target: u64, emoji: &str) -> FeedKind {
    FeedKind::Reacted { target: CommandId::first_at(i64::try_from(target).unwrap()), emoji: Some(emoji.into()) }
}

/// A member who is removed at seq 5 and added again at 7; somebody reacts at 6.
fn away_and_back() -> Memory {
    let mut memory = Memory::new(user(2));
    hear(&mut memory, 4, 1, FeedKind::message("hello".into(), None));
    hear(&mut memory, 5, 1, FeedKind::Left { user: user(2), owner: None });
    hear(&mut memory, 7, 1, FeedKind::Joined { members: vec![user(2)] });
    assert!(memory.kept.rereads.contains_key(&conversation()));
    memory
}

fn message(memory: &Memory) -> EntryBody {
    memory.kept.rooms[&conversation()].entries[&seq(4)].clone()
}

fn row(memory: &Memory, changed: u64, reactions: &[(u128, &str)]) -> EntryBody {
    let reaction = |(by, emoji): &(u128, &str)| ReactionBody { user: user(*by), emoji: (*emoji).to_owned() };
    EntryBody { changed: seq(changed), reactions: reactions.iter().map(reaction).collect(), ..message(memory) }
}

fn reactions(memory: &Memory) -> Vec<(UserId, String)> {
    message(memory).reactions.into_iter().map(|reaction| (reaction.user, reaction.emoji)).collect()
}

#[tokio::test]
async fn what_happened_during_an_absence_shows_although_a_frame_comes_before_the_rows() {
    for (changed, read) in [(6, &[(3, "a")][..]), (8, &[(3, "a"), (4, "b")][..])] {
        let mut memory = away_and_back();
        let rows = vec![row(&memory, changed, read)];
        hear(&mut memory, 8, 4, reacted(4, "b"));
        memory.reread(conversation(), seq(7), rows);
        assert_eq!(reactions(&memory), [(user(3), "a".into()), (user(4), "b".into())], "row as of {changed}");
        assert!(memory.kept.rereads.is_empty());
    }
}

#[tokio::test]
async fn who_is_removed_again_before_the_rows_come_keeps_what_was_known() {
    let mut memory = away_and_back();
    hear(&mut memory, 8, 1, FeedKind::Left { user: user(2), owner: None });
    let rows = vec![EntryBody { body: None, withheld: true, ..row(&memory, 4, &[]) }];
    memory.reread(conversation(), seq(7), rows);
    let shown = message(&memory);
    assert_eq!((&shown.body, shown.withheld), (&Some("hello".into()), true));
    assert!(!memory.kept.rooms[&conversation()].is_member());
}

#[tokio::test]
async fn a_second_joining_before_the_rows_come_is_read_again() {
    let mut memory = away_and_back();
    hear(&mut memory, 8, 1, FeedKind::Left { user: user(2), owner: None });
    hear(&mut memory, 10, 1, FeedKind::Joined { members: vec![user(2)] });
    hear(&mut memory, 11, 4, reacted(4, "b"));
    let rows = vec![row(&memory, 6, &[(3, "a")])];
    memory.reread(conversation(), seq(7), rows);
    assert_eq!(memory.kept.rereads.get(&conversation()), Some(&seq(10)));
    let rows = vec![row(&memory, 9, &[(3, "a"), (5, "c")])];
    memory.reread(conversation(), seq(10), rows);
    let expected = [(user(3), "a".into()), (user(4), "b".into()), (user(5), "c".into())];
    assert_eq!(reactions(&memory), expected);
    assert!(memory.kept.rooms[&conversation()].is_member() && memory.kept.rereads.is_empty());
}
