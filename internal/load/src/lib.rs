//! Load on a running Klatsch, from outside: real devices of the `client` crate over the public protocol, and nothing else.
//!
//! The load is an *open model*: a send is due at its intended time, whether or not earlier ones were answered, and every
//! latency counts from that time ([`pace`]). Each device keeps a journal of what it showed (`journal`); at the end an
//! oracle holds the journals, the acknowledgements and the history read over HTTP against one another ([`oracle`]). How
//! late the tool itself was is measured, too: a tool that was too slow proves nothing about the server (`lateness`).
//!
//! | bound | at the bound |
//! |---|---|
//! | devices, members of a conversation, shown messages in all journals | the call is refused (`plan`) |
//! | orders that wait for a device | the tool counts as overloaded |
//! | open commands of a device | the send counts as unresolved |
//! | calls over HTTP at the same time | the next one waits |
//! | waiting for devices to connect, to come back, to be caught up | an option each; then the run ends with what it has |

mod accounts;
mod bounds;
pub mod compare;
mod conversations;
mod crew;
mod device;
mod exit;
mod figures;
mod history;
mod journal;
mod lateness;
mod ledger;
mod limit;
mod line;
mod options;
pub mod oracle;
pub mod pace;
mod plan;
mod report;
mod run;
mod usage;
mod world;

pub use exit::{Exit, SetupError};
pub use options::{BoundOptions, LoadOptions, Scenario, WorldOptions};
pub use report::Report;
pub use run::run;
