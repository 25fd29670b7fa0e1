//! Deliberate bugs that show whether the tests find them: compiled in only with the feature `seeded-bugs`, which
//! no program has unless it is built for that purpose (see `process::program`).
//!
//! Each is one wrong line somewhere in a service, switched on at run time for the whole process.

/// Whether the bugs are compiled in. Programs refuse to be built with them by accident; see `process::program`.
pub const COMPILED_IN: bool = cfg!(feature = "seeded-bugs");

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// The progress of read marks is published before the marks are written.
    CommitBeforeStore = 1,
    /// The facts of an event do not say whether its id was accepted before.
    NoDuplicateFilter,
    /// The duplicate check looks up the id of the event's target instead of the event's own id.
    FilterOnWrongKey,
    /// Records are missed between finding a socket's position in the ring and attaching to it.
    RingAttachWithoutLock,
    /// A sync reads heads without waiting for storage.
    ResetWithoutBarrier,
    /// Deliveries go to another partition than their user's.
    WrongPartitionHash,
    /// The fan-out loads the newest state instead of that as of the event.
    LatestInsteadOfAsOf,
    /// `applied` is published before the rows are written.
    AppliedTooEarly,
    /// The fan-out writes a hold after it has committed past the events that the hold skips.
    HoldAfterCommit,
    /// The fan-out goes on after a record that could not be appended.
    ProducerGivesUp,
    /// A command is acknowledged when it is enqueued, not when it is durable in the log.
    AckBeforeLog,
    /// Frames that a slow socket could not take are dropped, and the socket stays open.
    DropInsteadOfClose,
    /// A node that stops moves the cursors of its devices past frames that are still queued.
    DrainForgets,
    /// Rows have the time of day as their timestamp instead of the seq.
    WallClockTimestamp,
    /// Ordinals restart at 0 when a conversation is loaded into memory.
    OrdinalFromMemory,
    /// Commits are accepted from members that no longer own the partition.
    ZombieCommitAccepted,
    /// The commit does not list the parked conversations.
    ParkedForgotten,
    /// The fan-out judges every event by the newest rules that it knows, not by the event's own.
    JudgedByNewestRules,
    /// The relay of read marks and account events commits before its deliveries are acknowledged.
    RelayCommitsEarly,
    /// A parked conversation whose queue in memory has overflowed counts as complete.
    OverflowCountsAsComplete,
    /// A part of storage's re-drive that ends before the intake reports one event too many as done.
    RedriveDoneTooFar,
    /// The hold for an unreadable row begins one event too late.
    MalformedHeldTooLate,
    /// After an error, the reader of deliveries continues without checking that the log is the same one.
    ReaderGoesOnBlindly,
    /// A list shows the last message as changed by an event after the user's membership.
    ListBeyondMembership,
    /// A signal moves the cursor of the feed.
    SignalMovesCursor,
    /// The members who receive signals are looked up only once.
    SignalToWhoWasRemoved,
    /// Now and then a socket does not send a frame of its feed, and goes on.
    FeedDropsFrame,
    /// A socket waits before it sends, and sends the frames that came together in the opposite order.
    FeedReversesFrames,
    /// Now and then a message is logged a second time, under an id that the client never sent.
    SendLoggedTwice,
    /// Typing is appended to the durable feed of the members, too.
    SignalOnDurablePath,
    /// Rows of reactions are keyed by message and user, so that one of a user's reactions overwrites the others.
    ReactionKeyWithoutEmoji,
    /// Messages in a thread alone count in the conversation, too.
    ThreadCountedInOrdinal,
    /// An edit does not know whom the message mentioned before, and mentions all of them again.
    MentionedAgainOnEdit,
}

impl Bug {
    /// All bugs.
    pub const ALL: [Self; 33] = [
        Self::CommitBeforeStore,
        Self::NoDuplicateFilter,
        Self::FilterOnWrongKey,
        Self::RingAttachWithoutLock,
        Self::ResetWithoutBarrier,
        Self::WrongPartitionHash,
        Self::LatestInsteadOfAsOf,
        Self::AppliedTooEarly,
        Self::HoldAfterCommit,
        Self::ProducerGivesUp,
        Self::AckBeforeLog,
        Self::DropInsteadOfClose,
        Self::DrainForgets,
        Self::WallClockTimestamp,
        Self::OrdinalFromMemory,
        Self::ZombieCommitAccepted,
        Self::ParkedForgotten,
        Self::JudgedByNewestRules,
        Self::RelayCommitsEarly,
        Self::OverflowCountsAsComplete,
        Self::RedriveDoneTooFar,
        Self::MalformedHeldTooLate,
        Self::ReaderGoesOnBlindly,
        Self::ListBeyondMembership,
        Self::SignalMovesCursor,
        Self::SignalToWhoWasRemoved,
        Self::FeedDropsFrame,
        Self::FeedReversesFrames,
        Self::SendLoggedTwice,
        Self::SignalOnDurablePath,
        Self::ReactionKeyWithoutEmoji,
        Self::ThreadCountedInOrdinal,
        Self::MentionedAgainOnEdit,
    ];

    /// The bug of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }
}

#[cfg(feature = "seeded-bugs")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    static ON: AtomicU8 = AtomicU8::new(0);

    /// Switches that bug on and all others off; `None` switches all off.
    pub fn switch(bug: Option<Bug>) {
        ON.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
    }

    /// Whether that bug is on.
    #[must_use]
    pub fn seeded(bug: Bug) -> bool {
        ON.load(Ordering::SeqCst) == bug as u8
    }
}

#[cfg(feature = "seeded-bugs")]
pub use switch::{seeded, switch};

/// Always `false`: the bugs are not compiled in.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
#[inline(always)]
pub const fn seeded(_bug: Bug) -> bool {
    false
}
