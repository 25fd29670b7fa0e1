//! Signals: facts about the present moment. They are not events: the reducer does not judge them, they are not
//! stored, and they may be lost.
//!
//! A new kind of signal is a variant of [`Signal`]; the compiler then asks for its record in `events` and its
//! frame in `protocol`.

use std::time::Duration;

use crate::{CommandId, ConversationId, UserId};

/// A device sends at most one typing signal per conversation in this time.
pub const TYPING_EVERY: Duration = Duration::from_secs(3);
/// How long clients show a signal: the user is shown as typing for this long, or until they send a message.
pub const SIGNAL_SHOWN: Duration = Duration::from_secs(6);
/// In conversations with more members, typing signals are not sent.
pub const TYPING_MEMBERS_MAX: usize = 100;

/// The most users that a socket watches.
pub const WATCHED_MAX: usize = 500;
/// A watcher is told of changes of one user's presence at most once in this time.
pub const PRESENCE_EVERY: Duration = Duration::from_secs(2);
/// How long after their last socket was closed a user is still as present as before: devices change networks and nodes.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(30);

/// One signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Somebody is typing.
    Typing {
        /// The conversation that the user types in.
        conversation: ConversationId,
        /// The user who is typing.
        user: UserId,
        /// What the user is about to say.
        doing: Doing,
        /// The root of the thread that the user types in; `None` outside threads.
        thread: Option<CommandId>,
    },
}

/// What somebody who is shown as typing does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doing {
    /// Typing a text.
    #[default]
    Text,
    /// Sending a file.
    File,
    /// An assistant's answer is being written.
    Assistant,
}

impl Doing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Text, Self::File, Self::Assistant];

    /// Its name on the wire and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::File => "file",
            Self::Assistant => "assistant",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|doing| doing.name() == name)
    }
}

impl Signal {
    /// Whether the signal says the same as an earlier one, so that the earlier one need not be sent any more.
    #[must_use]
    pub fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            // What is done there may change: the newest counts.
            (
                Self::Typing { conversation, user, thread, doing: _ },
                Self::Typing { conversation: where_before, user: who_before, thread: thread_before, doing: _ },
            ) => (conversation, user, thread) == (where_before, who_before, thread_before),
        }
    }
}

/// How present a user is. The order is that of strength: of several devices of a user, the strongest one counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No device is connected, or none that anybody may know of.
    #[default]
    Offline,
    /// Connected; nobody has used the device for a while.
    Idle,
    /// Connected.
    Online,
    /// Connected, and not to be disturbed.
    Dnd,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Offline, Self::Idle, Self::Online, Self::Dnd];

    /// Its name on the wire and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Idle => "idle",
            Self::Online => "online",
            Self::Dnd => "dnd",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// The presence of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// The user.
    pub user: UserId,
    /// How present they are.
    pub status: Status,
    /// Since when, milliseconds since the Unix epoch; `None` where that is not known.
    pub since_ms: Option<i64>,
}
