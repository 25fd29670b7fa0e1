//! The websocket service from outside: real sockets, and the embedded log in memory.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, missing_docs)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod admission;
mod batches;
mod commands;
mod common;
mod documents;
mod protocol;
mod resume;
mod shutdown;
mod signals;
mod slow;
mod tokens;
mod topic;
