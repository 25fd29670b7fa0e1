//! Incarnations: sets of log-derived tables that exist side by side; one of them is current.
//!
//! Programs read the current incarnation, and storage writes it. Another one is built beside it
//! ([`Stage::Building`]) and made current by a compare-and-set. The one before stays as storage left it
//! ([`Stage::Served`]), so that a switch back is possible: storage continues from the `applied + 1` of the
//! incarnation that becomes current, so nothing is lost.

use async_trait::async_trait;
use serde::Serialize;

use crate::{SharedStore, Store, StoreError};

/// The stage of an incarnation that is not current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was made beside the current one and has never been current: it may lack rows of any age.
    Building,
    /// It was current once, and is as storage left it.
    Served,
}

/// An incarnation beside the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Beside {
    /// Its number; numbers are never reused.
    pub number: u32,
    /// Its stage.
    pub stage: Stage,
}

/// Every incarnation that has tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incarnations {
    /// The number of the current incarnation.
    pub current: u32,
    /// The others, by number.
    pub beside: Vec<Beside>,
}

impl Incarnations {
    /// The incarnation with that number, if it exists beside the current one.
    #[must_use]
    pub fn find(&self, number: u32) -> Option<Beside> {
        self.beside.iter().copied().find(|beside| beside.number == number)
    }
}

/// Making, switching and dropping incarnations.
#[async_trait]
pub trait IncarnationStore: Send + Sync + 'static {
    /// All incarnations, as of a moment during this call.
    async fn incarnations(&self) -> Result<Incarnations, StoreError>;

    /// Another handle, pinned to that incarnation.
    ///
    /// A handle to the current incarnation behaves as in every program: when another one becomes current, its
    /// waits fail with [`StoreError::Incarnation`], and its writes may. A handle to any other incarnation is for
    /// building and comparing: it keeps working whichever is current. The user tables and the fan-out's holds are
    /// the same for every handle.
    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError>;

    /// Makes a set of empty tables beside the current ones; returns its number. No program uses it yet.
    async fn make_incarnation(&self) -> Result<u32, StoreError>;

    /// Makes `to` current if `from` is, atomically; returns whether it did. `from` and its rows stay. The progress
    /// of `to` is not checked: the caller must see to it that `to` has come as far, and a [`crate::Following`]
    /// handle waits until it has.
    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError>;

    /// Drops an incarnation that is not current, for good; its rows are removed now or when the store is opened
    /// next.
    async fn drop_incarnation(&self, incarnation: u32) -> Result<(), StoreError>;
}

/// Returns a handle that is pinned to the current incarnation.
///
/// # Errors
/// When the store does not answer. Another incarnation may be current already when this returns; then calls on the
/// handle fail with that error.
pub async fn pinned<S: Store + ?Sized>(store: &S) -> Result<SharedStore, StoreError> {
    let current = store.incarnations().await?.current;
    store.at(current).await
}

/// The error for an incarnation that does not exist.
#[must_use]
pub fn no_incarnation(number: u32) -> StoreError {
    StoreError::Misconfigured(format!("there is no incarnation {number}"))
}
