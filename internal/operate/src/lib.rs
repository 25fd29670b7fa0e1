//! The operators' commands: their options, their work and their output, over the engines that a program hands in.
//!
//! `klatschctl` runs them on the engines that its options name. On one machine, where `klatsch` has the data folder
//! open, `klatschctl` has them run inside `klatsch` instead: it sends the parsed command through a socket in the folder
//! ([`CommandClient`]), `klatsch` runs the same code on its own open engines ([`CommandSocket`]) and sends back every line, which
//! `klatschctl` prints. So a command has one implementation and behaves the same in both cases.
//!
//! | bound | at the bound |
//! |---|---|
//! | [`COMMANDS_MAX`] commands at once inside one `klatsch` | a sentence, exit code 69 |
//! | [`CONNECTIONS_MAX`] connections of its socket | further ones wait in the operating system's queue |
//! | [`REQUEST_WITHIN`] until a request has come whole | closed |
//! | [`REQUEST_BYTES_MAX`] of a request, with the files that the command reads | a sentence, exit code 64 |
//! | [`FRAME_BYTES_MAX`] of one piece of output | the client gives up with a sentence |
//! | [`END_WITHIN`] for a command that was told to stop, [`STOP_WITHIN`] inside a `klatsch` that stops | it is given up where it stands |

mod address;
mod audit;
mod command;
mod command_socket;
mod context;
mod engines;
mod incarnations;
mod output;
mod progress;
mod remote;
mod replay;
mod run;
mod socket_client;
mod wire;

pub use address::SOCKET;
pub use command::{Command, base_url};
pub use command_socket::{COMMANDS_MAX, CONNECTIONS_MAX, CommandSocket, REQUEST_WITHIN};
pub use context::Context;
pub use engines::{Engines, Running, migrates_when_opened};
pub use output::{Console, Output};
pub use remote::STOP_WITHIN;
pub use run::{END_WITHIN, run};
pub use socket_client::CommandClient;
pub use wire::{Ended, FRAME_BYTES_MAX, REQUEST_BYTES_MAX};
