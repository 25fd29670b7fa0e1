//! Whole conversations that are generated with the reducer, written and read back.

use std::collections::BTreeSet;

use domain::{CommandId, ConversationState, ID_CACHE_SPAN_MS, IdRow, Kind, Said, Seq};

use crate::conformance::fixture::{Fixture, at, expect_timeline};
use crate::conformance::generated::GeneratedConversation;
use crate::{Direction, MentionOfAll, Page, Store, ThreadMessage, load};

/// Writes the conversation as storage may: in order, split anywhere, with some writes repeated.
async fn write(fixture: &Fixture, generated: &GeneratedConversation) {
    let mut from = 0;
    while from < generated.steps.len() {
        let to = (from + 1 + fixture.below(9)).min(generated.steps.len());
        let again = from.saturating_sub(fixture.below(4));
        let writes = generated.steps[again..to].iter().flat_map(|step| step.writes.clone()).collect();
        fixture.store.write(writes).await.unwrap();
        from = to;
    }
}

fn as_of(row: &IdRow, seq: Seq) -> Option<IdRow> {
    let deleted = row.deleted.filter(|deleted| *deleted <= seq);
    (row.seq <= seq).then_some(IdRow { deleted, ..*row })
}

/// The cases only cover the kinds that occur in the generated conversations.
pub(super) async fn of_every_kind(fixture: Fixture) {
    let generated: BTreeSet<Kind> = (0..60).flat_map(|_| GeneratedConversation::new(&fixture, 80).kinds).collect();
    assert_eq!(generated, BTreeSet::from(Kind::ALL));
}

pub(super) async fn as_of_every_place(fixture: Fixture) {
    for _ in 0..4 {
        let generated = GeneratedConversation::new(&fixture, 50);
        write(&fixture, &generated).await;
        let (store, conversation) = (&*fixture.store, generated.conversation);
        let first = generated.steps[0].seq;
        assert_eq!(
            store.conversation(conversation, first.before().unwrap()).await.unwrap(),
            ConversationState::default()
        );
        for step in &generated.steps {
            let loaded = load(store, conversation, step.seq, step.append_time_ms).await.unwrap();
            assert_eq!(loaded.state, step.state, "as of {:?}", step.seq);
            let t0_ms = step.append_time_ms - ID_CACHE_SPAN_MS;
            let mut ids = store.ids_from(conversation, t0_ms, step.seq).await.unwrap();
            ids.sort_by_key(|(id, _)| *id);
            let known = generated.ids.iter().filter(|(id, _)| id.stamp_ms() >= t0_ms);
            let expected: Vec<(CommandId, IdRow)> =
                known.filter_map(|(id, row)| Some((*id, as_of(row, step.seq)?))).collect();
            assert_eq!(ids, expected, "as of {:?}", step.seq);
            let all: Vec<_> = generated.ids.iter().collect();
            for _ in 0..3 {
                let (id, row) = *fixture.one_of(&all);
                assert_eq!(store.id(conversation, *id, step.seq).await.unwrap(), as_of(row, step.seq));
            }
        }
    }
}

pub(super) async fn as_it_is_now(fixture: Fixture) {
    for _ in 0..4 {
        let generated = GeneratedConversation::new(&fixture, 80);
        write(&fixture, &generated).await;
        let (store, conversation) = (&*fixture.store, generated.conversation);
        let entries: Vec<_> = generated.entries.values().cloned().collect();
        expect_timeline(store, conversation, &entries).await;
        for entry in &entries {
            assert_eq!(store.entry(conversation, entry.slot, entry.seq).await.unwrap().as_ref(), Some(entry));
        }
        assert_eq!(store.entry(conversation, entries[0].slot, at(1 << 40)).await.unwrap(), None);
        assert_eq!(store.heads(&[conversation]).await.unwrap(), [generated.head]);
        let last = generated.steps.last().unwrap().seq;
        for _ in 0..20 {
            let [after, upto, by] = [(); 3].map(|()| fixture.one_of(&generated.steps).seq);
            let count =
                generated.gone.iter().filter(|(said, gone)| **said > after && **said <= upto && **gone <= by).count();
            assert_eq!(store.deleted(conversation, (after, upto), by, 100).await.unwrap(), count);
            assert_eq!(store.deleted(conversation, (after, upto), last, 0).await.unwrap(), 0);
        }
        assert_eq!(store.deleted(conversation, (at(0), last), last, 100).await.unwrap(), generated.gone.len());
        assert_eq!(store.deleted(conversation, (at(0), last), last, 1).await.unwrap(), generated.gone.len().min(1));
        let mut roots = Vec::new();
        for (root, messages) in &generated.threads {
            let place = (*root, generated.entries[root].slot);
            roots.insert(0, place);
            let (both, page) =
                ([Direction::Before, Direction::After], |anchor, direction| Page { anchor, direction, limit: 3 });
            for (direction, anchor) in both.into_iter().flat_map(|way| [(way, None), (way, Some(messages[0].seq))]) {
                let behind = |message: &ThreadMessage| match (direction, anchor) {
                    (_, None) => true,
                    (Direction::Before, Some(anchor)) => message.seq < anchor,
                    (Direction::After, Some(anchor)) => message.seq > anchor,
                };
                let mut expected: Vec<_> = messages.iter().copied().filter(behind).collect();
                if direction == Direction::Before {
                    expected.reverse();
                }
                expected.truncate(3);
                let read = store.thread(conversation, *root, page(anchor, direction), last).await.unwrap();
                assert_eq!(read, expected, "{direction:?} {anchor:?}");
            }
            for step in &generated.steps {
                let length = messages.iter().filter(|message| message.seq <= step.seq).count() as u64;
                assert_eq!(store.thread_length(conversation, *root, step.seq).await.unwrap(), length);
            }
        }
        assert_eq!(store.threads(conversation, None, 100).await.unwrap(), roots);
        if let [first, second, ..] = roots[..] {
            assert_eq!(store.threads(conversation, Some(first.0), 1).await.unwrap(), [second]);
        }
        expect_mentions(store, &generated).await;
        for ((author, id), refusal) in &generated.refusals {
            assert_eq!(store.refusal(conversation, *author, *id).await.unwrap(), Some(*refusal));
            assert_eq!(store.refusal(conversation, fixture.user(), *id).await.unwrap(), None);
        }
        for (user, row) in &generated.users {
            assert_eq!(store.sent(*user, &[conversation]).await.unwrap(), [generated.sent.get(user).copied()]);
            assert_eq!(store.inviters(*user, &[conversation]).await.unwrap(), [generated.inviters.get(user).copied()]);
            assert_eq!(store.user_conversation(*user, conversation).await.unwrap(), Some(*row));
            assert_eq!(store.conversations_of(*user, None, 10).await.unwrap(), [*row]);
            assert_eq!(store.memberships(conversation, *user).await.unwrap(), generated.versions[user]);
        }
    }
}

/// The messages that mention somebody, in pages both ways, and what each message had besides its text at every time.
async fn expect_mentions(store: &dyn Store, generated: &GeneratedConversation) {
    let (conversation, place) = (generated.conversation, |seq: &Seq| (*seq, generated.entries[seq].slot));
    let none = BTreeSet::new();
    for user in generated.users.keys() {
        let all: Vec<_> = generated.mentions.get(user).unwrap_or(&none).iter().map(place).collect();
        for (page, expected) in pages(&all, |(seq, _)| *seq) {
            assert_eq!(store.mentions(*user, conversation, page).await.unwrap(), expected, "{page:?}");
        }
    }
    let of_all = |seq: &Seq| MentionOfAll { seq: *seq, slot: place(seq).1, author: generated.entries[seq].author };
    let all: Vec<_> = generated.mentions_of_all.iter().map(of_all).collect();
    for (page, expected) in pages(&all, |mention| mention.seq) {
        assert_eq!(store.mentions_of_all(conversation, page).await.unwrap(), expected, "{page:?}");
    }
    for entry in generated.entries.values() {
        for step in &generated.steps {
            let versions = generated.extras.range((entry.seq, at(0))..=(entry.seq, step.seq));
            let edits = versions.clone().filter(|(_, (_, edit))| *edit).map(|((_, changed), _)| *changed).collect();
            let extras = versions.last().map(|(_, (extras, _))| extras.clone()).unwrap_or_default();
            let said = store.said(conversation, entry.slot, entry.seq, step.seq).await.unwrap();
            assert_eq!(said, Said { extras, edits });
        }
        let edits = generated.edits.get(&entry.seq).map(Vec::as_slice).unwrap_or_default();
        let read = async |after, limit| store.versions(conversation, entry.seq, after, limit).await.unwrap();
        assert_eq!(read(None, 100).await, edits);
        assert_eq!(read(None, 1).await, edits[..edits.len().min(1)]);
        if let [first, others @ ..] = edits {
            assert_eq!(read(Some(first.changed), 100).await, others);
        }
    }
}

/// Pages of what is there, in both directions, from either end and from the middle.
fn pages<T: Clone>(all: &[T], seq: impl Fn(&T) -> Seq) -> Vec<(Page, Vec<T>)> {
    let mut pages = Vec::new();
    for anchor in [None, all.get(all.len() / 2).map(&seq)] {
        for (direction, limit) in [(Direction::Before, 3), (Direction::After, 3), (Direction::After, 100)] {
            let mut some: Vec<T> = all.to_vec();
            some.retain(|one| match (direction, anchor) {
                (_, None) => true,
                (Direction::Before, Some(anchor)) => seq(one) < anchor,
                (Direction::After, Some(anchor)) => seq(one) > anchor,
            });
            if direction == Direction::Before {
                some.reverse();
            }
            some.truncate(limit);
            pages.push((Page { anchor, direction, limit }, some));
        }
    }
    pages
}
