//! The cells that one event of every kind writes, pinned: a store that was filled years ago and a replay into a
//! new one must have the same bytes.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use domain::kinds::{DeleteMessage, EditMessage, RemoveReaction, SendMessage};
use domain::{
    Action, Appended, CommandId, ConversationId, ConversationState, Decision, Event, Facts, IdRow, Kind, RULES_NEWEST,
    Seq, TargetCache, UserId, apply,
};
use store::tables::Column;
use store::{CellWrites, Mark, Row, Value, rows_of};
use uuid::Uuid;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/golden/cells.tsv");
/// The log's time of the first event.
const START_MS: i64 = 1_700_000_000_000;
/// The kinds that share one conversation, in the order of [`Kind::ALL`].
const FIRST_KINDS: usize = 12;
/// The slot of the conversation's next entry, which begins the second bucket of the timeline.
const SECOND_BUCKET: u64 = 16_384;

/// The users that the samples of the kinds use.
fn user(number: u8) -> UserId {
    UserId::try_from(Uuid::from_bytes([number; 16])).unwrap()
}

/// One conversation, judged event by event, and the lines of each event's writes.
struct Script {
    rules: u32,
    conversation: ConversationId,
    state: ConversationState,
    ids: BTreeMap<CommandId, IdRow>,
    targets: TargetCache,
    /// The offset of the next event.
    offset: u64,
    accepted: BTreeSet<Kind>,
    /// The cell sets that were written, by number.
    sets: BTreeSet<usize>,
    lines: String,
}

impl Script {
    fn new(rules: u32, conversation: ConversationId) -> Self {
        Self {
            rules,
            conversation,
            state: ConversationState::default(),
            ids: BTreeMap::new(),
            targets: TargetCache::default(),
            offset: 1,
            accepted: BTreeSet::new(),
            sets: BTreeSet::new(),
            lines: String::new(),
        }
    }

    fn tell(&mut self, author: UserId, id: CommandId, action: Action) {
        let action = match action {
            // Records from before version 3 of the rules name no emoji there.
            Action::RemoveReaction(removal) if self.rules < 3 => {
                Action::RemoveReaction(RemoveReaction { emoji: None, ..removal })
            }
            other => other,
        };
        let (conversation, rules, kind) = (self.conversation, self.rules, action.kind());
        let event = Event { id, conversation, author, received_ms: 0, rules, key_id: None, looked_up: true, action };
        let seq = Seq::new(0, self.offset).unwrap();
        let appended = Appended { seq, append_time_ms: START_MS + i64::try_from(self.offset).unwrap() };
        let target = event.action.target().and_then(|id| self.ids.get(&id)).copied();
        let first = self.ids.get(&id).copied();
        let of_target = self.targets.facts(&event, first.as_ref(), target.as_ref()).unwrap_or_default();
        let facts = Facts { first, target, past: false, of_target };
        let effects = apply(&self.state, &event, appended, &facts, RULES_NEWEST).unwrap();
        let accepted = effects.decision == Decision::Accepted;
        self.accepted.extend(accepted.then_some(kind));
        self.lines += &format!("{rules}\t{}\t{}\n", kind.name(), if accepted { "accepted" } else { "refused" });
        for write in rows_of(&event, appended, &effects) {
            write.fits().unwrap();
            self.sets.insert(write.set().number());
            line(&mut self.lines, &write);
        }
        self.state.absorb(seq, &effects.changes);
        self.targets.absorb(&effects.changes);
        if let Some(row) = id_row(&effects.changes) {
            self.ids.insert(id, row);
        }
        self.offset += 1;
    }
}

/// Whether it is a message in a thread, which there are since version 3 of the rules.
fn in_thread(action: &Action) -> bool {
    matches!(action, Action::SendMessage(SendMessage { thread: Some(_), .. }))
}

/// Whether a message says more than a text by it, as they do since version 3 of the rules.
fn says_more(action: &Action) -> bool {
    match action {
        Action::SendMessage(SendMessage { body, .. }) | Action::EditMessage(EditMessage { body, .. }) => {
            !body.is_plain()
        }
        _ => false,
    }
}

/// The id row among the changes.
fn id_row(changes: &[domain::Change]) -> Option<IdRow> {
    changes.iter().find_map(|change| match change {
        domain::Change::Id { row, .. } => Some(*row),
        _ => None,
    })
}

fn line(out: &mut String, write: &CellWrites) {
    let key: Vec<String> = write.key().map(|(column, value)| text(column, value)).collect();
    let cells = write.cells().map(|(_, column, value)| format!("{}={}", column.name, text(column, value)));
    let cells: Vec<String> = cells.collect();
    let (table, phase, timestamp) = (write.table().name, write.phase(), write.timestamp);
    writeln!(out, "\t{table}\t{phase:?}\t{timestamp}\t{}\t{}", key.join(" "), cells.join(" ")).unwrap();
}

fn text(column: &Column, value: &[u8]) -> String {
    match Value::decode(column.kind, value).unwrap() {
        Value::Uuid(uuid) => uuid.to_string(),
        Value::Bigint(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Blob(bytes) => bytes.iter().fold("x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
    }
}

fn id(number: i64) -> CommandId {
    CommandId::first_at(START_MS + number)
}

/// Samples of every kind under those rules, each by an author who may send it; at the end a command that is
/// refused. Also returns the numbers of the cell sets that were written.
fn script(rules: u32) -> (String, BTreeSet<usize>) {
    let [group, direct] = [0, 1].map(|number| Kind::Create.samples().swap_remove(number));
    let target = Kind::EditMessage.samples()[0].target().unwrap();
    let mut script = Script::new(rules, ConversationId::group(user(1), id(100)));
    script.tell(user(1), id(100), group);
    script.state.slot = SECOND_BUCKET;
    let mut number = 101;
    let mut next = || {
        number += 1;
        id(number)
    };
    // Reactions and edits need a message that exists, so these kinds come last.
    let last = [Kind::DeleteMessage, Kind::Withdraw];
    let kinds = [Kind::SendMessage].into_iter().chain(Kind::ALL.into_iter().take(FIRST_KINDS));
    for kind in kinds.filter(|kind| *kind != Kind::Create && !last.contains(kind)).chain(last) {
        let author = match kind {
            Kind::Leave => user(3),
            Kind::AddReaction | Kind::RemoveReaction | Kind::Withdraw => user(2),
            _ => user(1),
        };
        for action in kind.samples().into_iter().filter(|action| !in_thread(action) && !says_more(action)) {
            let first = kind == Kind::SendMessage && !script.ids.contains_key(&target);
            script.tell(author, if first { target } else { next() }, action);
        }
    }
    for (author, kind) in [(2, Kind::DeleteMessage), (1, Kind::Leave)] {
        script.tell(user(author), next(), kind.samples().swap_remove(0));
    }
    // Each later kind has a conversation of its own, so that it changes no line of another.
    for (kind, number) in Kind::ALL.into_iter().skip(FIRST_KINDS).zip((300..).step_by(100)).filter(|_| rules >= 3) {
        let mut own = Script::new(rules, ConversationId::group(user(1), id(number)));
        own.tell(user(1), id(number), Kind::Create.samples().swap_remove(0));
        own.tell(user(1), target, Kind::SendMessage.samples().swap_remove(0));
        if kind == Kind::UnpinMessage {
            own.tell(user(1), id(number + 50), Kind::PinMessage.samples().swap_remove(0));
        }
        for (action, number) in kind.samples().into_iter().zip(number + 1..) {
            own.tell(user(1), id(number), action);
        }
        script.accepted.append(&mut own.accepted);
        script.sets.append(&mut own.sets);
        script.lines += &own.lines;
    }
    let kinds = if rules < 3 { FIRST_KINDS } else { Kind::ALL.len() };
    assert_eq!(script.accepted, Kind::ALL.into_iter().take(kinds).collect(), "cells of every kind");
    let mut pair = Script::new(rules, ConversationId::direct(user(1), user(2)));
    pair.tell(user(1), id(200), direct);
    script.sets.append(&mut pair.sets);
    if rules < 3 {
        return (script.lines + &pair.lines, script.sets);
    }
    let mut threads = Script::new(rules, ConversationId::group(user(1), id(250)));
    threads.tell(user(1), id(250), Kind::Create.samples().swap_remove(0));
    threads.tell(user(1), target, Kind::SendMessage.samples().swap_remove(0));
    for (action, number) in Kind::SendMessage.samples().into_iter().filter(in_thread).zip(251..) {
        threads.tell(user(1), id(number), action);
    }
    for (number, deleted) in [(260, id(251)), (261, id(252))] {
        threads.tell(user(1), id(number), Action::DeleteMessage(DeleteMessage { target: deleted }));
    }
    script.sets.append(&mut threads.sets);
    let mut more = Script::new(rules, ConversationId::group(user(1), id(270)));
    more.tell(user(1), id(270), Kind::Create.samples().swap_remove(0));
    let message = Kind::SendMessage.samples().into_iter().find(says_more).unwrap();
    more.tell(user(1), target, message);
    // A text alone, all of it again, and nothing.
    for (action, number) in Kind::EditMessage.samples().into_iter().chain(Kind::DeleteMessage.samples()).zip(271..) {
        more.tell(user(1), id(number), action);
    }
    script.sets.append(&mut more.sets);
    (script.lines + &pair.lines + &threads.lines + &more.lines, script.sets)
}

/// Change lines with `KLATSCH_BLESS=1`, and only where the written cells were changed by decision: existing stores
/// keep their old cells.
#[test]
fn the_cells_of_every_kind_are_pinned() {
    let written: String = (1..=RULES_NEWEST).map(|rules| script(rules).0).collect();
    if std::env::var_os("KLATSCH_BLESS").is_some() {
        std::fs::write(PATH, &written).unwrap();
    }
    let golden = std::fs::read_to_string(PATH).unwrap_or_default();
    for (number, (golden, written)) in golden.lines().zip(written.lines()).enumerate() {
        assert_eq!(golden, written, "line {} of schemas/golden/cells.tsv", number + 1);
    }
    assert_eq!(golden.lines().count(), written.lines().count(), "lines of schemas/golden/cells.tsv");
}

/// [`script`] checks its writes against their tables; read marks belong to no kind.
#[test]
fn every_cell_write_of_every_kind_fits_its_table() {
    let mut sets: BTreeSet<usize> = (1..=RULES_NEWEST).flat_map(|rules| script(rules).1).collect();
    let (seq, conversation) = (Seq::new(0, 1).unwrap(), ConversationId::direct(user(1), user(2)));
    let mark = Row::Mark { user: user(1), mark: Mark { seq, ordinal: 1 } }.write(conversation, seq);
    mark.fits().unwrap();
    sets.insert(mark.set().number());
    let all: BTreeSet<usize> = (0..store::CELL_SETS.len()).collect();
    assert_eq!(sets, all, "these sets are written by no kind, or their writes are not looked at");
}
