//! What the tests of more than one crate stand on: real servers to run against, and ways to speak to them.

pub mod servers;
