//! Simulates what a power cut leaves of a process's files.
//!
//! A process runs under `strace`; [`Recording::parse`] turns its system calls on one folder into steps: writes, syncs,
//! changes of names, and the lines that the process acknowledged in between. [`Recording::cut`] rebuilds the folder as
//! it could be after a cut behind any step: everything that was synced, and of the rest a random part: nothing, all of
//! it, some writes and not others, writes torn at sectors.
//!
//! The model: a sync makes durable what was written to that file before the sync began (`fdatasync` too: the length
//! that is needed to read the data belongs to it, as POSIX has it). Unsynced writes to one file are kept or lost
//! each by itself, in any combination, in sectors of 512 bytes; a lost one leaves what was there before, or zeros.
//! Changes of names (creating, renaming, removing) are kept in order up to some point: either the one journal of all
//! of the file system, which any sync flushes (ext4, XFS; [`Names::Journaled`]), or one for each folder, which only a
//! sync of that folder flushes ([`Names::PerFolder`], the least that POSIX promises).
//!
//! Not modelled: disks that report a sync that they have not made, bits that turn, a sync that fails, and writes by
//! memory maps (the recording fails on calls that it does not know, so these would not go unnoticed but for the last).

mod power_cut;
mod recording;
mod strace;

pub use power_cut::{Keep, Luck, Names};
pub use recording::{Recording, Step, UNSUPPORTED};
pub use strace::{CALLS, TraceError};
