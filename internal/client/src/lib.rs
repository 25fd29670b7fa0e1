//! The Rust client of Klatsch: one device of one user, which uses only the public API. Bots and the terminal of
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
//! [`Client::next`] returns one [`ClientEvent`] at a time, and does all the work while it waits: it connects,
//! syncs, filters, sends commands again, refreshes the token, and reconnects with its cursor. Between two calls
//! nothing runs but the socket's own task. So call it in a loop, also while no event is expected. It is cancel
//! safe: it may be dropped (in a `select!`) and called again.
//!
//! # What it guarantees
//!
//! - A command that [`Client::submit`] has accepted ends with a [`Fate`], and takes effect at most once, however
//!   often it was sent and whichever process was killed. This holds while the client's process lives, and also
//!   across its restart if the state from [`Client::checkpoint`] was stored.
//! - A frame is returned once, in the order of its conversation. What the feed could not deliver is announced by a
//!   [`ClientEvent::Reset`], then a [`ClientEvent::Synced`]: the application reads the rows over [`Client::http`].
//!   A bot that only answers new messages may ignore both; it then misses messages that were sent before its first
//!   sync, and those that a reset left out.
//! - The state from [`Client::checkpoint`] covers exactly the events that were returned. A device whose state is
//!   saved in a [`StateFile`] and given to [`Client::new`] resumes after them.
//!
//! # Its bounds
//!
//! | what | bound | beyond |
//! |---|---|---|
//! | open commands | 1,000 | [`ClientError::TooManyOpen`]: wait until some are settled |
//! | refused commands that are kept | 100 | the oldest ids are forgotten |
//! | frames that wait for a sync | 10,000 | it reconnects: the server still has them |
//! | entries of a [`View`] | 2,000 | the oldest are forgotten: they can be read again |
//! | the wait before a reconnect | 10 s | |
//! | silence of the server | three ping intervals, 2 minutes at most | it reconnects |
//! | a call over HTTP | 20 s | [`ClientError::Unreachable`] |
//!
//! # Errors
//!
//! A call fails with a [`ClientError`]; [`ClientError::code`] is the server's stable code, and the error's text is
//! for people. Failed connections are not errors: they are reported as events, and retried. Only
//! [`ClientEvent::Stopped`] is final: for example, the user was signed out, or the server refuses the client. The
//! rules of a device are in `device::Device`, which does no I/O.

mod device;
#[cfg(test)]
mod device_tests;
mod error;
mod front;
mod http;
mod link;
mod marks;
mod presences;
mod renewal;
mod run;
mod state;
mod sync;
mod timeline;
mod tracked;
mod view;
#[cfg(test)]
mod view_tests;
mod wire;

// A bot depends on this crate alone, so the types in its interface are re-exported here.
pub use domain::{CommandId, ConversationId, MessageText, Seq, UserId};
pub use error::ClientError;
pub use front::Message;
pub use http::{Endpoints, Http, HttpPool};
pub use presences::Presences;
pub use protocol::{
    CloseCode, CommandFrame, CommandKind, ContentBody, EntryBody, ErrorCode, FeedFrame, FeedKind, HistoryPage,
    MentionsBody, QuoteBody, ReactionBody, SignalFrame, StandsName, SyncConversation, SyncState, VersionBody,
    VersionPage,
};
pub use run::{Client, ClientOptions, MOVES};
pub use secret::Secret;
pub use state::{DeviceState, StateError, StateFile};
pub use timeline::HistoryQuery;
pub use tracked::Tracked;
pub use view::{Applied, Change, ENTRIES_MAX, Typing, View};

/// An event of a device.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// The socket is open and welcomed, and the feed resumes (or, with a reset, begins).
    Connected {
        /// The user's delivery partition.
        partition: u32,
    },
    /// The socket was lost. The client reconnects by itself.
    Disconnected {
        /// The close code, if the server gave one.
        code: Option<u16>,
        /// The reason.
        reason: String,
    },
    /// The client has stopped for good and will not reconnect.
    Stopped {
        /// The close code, if there was one.
        code: Option<u16>,
        /// The reason, for the user.
        reason: String,
    },
    /// The feed cannot resume at the device's cursor: the application must discard what it has cached. It is told only
    /// when the sync is done, directly before its [`Self::Synced`].
    Reset {
        /// The server's reason.
        reason: String,
    },
    /// These conversations are synced: rows that are read from now on, with `at_least` set to the head, and the
    /// feed together are complete.
    Synced {
        /// After a reset, all that could be listed; later, those that could not be synced then.
        conversations: Vec<SyncConversation>,
    },
    /// A frame that passed the filter.
    Feed(Box<FeedFrame>),
    /// A signal about the present moment, such as that somebody is typing ([`View::signal`]) or online
    /// ([`Presences::signal`]). It may be lost, and no stored state depends on it.
    Signal(SignalFrame),
    /// A command is in the log.
    Logged {
        /// The command.
        id: CommandId,
    },
    /// The fate of a command. `Refused` may still be followed by another fate, if another copy of the command was
    /// under way; the others are final.
    Fate {
        /// The command.
        id: CommandId,
        /// Its conversation.
        conversation: ConversationId,
        /// The fate.
        fate: Fate,
        /// How often it was sent. Of several commands that were each sent once, over one connection, the log has the
        /// order in which they were submitted.
        sends: u32,
    },
    /// A read mark is in the log.
    Marked {
        /// The conversation.
        conversation: ConversationId,
        /// The seq of the entry up to which the user has read.
        seq: Seq,
    },
}

impl ClientEvent {
    /// Whether this is the last event.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }
}

/// The fate of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A command was accepted under its id.
    Stands {
        /// The seq of the accepted event.
        seq: Seq,
        /// What that event is.
        stands: StandsName,
    },
    /// The reducer refused a copy of it.
    Refused {
        /// The seq of that copy.
        seq: Seq,
        /// The reason.
        reason: ErrorCode,
        /// The reason as a sentence; empty from a server that sends none.
        message: String,
    },
    /// It was not accepted and never will be: no copy was appended, or its id was withdrawn because the server
    /// rejected a copy.
    Rejected {
        /// The server's code.
        code: ErrorCode,
        /// A sentence for people.
        message: String,
    },
}

/// The user of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's id.
    pub user: UserId,
    /// Its name.
    pub name: String,
}
