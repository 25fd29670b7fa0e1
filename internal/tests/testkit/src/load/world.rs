//! The users, devices and conversations of a load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use domain::{CommandId, ConversationId, UserId};
use protocol::{CommandFrame, CommandKind};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;
use workload::Random;

use super::LoadConfig;
use super::actions::{self, Chosen};
use crate::device::{Account, Device, Endpoints, Fate, Route, Stamps};

/// How long the set-up may take: password hashes are slow on purpose, and slower in debug builds.
const BEGIN_WITHIN: Duration = Duration::from_secs(600);
/// How long it may take, after the last new command, until every device knows the fate of all its commands.
const RESOLVE_WITHIN: Duration = Duration::from_secs(600);
/// Before one message in so many, a typing signal is sent.
const TYPED_ONE_OF: usize = 8;
/// How often a condition is checked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Accounts registered at the same time.
const REGISTER_AT_ONCE: usize = 4;

/// A load's users, devices and conversations.
#[derive(Debug)]
pub struct World {
    /// The size of the load.
    pub config: LoadConfig,
    /// The users.
    pub accounts: Vec<Account>,
    /// All devices; those of user `n` are `n * devices ..`.
    pub devices: Vec<Device>,
    /// The conversations.
    pub rooms: Vec<LoadRoom>,
}

/// A conversation as the load knows it.
#[derive(Debug, Clone)]
pub struct LoadRoom {
    /// Its id.
    pub id: ConversationId,
    /// The number of the user who created it.
    pub founder: usize,
    /// The numbers of the first members, the founder among them.
    pub members: Vec<usize>,
    /// Whether it is a direct conversation.
    pub direct: bool,
}

impl World {
    /// Registers the users, connects their devices and creates the conversations.
    ///
    /// # Errors
    /// When that does not succeed in time.
    pub async fn begin(endpoints: &Endpoints, config: LoadConfig) -> Result<Self> {
        let stamps = Stamps::default();
        // Names are never reused: loads on the same servers must not choose the same ones.
        let prefix = format!("u{}", &Uuid::now_v7().simple().to_string()[..12]);
        let permits = Arc::new(Semaphore::new(REGISTER_AT_ONCE));
        let registering: Vec<_> = (0..config.users)
            .map(|number| {
                let (endpoints, permits, name) =
                    (endpoints.clone(), Arc::clone(&permits), format!("{prefix}-{number}"));
                tokio::spawn(async move {
                    let _permit = permits.acquire_owned().await;
                    Account::register(&endpoints, &name).await
                })
            })
            .collect();
        let mut accounts = Vec::new();
        for account in registering {
            accounts.push(account.await?.context("registering")?);
        }
        let mut devices = Vec::new();
        for account in &accounts {
            for _ in 0..config.devices {
                devices.push(Device::start(devices.len(), endpoints, account, &stamps)?);
            }
        }
        let mut world = Self { config, accounts, devices, rooms: Vec::new() };
        world.until("all devices are synced", BEGIN_WITHIN, |device| device.memory().live).await?;
        world.open_rooms().await?;
        Ok(world)
    }

    async fn open_rooms(&mut self) -> Result<()> {
        let mut random = Random::new(self.config.seed ^ 0x0b00);
        let (users, mut pairs, mut opened) = (self.config.users as u64, BTreeSet::new(), Vec::new());
        let pick = |random: &mut Random| usize::try_from(random.below(users)).unwrap_or(0);
        while self.rooms.len() < self.config.conversations {
            let founder = pick(&mut random);
            let direct = random.chance(20) && (pairs.len() as u64) < users * (users - 1) / 4;
            let count = if direct { 2 } else { 2 + random.below(self.config.members_max as u64 - 1) };
            let mut members = BTreeSet::from([founder]);
            while (members.len() as u64) < count.min(users) {
                members.insert(pick(&mut random));
            }
            if direct && !pairs.insert(members.clone()) {
                continue;
            }
            let id = actions::mint(&mut random, false);
            let named: Vec<UserId> = members.iter().map(|user| self.accounts[*user].user).collect();
            let kind = if direct { "direct" } else { "group" };
            let title = (!direct).then(|| format!("room {}", self.rooms.len()));
            let command = CommandFrame::new(id, None, CommandKind::Create { kind: kind.into(), title, members: named });
            let device = self.device_of(founder, &mut random);
            let sent = self.devices[device].send(command, Route::Socket, None);
            let conversation = sent.map_err(anyhow::Error::msg)?;
            opened.push((device, id));
            self.rooms.push(LoadRoom { id: conversation, founder, members: members.into_iter().collect(), direct });
        }
        let stands = |(device, id): &(usize, CommandId)| {
            let memory = self.devices[*device].memory();
            matches!(memory.sends.get(id).map(|sent| sent.fate), Some(Fate::Stands(_)))
        };
        let deadline = Instant::now() + BEGIN_WITHIN;
        while !opened.iter().all(stands) {
            let missing = opened.iter().filter(|opened| !stands(opened)).count();
            ensure!(Instant::now() < deadline, "{missing} conversations were not opened in time");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The number of one of the user's devices.
    pub(crate) fn device_of(&self, user: usize, random: &mut Random) -> usize {
        let which = random.below(self.config.devices as u64);
        user * self.config.devices + usize::try_from(which).unwrap_or(0)
    }

    /// Lets users talk until the load's messages are sent and `enough` is set. Returns the number of messages.
    ///
    /// # Errors
    /// When no command is answered any more.
    pub async fn talk(&self, enough: &AtomicBool) -> Result<usize> {
        let mut random = Random::new(self.config.seed);
        let permits = Arc::new(Semaphore::new(self.config.in_flight));
        let mut pace = self.config.rate.map(|rate| {
            let mut pace = interval(Duration::from_secs(1) / rate.max(1));
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            pace
        });
        let mut messages = 0;
        while messages < self.config.messages || !enough.load(Ordering::Relaxed) {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            let permit = tokio::time::timeout(RESOLVE_WITHIN, Arc::clone(&permits).acquire_owned()).await;
            let permit = permit.with_context(|| format!("nothing is answered; open: {}", self.open()))??;
            let Some(Chosen { device, command, route, is_message }) = actions::choose(self, &mut random) else {
                continue;
            };
            if let Some(conversation) = command.conversation.filter(|_| is_message && messages % TYPED_ONE_OF == 0) {
                self.devices[device].typing(conversation);
            }
            self.devices[device].send(command, route, Some(permit)).map_err(anyhow::Error::msg)?;
            messages += usize::from(is_message);
            if self.config.unsteady {
                actions::disturb(self, &mut random);
            }
        }
        Ok(messages)
    }

    /// Waits until every device is connected and knows the fate of all its commands.
    ///
    /// # Errors
    /// When that takes too long: every command must resolve.
    pub async fn resolve(&self) -> Result<()> {
        for device in &self.devices {
            device.set_away(false);
        }
        self.until("every send is resolved", RESOLVE_WITHIN, |device| {
            let memory = device.memory();
            memory.live && memory.open.is_empty() && memory.kept.unacked.is_empty() && memory.kept.rereads.is_empty()
        })
        .await
    }

    /// Waits until `holds` is true for all devices.
    ///
    /// # Errors
    /// When that takes longer than `within`, or a device has given up.
    pub async fn until(&self, what: &str, within: Duration, holds: impl Fn(&Device) -> bool) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            if let Some((name, why)) = self.stopped() {
                bail!("{name} gave up: {why}");
            }
            let Some(waiting) = self.devices.iter().find(|device| !holds(device)) else { return Ok(()) };
            if Instant::now() >= deadline {
                let count = self.devices.iter().filter(|device| !holds(device)).count();
                let memory = waiting.memory();
                let open: Vec<_> =
                    memory.open.iter().filter_map(|id| Some((id, memory.sends.get(id)?))).take(3).collect();
                bail!(
                    "not within {within:?} on {count} devices: {what}; {} is live: {}, open: {open:?}, marks: {:?}, \
                     rereads: {:?}, ends: {:?}, errors: {:?}",
                    waiting.name,
                    memory.live,
                    memory.kept.unacked,
                    memory.kept.rereads,
                    memory.journal.ends,
                    memory.journal.errors,
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn stopped(&self) -> Option<(String, String)> {
        self.devices.iter().find_map(|device| Some((device.name.clone(), device.memory().journal.stopped.clone()?)))
    }

    /// The number of commands whose fate is open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.devices.iter().map(|device| device.memory().open.len()).sum()
    }

    /// Stops all devices. Their state stays readable.
    pub async fn stop(&mut self) {
        for device in &mut self.devices {
            device.stop().await;
        }
    }

    /// Errors that were met and retried: why connections ended, and which error codes came, with their number.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<String, u32> {
        let mut troubles: BTreeMap<String, u32> = BTreeMap::new();
        for device in &self.devices {
            let memory = device.memory();
            let journal = &memory.journal;
            for (what, count) in journal.ends.iter().chain(&journal.errors) {
                *troubles.entry(what.clone()).or_default() += count;
            }
            for reason in &journal.resets {
                *troubles.entry(format!("reset: {reason}")).or_default() += 1;
            }
        }
        troubles
    }
}
