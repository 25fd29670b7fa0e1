//! The background requests of a partition's loop, and their answers. Data only: `background.rs` answers them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use domain::{ConversationId, Fingerprint, Seq};
use eventlog::{DecodedRecord, PartitionReader};
use store::{Answers, Hold, Loaded};

use crate::position::Position;

/// A background request.
#[derive(Debug)]
pub(crate) enum Request {
    /// Open a cold conversation for `message`, its next event.
    Open { conversation: ConversationId, own_hold: OwnHold, message: DecodedRecord },
    /// Read the ids of `message`, the next event, that a conversation in memory does not know.
    Complete { conversation: ConversationId, loaded: Box<Loaded>, message: DecodedRecord },
    /// Read the conversation's events of a range of the log.
    Reread {
        conversation: ConversationId,
        from: u64,
        to: u64,
        /// The fingerprint of the record before `to`, which was taken in: proof of which log this is.
        last: Option<Fingerprint>,
        /// Read only the first event: it is not known yet whether they can be judged.
        cold: bool,
        /// Everything up to here is delivered: the row of the hold is raised first.
        out: Option<Seq>,
    },
    /// Write that the conversation is held.
    Hold(ConversationId, Hold),
    /// Write that the conversation is held no more.
    Heal(ConversationId, Hold),
    /// Try later whether the conversation can be judged by then.
    Wait(ConversationId, Duration),
    /// List so many of our holds, from behind that conversation on.
    List(Option<ConversationId>, usize),
    /// Commit the position, after the skips before it are written.
    Commit(Position, BTreeMap<ConversationId, Hold>),
    /// Open a reader to go on with, after a wait, if the log is the same as before.
    Read { from: u64, last: Option<Fingerprint>, wait: Duration },
}

impl Request {
    /// The conversation whose hold it writes.
    pub(crate) fn row_of(&self) -> Option<ConversationId> {
        match self {
            Self::Hold(conversation, _) | Self::Heal(conversation, _) => Some(*conversation),
            Self::Reread { conversation, out, .. } => out.map(|_| *conversation),
            Self::Open { .. }
            | Self::Complete { .. }
            | Self::Wait(..)
            | Self::List(..)
            | Self::Commit(..)
            | Self::Read { .. } => None,
        }
    }

    /// The conversation whose facts are asked for.
    pub(crate) fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Open { conversation, .. }
            | Self::Complete { conversation, .. }
            | Self::Reread { conversation, .. } => Some(*conversation),
            Self::Hold(..)
            | Self::Heal(..)
            | Self::Wait(..)
            | Self::List(..)
            | Self::Commit(..)
            | Self::Read { .. } => None,
        }
    }
}

/// What our own hold of a conversation means to the one that opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnHold {
    /// It is not known yet whether there is one: a conversation that is held is judged again from there.
    Unknown,
    /// The conversation is being judged again, and the row says nothing new.
    Redriven,
    /// A follower opens it. Events that the loop it follows has skipped are delivered by that loop's re-drive, once no
    /// partition lags; so the follower passes over exactly those.
    Followed,
}

/// The answer to a request.
pub(crate) enum Reply {
    /// For a parked conversation.
    For(ConversationId, Found),
    /// Held conversations: fewer than this many when there are no more behind them.
    Holds(Vec<(ConversationId, Hold)>, usize),
    /// That position is committed.
    Committed(Position),
    /// The intake goes on with this reader.
    Reader(Box<dyn PartitionReader>),
}

/// The answer for a parked conversation.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its state as of the event before its first one, with that event's ids, and what else was read for that event.
    Ready(Box<Loaded>, Answers),
    /// We hold it ourselves: it has to be judged again from here.
    Redrive(Seq),
    /// This program does not know its first event or cannot read one of its rows, or storage holds it.
    Held,
    /// An operator has dropped its first event.
    Dropped,
    /// For a follower: the loop that it follows has skipped its events up to there.
    Skipped(Seq),
    /// For a follower: the loop that it follows holds it, and has not written yet that its first event is skipped.
    NotWritten,
    /// Its events from the log.
    Reread(Reread),
    /// The row that says that we hold it is written.
    Holding(Hold),
    /// The row that says that nothing is skipped any more is written.
    Healed,
    /// It may be judged by now.
    Again,
}

/// Events of one conversation, read again.
#[derive(Debug)]
pub(crate) struct Reread {
    pub(crate) queue: VecDeque<DecodedRecord>,
    /// The offset behind the last record read.
    pub(crate) next: u64,
    /// Whether the whole range was read.
    pub(crate) complete: bool,
}
