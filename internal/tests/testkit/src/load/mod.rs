//! Users with devices who talk, edit, delete, react, come and go, and repeat themselves: a load from a seed.
//!
//! What is chosen comes from the seed; what it meets does not, since devices act on what they know at that moment.

mod actions;
mod faults;
mod hostile;
mod kills;
mod producers;
mod world;

pub use actions::mint;
pub use faults::{Fault, Faults, disturb_cluster, disturb_single, step_clocks};
pub use kills::{Killed, kill_cluster, kill_single};
pub use producers::{Written, write_foreign};
pub use world::{Meeting, World};

/// How large a load is.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Users.
    pub users: usize,
    /// Devices of each.
    pub devices: usize,
    /// Conversations; one in five is direct.
    pub conversations: usize,
    /// A group has 2 to so many members.
    pub members_max: usize,
    /// Messages to be sent; everything else comes on top.
    pub messages: usize,
    /// Of 100 commands, so many are repetitions of earlier ones.
    pub retry_percent: u64,
    /// Of 100 commands, so many are a stranger's, or name users that do not exist.
    pub hostile_percent: u64,
    /// Messages only.
    pub plain: bool,
    /// Whether devices lose their connections, their memory and their owners' attention.
    pub unsteady: bool,
    /// Commands per second; `None`: as many as [`Self::in_flight`] allows.
    pub rate: Option<u32>,
    /// Commands without an answer, over all devices.
    pub in_flight: usize,
    /// Of what is chosen.
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
    /// A load that a debug build on two cores gets through in a minute.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        Self { users: 12, conversations: 30, members_max: 12, messages: 2_000, seed, ..Self::default() }
    }
}
