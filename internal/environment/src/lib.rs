//! What a program gets from its host, passed in as values: the time of day and randomness. Also the kinds of
//! errors of the log and the store, token buckets, and a value whose changes can be awaited.
//!
//! Services never read the operating system's clock or randomness themselves. A test or a simulator passes in a
//! [`Clock`] that it sets and an [`Entropy`] with a seed, and the same code runs the same way again. Durations and
//! timers are tokio's, which a test can pause.

mod buckets;
mod clock;
mod entropy;
mod kind;
mod latest;
pub mod seeded_bugs;

pub use buckets::Buckets;
pub use clock::Clock;
pub use entropy::Entropy;
pub use kind::ErrorKind;
pub use latest::{Latest, Seen, Settled};
