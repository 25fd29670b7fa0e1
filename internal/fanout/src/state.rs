//! What one partition's fan-out has in memory: how far it has taken events in, and where each conversation stands. No
//! I/O, no clock: `judge.rs` and `hold.rs` change it, event by event, and say what is to be done.

use std::collections::BTreeMap;

use domain::{ConversationId, Fingerprint, Seq, SeqError};
use eventlog::Message;
use store::{Conversations, Hold};

use crate::FanoutMetrics;
use crate::parked::ParkedSet;
use crate::records::Records;

/// The look at all holds of the partition, part by part: each part begins when the one before is re-driven.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    pub(crate) under_way: bool,
    /// The next part is asked for.
    pub(crate) asked: bool,
    /// The last conversation of the parts before.
    pub(crate) after: Option<ConversationId>,
}

/// The state of one partition.
pub(crate) struct State {
    /// Of `chat.messages`.
    pub(crate) generation: u8,
    /// The newest rules that this program judges by.
    pub(crate) rules_newest: u32,
    pub(crate) metrics: FanoutMetrics,
    pub(crate) records: Records,
    /// The next offset to take in.
    pub(crate) intake: u64,
    /// The record before the intake.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) cache: Conversations,
    pub(crate) parked: ParkedSet,
    /// What is still to be written of holds: events skipped since the last commit.
    pub(crate) skips: BTreeMap<ConversationId, Hold>,
    /// The look at the holds.
    pub(crate) pass: Pass,
}

impl State {
    /// Nothing taken in yet. At most about `queued_max` events of parked conversations are kept.
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
            skips: BTreeMap::new(),
            pass: Pass::default(),
        }
    }

    /// Whether this is a follower's: it judges everything once more, for one delivery partition alone.
    pub(crate) fn is_follower(&self) -> bool {
        self.records.only.is_some()
    }

    /// The event is taken in: what follows from it is handed over, or waits with its conversation.
    pub(crate) fn passed(&mut self, message: &Message) {
        self.intake = message.placed.seq.offset() + 1;
        self.fingerprint = Some(message.fingerprint);
    }

    /// The last place that was taken in.
    pub(crate) fn taken_in(&self) -> Result<Seq, SeqError> {
        Ok(Seq::new(self.generation, self.intake)?.before().unwrap_or_default())
    }
}
