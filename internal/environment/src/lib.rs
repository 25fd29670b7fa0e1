//! What a program takes from its host, as values that are passed in: the time of day and randomness; and how errors of
//! what it stands on are sorted.
//!
//! Services never ask the operating system themselves. A test or a simulator hands in a [`Clock`] that it moves and an
//! [`Entropy`] made from a seed, and the same code runs the same way again. Durations and timers are tokio's, which a
//! test can pause.

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
