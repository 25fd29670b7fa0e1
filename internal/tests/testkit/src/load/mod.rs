//! A load from a seed: users with devices who send, edit, delete and react, join and leave, and repeat commands.
//!
//! The choices come from the seed; their effects differ between runs, since devices act on what they know at that
//! time.

mod actions;
mod faults;
mod hostile;
mod kills;
mod producers;
mod world;

pub use actions::mint;
pub use faults::{Fault, Faults, disturb_cluster, disturb_single, step_clocks};
pub use hostile::about_message;
pub use kills::{Killed, kill_cluster, kill_single};
pub use producers::{Written, write_foreign};
pub use world::{LoadRoom, World};

/// The size and the mix of a load.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Number of users.
    pub users: usize,
    /// Number of devices of each user.
    pub devices: usize,
    /// Number of conversations; one in five is direct.
    pub conversations: usize,
    /// The largest group: groups have 2 to so many members.
    pub members_max: usize,
    /// Messages to be sent; all other commands come on top.
    pub messages: usize,
    /// Percentage of commands that repeat earlier ones.
    pub retry_percent: u64,
    /// Percentage of commands that are a stranger's, or name users that do not exist.
    pub hostile_percent: u64,
    /// Whether only messages are sent.
    pub plain: bool,
    /// Whether devices lose their connections, return to an older stored state, and go away.
    pub unsteady: bool,
    /// Commands per second; `None` for as many as [`Self::in_flight`] allows.
    pub rate: Option<u32>,
    /// Commands without an answer at the same time, over all devices.
    pub in_flight: usize,
    /// Seed of the choices.
    pub seed: u64,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            users: 50,
            devices: 2,
            conversations: 200,
            members_max: 50,
            messages: 20_000,
            retry_percent: 5,
            hostile_percent: 2,
            plain: false,
            unsteady: true,
            rate: None,
            in_flight: 64,
            seed: 1,
        }
    }
}

impl LoadConfig {
    /// A load that a debug build on two cores completes in a minute.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        Self { users: 12, conversations: 30, members_max: 12, messages: 2_000, seed, ..Self::default() }
    }
}
