//! What every consumer of the log stands on, so that a new one is only its own work.
//!
//! A consumer is a [`Group`]: an id, and the work that is begun for each partition of each topic. [`run`] gives it the
//! partitions, and begins all of it anew when another incarnation of the store becomes current. The work of a partition
//! holds a [`Lane`]: the log, the store and the holds of that partition, each call made until it is answered, and the
//! look whether the log is still the one that was read before. [`read_facts`] and [`judge`] decide an event as of its
//! place, as everybody else decides it. A loop of its own each consumer writes itself: what it waits for, and when it
//! commits, is what consumers differ in.
//!
//! Errors are sorted by their own type ([`ErrorKind`](environment::ErrorKind)): what is transient is tried again in here, a row
//! that cannot be read holds its conversation, and all else ends the partition's work with a [`ConsumerError`].

mod error;
mod group;
mod judge;
mod lane;

use environment::Entropy;
use eventlog::SharedLog;
use events::Codec;
use store::SharedStore;

pub use error::ConsumerError;
pub use group::{Group, Route, Task, run};
pub use judge::{NotJudged, judge, read_facts};
pub use lane::{Lane, key_of};

/// Records that are taken from the log at once.
pub const BATCH_RECORDS_MAX: usize = 500;

/// What a consumer works with.
#[derive(Clone)]
pub struct Seams {
    /// Where records come from, and go to.
    pub log: SharedLog,
    /// Rows and holds.
    pub store: SharedStore,
    /// Reads and writes records.
    pub codec: Codec,
    /// For jitter.
    pub entropy: Entropy,
}
