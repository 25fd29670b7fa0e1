//! Incarnations: sets of log-derived tables side by side, one of them current.
//!
//! The current one is what programs read and storage writes. Another one is built beside it ([`Stage::Building`]), made
//! current by a compare-and-set, and the one before stays ([`Stage::Served`]) as it was when storage left it, so that
//! there is a way back: whatever becomes current, storage goes on from its own `applied + 1`, and nothing is lost.

use async_trait::async_trait;
use serde::Serialize;

use crate::{SharedStore, Store, StoreError};

/// What an incarnation beside the current one is.
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
    /// Its number. Numbers are never used again.
    pub number: u32,
    /// What it is.
    pub stage: Stage,
}

/// Every incarnation that has tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incarnations {
    /// The one that programs use.
    pub current: u32,
    /// The others, by number.
    pub beside: Vec<Beside>,
}

impl Incarnations {
    /// The one of that number beside the current one.
    #[must_use]
    pub fn find(&self, number: u32) -> Option<Beside> {
        self.beside.iter().copied().find(|beside| beside.number == number)
    }
}

/// Making, switching and dropping incarnations.
#[async_trait]
pub trait IncarnationStore: Send + Sync + 'static {
    /// Which there are, as of a moment during this call.
    async fn incarnations(&self) -> Result<Incarnations, StoreError>;

    /// Another handle, pinned to that incarnation.
    ///
    /// One to the current incarnation is as every program has it: when another becomes current, its waits fail with
    /// [`StoreError::Incarnation`], and its writes may. One to any other is for building and comparing: it goes on
    /// whatever is current. The user tables and the fan-out's holds are the same behind every handle.
    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError>;

    /// Makes empty tables beside the current ones; returns their number. Nobody uses them yet.
    async fn make_incarnation(&self) -> Result<u32, StoreError>;

    /// Makes `to` current if `from` is, atomically; says whether it did. `from` and its rows stay. Nobody's `applied`
    /// is looked at: who switches sees to it that `to` has come as far, and a [`crate::Following`] handle waits until
    /// it has.
    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError>;

    /// Gives up an incarnation that is not current, for good; its rows go now or when the store is opened next.
    async fn drop_incarnation(&self, incarnation: u32) -> Result<(), StoreError>;
}

/// A handle that is pinned to the incarnation that is current now.
///
/// # Errors
/// When the store cannot be asked. It may have another one already when this returns: then the handle's use says so.
pub async fn pinned<S: Store + ?Sized>(store: &S) -> Result<SharedStore, StoreError> {
    let current = store.incarnations().await?.current;
    store.at(current).await
}

/// What to say where there is no such incarnation.
#[must_use]
pub fn no_incarnation(number: u32) -> StoreError {
    StoreError::Misconfigured(format!("there is no incarnation {number}"))
}
