//! The Rust client of Klatsch: one device of one user, over the public API and nothing else. Bots and the terminal of
//! `klatschctl` are built on it. `examples/echo.rs` is a whole bot:
//!
//! ```no_run
//! # use client::{Client, ClientError, Secret};
//! # async fn echo(url: &str, name: &str, password: &Secret) -> Result<(), ClientError> {
//! let mut bot = Client::sign_in(url, name, password).await?;
//! loop {
//!     let event = bot.next().await;
//!     if event.is_end() {
//!         return Ok(());
//!     }
//!     if let Some(said) = event.message().filter(|said| said.author != bot.identity().user) {
//!         bot.reply(said.conversation, said.id, said.body.reveal())?;
//!     }
//! }
//! # }
//! ```
//!
//! [`Client::next`] gives what happens, one [`ClientEvent`] at a time, and does all the work meanwhile: it connects, syncs,
//! filters, sends again, refreshes the token, and comes back by itself with its cursor. Nothing runs between two calls but
//! the socket's own task. So call it again and again, also while nothing is expected; it may be abandoned (in a
//! `select!`) and called again.
//!
//! # What it guarantees
//!
//! - A command that [`Client::submit`] has taken ends with a [`Fate`], and has its effect at most once, however often it
//!   was sent and whatever was killed; while the process lives, or with [`Client::checkpoint`] kept, across its end.
//! - A frame is handed out once, in the order of its conversation. What the server could not bring is a
//!   [`ClientEvent::Reset`], then [`ClientEvent::Synced`]: the rows are read over [`Client::http`]. A bot that only answers
//!   what comes may ignore both, and then misses what was said before it came, or while a reset left it out.
//! - What [`Client::checkpoint`] gives covers exactly the events that were handed out: kept in a [`StateFile`] and given to
//!   [`Client::new`], the device goes on behind them.
//!
//! # Its bounds
//!
//! | what | bound | beyond |
//! |---|---|---|
//! | open commands | 1,000 | [`ClientError::TooManyOpen`]: wait for some to end |
//! | refused commands remembered | 100 | the oldest ids are forgotten |
//! | frames that wait for a sync | 10,000 | it connects again: the server has them |
//! | entries of a [`View`] | 2,000 | the oldest are forgotten: they can be read again |
//! | waits before connecting again | 10 s | |
//! | silence of the server | three pings, 2 minutes at most | it connects again |
//! | a call over HTTP | 20 s | [`ClientError::Unreachable`] |
//!
//! # Errors
//!
//! A call fails with a [`ClientError`]; [`ClientError::code`] is the server's stable code, its text is for people.
//! Connections that fail are no errors: they are events, and tried again. Only [`ClientEvent::Stopped`] is an end: signed
//! out, say, or not let in. The rules of a device are `device::Device`, which does no I/O.

mod device;
#[cfg(test)]
mod device_tests;
mod error;
mod front;
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

// A bot depends on this crate alone: what it is given and what it gives is named here.
pub use domain::{CommandId, ConversationId, MessageText, Seq, UserId};
pub use error::ClientError;
pub use front::Message;
pub use http::{Endpoints, HistoryQuery, Http};
pub use protocol::{
    CommandFrame, CommandKind, EntryBody, ErrorCode, FeedFrame, FeedKind, HistoryPage, ReactionBody, SignalFrame,
    StandsName, SyncConversation, SyncState,
};
pub use run::{Client, ClientOptions};
pub use secret::Secret;
pub use state::{DeviceState, StateError, StateFile};
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
    /// Something of the moment, such as that somebody is typing: see [`View::signal`]. It may be lost, and nothing that is kept
    /// depends on it.
    Signal(SignalFrame),
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

impl ClientEvent {
    /// Whether nothing happens any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }
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
