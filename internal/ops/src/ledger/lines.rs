//! The lines of a ledger, as `deploy/k6/lib/ledger.js` writes them, and those of a log.

use serde::Deserialize;
use serde_json::Value;

/// A line of a file with ledgers. Lines of several parts may be mixed; those of one part are in order.
#[derive(Debug, Deserialize)]
pub(super) struct PartLine {
    pub(super) vu: u32,
    #[serde(flatten)]
    pub(super) line: Line,
}

/// A line of a part's ledger. The first is `begin`, the last is `end`.
#[derive(Debug, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(super) enum Line {
    /// The run that it is a part of.
    Begin { version: u32, run: String },
    /// A message that was sent.
    Sent { n: u64, id: String, conversation: String, author: String, state: State, copies: u32 },
    /// The memberships of a user in a conversation.
    Member { conversation: String, user: String, spans: Vec<(u64, Option<u64>)> },
    /// What a device was shown of a conversation: part, number and seq of frames; part and number of rows.
    Device { device: u64, user: String, conversation: String, frames: Vec<(u32, u64, u64)>, rows: Vec<(u32, u64)> },
    /// The number of lines before this one, and the faults that the part saw itself.
    End { lines: u64, dup: u64, reorder: u64, foreign: u64 },
}

/// What a part knows of a message's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Nothing.
    Open,
    /// It is in the log, and not decided.
    Acked,
    /// It was accepted.
    Stands,
    /// It was refused.
    Refused,
}

impl State {
    /// Whether it must be in the log.
    pub(super) fn is_logged(self) -> bool {
        matches!(self, Self::Acked | Self::Stands)
    }

    /// Whether its fate is known.
    pub(super) fn is_known(self) -> bool {
        matches!(self, Self::Stands | Self::Refused)
    }
}

/// A line that `tail` writes.
#[derive(Debug, Deserialize)]
pub(super) struct LoggedLine {
    pub(super) offset: u64,
    #[serde(default)]
    fields: Value,
}

impl LoggedLine {
    /// The id of the command; other records than events have none.
    pub(super) fn id(&self) -> Option<&str> {
        self.fields.get("envelope")?.get("id")?.as_str()
    }
}
