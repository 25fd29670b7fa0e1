//! What one device showed and suffered, kept until the oracle reads it.

use std::collections::BTreeMap;

use client::{CommandId, ErrorCode, Seq};

/// Stands for the number of a conversation that is none of the run.
pub const ELSEWHERE: u32 = u32::MAX;

/// A message that a device showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// The number of the conversation; [`ELSEWHERE`] when it is none of the run.
    pub conversation: u32,
    /// The number of the send, as its text says; [`crate::oracle::NOT_OURS`] when it says none of the run.
    pub number: u32,
    /// The seq that it came with.
    pub seq: Seq,
    /// The id that it came with.
    pub id: CommandId,
    /// When it was shown, in microseconds since the run began.
    pub at_us: u64,
}

/// A time without a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// When the connection was lost, in microseconds since the run began.
    pub at_us: u64,
    /// When the device was back: connected, and synced where it had to be.
    pub back_us: Option<u64>,
    /// The close code, if there was one.
    pub code: Option<u16>,
    /// The reason.
    pub reason: String,
}

impl Loss {
    /// Whether the device has left by itself, for the node that the server had named.
    pub(crate) fn is_move(&self) -> bool {
        self.code.is_none() && self.reason == client::MOVES
    }
}

/// The record of one device.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// Messages in the conversations of the run, whoever sent them, in the order in which they were shown.
    pub shown: Vec<Shown>,
    /// For each conversation, the highest seq that a frame or a sync has brought the device to.
    pub(crate) reached: BTreeMap<u32, Seq>,
    /// For each conversation that was synced, what the device reads in the history instead of getting it live: from
    /// behind the seq that it had reached before the sync, to the head of the sync. What is missing before that was
    /// lost while the device was live, and no sync makes that good.
    pub(crate) covered: BTreeMap<u32, Vec<(Option<Seq>, Seq)>>,
    /// Resets after the first connection, by reason.
    pub resets: BTreeMap<String, u64>,
    /// Lost connections.
    pub losses: Vec<Loss>,
    /// Why the device stopped for good, if it did.
    pub stopped: Option<String>,
    /// Commands that the server put off, by code.
    pub put_off: BTreeMap<ErrorCode, u64>,
    /// The base URL of the node that it was connected to at the end.
    pub node: String,
}

impl Journal {
    /// The connection was lost, or could not be opened: the first counts.
    pub(crate) fn lost(&mut self, at_us: u64, code: Option<u16>, reason: String) {
        if self.losses.last().is_none_or(|loss| loss.back_us.is_some()) {
            self.losses.push(Loss { at_us, back_us: None, code, reason });
        }
    }

    /// The device is connected and synced again.
    pub(crate) fn back(&mut self, at_us: u64) {
        if let Some(loss) = self.losses.last_mut() {
            loss.back_us.get_or_insert(at_us);
        }
    }

    /// A frame with this seq came.
    pub(crate) fn reached(&mut self, conversation: u32, seq: Seq) {
        let reached = self.reached.entry(conversation).or_insert(seq);
        *reached = (*reached).max(seq);
    }

    /// A sync covers the conversation up to this seq.
    pub(crate) fn synced(&mut self, conversation: u32, head: Seq) {
        let behind = self.reached.get(&conversation).copied();
        self.covered.entry(conversation).or_default().push((behind, head));
        self.reached(conversation, head);
    }

    /// Whether the device reads what is at this seq in the history.
    pub(crate) fn covers(&self, conversation: u32, seq: Seq) -> bool {
        let covered = self.covered.get(&conversation).map(Vec::as_slice).unwrap_or_default();
        covered.iter().any(|(behind, head)| *behind < Some(seq) && seq <= *head)
    }
}
