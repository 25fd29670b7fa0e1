//! How far an audit may go: up to what storage has applied and the fan-out has committed. Later events are still
//! being processed, and are no difference.
//!
//! The bounds are read in this order, so that the effects of all events within them are there by the time they are
//! compared: `applied`, the commit, the holds, and only then rows and deliveries.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{ConversationId, Seq};
use eventlog::{Commit, EventLog, TopicPartition};
use events::topics::{GROUP_FANOUT, MESSAGES};
use store::{Consumer, Hold, Source, Store};

use crate::OpsError;

/// The most holds of one partition and consumer that are read: with more, the partition is not audited.
const HOLDS_MAX: usize = 10_000;

/// The bounds of one partition of `chat.messages`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The first offset that storage may not have applied yet.
    pub(super) applied: u64,
    /// The first offset that the fan-out may not have delivered yet, except for parked conversations.
    pub(super) delivered: u64,
    /// The end of the log.
    pub(super) end: u64,
    /// Conversations that the fan-out has parked, with the first offset that it may not have delivered.
    pub(super) parked: BTreeMap<ConversationId, u64>,
    /// Conversations that storage holds: the events after this seq are skipped.
    pub(super) held_by_storage: BTreeMap<ConversationId, Seq>,
    /// The same for the fan-out.
    pub(super) held_by_fanout: BTreeMap<ConversationId, Seq>,
    /// Events that an operator has dropped: they count as corrupt ones.
    pub(super) dropped: BTreeSet<Seq>,
}

impl Bounds {
    pub(super) async fn read(log: &dyn EventLog, store: &dyn Store, partition: u32) -> Result<Self, OpsError> {
        let applied = store.applied(Source { topic: MESSAGES, partition }).await?;
        let commit = log.committed(GROUP_FANOUT, &TopicPartition::new(MESSAGES, partition)).await?;
        let (delivered, parked) = commit.as_ref().map(position_of).transpose()?.unwrap_or_default();
        Ok(Self {
            applied: applied.map_or(0, |applied| applied.seq.offset() + 1),
            delivered,
            parked,
            held_by_storage: holds(store, Consumer::Storage, partition).await?,
            held_by_fanout: holds(store, Consumer::Fanout, partition).await?,
            dropped: store.drops(partition).await?.into_iter().map(|dropped| dropped.seq).collect(),
            end: log.watermarks(MESSAGES, partition).await?.next,
        })
    }

    /// The first offset that cannot be audited completely yet, because its event is still being processed or is
    /// skipped under a hold. A later audit begins there, so that re-driven events are audited then.
    pub(super) fn settled(&self) -> u64 {
        let holds = self.held_by_storage.values().chain(self.held_by_fanout.values());
        let held = holds.map(|done| done.offset() + 1).min().unwrap_or(u64::MAX);
        self.arrived().min(held)
    }

    /// The first offset whose event is still being processed: as [`Self::settled`], without the holds.
    pub(super) fn arrived(&self) -> u64 {
        let parked = self.parked.values().min().copied().unwrap_or(u64::MAX);
        self.applied.min(self.delivered).min(parked)
    }
}

async fn holds(
    store: &dyn Store,
    consumer: Consumer,
    partition: u32,
) -> Result<BTreeMap<ConversationId, Seq>, OpsError> {
    let held = store.holds(consumer, partition, None, HOLDS_MAX).await?;
    if held.len() == HOLDS_MAX {
        let name = consumer.name();
        return Err(OpsError::Failed(format!(
            "{name} holds {HOLDS_MAX} conversations of partition {partition}, or more"
        )));
    }
    let done = |hold: Hold| hold.done_through.unwrap_or_default();
    Ok(held.into_iter().map(|(conversation, hold)| (conversation, done(hold))).collect())
}

/// Parses the next offset and the parked conversations of a commit: `1;FINGERPRINT;CONVERSATION:BACK;...`, with the
/// conversation as base64url, and in base 36 how far before the commit its first unjudged event lies. Where delivery
/// partitions lag it is `2;FINGERPRINT;@PARTITION:BACK;...` with those partitions: everything is delivered up to the
/// first of them only.
fn position_of(commit: &Commit) -> Result<(u64, BTreeMap<ConversationId, u64>), OpsError> {
    let wrong = || OpsError::Failed(format!("the fan-out's commit cannot be read: '{}'", commit.metadata));
    let mut parts = commit.metadata.split(';');
    match parts.next() {
        Some("") => return Ok((commit.next, BTreeMap::new())),
        Some("1" | "2") => {}
        _ => return Err(wrong()),
    }
    let (mut delivered, mut parked) = (commit.next, BTreeMap::new());
    for part in parts.skip(1) {
        if let Some((_, back)) = part.strip_prefix('@').and_then(|lag| lag.split_once(':')) {
            let offset = u64::from_str_radix(back, 36).ok().and_then(|back| commit.next.checked_sub(back));
            delivered = delivered.min(offset.ok_or_else(wrong)?);
        } else {
            let (conversation, offset) = parked_of(part, commit.next).ok_or_else(wrong)?;
            parked.insert(conversation, offset);
        }
    }
    Ok((delivered, parked))
}

fn parked_of(part: &str, next: u64) -> Option<(ConversationId, u64)> {
    let (id, back) = part.split_once(':')?;
    let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(id).ok()?.try_into().ok()?;
    // Turns hexadecimal digits into the text of a UUID.
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    Some((text.parse().ok()?, next.checked_sub(u64::from_str_radix(back, 36).ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_the_fan_out_is_read_with_what_it_has_parked() {
        let commit = |metadata: &str| Commit { next: 1000, metadata: metadata.into() };
        assert_eq!(position_of(&commit("")).ok(), Some((1000, BTreeMap::new())));
        let conversation: ConversationId = "00010203-0405-0607-0809-0a0b0c0d0e0f".parse().unwrap();
        let read = position_of(&commit("1;0000000000000007;AAECAwQFBgcICQoLDA0ODw:2s")).ok();
        assert_eq!(read, Some((1000, BTreeMap::from([(conversation, 900)]))));
        let lagging = position_of(&commit("2;0000000000000007;@3:2s;@4:1")).ok();
        assert_eq!(lagging, Some((900, BTreeMap::new())));
        for wrong in
            ["3;0000000000000007", "2;0000000000000007;@3:zz", "1;0000000000000007;AAECAwQFBgcICQoLDA0ODw", "1;7;AA:1"]
        {
            assert!(position_of(&commit(wrong)).is_err(), "{wrong}");
        }
    }
}
