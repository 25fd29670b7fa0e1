//! The work of the operators' commands: topics, schemas, replay, checksums, the audit, holds, the doctor.
//!
//! `klatschctl` is a thin shell around this crate: it parses, opens the engines and prints. Everything here uses
//! only the interfaces [`eventlog::EventLog`] and [`store::Store`], no particular engine. A command that writes
//! makes a plan first and reports what it would do.

pub mod audit;
pub mod checksum;
pub mod doctor;
pub mod drops;
pub mod groups;
pub mod holds;
pub mod keys;
pub mod ledger;
pub mod observers;
pub mod rebuild;
pub mod replay;
pub mod schemas;
pub mod tail;
pub mod topics;
pub mod versions;

mod error;

pub use error::{Exit, OpsError};
