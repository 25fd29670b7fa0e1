//! Sorts the errors of the log and the store by what a caller does about them.
//!
//! The errors provide it themselves (`kind()`), in a match without a wildcard: a new variant does not compile
//! until its kind is decided.

/// What a caller does about an error of the log or of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Not reachable, too slow or overloaded: back off and retry. A write may or may not have been done.
    Transient,
    /// What the caller uses is no longer current (another incarnation, another owner): start again with the
    /// current one.
    Superseded,
    /// A topic or a table is missing: an operator must create it.
    Missing,
    /// The position is not in the log: it was trimmed, or the topic was re-created.
    OutOfRange,
    /// This program cannot read one row: what the row belongs to is held, everything else goes on.
    Poison,
    /// It cannot work with its configuration.
    Misconfigured,
    /// A retry will not help: stop with the error.
    Broken,
    /// This process has closed it.
    Closed,
}
