//! What the loop of a partition asks for in the background, and what comes back. Only words: the background answers them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use domain::{ConversationId, Fingerprint, Seq};
use eventlog::{Message, PartitionReader};
use store::{Answers, Hold, Loaded};

use crate::position::Position;

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    /// A cold conversation, for `message`, its next event.
    Open {
        conversation: ConversationId,
        /// Whether it is judged again after our hold, which says nothing new then.
        redriven: bool,
        message: Message,
    },
    /// What a conversation in memory does not know of the ids of `message`, its next event.
    Complete { conversation: ConversationId, loaded: Box<Loaded>, message: Message },
    /// The conversation's events of a range of the log.
    Reread {
        conversation: ConversationId,
        from: u64,
        to: u64,
        /// Of the record before `to`, which was taken in: proof of which log this is.
        last: Option<Fingerprint>,
        /// Only the first one: it is not known yet whether they can be judged.
        cold: bool,
        /// Everything up to here is out: the row of the hold says so first.
        out: Option<Seq>,
    },
    /// Saying that it is held.
    Hold(ConversationId, Hold),
    /// Saying that it is held no more.
    Heal(ConversationId, Hold),
    /// Looking later whether a conversation can be judged by then.
    Wait(ConversationId),
    /// So many of our holds from behind that conversation on.
    List(Option<ConversationId>, usize),
    /// Committing the position, once what was skipped before it is written.
    Commit(Position, BTreeMap<ConversationId, Hold>),
    /// A reader for going on, after a wait, if the log is the one that it was.
    Read { from: u64, last: Option<Fingerprint>, wait: Duration },
}

impl Request {
    /// The conversation whose facts are asked for.
    pub(crate) fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Open { conversation, .. }
            | Self::Complete { conversation, .. }
            | Self::Reread { conversation, .. } => Some(*conversation),
            Self::Hold(..) | Self::Heal(..) | Self::Wait(_) | Self::List(..) | Self::Commit(..) | Self::Read { .. } => {
                None
            }
        }
    }
}

/// What comes back.
pub(crate) enum Reply {
    /// For a parked conversation.
    For(ConversationId, Found),
    /// Held conversations: fewer than this many when there are no more behind them.
    Holds(Vec<(ConversationId, Hold)>, usize),
    /// That position is committed.
    Committed(Position),
    /// The intake goes on with it.
    Reader(Box<dyn PartitionReader>),
}

/// What a parked conversation needs to go on.
#[derive(Debug)]
pub(crate) enum Found {
    /// As of the event before its first one, whose ids are in there, and what else was read for that.
    Ready(Box<Loaded>, Answers),
    /// We hold it ourselves: it has to be judged again from here.
    Redrive(Seq),
    /// Its first event is of no kind that this program knows, or one of its rows, or storage holds it.
    Held,
    /// An operator has dropped its first event.
    Dropped,
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
    pub(crate) queue: VecDeque<Message>,
    /// The offset behind the last record looked at.
    pub(crate) next: u64,
    /// Whether that is as far as it was to be read.
    pub(crate) complete: bool,
}
