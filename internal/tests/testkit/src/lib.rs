//! What the tests of more than one crate stand on: real servers to run against, our own programs as processes, devices
//! that remember everything, a load for them, and the oracle that compares what they went through with the log.

mod child;

pub mod attack;
pub mod device;
pub mod engines;
pub mod foreign;
pub mod load;
pub mod oracle;
pub mod programs;
pub mod runs;
pub mod servers;
