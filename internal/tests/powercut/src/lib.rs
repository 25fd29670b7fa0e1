//! Simulates what a power cut leaves of a process's files.
//!
//! A process runs under `strace`; [`Recording::parse`] turns its system calls on one folder into steps: writes,
//! syncs, changes of names, and the lines that the process acknowledged in between. [`Recording::cut`] rebuilds the
//! folder as it could be after a power cut at any step: everything that was synced, and a random part of the rest:
//! nothing, all of it, some writes and not others, or writes torn at sectors.
//!
//! The model: a sync makes durable what was written to that file before the sync began (`fdatasync` too: it includes
//! the length that is needed to read the data, as POSIX requires). Each unsynced write is kept or lost independently
//! of the others, in sectors of 512 bytes; a lost one leaves the former content, or zeros. Changes of names
//! (creating, renaming, removing) are kept in order up to some point. There is either one journal for the whole file
//! system, which any sync flushes (ext4, XFS; [`Names::Journaled`]), or one for each folder, which only a sync of
//! that folder flushes ([`Names::PerFolder`], the least that POSIX promises).
//!
//! Not modelled: disks that report a sync that they have not made, flipped bits, a sync that fails, and writes
//! through memory maps. The recording fails on system calls that it does not know, so only writes through memory
//! maps would go unnoticed.

mod power_cut;
mod recording;
mod strace;

pub use power_cut::{Keep, Luck, Names};
pub use recording::{Recording, Step, UNSUPPORTED};
pub use strace::{CALLS, TraceError};
