//! Holds: conversations whose next event a consumer could not judge.

use domain::{ConversationId, Seq};
use eventlog::{DecodedRecord, EventLog, Meaning, Record, next_before_end, partition_of_id};
use events::Codec;
use events::topics::{MESSAGES, RECEIPTS, USERS, spec_of};
use serde::Serialize;
use store::{Consumer, Hold, Store};

use crate::OpsError;

/// The most holds of one partition and consumer that are listed.
pub const HOLDS_PER_PARTITION_MAX: usize = 1000;
/// The most records that are read to find the event that a hold waits at.
const RECORDS_SOUGHT_MAX: u64 = 100_000;
/// Records read at once.
const RECORDS_AT_ONCE: usize = 500;

/// A conversation that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The consumer that holds it: see [`Consumer::name`].
    pub consumer: &'static str,
    /// The source partition.
    pub partition: u32,
    /// The conversation; for `users.events`, the user.
    pub conversation: ConversationId,
    /// Events up to here were skipped.
    pub skipped_to: Option<Seq>,
    /// Events up to here are done.
    pub done_through: Option<Seq>,
}

impl Held {
    fn of(consumer: Consumer, partition: u32, conversation: ConversationId, hold: Hold) -> Self {
        let Hold { skipped_to, done_through } = hold;
        Self { consumer: consumer.name(), partition, conversation, skipped_to, done_through }
    }
}

/// The topic that the consumer's holds are about.
fn topic_of(consumer: Consumer) -> &'static str {
    match consumer {
        Consumer::Storage | Consumer::Fanout => MESSAGES,
        Consumer::Marks | Consumer::MarksRelay => RECEIPTS,
        Consumer::AccountsRelay => USERS,
    }
}

/// Every conversation that a consumer holds, and the keys of held read marks and account events.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(store: &dyn Store) -> Result<Vec<Held>, OpsError> {
    let mut all = Vec::new();
    for consumer in Consumer::ALL {
        for partition in 0..spec_of(topic_of(consumer)).partitions {
            let held = store.holds(consumer, partition, None, HOLDS_PER_PARTITION_MAX).await?;
            all.extend(held.into_iter().map(|(conversation, hold)| Held::of(consumer, partition, conversation, hold)));
        }
    }
    Ok(all)
}

/// The holds of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationHolds {
    /// Its source partition.
    pub partition: u32,
    /// For each consumer: the conversation's row, if it was ever held, and whether it is held now.
    pub rows: Vec<(Held, bool)>,
    /// For each consumer that holds it now: the event that the hold waits at, and why.
    pub waits_at: Vec<(&'static str, String)>,
}

/// One conversation's holds, and the events that they wait at.
///
/// # Errors
/// When the store or the log cannot be read.
pub async fn show(
    store: &dyn Store,
    log: &dyn EventLog,
    codec: &Codec,
    conversation: ConversationId,
) -> Result<ConversationHolds, OpsError> {
    let partition = partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions);
    let mut shown = ConversationHolds { partition, rows: Vec::new(), waits_at: Vec::new() };
    for consumer in [Consumer::Storage, Consumer::Fanout] {
        let hold = store.hold(consumer, partition, conversation).await?;
        if hold == Hold::default() {
            continue;
        }
        shown.rows.push((Held::of(consumer, partition, conversation, hold), hold.is_held()));
        if hold.is_held() {
            let words = waits_at(log, codec, partition, conversation, hold).await?;
            shown.waits_at.push((consumer.name(), words));
        }
    }
    Ok(shown)
}

/// Describes the first event of the conversation after `done_through`, as this program reads it.
async fn waits_at(
    log: &dyn EventLog,
    codec: &Codec,
    partition: u32,
    conversation: ConversationId,
    hold: Hold,
) -> Result<String, OpsError> {
    Ok(match first_behind(log, codec, partition, conversation, hold).await? {
        FirstEvent::Found(record, message) => {
            format!("{} (offset {}): {}", message.appended.seq, record.offset, in_words(&message.meaning))
        }
        FirstEvent::NotUpTo(end) => format!("no event of it in offsets up to {end}"),
    })
}

/// The result of the search for an event.
pub(crate) enum FirstEvent {
    /// The record, and how this program reads it.
    Found(Box<Record>, Box<DecodedRecord>),
    /// There is none before this offset.
    NotUpTo(u64),
}

/// Searches for the first event of the conversation after `done_through`, within a bound.
pub(crate) async fn first_behind(
    log: &dyn EventLog,
    codec: &Codec,
    partition: u32,
    conversation: ConversationId,
    hold: Hold,
) -> Result<FirstEvent, OpsError> {
    let spec = spec_of(MESSAGES);
    let marks = log.watermarks(MESSAGES, partition).await?;
    let mut next = hold.done_through.map_or(0, |seq| seq.offset() + 1).max(marks.low);
    let end = marks.next.min(next.saturating_add(RECORDS_SOUGHT_MAX));
    let mut reader = log.reader(MESSAGES, partition, next).await?;
    while next < end {
        let records = next_before_end(&mut *reader, RECORDS_AT_ONCE).await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            next = record.offset + 1;
            let message = DecodedRecord::read(codec, spec.generation, partition, spec.partitions, &record);
            let message = message.map_err(|error| OpsError::Failed(error.to_string()))?;
            if message.conversation == Some(conversation) {
                return Ok(FirstEvent::Found(Box::new(record), Box::new(message)));
            }
        }
    }
    Ok(FirstEvent::NotUpTo(end))
}

pub(crate) fn in_words(meaning: &Meaning) -> String {
    match meaning {
        Meaning::Event(event) if event.rules > domain::RULES_NEWEST => {
            format!("rules version {}, newer than this program's {}: upgrade", event.rules, domain::RULES_NEWEST)
        }
        // Judging it is not tried here, since the hold may come from a panic.
        Meaning::Event(_) => KNOWN_WORDS.into(),
        Meaning::Unknown(what) => format!("{what}, which this program does not know: upgrade"),
        Meaning::Corrupt(reason) => format!("corrupt: {reason}"),
        Meaning::Marker => "a marker".into(),
        Meaning::Dropped => "dropped: the consumer goes on when it looks at the hold next, within a minute".into(),
    }
}

/// The explanation of a hold whose event has rules that this program knows.
const KNOWN_WORDS: &str = "this program knows its rules: a consumer of this version heals the hold when it looks at it \
next, within a minute while few are held; if it stays held, judging the event fails, which is a bug, or a row of the \
conversation cannot be read: the consumer's log and the metrics klatsch_storage_judging_panics_total and \
klatsch_storage_malformed_rows_total (of the fan-out: klatsch_fanout_...) tell";

/// The answer to an operator who wants a conversation re-driven now.
///
/// Only a partition's owner re-drives, and no command can be sent to it: it retries all its holds every minute and
/// when it is assigned a partition. An operator can only wait, or make another program the owner.
pub const REDRIVE_WORDS: &str = "only the partition's owner re-drives: it tries every hold again each minute and when it \
takes over a partition; to have that now, restart the consumer that holds it";

#[cfg(test)]
mod tests {
    use domain::kinds::SendMessage;
    use domain::{Action, CommandId, Event, RULES_NEWEST, RULES_TRIAL, UserId};

    use super::*;

    fn event(rules: u32) -> Meaning {
        let author: UserId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let (id, conversation) = (CommandId::first_at(1), ConversationId::direct(author, author));
        let action = Action::SendMessage(SendMessage { body: "hello".into(), reply_to: None, thread: None });
        Meaning::Event(Box::new(Event {
            id,
            conversation,
            author,
            received_ms: 1,
            rules,
            key_id: None,
            looked_up: true,
            action,
        }))
    }

    /// The hold may have begun with a panic, which every program of that version repeats.
    #[test]
    fn no_healing_is_promised_for_an_event_that_is_known_and_held() {
        let words = in_words(&event(RULES_NEWEST));
        assert!(words.contains("knows its rules") && words.contains("if it stays held"), "{words}");
        assert!(words.contains("klatsch_storage_judging_panics_total") && words.contains("a bug"), "{words}");
        assert!(in_words(&event(RULES_TRIAL)).ends_with("upgrade"));
    }
}
