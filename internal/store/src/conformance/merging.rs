//! Timestamps decide each cell, in whatever order the writes come.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Content, ConversationId, ConversationKind, CustomContent, Mentions, MessageBody, Pin, Quote, Refusal, Reply, Role,
    Seq, Settings, Stands, ThreadPlace, UserId,
};

use crate::canonical::Part;
use crate::conformance::fixture::{Fixture, at, entry_row, id_row, stamped};
use crate::conformance::generated::GeneratedConversation;
use crate::tables::{self, Column, Table};
use crate::{
    CELL_SETS, CellWrites, Direction, Entry, ExtrasRow, Mark, Page, ReactionRow, Row, ThreadRow, Value, canonical,
};

/// Cells by name, each with its timestamp and value: compared in that order, as in CQL.
type Cells = BTreeMap<&'static str, (i64, Vec<u8>)>;

/// A model of what a store must hold, as simple as possible.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(&'static str, Vec<Vec<u8>>), Cells>,
}

impl Model {
    fn write(&mut self, write: &CellWrites) {
        let key = write.key().map(|(_, value)| value.to_vec()).collect();
        let row = self.rows.entry((write.table().name, key)).or_default();
        for (_, column, value) in write.cells() {
            let cell = (write.timestamp, value.to_vec());
            let old = row.entry(column.name).or_insert_with(|| cell.clone());
            *old = old.clone().max(cell);
        }
    }

    /// The canonical bytes of all rows, sorted.
    fn rows(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|((name, key), cells)| {
                let table: &Table = crate::tables::named(name).unwrap();
                let keys = table.key().zip(key).map(|(column, value)| (column.name, canonical::Part::Key(value)));
                let cells = cells
                    .iter()
                    .map(|(name, (timestamp, value))| (*name, canonical::Part::Cell { value, timestamp: *timestamp }));
                (*name, canonical::encode(&keys.chain(cells).collect::<Vec<_>>()))
            })
            .collect();
        rows.sort();
        rows
    }
}

async fn only_entry(fixture: &Fixture, conversation: ConversationId) -> Entry {
    let page = Page { anchor: None, direction: Direction::After, limit: 9 };
    let mut entries = fixture.store.timeline(conversation, page).await.unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

pub(super) async fn higher_timestamp_wins(fixture: Fixture) {
    let conversation = fixture.conversation();
    let message = fixture.message(at(5), 0, 1);
    fixture.write(conversation, vec![entry_row(&message)]).await;
    let edit = |changed, body: &str| {
        let row = Row::Edit { seq: at(5), slot: 0, body: body.into(), whole: false, changed: at(changed), time_ms: 77 };
        stamped(at(changed), row)
    };
    fixture.write(conversation, vec![edit(9, "nine")]).await;
    fixture.write(conversation, vec![edit(7, "seven")]).await;
    let read = only_entry(&fixture, conversation).await;
    assert_eq!(read.content, Content::Message { body: "nine".into(), reply_to: None, thread: None });
    assert_eq!((read.changed, read.edited_ms), (at(9), Some(77)));
    // The other cells are still those of the first write.
    assert_eq!((read.author, read.time_ms, read.id), (message.author, message.time_ms, message.id));
}

pub(super) async fn larger_bytes_win_a_tie(fixture: Fixture) {
    let user = fixture.user();
    // The length only counts when one value is a prefix of the other; numbers compare by their bytes.
    for titles in [["a", "b"], ["b", "ab"], ["ab", "a"], ["", "a"]] {
        let settings = |title: &str| {
            let settings = Settings { kind: ConversationKind::Group, title: title.into() };
            stamped(at(3), Row::Settings { seq: at(3), settings })
        };
        for order in [[0, 1], [1, 0]] {
            let conversation = fixture.conversation();
            for which in order {
                fixture.write(conversation, vec![settings(titles[which])]).await;
            }
            // Also within one write.
            fixture.write(conversation, order.iter().map(|which| settings(titles[*which])).collect()).await;
            let state = fixture.store.conversation(conversation, at(3)).await.unwrap();
            assert_eq!(state.settings.unwrap().title.as_str(), *titles.iter().max().unwrap());
        }
    }
    let conversation = fixture.conversation();
    let joined = |ordinal| stamped(at(4), Row::Joined { user, role: Role::Member, seq: at(4), ordinal });
    fixture.write(conversation, vec![joined(256), joined(255)]).await;
    let row = fixture.store.user_conversation(user, conversation).await.unwrap().unwrap();
    assert_eq!(row.joined_ordinal, 256);
}

pub(super) async fn late_older_write_never_wins(fixture: Fixture) {
    let (conversation, user) = (fixture.conversation(), fixture.user());
    let message = fixture.message(at(10), 0, 1);
    let id = message.id;
    let deletion = vec![
        stamped(at(20), Row::Deletion { seq: at(10), slot: 0, changed: at(20), by: None, whole: false, kept: false }),
        stamped(at(20), Row::IdDeleted { id, deleted: at(20) }),
        stamped(at(20), Row::Head { seq: at(20), time_ms: 2, slot: 1, ordinal: 1 }),
        stamped(at(20), Row::UserRole { user, role: None, seq: at(20) }),
    ];
    let older = vec![
        entry_row(&message),
        stamped(
            at(15),
            Row::Edit { seq: at(10), slot: 0, body: "late".into(), whole: false, changed: at(15), time_ms: 1 },
        ),
        stamped(at(10), Row::Id { id, row: id_row(user, at(10), Stands::Message { slot: 0 }) }),
        stamped(at(15), Row::Head { seq: at(15), time_ms: 1, slot: 1, ordinal: 1 }),
        stamped(at(10), Row::Joined { user, role: Role::Owner, seq: at(10), ordinal: 0 }),
    ];
    fixture.write(conversation, deletion).await;
    fixture.write(conversation, older).await;
    let read = only_entry(&fixture, conversation).await;
    assert_eq!(read.content, Content::Message { body: "".into(), reply_to: None, thread: None }, "a deletion stays");
    assert!(read.deleted && read.changed == at(20));
    assert_eq!(read.edited_ms, Some(1), "a cell that nobody wrote later");
    assert_eq!(fixture.store.id(conversation, id, at(30)).await.unwrap().unwrap().deleted, Some(at(20)));
    assert_eq!(fixture.store.heads(&[conversation]).await.unwrap()[0].unwrap().seq, at(20));
    let row = fixture.store.user_conversation(user, conversation).await.unwrap().unwrap();
    assert_eq!((row.role, row.changed, row.joined), (None, at(20), at(10)));
}

pub(super) async fn any_order_is_the_same(fixture: Fixture) {
    let mut expected = Vec::new();
    for _ in 0..6 {
        let generated = GeneratedConversation::new(&fixture, 60);
        let mut model = Model::default();
        let mut writes: Vec<CellWrites> = generated.steps.iter().flat_map(|step| step.writes.clone()).collect();
        writes.iter().for_each(|write| model.write(write));
        // In any order, and a third of them repeated.
        for _ in 0..writes.len() / 3 {
            writes.push(fixture.one_of(&writes).clone());
        }
        fixture.shuffle(&mut writes);
        while !writes.is_empty() {
            let some = writes.split_off(writes.len().saturating_sub(1 + fixture.below(20)));
            fixture.store.write(some).await.unwrap();
        }
        expected.push((generated.conversation, model));
    }
    for (conversation, model) in expected {
        assert_eq!(fixture.rows_of(conversation).await, model.rows());
    }
}

pub(super) async fn wild_writes_merge_as_cells(fixture: Fixture) {
    let conversations = [fixture.conversation(), fixture.conversation()];
    let users = [fixture.user(), fixture.user()];
    let ids = [fixture.id(), fixture.id()];
    let (mut models, mut sets) = ([Model::default(), Model::default()], BTreeSet::new());
    // Few keys and few timestamps produce every kind of tie and overtaking.
    for _ in 0..40 {
        let mut batch = Vec::new();
        for _ in 0..1 + fixture.below(12) {
            let which = fixture.below(2);
            let timestamp = i64::try_from(fixture.below(4)).unwrap();
            let mut write = wild_row(&fixture, &users, &ids).write(conversations[which], at(0));
            write.timestamp = timestamp;
            models[which].write(&write);
            sets.insert(write.set().number());
            batch.push(write);
        }
        fixture.store.write(batch).await.unwrap();
    }
    assert!(sets.into_iter().eq(0..CELL_SETS.len()), "writes of every set");
    for (conversation, model) in conversations.into_iter().zip(models) {
        let rows = fixture.rows_of(conversation).await;
        assert_eq!(rows, model.rows());
        for (table, row) in rows {
            let key = key_of(table, &row);
            let mut other = key.clone();
            other[0] = fixture.user().uuid().into();
            let found = fixture.store.rows(table, &[key.clone(), other, key]).await.unwrap();
            assert_eq!(found, [Some(row.clone()), None, Some(row)], "{table} by key");
        }
    }
}

fn wild_extras(fixture: &Fixture, (message, slot): (Seq, u64), user: UserId, body: MessageBody) -> ExtrasRow {
    let (changed, stands) = (at(fixture.entropy.below(3)), fixture.below(2) == 0);
    match fixture.below(6) {
        0 => ExtrasRow::Extras { message, slot, changed, extras: body.extras(), edit: stands },
        1 => ExtrasRow::User { user, message, slot, stands },
        2 => ExtrasRow::All { message, slot, author: user, stands },
        3 => ExtrasRow::KeptEdit { message, slot, changed, time_ms: -1, body },
        4 => ExtrasRow::Version { message, changed, time_ms: 7, body },
        _ => ExtrasRow::VersionGone { message, changed },
    }
}

/// The key of a row given by its canonical bytes.
fn key_of(table: &str, row: &[u8]) -> Vec<Value> {
    let columns = canonical::decode(row).unwrap();
    let part = |column: &Column| {
        let found = columns.iter().find(|(name, _)| *name == column.name);
        let Some((_, Part::Key(bytes))) = found else { panic!("{} of {table}", column.name) };
        Value::decode(column.kind, bytes).unwrap()
    };
    tables::named(table).unwrap().key().map(part).collect()
}

fn wild_row(fixture: &Fixture, users: &[domain::UserId], ids: &[domain::CommandId]) -> Row {
    let (seq, user, id) = (at(fixture.entropy.below(3)), *fixture.one_of(users), *fixture.one_of(ids));
    let (slot, number) = (fixture.entropy.below(2) * 16_384, fixture.entropy.below(300));
    let text = ["", "a", "ab", "b", "\u{e4}"][fixture.below(5)].to_owned();
    let role = [None, Some(Role::Member), Some(Role::Owner)][fixture.below(3)];
    let mentions = Mentions::new(users[..fixture.below(2)].to_vec(), number > 100);
    let custom = CustomContent { kind: "a.b".into(), data: text.as_str().into() };
    let body = MessageBody { text: text.as_str().into(), mentions, custom: Some(custom).filter(|_| number > 200) };
    match fixture.below(25 + 6) {
        0 => {
            let content = [
                Content::Message {
                    body,
                    reply_to: Some(Reply { to: id, quote: Some(Quote { from: 1, to: 2 }).filter(|_| number > 200) })
                        .filter(|_| number > 100),
                    thread: Some(ThreadPlace { root: id, ordinal: number, also_in_conversation: number > 200 })
                        .filter(|_| number > 150),
                },
                Content::Joined(users.to_vec()),
                Content::Left(user),
                Content::Title(text),
                Content::Created,
            ];
            let content = fixture.one_of(&content).clone();
            let time_ms = i64::try_from(number).unwrap() - 150;
            Row::Entry { seq, slot, ordinal: number, id, author: user, time_ms, content }
        }
        1 => Row::Edit { seq, slot, body, whole: number > 50, changed: at(number), time_ms: -1 },
        2 => {
            let by = Some(user).filter(|_| number > 100);
            Row::Deletion { seq, slot, changed: at(number), by, whole: number > 50, kept: number > 70 }
        }
        3 => Row::Bucket { bucket: number % 2, start: at(number) },
        4 => Row::Member { user, seq, role },
        5 => Row::Joined { user, role: Role::Admin, seq: at(number), ordinal: number },
        6 => Row::UserRole { user, role, seq: at(number) },
        7 => Row::Settings { seq, settings: Settings { kind: ConversationKind::Direct, title: text } },
        8 => Row::Reaction(ReactionRow::Only { message: seq, slot, user, emoji: text, changed: at(number) }),
        18 => {
            let (emoji, stands, changed) = (text, number.is_multiple_of(2), at(number));
            Row::Reaction(ReactionRow::ByEmoji { message: seq, slot, user, emoji, stands, changed })
        }
        19 => Row::Reaction(ReactionRow::NewEmoji { message: seq, slot, emoji: text, first: at(number) }),
        21 => Row::Thread(ThreadRow::Message { root: at(1), seq, slot, ordinal: number }),
        22 => Row::Thread(ThreadRow::Gone { root: at(1), seq, deleted: at(number) }),
        23 => {
            Row::Thread(ThreadRow::Last { root: seq, root_slot: slot, ordinal: number, time_ms: -1, seq: at(number) })
        }
        24 => Row::Pins { seq, pins: vec![Pin { id, seq: at(number), slot }] },
        9 => Row::Id { id, row: id_row(user, at(number), Stands::Message { slot }) },
        10 => Row::IdDeleted { id, deleted: at(number) },
        11 => Row::Head { seq: at(number), time_ms: -1, slot, ordinal: number },
        12 => Row::LastMessage { seq: at(number), slot },
        13 => Row::Gone { message: seq, slot, deleted: at(number) },
        14 => Row::Sent { user, seq: at(number), ordinal: number },
        15 => Row::Invited { user, inviter: *fixture.one_of(users), seq: at(number) },
        16 => Row::Refusal { author: user, id, reason: *fixture.one_of(&Refusal::ALL), seq: at(number) },
        17 => Row::Mark { user, mark: Mark { seq: at(number), ordinal: number } },
        20 => Row::NewestStamp { stamp_ms: i64::try_from(number).unwrap() },
        _ => Row::Extras(wild_extras(fixture, (seq, slot), user, body)),
    }
}

pub(super) async fn row_in_part_does_not_show(fixture: Fixture) {
    let (conversation, user, id) = (fixture.conversation(), fixture.user(), fixture.id());
    let rows = vec![
        stamped(at(1), Row::Bucket { bucket: 0, start: at(1) }),
        stamped(at(9), Row::Edit { seq: at(1), slot: 0, body: "b".into(), whole: false, changed: at(9), time_ms: 1 }),
        stamped(at(9), Row::IdDeleted { id, deleted: at(9) }),
        stamped(at(9), Row::UserRole { user, role: Some(Role::Admin), seq: at(9) }),
        stamped(at(9), Row::NewestStamp { stamp_ms: 5 }),
    ];
    fixture.write(conversation, rows).await;
    let page = Page { anchor: None, direction: Direction::Before, limit: 9 };
    assert_eq!(fixture.store.timeline(conversation, page).await.unwrap(), []);
    assert_eq!(fixture.store.entry(conversation, 0, at(1)).await.unwrap(), None);
    assert_eq!(fixture.store.id(conversation, id, at(20)).await.unwrap(), None);
    assert_eq!(fixture.store.user_conversation(user, conversation).await.unwrap(), None);
    assert_eq!(fixture.store.conversations_of(user, None, 10).await.unwrap(), []);
    assert_eq!(fixture.store.heads(&[conversation]).await.unwrap(), [None]);
    assert_eq!(fixture.store.conversation(conversation, at(20)).await.unwrap(), Default::default());
}
