//! People who talk while a server is attacked, and how well they are served.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::device::{Endpoints, Fate};
use crate::load::{LoadConfig, World};
use crate::runs::percentiles;

/// How many times longer than before the slowest hundredth of the answers may take.
const SLOWER_MAX: u32 = 3;
/// Below this, an answer is quick whatever it took before.
const QUICK: Duration = Duration::from_millis(100);

/// People with a device each who talk to one another.
#[derive(Debug)]
pub struct People {
    world: World,
}

/// How long people waited within one time.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Messages said.
    pub messages: usize,
    /// From send to acknowledgement.
    pub ack_us: Vec<u64>,
    /// From send to another's device.
    pub arrival_us: Vec<u64>,
}

impl People {
    /// Registers so many, and opens as many conversations, in which they will say `rate` messages per second.
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

    /// They talk for so long; then every send is waited for.
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

    /// What was lost: messages of theirs that do not stand, or that a member's device does not show. Also prints what
    /// went wrong on the way and was mended.
    ///
    /// # Errors
    /// When not everything comes about in time.
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

    /// What they are and do.
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

/// Messages of the conversation that do not stand, and copies of those that do that its members' devices lack.
fn missing_in(world: &World, room: domain::ConversationId, members: &[usize]) -> usize {
    let (mut standing, mut missing) = (Vec::new(), 0);
    // One device each. Now and then a stranger to the conversation says something, which is refused.
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
    /// The time within which 99 of 100 acknowledgements came.
    #[must_use]
    pub fn p99(&self) -> Duration {
        p99(&self.ack_us)
    }

    /// Whether people were served as well as `before`, more or less.
    #[must_use]
    pub fn as_good_as(&self, before: &Self) -> bool {
        as_good_as(&self.ack_us, &before.ack_us)
    }
}

/// Whether these times, in microseconds, are as good as those of `before`, more or less.
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
