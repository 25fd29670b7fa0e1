//! The journal oracle: compares what devices sent, received and show, the history, the store's rows and the log with
//! what the reducer makes of that log when it knows all facts.
//!
//! The comparison is exact because of its order: nothing new is sent and every command is resolved; the log is read
//! and judged ([`Truth`]); every device and storage reach its end ([`Truth::reached`], [`settled`]); then all is
//! compared.

mod again;
mod deliveries;
mod devices;
mod history;
mod log;
mod store;
mod truth;
mod verdict;

pub use deliveries::check_deliveries;
pub use devices::check_devices;
pub use history::{check_history, settled};
pub use log::Logged;
pub use store::{Rows, check_store, replayed, rows};
pub use truth::{Frame, Story, Truth, as_of, newest_of};
pub use verdict::{Fault, Verdict};

#[cfg(test)]
mod tests;
