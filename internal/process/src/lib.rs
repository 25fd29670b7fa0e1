//! What every process needs around its service: options, telemetry, signals, owned tasks, health, metrics and an HTTP
//! server that is the same everywhere.
//!
//! Nothing here is global but the log subscriber: tokens, registries and readiness are made once in `main` (or by a
//! test) and passed down.

pub mod caught;
pub mod client;
pub mod descriptors;
pub mod health;
pub mod insist;
pub mod listen;
pub mod metrics;
pub mod options;
pub mod origins;
pub mod private;
pub mod program;
pub mod retry;
pub mod serve;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod trace;

pub use caught::{Panicked, caught};
pub use client::{Peer, ProxyOptions, client_address, network_of};
pub use health::{Condition, Readiness};
pub use insist::{Given, insist};
pub use listen::{bind, bind_operators};
pub use metrics::Metrics;
pub use origins::{OriginOptions, Origins};
pub use program::{ConfigFault, in_words, main_exit, program, program_logging};
pub use retry::{Backoff, FaultLog, reporter, supervised};
pub use serve::{Bounds, Serving, serve, serve_operators, serve_within};
pub use tasks::{TaskError, Tasks};
pub use trace::TraceParent;
