//! The writes of a batch, until they are written.

use std::collections::BTreeMap;

use domain::{Appended, Change, ConversationId, Effects, Event, Role, Seq, UserId};
use store::{CellWrites, rows_of};

/// A change of a membership: the user, the event's seq, and the role from there on (`None` after leaving).
type MemberChange = (UserId, Seq, Option<Role>);

/// The writes of one event.
#[derive(Debug, Default)]
pub(crate) struct EventWrites {
    cells: Vec<CellWrites>,
    members: Vec<MemberChange>,
}

impl EventWrites {
    pub(crate) fn of(event: &Event, appended: Appended, effects: &Effects) -> Self {
        let members = effects.changes.iter().filter_map(Change::membership);
        let members = members.map(|(user, role)| (user, appended.seq, role)).collect();
        Self { cells: rows_of(event, appended, effects), members }
    }
}

/// The writes of a batch, by conversation. Of cells that nearly every event writes over, only the newest are kept.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    conversations: BTreeMap<ConversationId, Writes>,
}

#[derive(Debug, Default)]
struct Writes {
    cells: Vec<CellWrites>,
    /// Writes of which the newest is enough, by cell set and key.
    newest: BTreeMap<(usize, Vec<u8>), CellWrites>,
    /// The membership changes, by seq.
    members: Vec<MemberChange>,
}

impl Pending {
    pub(crate) fn add(&mut self, conversation: ConversationId, event: EventWrites) {
        if event.cells.is_empty() {
            return;
        }
        let writes = self.conversations.entry(conversation).or_default();
        writes.members.extend(event.members);
        for write in event.cells {
            if !write.set().newest_only {
                writes.cells.push(write);
                continue;
            }
            let row = (write.set().number(), write.key_bytes().to_vec());
            if writes.newest.get(&row).is_none_or(|old| old.timestamp < write.timestamp) {
                writes.newest.insert(row, write);
            }
        }
    }

    /// The changes of a user's membership among them, by seq.
    pub(crate) fn memberships(
        &self,
        conversation: ConversationId,
        of: UserId,
    ) -> impl Iterator<Item = (Seq, Option<Role>)> {
        let changes = self.conversations.get(&conversation).map(|writes| writes.members.as_slice()).unwrap_or_default();
        changes.iter().filter(move |(user, ..)| *user == of).map(|(_, seq, role)| (*seq, *role))
    }

    pub(crate) fn into_writes(self) -> Vec<CellWrites> {
        let conversations = self.conversations.into_values();
        conversations.flat_map(|writes| writes.cells.into_iter().chain(writes.newest.into_values())).collect()
    }
}
