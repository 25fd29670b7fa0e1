//! The journal oracle: what devices sent and heard, what they show, what history says, the store's rows and the log,
//! compared with what the reducer with perfect knowledge makes of that log.
//!
//! An order of events keeps the comparison exact: nothing new is said and every send is resolved; the log is read and
//! judged ([`Truth`]); every device and storage come to its end ([`Truth::reached`], [`settled`]); then all is compared.

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
pub use truth::{Frame, Story, Truth, as_of};
pub use verdict::{Fault, Verdict};

#[cfg(test)]
mod tests;
