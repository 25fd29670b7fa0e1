//! What a caller does about an error: one sorting for all that a program stands on.
//!
//! The errors of the log and of the store say it themselves (`kind()`), in a match without a wildcard: a variant that is
//! added does not compile before somebody has decided what callers do about it.

/// What a caller does about an error of the log or of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Not reachable, too slow or overloaded: back off and try again. A write may or may not have been done.
    Transient,
    /// What the caller works with is not current any more (another incarnation, another owner): begin again with what is.
    Superseded,
    /// A topic or a table is not there: an operator makes it.
    Missing,
    /// The position is not in the log: it was trimmed, or the topic is another one than it was.
    OutOfRange,
    /// One row cannot be read by this program: what it belongs to is held, everything else goes on.
    Poison,
    /// It cannot work as it is configured.
    Misconfigured,
    /// Trying again does not help: stop, and say so.
    Broken,
    /// This process has closed it.
    Closed,
}
