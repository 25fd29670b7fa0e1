//! Drops an event that holds its conversation and that no later version will be able to read.
//!
//! A drop is a row outside the incarnations, which both consumers and every replay read; they treat the event as
//! corrupt. So a rebuild gives the same rows, whichever version does it. An event can only be dropped where both
//! consumers wait at it, so that neither has judged it, and none will.

use domain::{ConversationId, Seq};
use eventlog::{EventLog, Meaning, NewRecord, Record, append, partition_of_id};
use events::topics::{MESSAGES, QUARANTINE, spec_of};
use events::{Codec, Quarantined};
use store::{Consumer, DROPS_MAX, Dropped, Store};

use crate::OpsError;
use crate::holds::{FirstEvent, first_behind, in_words};

/// The most characters of a reason or a name.
pub const WORDS_MAX: usize = 1000;

/// An event that can be dropped.
#[derive(Debug)]
pub struct Plan {
    partition: u32,
    dropped: Dropped,
    record: Record,
    /// A description of the event, as this program reads it.
    pub words: String,
}

/// Checks whether the event at `dropped.seq` may be dropped. Writes nothing.
///
/// # Errors
/// [`OpsError::Refused`] with the reason when it may not; also when the store or the log cannot be read.
pub async fn plan(store: &dyn Store, log: &dyn EventLog, codec: &Codec, dropped: Dropped) -> Result<Plan, OpsError> {
    let refused = |why: String| Err(OpsError::Refused(vec![why]));
    let Dropped { seq, conversation, .. } = dropped;
    for (what, words) in [("who drops it", &dropped.by), ("why", &dropped.why)] {
        if words.trim().is_empty() || words.chars().count() > WORDS_MAX {
            return Err(OpsError::Usage(format!("say {what}, in at most {WORDS_MAX} letters")));
        }
    }
    let partition = partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions);
    let drops = store.drops(partition).await?;
    if let Some(before) = drops.iter().find(|before| before.seq == seq) {
        return refused(format!("{seq} was dropped already, by {}: {}", before.by, before.why));
    }
    if drops.len() >= DROPS_MAX {
        return refused(format!("partition {partition} has {DROPS_MAX} dropped events, and no more are kept"));
    }
    for consumer in [Consumer::Storage, Consumer::Fanout] {
        let hold = store.hold(consumer, partition, conversation).await?;
        if !hold.is_held() || hold.done_through >= Some(seq) {
            return refused(format!(
                "{} does not hold {conversation} at {seq}: only an event that both consumers wait at can be dropped \
                 ('klatschctl holds show {conversation}' says where they wait)",
                consumer.name()
            ));
        }
    }
    let hold = store.hold(Consumer::Storage, partition, conversation).await?;
    let FirstEvent::Found(record, message) = first_behind(log, codec, partition, conversation, hold).await? else {
        return refused(format!("the event that {conversation} is held at was not found"));
    };
    if message.appended.seq != seq {
        return refused(format!("{conversation} waits at {}, not at {seq}", message.appended.seq));
    }
    match &message.meaning {
        Meaning::Unknown(_) => {}
        Meaning::Event(event) if event.rules > domain::RULES_NEWEST => {}
        meaning => return refused(format!("{seq} can be read by this program: {}", in_words(meaning))),
    }
    Ok(Plan { partition, dropped, words: in_words(&message.meaning), record: *record })
}

/// Copies the event to `chat.quarantine`, with the reason and the name of the operator, and then drops it. If it is
/// repeated after a failure, there may be two copies.
///
/// # Errors
/// When the log or the store fails.
pub async fn perform(store: &dyn Store, log: &dyn EventLog, codec: &Codec, plan: &Plan) -> Result<(), OpsError> {
    let Plan { partition, dropped, record, words } = plan;
    let copy = codec.quarantined(&Quarantined {
        topic: MESSAGES.to_owned(),
        partition: *partition,
        offset: record.offset,
        reason: format!("dropped by {} ({}): {words}", dropped.by, dropped.why),
        payload: record.payload.clone(),
    });
    let key = dropped.conversation.to_string();
    let (partition_of_copies, headers, payload) = (Some(0), copy.headers, copy.payload);
    append(log, QUARANTINE, NewRecord { key, partition: partition_of_copies, headers, payload }).await?;
    store.put_drop(*partition, dropped).await?;
    Ok(())
}

/// Every event that was dropped, with its source partition.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(store: &dyn Store) -> Result<Vec<(u32, Dropped)>, OpsError> {
    let mut all = Vec::new();
    for partition in 0..spec_of(MESSAGES).partitions {
        all.extend(store.drops(partition).await?.into_iter().map(|dropped| (partition, dropped)));
    }
    Ok(all)
}

/// The seq that an operator has given.
///
/// # Errors
/// [`OpsError::Usage`] when it is no seq.
pub fn at(conversation: ConversationId, seq: u64) -> Result<Seq, OpsError> {
    let wrong = |error| OpsError::Usage(format!("{seq} is no seq in {conversation}: {error}"));
    Seq::try_from(seq).map_err(wrong)
}
