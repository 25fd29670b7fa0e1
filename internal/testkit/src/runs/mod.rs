//! Whole runs: a load, disturbances, and the oracle's verdict. The end-to-end tests and `bin/load` stand on these.

mod report;
mod single;

pub use report::{Report, percentiles};
pub use single::single;
