//! The errors of a store, sorted by what a caller does about them.

use std::error::Error;

use environment::ErrorKind;

use crate::Malformed;

/// A call failed, or its result is unknown.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, too slow or overloaded: a write may have been done or not. Back off and retry.
    #[error("the store is not reachable: {0}")]
    Transient(#[source] Box<dyn Error + Send + Sync>),
    /// The handle's incarnation is no longer current. Start again with another handle.
    #[error("the store is at incarnation {found}, this handle at {pinned}: begin again with the current one")]
    Incarnation {
        /// The incarnation that this handle is pinned to.
        pinned: u32,
        /// The store's current incarnation.
        found: u32,
    },
    /// The tables are missing, or not those of this program.
    #[error("the store is not migrated: {0}; run 'klatschctl migrate'")]
    NotMigrated(String),
    /// The store cannot work with its configuration.
    #[error("the store is configured wrongly: {0}")]
    Misconfigured(String),
    /// A row that this program cannot read. Work that does not concern that row can go on.
    #[error("{0}; a newer program has written it, or it came to harm")]
    Malformed(#[from] Malformed),
    /// A retry will not help.
    #[error("the store failed: {0}")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The kind of the error, which decides what a caller does.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Transient(_) => ErrorKind::Transient,
            Self::Incarnation { .. } => ErrorKind::Superseded,
            Self::NotMigrated(_) => ErrorKind::Missing,
            Self::Misconfigured(_) => ErrorKind::Misconfigured,
            Self::Malformed(_) => ErrorKind::Poison,
            Self::Broken(_) => ErrorKind::Broken,
            Self::Closed => ErrorKind::Closed,
        }
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }
}
