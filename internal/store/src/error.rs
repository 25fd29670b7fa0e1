//! What can go wrong with a store, sorted by what a caller does about it.

use std::error::Error;

use environment::ErrorKind;

use crate::Malformed;

/// The store did not do it, or it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, too slow or overloaded: a write may or may not be there. Back off and try again.
    #[error("the store is not reachable: {0}")]
    Transient(#[source] Box<dyn Error + Send + Sync>),
    /// Another incarnation is current than the one that this handle is pinned to. Begin again with another handle.
    #[error("the store is at incarnation {found}, this handle at {pinned}: begin again with the current one")]
    Incarnation {
        /// What this handle is pinned to.
        pinned: u32,
        /// What the store is at.
        found: u32,
    },
    /// The tables are not there or not those of this program.
    #[error("the store is not migrated: {0}; run 'klatschctl migrate'")]
    NotMigrated(String),
    /// It cannot work as it is configured.
    #[error("the store is configured wrongly: {0}")]
    Misconfigured(String),
    /// A row says what this program does not know. Whatever has nothing to do with that row goes on.
    #[error("{0}; a newer program has written it, or it came to harm")]
    Malformed(#[from] Malformed),
    /// Trying again will not help.
    #[error("the store failed: {0}")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// What a caller does about it.
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

    /// Whether trying again may mend it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }
}
