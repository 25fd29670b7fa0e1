//! People who talk while a server is attacked, and how well they are served.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::device::{Endpoints, Fate};
use crate::load::{LoadConfig, World};
use crate::runs::percentiles;

/// How many times as long as before the p99 of the answers may be.
const SLOWER_MAX: u32 = 3;
/// An answer within this time counts as quick, however quick it was before.
const QUICK: Duration = Duration::from_millis(100);

/// People with a device each who talk to one another.
#[derive(Debug)]
pub struct People {
    world: World,
}

/// What people experienced during one period.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Number of messages that were sent.
    pub messages: usize,
    /// Time from send to acknowledgement, in microseconds.
    pub ack_us: Vec<u64>,
    /// Time from send to arrival on another user's device, in microseconds.
    pub arrival_us: Vec<u64>,
}

impl People {
    /// Registers `users` accounts and opens as many conversations, in which they will send `rate` messages per
    /// second.
    ///
    /// # Errors
    /// When that does not succeed in time.
    pub async fn begin(endpoints: &Endpoints, users: usize, rate: u32) -> Result<Self> {
        let config = LoadConfig {
            users,
            devices: 1,
            conversations: users,
            members_max: 3,
            messages: 0,
            rate: Some(rate),
            plain: true,
            unsteady: false,
            ..LoadConfig::default()
        };
        Ok(Self { world: World::begin(endpoints, config).await? })
    }

    /// Lets them talk for that time, then waits until every command is resolved.
    ///
    /// # Errors
    /// When nothing is answered any more.
    pub async fn talk(&self, time: Duration) -> Result<Figures> {
        let before: Vec<_> = self.lengths().collect();
        let enough = AtomicBool::new(false);
        let timer = async {
            sleep(time).await;
            enough.store(true, Ordering::Relaxed);
        };
        let (messages, ()) = tokio::join!(self.world.talk(&enough), timer);
        self.world.resolve().await?;
        let mut figures = Figures { messages: messages?, ..Figures::default() };
        for (device, (acks, arrivals)) in self.world.devices.iter().zip(before) {
            let memory = device.memory();
            figures.ack_us.extend(&memory.journal.ack_us[acks..]);
            figures.arrival_us.extend(&memory.journal.arrival_us[arrivals..]);
        }
        Ok(figures)
    }

    /// Counts what was lost: commands of members that did not take effect, and messages that a member's device does
    /// not show. Also prints the errors that were met and retried.
    ///
    /// # Errors
    /// When some commands are not resolved in time.
    pub async fn lost(mut self) -> Result<usize> {
        self.world.resolve().await?;
        let missing = |world: &World| world.rooms.iter().map(|room| missing_in(world, room.id, &room.members)).sum();
        let mut lost: usize = missing(&self.world);
        for _ in 0..100 {
            if lost == 0 {
                break;
            }
            sleep(Duration::from_millis(100)).await;
            lost = missing(&self.world);
        }
        for (what, count) in self.world.troubles() {
            println!("  people met {count} x {what}");
        }
        self.world.stop().await;
        Ok(lost)
    }

    /// The users, their devices and conversations.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    fn lengths(&self) -> impl Iterator<Item = (usize, usize)> {
        self.world.devices.iter().map(|device| {
            let memory = device.memory();
            (memory.journal.ack_us.len(), memory.journal.arrival_us.len())
        })
    }
}

/// Commands of members that did not take effect, and messages that did but that a member's device lacks.
fn missing_in(world: &World, room: domain::ConversationId, members: &[usize]) -> usize {
    let (mut standing, mut missing) = (Vec::new(), 0);
    // Looks at one device of each member. Commands of users who are not members are refused on purpose, so they do
    // not count.
    for member in members {
        let memory = world.devices[*member].memory();
        for sent in memory.sends.values().filter(|sent| sent.conversation == room) {
            match sent.fate {
                Fate::Stands(seq) if matches!(sent.command.what, protocol::CommandKind::Send { .. }) => {
                    standing.push(seq)
                }
                Fate::Stands(_) => {}
                _ => missing += 1,
            }
        }
    }
    for member in members {
        let memory = world.devices[*member].memory();
        let has = |seq| memory.kept.rooms.get(&room).is_some_and(|room| room.entries.contains_key(seq));
        missing += standing.iter().filter(|seq| !has(seq)).count();
    }
    missing
}

impl Figures {
    /// The p99 of the time to an acknowledgement.
    #[must_use]
    pub fn p99(&self) -> Duration {
        p99(&self.ack_us)
    }

    /// Whether people were served about as well as `before`.
    #[must_use]
    pub fn as_good_as(&self, before: &Self) -> bool {
        as_good_as(&self.ack_us, &before.ack_us)
    }
}

/// Whether the p99 of these times, in microseconds, is within the bounds of [`SLOWER_MAX`] and [`QUICK`] against
/// `before`.
pub(super) fn as_good_as(us: &[u64], before: &[u64]) -> bool {
    !us.is_empty() && p99(us) <= p99(before).saturating_mul(SLOWER_MAX).max(QUICK)
}

fn p99(us: &[u64]) -> Duration {
    let mut sorted = us.to_vec();
    sorted.sort_unstable();
    let at = sorted.len().saturating_sub(1) * 99 / 100;
    Duration::from_micros(sorted.get(at).copied().unwrap_or(u64::MAX))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (acks, arrivals) = (percentiles(&self.ack_us), percentiles(&self.arrival_us));
        write!(f, "{} messages; to ack: {acks}; to another device: {arrivals}", self.messages)
    }
}
