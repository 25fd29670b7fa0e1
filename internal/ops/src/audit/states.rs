//! Compares conversations as the store returns them: there must be no entry that no event has made, and the members,
//! settings and counters must follow from the events.
//!
//! [`super::rows`] finds missing rows; this module finds rows that should not be there.

use domain::{ConversationId, ConversationState, Seq};
use store::{Direction, Page, Store, StoreError};

use super::report::{Difference, Fault};
use std::collections::BTreeSet;

/// Entries read at once.
const ENTRIES_AT_ONCE: usize = 200;

/// A part of a conversation's log: `from..to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) partition: u32,
    pub(super) from: Seq,
    pub(super) to: Seq,
}

/// The entries of a timeline inside `span` that are not among `expected`.
pub(super) async fn foreign_entries(
    store: &dyn Store,
    conversation: ConversationId,
    span: Span,
    expected: &BTreeSet<Seq>,
) -> Result<Vec<Difference>, StoreError> {
    let mut found = Vec::new();
    // One more than expected: a correct timeline needs one page, which ends in the span or behind it.
    let limit = (expected.len() + 1).clamp(2, ENTRIES_AT_ONCE);
    let mut anchor = span.from.before();
    loop {
        let page = Page { anchor, direction: Direction::After, limit };
        let entries = match store.timeline(conversation, page).await {
            Ok(entries) => entries,
            // A row that cannot be decoded differs from what was written, too: the comparison of rows reports it.
            Err(StoreError::Broken(_)) => return Ok(found),
            Err(error) => return Err(error),
        };
        for entry in entries.iter().filter(|entry| entry.seq < span.to && !expected.contains(&entry.seq)) {
            let words = format!("the timeline has an entry at slot {} that no event has made", entry.slot);
            let mut difference = Difference::of(Fault::RowUnexpected, span.partition, conversation, entry.seq, words);
            difference.table = Some(store::tables::TIMELINE.name);
            found.push(difference);
        }
        match entries.last() {
            Some(last) if last.seq < span.to && entries.len() == limit => anchor = Some(last.seq),
            _ => return Ok(found),
        }
    }
}

/// Compares a conversation as of `as_of` in the store with the state that follows from its events.
pub(super) async fn state_differs(
    store: &dyn Store,
    conversation: ConversationId,
    partition: u32,
    as_of: Seq,
    expected: &ConversationState,
) -> Result<Option<Difference>, StoreError> {
    let found = match store.conversation(conversation, as_of).await {
        Ok(found) => found,
        Err(StoreError::Broken(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut words = Vec::new();
    if found.members != expected.members {
        let extra = found.members.keys().filter(|user| !expected.members.contains_key(user)).count();
        let lacking = expected.members.keys().filter(|user| !found.members.contains_key(user)).count();
        words.push(format!(
            "{} members, {extra} of them wrongly, {lacking} lacking (or roles differ)",
            found.members.len()
        ));
    }
    if found.settings != expected.settings {
        words.push("other settings".to_owned());
    }
    if (found.slot, found.ordinal) != (expected.slot, expected.ordinal) {
        words.push(format!(
            "{} entries and {} messages, not {} and {}",
            found.slot, found.ordinal, expected.slot, expected.ordinal
        ));
    }
    let difference = || {
        Difference::of(
            Fault::StateDiffers,
            partition,
            conversation,
            as_of,
            format!("as of there: {}", words.join("; ")),
        )
    };
    Ok((!words.is_empty()).then(difference))
}
