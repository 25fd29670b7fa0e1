//! Random histories of conversations, and their expected results: for tests.
//!
//! [`Stories`] generates the commands of clients: all kinds, retries at any later time, other payloads under a used
//! id, withdrawals, ids from clocks that are wrong by minutes or weeks, commands of strangers and of members who
//! were just removed. [`Reference`] is the oracle: the reducer over the whole log with all facts (every accepted
//! id), in order and without any cache. The same seed gives the same history on every machine.

mod random;
mod reference;
mod stories;

pub use random::Random;
pub use reference::Reference;
pub use stories::{Stories, StoryConfig};
