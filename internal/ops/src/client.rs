//! A client of the public API: HTTP and one socket, nothing else. What the chat terminal and the test kit are built on.
//!
//! [`Client`] is one device. It connects, syncs, filters, sends again and comes back by itself, and tells what happens
//! as [`ClientEvent`]s, pulled one by one with [`Client::next`]: nothing runs between the calls but the socket's own
//! task, so that what [`Client::checkpoint`] gives to keep always covers exactly the events that were handed out. The
//! rules themselves are `device::Device`, which does no I/O.

mod device;
#[cfg(test)]
mod device_tests;
mod error;
mod http;
mod link;
mod marks;
mod renewal;
mod run;
mod state;
mod sync;
mod tracked;
mod view;
mod wire;

use domain::{CommandId, ConversationId, Seq, UserId};
use protocol::{ErrorCode, FeedFrame, StandsName, SyncConversation};

pub use error::ClientError;
pub(crate) use http::innermost;
pub use http::{Endpoints, HistoryQuery, Http};
pub use run::{Client, ClientOptions};
pub use state::{DeviceState, StateFile};
pub use tracked::Tracked;
pub use view::{Applied, Change, ENTRIES_MAX, View};

/// What happens to a device.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// The socket stands, and the feed goes on (or, with a reset, begins).
    Connected {
        /// The user's delivery partition.
        partition: u32,
    },
    /// The socket is gone; it is connected again by itself.
    Disconnected {
        /// The close code, if the server gave one.
        code: Option<u16>,
        /// Why.
        reason: String,
    },
    /// The server says not to come back: nothing happens any more.
    Stopped {
        /// The close code, if there was one.
        code: Option<u16>,
        /// Why, for the user.
        reason: String,
    },
    /// The feed does not reach back to where the device was: what it has cached is to be thrown away.
    Reset {
        /// The server's reason.
        reason: String,
    },
    /// These conversations are synced: rows read from now on, with `at_least` the head, and the feed are all there is.
    Synced {
        /// After a reset all, later those that could not be synced then.
        conversations: Vec<SyncConversation>,
    },
    /// A frame that passed the filter.
    Feed(Box<FeedFrame>),
    /// A command is in the log.
    Logged {
        /// The command.
        id: CommandId,
    },
    /// What became of a command. `Refused` may still turn into another, when another copy of the command was on its way;
    /// the others are final.
    Fate {
        /// The command.
        id: CommandId,
        /// Its conversation.
        conversation: ConversationId,
        /// What.
        fate: Fate,
    },
    /// A read mark is in the log.
    Marked {
        /// The conversation.
        conversation: ConversationId,
        /// Up to this entry.
        seq: Seq,
    },
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Something stands under its id.
    Stands {
        /// Where.
        seq: Seq,
        /// What.
        stands: StandsName,
    },
    /// The reducer refused it.
    Refused {
        /// Where that copy stands.
        seq: Seq,
        /// Why.
        reason: ErrorCode,
        /// The same as a sentence; empty from a server that does not say.
        message: String,
    },
    /// It does not stand and never will: no copy was appended, or its id was withdrawn because one was turned away.
    Rejected {
        /// Why.
        code: ErrorCode,
        /// A sentence.
        message: String,
    },
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's id.
    pub user: UserId,
    /// Its name.
    pub name: String,
}
