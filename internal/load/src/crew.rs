//! All devices of a run: started at a pace, given their orders, and asked for their journals at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{ClientOptions, DeviceState, Seq};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::accounts::Accounts;
use crate::device::{Device, Order};
use crate::exit::SetupError;
use crate::journal::Journal;
use crate::line::{Line, Speed};
use crate::options::Scenario;
use crate::pace::{Act, Stage};
use crate::plan::{Plan, Role};
use crate::world::World;

/// Orders that wait for one device. One that has so many is not run by the tool often enough.
const ORDERS_MAX: usize = 256;
/// How long the last devices may take to connect, beyond the pace of connecting.
const CONNECTED_WITHIN: Duration = Duration::from_secs(60);
/// What a slow device takes a second.
const TRICKLE_BYTES: usize = 1_000;
/// Senders of a loud conversation, and the most slow users in one. So many senders, because what a user may cause to be
/// written is bounded, and each message counts once for every part of the feed that it goes to.
const LOUD: (usize, usize) = (12, 60);
/// How long the devices may take to close their connections.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// The devices.
pub(crate) struct Crew {
    world: Arc<World>,
    orders: Vec<mpsc::Sender<Order>>,
    tasks: Vec<JoinHandle<Journal>>,
    roles: Vec<Role>,
    devices_per_user: usize,
    /// For each size of conversations: each conversation that somebody can write to, with the devices that can.
    writers: Vec<Vec<(u32, Vec<u32>)>>,
    /// The same of the loud conversations.
    loud: Vec<(u32, Vec<u32>)>,
    /// The lines of devices that stop reading, and of those that read slowly.
    lines: Vec<(Role, Line)>,
    body_bytes: u32,
    loud_bytes: u32,
}

/// Which conversations a stream of sends goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Those of the sizes that were asked for.
    Mix,
    /// The loud ones, of the slow devices.
    Loud,
}

impl Crew {
    /// Starts all devices, and waits until they are connected and synced. `kinds` has the number of conversations of each
    /// size, and `loud` that of the loud ones, which are the last.
    ///
    /// # Errors
    /// When they are not connected in time.
    pub(crate) async fn connect(
        plan: &Plan,
        accounts: &Accounts,
        world: &Arc<World>,
        kinds: &[usize],
        loud: usize,
    ) -> Result<Self, SetupError> {
        let options = &plan.options;
        let nodes = match &options.world.sockets[..] {
            [] => vec![options.world.url.clone()],
            nodes => nodes.to_vec(),
        };
        let mut lines = Vec::new();
        if plan.scenario == Scenario::Slow {
            for role in [Role::Stopped, Role::Trickling] {
                lines.push((role, Line::open(&nodes).await?));
            }
        }
        let mut crew = Self {
            world: Arc::clone(world),
            orders: Vec::new(),
            tasks: Vec::new(),
            roles: plan.roles.clone(),
            devices_per_user: options.world.devices_per_user,
            writers: Vec::new(),
            loud: Vec::new(),
            lines,
            body_bytes: u32::try_from(options.body_bytes).unwrap_or(u32::MAX),
            loud_bytes: u32::try_from(options.loud_bytes).unwrap_or(u32::MAX),
        };
        crew.find_writers(kinds, loud);
        let of_users = conversations_of(world, plan.users);
        let begun = Instant::now();
        let pace = Stage::new("connecting", options.world.connect_rate, Duration::ZERO);
        for number in 0..plan.roles.len() {
            sleep_until(begun + pace.due(number as u64)).await;
            let user = number / crew.devices_per_user;
            crew.start(number, &accounts.users[user], of_users[user].clone(), &nodes);
        }
        let all = plan.roles.len();
        if world.until_up(all, Instant::now() + CONNECTED_WITHIN).await {
            return Ok(crew);
        }
        let up = world.up.load(Ordering::Relaxed);
        let why = world.last_trouble().unwrap_or_else(|| "they are not synced".into());
        Err(SetupError::Other(format!(
            "{up} of {all} devices were connected and synced within {} s after the last was started; the last trouble: \
             {why}. (A server takes 4,096 connections of an address that is not a loopback one: its \
             --connections-per-address, or more machines for the tool)",
            CONNECTED_WITHIN.as_secs()
        )))
    }

    fn start(&mut self, number: usize, user: &crate::accounts::User, conversations: Vec<u32>, nodes: &[String]) {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let line = self.lines.iter().find(|(role, _)| *role == self.roles[number]);
        let nodes = line.map_or_else(|| nodes.to_vec(), |(_, line)| vec![line.url.clone()]);
        let device = Device {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            world: Arc::clone(&self.world),
            options: ClientOptions {
                http: Arc::clone(&user.http),
                identity: user.identity.clone(),
                state: DeviceState::default(),
                clock: self.world.clock.clone(),
                entropy: self.world.entropy.clone(),
            },
            nodes: (nodes, number),
            conversations,
            orders: taken,
        };
        self.orders.push(orders);
        self.tasks.push(tokio::spawn(device.run()));
    }

    /// Finds who can write where: devices that nothing happens to but what hits everybody, or a cut.
    fn find_writers(&mut self, kinds: &[usize], loud: usize) {
        let writes = |device: &u32| matches!(self.roles[*device as usize], Role::Normal | Role::Cut);
        let devices = self.devices();
        let mut of = (0..).zip(devices).map(|(conversation, devices)| {
            let devices: Vec<u32> = devices.into_iter().filter(writes).collect();
            (conversation, devices)
        });
        let mut take = |count: usize| -> Vec<(u32, Vec<u32>)> {
            of.by_ref().take(count).filter(|(_, devices)| !devices.is_empty()).collect()
        };
        let writers = kinds.iter().map(|count| take(*count)).filter(|kind| !kind.is_empty()).collect();
        // Of a loud conversation, the members that are not slow come first: they are those who write.
        let loud = take(loud);
        (self.writers, self.loud) = (writers, loud);
    }

    /// The devices of the members of each conversation.
    pub(crate) fn devices(&self) -> Vec<Vec<u32>> {
        let all = self.roles.len();
        let of = |user: &usize| user * self.devices_per_user..all.min((user + 1) * self.devices_per_user);
        let number = |device| u32::try_from(device).unwrap_or(u32::MAX);
        let conversations = self.world.conversations.iter();
        conversations.map(|conversation| conversation.members.iter().flat_map(of).map(number).collect()).collect()
    }

    /// Gives a send that is due to one of the devices.
    pub(crate) fn send(&self, target: Target, stage: u16, due: Instant) {
        let below = |count: usize| usize::try_from(self.world.choices.below(count as u64)).unwrap_or(0);
        let (kind, bytes) = match target {
            Target::Mix if !self.writers.is_empty() => (&self.writers[below(self.writers.len())], self.body_bytes),
            Target::Mix => return,
            Target::Loud => (&self.loud, self.loud_bytes),
        };
        let Some((conversation, devices)) = kind.get(below(kind.len())) else { return };
        let device = devices[below(devices.len())];
        let now_ms = self.world.clock.now_ms();
        let (number, id) = self.world.ledger.enter((*conversation, device), stage, due, now_ms);
        let conversation = self.world.conversations[*conversation as usize].id;
        let order = Order::Send { number, id, conversation, due, bytes };
        if self.orders[device as usize].try_send(order).is_err() {
            self.world.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes happen what a stage begins with.
    ///
    /// # Errors
    /// When the command fails.
    pub(crate) async fn act(&self, act: Act, command: Option<&str>) -> Result<(), SetupError> {
        match act {
            Act::Nothing => {}
            Act::Cut => match command {
                Some(command) => return run(command).await,
                None => self.order(Role::Cut, &Order::Cut).await,
            },
            Act::Leave => self.order(Role::Leaver, &Order::Leave).await,
            Act::Return => self.order(Role::Leaver, &Order::Return).await,
            Act::Slow => {
                for (role, line) in &self.lines {
                    line.set(match role {
                        Role::Stopped => Speed::Nothing,
                        _ => Speed::BytesPerSecond(TRICKLE_BYTES),
                    });
                }
            }
            Act::Hurry => self.lines.iter().for_each(|(_, line)| line.set(Speed::Full)),
        }
        Ok(())
    }

    async fn order(&self, role: Role, order: &Order) {
        for (orders, _) in self.orders.iter().zip(&self.roles).filter(|(_, other)| **other == role) {
            // A device that is not there any more is told by its journal.
            let _ = orders.send(order.clone()).await;
        }
    }

    /// Lets every device show everything up to the heads, within a bound, and returns the journals by number.
    pub(crate) async fn finish(self, heads: Vec<Option<Seq>>, within: Duration) -> Vec<Journal> {
        let until = Instant::now() + within;
        let finish = Order::Finish { heads: Arc::new(heads), until };
        for orders in &self.orders {
            let _ = tokio::time::timeout_at(until, orders.send(finish.clone())).await;
        }
        let mut journals = Vec::with_capacity(self.tasks.len());
        for mut task in self.tasks {
            let ended = tokio::time::timeout_at(until + CLOSED_WITHIN, &mut task).await;
            task.abort();
            journals.push(match ended {
                Ok(Ok(journal)) => journal,
                // A tool that cannot even end its devices is overloaded, whatever the oracle misses of this one.
                _ => {
                    self.world.dropped.fetch_add(1, Ordering::Relaxed);
                    Journal::default()
                }
            });
        }
        journals
    }
}

async fn run(command: &str) -> Result<(), SetupError> {
    let failed = || SetupError::io(format!("running '{command}'"));
    let status = tokio::process::Command::new("sh").args(["-c", command]).status().await.map_err(failed())?;
    if status.success() { Ok(()) } else { Err(SetupError::Other(format!("'{command}' failed: {status}"))) }
}

/// The numbers of the conversations of each user.
fn conversations_of(world: &World, users: usize) -> Vec<Vec<u32>> {
    let mut of = vec![Vec::new(); users];
    for (number, conversation) in (0..).zip(&world.conversations) {
        for member in &conversation.members {
            of[*member].push(number);
        }
    }
    of
}

/// The users of the loud conversations: some who write, then those with slow devices.
pub(crate) fn loud_lists(plan: &Plan) -> Vec<Vec<usize>> {
    let per_user = plan.options.world.devices_per_user;
    let slow = |user: usize| {
        let devices = plan.roles.iter().skip(user * per_user).take(per_user);
        devices.into_iter().any(|role| matches!(role, Role::Stopped | Role::Trickling))
    };
    let (slow, fast): (Vec<usize>, Vec<usize>) = (0..plan.users).partition(|user| slow(*user));
    let mut fast = fast.chunks(LOUD.0).cycle();
    slow.chunks(LOUD.1).filter_map(|slow| Some([fast.next()?, slow].concat())).collect()
}
