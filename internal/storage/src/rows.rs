//! Effects to rows. The order is that of the store's phases; the engine keeps it.

use std::collections::BTreeMap;

use domain::kinds::Create;
use domain::{
    Action, Change, Content, ConversationId, ConversationKind, Decision, Effects, Event, Placed, Role, Seq, UserId,
};
use store::{BUCKET_PLACES, ConversationRows, Row, RowWrite, bucket_of};

/// The rows of one accepted event, or the one of a refusal that is kept; none for others.
#[must_use]
pub fn rows_of(event: &Event, placed: Placed, effects: &Effects) -> Vec<RowWrite> {
    let seq = placed.seq;
    if let (Decision::Refused(reason), true) = (effects.decision, effects.kept) {
        let row = Row::Refusal { author: event.author, id: event.id, reason, seq };
        return vec![RowWrite { timestamp: seq.timestamp(), row }];
    }
    if effects.changes.is_empty() {
        return Vec::new();
    }
    let mut rows: Vec<Row> = Vec::with_capacity(effects.changes.len() + 4);
    for change in &effects.changes {
        match change {
            Change::Timeline { place, ordinal, content } => entry(&mut rows, event, placed, *place, *ordinal, content),
            Change::Body { seq: message, place, body, .. } => rows.push(Row::Edit {
                seq: *message,
                place: *place,
                body: body.clone(),
                changed: seq,
                time_ms: placed.append_time_ms,
            }),
            Change::Deleted { id, seq: message, place } => {
                rows.push(Row::Deletion { seq: *message, place: *place, changed: seq });
                rows.push(Row::IdDeleted { id: *id, deleted: seq });
                // Versions 1 and 2 differ in what counts as unread: what was written under one stays as it is.
                rows.extend((event.rules >= 2).then_some(Row::Gone { message: *message, place: *place, deleted: seq }));
            }
            Change::Reaction { seq: message, place, emoji, .. } => rows.push(Row::Reaction {
                message: *message,
                place: *place,
                user: event.author,
                emoji: emoji.clone(),
                changed: seq,
            }),
            Change::Member { user, role } => member(&mut rows, event, seq, effects.ordinal, *user, *role),
            Change::Settings(settings) => rows.push(Row::Settings { seq, settings: settings.clone() }),
            Change::Id { id, row } => rows.push(Row::Id { id: *id, row: *row }),
        }
    }
    let (place, ordinal) = (effects.place, effects.ordinal);
    if effects.raises_head(event) {
        rows.push(Row::Head { seq, time_ms: placed.append_time_ms, place, ordinal });
    }
    let mut writes: Vec<RowWrite> = rows.into_iter().map(|row| RowWrite { timestamp: seq.timestamp(), row }).collect();
    let stamp_ms = event.id.stamp_ms();
    // A monotone cell: its value is its timestamp.
    writes.push(RowWrite { timestamp: stamp_ms, row: Row::NewestStamp { stamp_ms } });
    writes
}

fn entry(rows: &mut Vec<Row>, event: &Event, placed: Placed, place: u64, ordinal: u64, content: &Content) {
    let seq = placed.seq;
    if place.is_multiple_of(BUCKET_PLACES) {
        rows.push(Row::Bucket { bucket: bucket_of(place), start: seq });
    }
    rows.push(Row::Entry {
        seq,
        place,
        ordinal,
        id: event.id,
        author: event.author,
        time_ms: placed.append_time_ms,
        content: content.clone(),
    });
    if matches!(content, Content::Message { .. }) {
        rows.push(Row::LastMessage { seq, place });
        rows.extend((event.rules >= 2).then_some(Row::Sent { user: event.author, seq, ordinal }));
    }
}

fn member(rows: &mut Vec<Row>, event: &Event, seq: Seq, ordinal: u64, user: UserId, role: Option<Role>) {
    rows.push(Row::Member { user, seq, role });
    let joins = event.action.takes_in();
    rows.push(match role {
        Some(role) if joins => Row::Joined { user, role, seq, ordinal },
        role => Row::UserRole { user, role, seq },
    });
    if joins && invites(event) && user != event.author {
        rows.push(Row::Invited { user, inviter: event.author, seq });
    }
}

/// Whether those whom the event takes in may decline. What was written under version 1 stays as it is.
fn invites(event: &Event) -> bool {
    let direct = matches!(event.action, Action::Create(Create { kind: ConversationKind::Direct, .. }));
    !direct && event.rules >= 2
}

/// The rows of a batch, by conversation. Of the head's cells, and of how far each author has spoken, only the last write
/// is kept.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    conversations: BTreeMap<ConversationId, Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    writes: Vec<RowWrite>,
    head: Option<RowWrite>,
    last_message: Option<RowWrite>,
    newest_stamp: Option<RowWrite>,
    sent: BTreeMap<UserId, RowWrite>,
}

impl Pending {
    pub(crate) fn add(&mut self, conversation: ConversationId, writes: Vec<RowWrite>) {
        if writes.is_empty() {
            return;
        }
        let rows = self.conversations.entry(conversation).or_default();
        for write in writes {
            let newest = match write.row {
                Row::Sent { user, .. } => {
                    rows.sent.insert(user, write);
                    continue;
                }
                Row::Head { .. } => &mut rows.head,
                Row::LastMessage { .. } => &mut rows.last_message,
                Row::NewestStamp { .. } => &mut rows.newest_stamp,
                _ => {
                    rows.writes.push(write);
                    continue;
                }
            };
            if newest.as_ref().is_none_or(|old| old.timestamp < write.timestamp) {
                *newest = Some(write);
            }
        }
    }

    /// The changes of a user's membership among them, by seq.
    pub(crate) fn memberships(
        &self,
        conversation: ConversationId,
        of: UserId,
    ) -> impl Iterator<Item = (Seq, Option<Role>)> {
        let writes = self.conversations.get(&conversation).map(|rows| rows.writes.as_slice()).unwrap_or_default();
        writes.iter().filter_map(move |write| match write.row {
            Row::Member { user, seq, role } if user == of => Some((seq, role)),
            _ => None,
        })
    }

    pub(crate) fn into_rows(self) -> Vec<ConversationRows> {
        let join = |(conversation, rows): (ConversationId, Rows)| {
            let heads = [rows.head, rows.last_message, rows.newest_stamp].into_iter().flatten();
            ConversationRows {
                conversation,
                rows: rows.writes.into_iter().chain(rows.sent.into_values()).chain(heads).collect(),
            }
        };
        self.conversations.into_iter().map(join).collect()
    }
}
