//! What the tests of several crates share: real servers, our own programs as processes, devices that record their
//! experience, a load for them, and the oracle that compares those records with the log.

mod child;

pub mod attack;
pub mod device;
pub mod engines;
pub mod foreign;
pub mod load;
pub mod numbered;
pub mod oracle;
pub mod programs;
pub mod runs;
pub mod servers;
