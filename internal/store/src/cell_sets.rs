//! The cell sets: which cells are written together. This list has every kind of write to the tables derived from
//! the log.
//!
//! Engines accept writes of these sets only. A CQL handle prepares one statement for each set when it is opened
//! and none later, so the list bounds its statements.

use crate::tables::{
    BUCKETS, DELETIONS, HEADS, IDS, INVITATIONS, MARKS, MEMBERS, REACTIONS, REFUSALS, SENT, SETTINGS, TIMELINE, Table,
    USER_CONVERSATIONS,
};

/// The order of writes: all cells of a phase are written before any of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Timeline and version rows.
    Rows,
    /// Id rows.
    Ids,
    /// Head rows and read marks: they name rows of the earlier phases.
    Heads,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Rows, Self::Ids, Self::Heads];
}

/// Cells of one row that are written together, with one timestamp.
#[derive(Debug, PartialEq, Eq)]
pub struct CellSet {
    /// The table.
    pub table: &'static Table,
    /// The cells, by name. A write may leave cells out; it names the others in this order.
    pub cells: &'static [&'static str],
    /// The phase in which they are written.
    pub phase: Phase,
    /// Whether nearly every event of a conversation, or of an author, overwrites the row, so that of a batch only
    /// the newest write is needed.
    pub newest_only: bool,
}

/// A new entry of a timeline.
pub static ENTRY: CellSet =
    set(&TIMELINE, Phase::Rows, &["id", "author", "time", "place", "ordinal", "kind", "body", "reply_to", "users"]);
/// Another text for a message.
pub static EDIT: CellSet = set(&TIMELINE, Phase::Rows, &["body", "changed", "edited"]);
/// The deletion of a message.
pub static DELETION: CellSet = set(&TIMELINE, Phase::Rows, &["body", "deleted", "changed"]);
/// The seq where a bucket of a timeline begins.
pub static BUCKET: CellSet = set(&BUCKETS, Phase::Rows, &["start"]);
/// A version of a membership.
pub static MEMBER: CellSet = set(&MEMBERS, Phase::Rows, &["role"]);
/// A user's own row, on joining.
pub static JOINED: CellSet = set(&USER_CONVERSATIONS, Phase::Rows, &["role", "changed", "joined", "joined_ordinal"]);
/// A user's own row, on a change of role or on leaving.
pub static USER_ROLE: CellSet = set(&USER_CONVERSATIONS, Phase::Rows, &["role", "changed"]);
/// A version of the settings.
pub static SETTINGS_VERSION: CellSet = set(&SETTINGS, Phase::Rows, &["kind", "title"]);
/// A reaction to a message.
pub static REACTION: CellSet = set(&REACTIONS, Phase::Rows, &["emoji", "changed"]);
/// A deleted message, which does not count as unread.
pub static GONE: CellSet = set(&DELETIONS, Phase::Rows, &["deleted"]);
/// The user who took a member into a group.
pub static INVITED: CellSet = set(&INVITATIONS, Phase::Rows, &["inviter", "seq"]);
/// A refused command.
pub static REFUSED: CellSet = set(&REFUSALS, Phase::Rows, &["reason", "seq"]);
/// The last message that a user has sent.
pub static SPOKEN: CellSet = newest_of(&SENT, Phase::Rows, &["seq", "ordinal"]);
/// An accepted id.
pub static ID: CellSet = set(&IDS, Phase::Ids, &["author", "seq", "hash", "stands", "place"]);
/// The deletion of the message under an id.
pub static ID_DELETED: CellSet = set(&IDS, Phase::Ids, &["deleted"]);
/// The last accepted event of a conversation.
pub static HEAD: CellSet = newest_of(&HEADS, Phase::Heads, &["seq", "time", "place", "ordinal"]);
/// The last message of a conversation.
pub static LAST_MESSAGE: CellSet = newest_of(&HEADS, Phase::Heads, &["message_seq", "message_place"]);
/// The newest accepted stamp of a conversation.
pub static NEWEST_STAMP: CellSet = newest_of(&HEADS, Phase::Heads, &["newest_stamp"]);
/// A read mark.
pub static MARK: CellSet = newest_of(&MARKS, Phase::Heads, &["seq", "ordinal"]);

/// Every set; a CQL handle prepares one write statement for each.
pub static ALL: [&CellSet; 19] = [
    &ENTRY,
    &EDIT,
    &DELETION,
    &BUCKET,
    &MEMBER,
    &JOINED,
    &USER_ROLE,
    &SETTINGS_VERSION,
    &REACTION,
    &GONE,
    &INVITED,
    &REFUSED,
    &SPOKEN,
    &ID,
    &ID_DELETED,
    &HEAD,
    &LAST_MESSAGE,
    &NEWEST_STAMP,
    &MARK,
];

impl CellSet {
    /// Its index in [`ALL`].
    ///
    /// # Panics
    /// When the set is not in the list.
    #[must_use]
    pub fn number(&'static self) -> usize {
        ALL.into_iter().position(|set| std::ptr::eq(set, self)).expect("every set stands in the list")
    }
}

const fn set(table: &'static Table, phase: Phase, cells: &'static [&'static str]) -> CellSet {
    CellSet { table, cells, phase, newest_only: false }
}

const fn newest_of(table: &'static Table, phase: Phase, cells: &'static [&'static str]) -> CellSet {
    CellSet { table, cells, phase, newest_only: true }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tables;

    /// When you add a column, add it to the write that sets it.
    #[test]
    fn every_cell_of_every_table_is_written_by_some_set() {
        let written: BTreeSet<(&str, &str)> =
            ALL.iter().flat_map(|set| set.cells.iter().map(|cell| (set.table.name, *cell))).collect();
        let there: BTreeSet<(&str, &str)> =
            tables::ALL.iter().flat_map(|table| table.cells.iter().map(|cell| (table.name, cell.name))).collect();
        assert_eq!(written, there);
    }

    #[test]
    fn no_two_sets_are_the_same_and_each_knows_its_number() {
        for (number, set) in ALL.into_iter().enumerate() {
            assert_eq!(set.number(), number);
            assert!(ALL.iter().filter(|other| **other == set).count() == 1, "{set:?}");
            assert!(set.cells.iter().collect::<BTreeSet<_>>().len() == set.cells.len(), "{set:?}");
        }
    }

    /// The embedded engine makes a batch visible table by table, in this order.
    #[test]
    fn tables_of_an_earlier_phase_stand_before_those_of_a_later_one() {
        let phases = tables::ALL.map(|table| {
            let phases: BTreeSet<Phase> = ALL.iter().filter(|set| set.table == table).map(|set| set.phase).collect();
            assert_eq!(phases.len(), 1, "all cells of {} are of one phase", table.name);
            phases
        });
        assert!(phases.is_sorted());
    }
}
