//! Bugs on purpose, to see whether tests bite: compiled in only with the feature `seeded-bugs`, which no program has.
//!
//! Each is one wrong line somewhere in a service, switched on at run time for the whole process.

/// Whether the bugs are compiled in. Programs refuse to be built with them; see `process::program`.
pub const COMPILED_IN: bool = cfg!(feature = "seeded-bugs");

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Read marks: progress is published before they are written.
    CommitBeforeStore = 1,
    /// Nobody looks whether an id was accepted before.
    NoDuplicateFilter,
    /// Ids are told apart by their stamps alone.
    FilterOnWrongKey,
    /// Between looking for a socket's place in the ring and taking it, records go by.
    RingAttachWithoutLock,
    /// A sync reads heads without waiting for storage.
    ResetWithoutBarrier,
    /// Deliveries go to another partition than their user's.
    WrongPartitionHash,
    /// The fan-out loads the newest state instead of that as of the event.
    LatestInsteadOfAsOf,
    /// `applied` is published before the rows are written.
    AppliedTooEarly,
    /// The fan-out writes that it holds a conversation after the commit has passed what it skipped.
    HoldAfterCommit,
    /// The fan-out's producer gives a record up.
    ProducerGivesUp,
    /// A command is acknowledged when it is handed over, not when the log has it.
    AckBeforeLog,
    /// What a socket was too slow for is left out, and the socket goes on.
    DropInsteadOfClose,
    /// A node that is stopped moves devices past what is queued for them.
    DrainForgets,
    /// Rows carry the time of day instead of the seq.
    WallClockTimestamp,
    /// Ordinals count from where memory began.
    OrdinalFromMemory,
    /// Commits count whoever they come from.
    ZombieCommitAccepted,
    /// The commit does not say what is parked.
    ParkedForgotten,
    /// The fan-out judges every event by the newest rules that it knows, not by the event's own.
    JudgedByNewestRules,
    /// The relay of read marks and account events commits before its deliveries are acknowledged.
    RelayCommitsEarly,
    /// A parked conversation whose queue in memory has overflowed counts as complete.
    OverflowCountsAsComplete,
    /// A part of storage's re-drive that ends before the intake says that one event more is done.
    RedriveDoneTooFar,
    /// A hold because of a row that cannot be read begins one event too late.
    MalformedHeldTooLate,
    /// Events taken in while the fan-out's hold is written are not said to be skipped.
    HoldForgetsTheMeanwhile,
    /// After an error, the reader of deliveries goes on without looking whether its log is the one it was.
    ReaderGoesOnBlindly,
    /// A list shows a last message as changed by an event that the membership read does not cover.
    ListBeyondMembership,
    /// A signal comes with the feed's cursor.
    SignalMovesCursor,
    /// The members that signals go to are looked up once and for all.
    SignalToWhoWasRemoved,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 27] = [
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
        Self::HoldForgetsTheMeanwhile,
        Self::ReaderGoesOnBlindly,
        Self::ListBeyondMembership,
        Self::SignalMovesCursor,
        Self::SignalToWhoWasRemoved,
    ];
}

#[cfg(feature = "seeded-bugs")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    static ON: AtomicU8 = AtomicU8::new(0);

    /// Switches that bug on, and all others off.
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
pub use switch::{bites, switch};

/// Never: the bugs are not compiled in.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
#[inline(always)]
pub const fn seeded(_bug: Bug) -> bool {
    false
}
