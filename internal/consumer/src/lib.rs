//! The base of every consumer of the log, so that a new one only adds its own work.
//!
//! A consumer is a [`Group`]: an id, and the work on each partition of each topic. [`run`] gives it the partitions, and
//! begins all of it anew when another incarnation of the store becomes current. The work on a partition holds a
//! [`PartitionAccess`]: the log, the store and the holds of that partition, each call retried until it is answered, and the check
//! whether the log is still the one that was read before. [`read_facts`] and [`judge`] decide an event as of its seq,
//! as every consumer decides it. Each consumer writes its own loop: consumers differ in what they wait for and when
//! they commit.
//!
//! Errors are sorted by their own type ([`ErrorKind`](environment::ErrorKind)): transient ones are retried here, a row
//! that cannot be read holds its conversation, and all others end the partition's work with a [`ConsumerError`].

mod error;
mod group;
mod group_metrics;
mod judge;
mod partition_access;

use environment::Entropy;
use eventlog::SharedLog;
use events::Codec;
use store::SharedStore;

pub use error::ConsumerError;
pub use group::{Group, Route, Task, run};
pub use group_metrics::GroupMetrics;
pub use judge::{NotJudged, judge, read_facts};
pub use partition_access::{PartitionAccess, key_of};

/// Records that are taken from the log at once.
pub const BATCH_RECORDS_MAX: usize = 500;

/// The dependencies of every consumer.
#[derive(Clone)]
pub struct Seams {
    /// The log that records come from, and go to.
    pub log: SharedLog,
    /// The store with rows and holds.
    pub store: SharedStore,
    /// Decodes and encodes records.
    pub codec: Codec,
    /// Source of jitter.
    pub entropy: Entropy,
}
