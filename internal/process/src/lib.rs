//! What every process needs around its service: options, telemetry, signals, owned tasks, health, metrics and an HTTP
//! server that is the same everywhere.
//!
//! Nothing here is global but the log subscriber: tokens, registries and readiness are made once in `main` (or by a
//! test) and passed down.

pub mod ages;
pub mod append_seconds;
pub mod catch_panic;
pub mod client;
pub mod command_seconds;
pub mod computed;
pub mod descriptors;
pub mod health;
pub mod latency;
pub mod listen;
pub mod metrics;
pub mod options;
pub mod origins;
pub mod private;
pub mod program;
pub mod retry;
pub mod retry_until_stopped;
pub mod serve;
pub mod shutdown;
pub mod store_seconds;
pub mod tasks;
pub mod telemetry;
pub mod trace;
pub mod usage;

pub use ages::{Age, Ages, PartitionLabel, TopicLabel};
pub use append_seconds::AppendSeconds;
pub use catch_panic::{Panicked, catch_panic};
pub use client::{Peer, ProxyOptions, client_address, network_of};
pub use command_seconds::{CommandSeconds, CommandTimer};
pub use computed::Computed;
pub use health::{Condition, Readiness};
pub use latency::Latency;
pub use listen::{bind, bind_operators};
pub use metrics::Metrics;
pub use origins::{OriginOptions, Origins};
pub use program::{ConfigFault, in_words, main_exit, program, program_ending_later, program_logging};
pub use retry::{Backoff, FaultLog, reporter, supervised};
pub use retry_until_stopped::{RetryError, retry_until_stopped};
pub use serve::{Bounds, Serving, serve, serve_operators, serve_within};
pub use store_seconds::StoreSeconds;
pub use tasks::{TaskError, Tasks};
pub use trace::TraceParent;
