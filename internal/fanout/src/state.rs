//! The state of one partition's fan-out: how far it has taken events in, and the state of each conversation. No I/O, no
//! clock: `judge.rs` and `hold.rs` change it, event by event, and return what is to be done.

use std::collections::{BTreeMap, BTreeSet};

use domain::{ConversationId, Fingerprint, Seq, SeqError};
use eventlog::DecodedRecord;
use store::{Conversations, Hold};

use crate::FanoutMetrics;
use crate::held::HeldSince;
use crate::parked::ParkedSet;
use crate::records::Records;

/// A pass over all holds of the partition, part by part: each part begins when the previous one is re-driven.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    pub(crate) under_way: bool,
    /// Whether the next part was requested.
    pub(crate) asked: bool,
    /// The last conversation of the previous parts.
    pub(crate) after: Option<ConversationId>,
    /// Whether another pass follows at once.
    pub(crate) again: bool,
    /// The conversations that were healed since the next part was requested: its rows may be from before.
    pub(crate) healed: BTreeSet<ConversationId>,
}

impl Pass {
    /// A pass at its beginning.
    pub(crate) fn begun() -> Self {
        Self { under_way: true, ..Self::default() }
    }
}

/// The state of one partition.
pub(crate) struct State {
    /// The generation of `chat.messages`.
    pub(crate) generation: u8,
    /// The newest rules that this program judges by.
    pub(crate) rules_newest: u32,
    pub(crate) metrics: FanoutMetrics,
    pub(crate) records: Records,
    /// The next offset to take in.
    pub(crate) intake: u64,
    /// The fingerprint of the record before the intake.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) cache: Conversations,
    pub(crate) parked: ParkedSet,
    /// Since when conversations are held, for the metrics.
    pub(crate) held: HeldSince,
    /// Holds to be written: events skipped since the last commit.
    pub(crate) skips: BTreeMap<ConversationId, Hold>,
    /// The pass over the holds.
    pub(crate) pass: Pass,
    /// Whether a delivery partition lags. Held conversations are re-driven only while none does.
    pub(crate) lags: bool,
}

impl State {
    /// A state without any events taken in. At most about `queued_max` events of parked conversations are kept.
    pub(crate) fn new(
        generation: u8,
        rules_newest: u32,
        metrics: FanoutMetrics,
        records: Records,
        queued_max: usize,
    ) -> Self {
        Self {
            generation,
            rules_newest,
            metrics,
            records,
            intake: 0,
            fingerprint: None,
            cache: Conversations::new(),
            parked: ParkedSet::new(queued_max),
            held: HeldSince::default(),
            skips: BTreeMap::new(),
            pass: Pass::default(),
            lags: false,
        }
    }

    /// Whether this is a follower's state: it judges everything once more, for one delivery partition alone.
    pub(crate) fn is_follower(&self) -> bool {
        self.records.only.is_some()
    }

    /// The event is taken in: its deliveries are handed over, or wait with its conversation.
    pub(crate) fn passed(&mut self, message: &DecodedRecord) {
        self.intake = message.appended.seq.offset() + 1;
        self.fingerprint = Some(message.fingerprint);
    }

    /// The seq of the last record that was taken in.
    pub(crate) fn taken_in(&self) -> Result<Seq, SeqError> {
        Ok(Seq::new(self.generation, self.intake)?.before().unwrap_or_default())
    }
}
