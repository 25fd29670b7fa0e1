//! A world: engines in memory, the real services around them, users with devices.

mod hostile;
mod looks;
mod operator;
mod services;
mod speaking;
mod wall;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use auth::SigningKey;
use domain::{ConversationId, UserId};
use environment::Entropy;
use eventlog::embedded::EmbeddedLog;
use eventlog::{NewRecord, SharedLog};
use events::topics::{self, DELIVERIES, GROUP_FANOUT, GROUP_STORAGE, MESSAGES, RECEIPTS, USERS};
use events::{Codec, Encoded};
use protocol::{CommandFrame, CommandKind};
use store::embedded::EmbeddedStore;
use store::{OutboxRow, SharedStore, StoreAdmin as _, UserStore as _};
use testkit::device::{Account, Device, Endpoints, Http, Stamps};
use testkit::engines::lay_out;
use testkit::load::{LoadConfig, World as People};
use tokio::time::sleep;
use workload::Random;

use crate::life::Shared;
use crate::log::{Recorder, Switch};
use crate::net::{DeviceNet, Net};
use crate::plan::{PROCESSES, Plan, Setup, Step, What};
use crate::trace::Trace;
use crate::weather::Weather;
pub(crate) use looks::Looks;
pub(crate) use operator::Operator;
use services::{Ground, Services};
pub(crate) use wall::Wall;

/// How long the first syncs may take.
const GATHERED_WITHIN: Duration = Duration::from_secs(60);

/// A running world.
pub(crate) struct World {
    pub(crate) services: Services,
    /// Users and devices.
    pub(crate) people: People,
    pub(crate) shared: Shared,
    /// The answers to reads during the run.
    pub(crate) looks: Looks,
    setup: Setup,
    rooms: Vec<Room>,
    /// The log, whose `chat.deliveries` can be re-created.
    switch: Arc<Switch>,
}

/// A conversation.
pub(crate) struct Room {
    pub(crate) id: ConversationId,
    /// The numbers of the members, the founder first.
    members: Vec<usize>,
    /// The command by which the founder creates it.
    create: CommandFrame,
}

impl World {
    /// Sets up the world of that plan. With `keep`, the lines of the trace are kept.
    pub(crate) async fn begin(plan: &Plan, keep: bool) -> Result<Self> {
        let (seed, setup) = (plan.seed, &plan.setup);
        let (wall, codec, entropy) = (Wall::new(), Codec::compiled_in(), Entropy::seeded(seed));
        let trace = Arc::new(Trace::new(keep));
        let shared = Shared {
            weather: Arc::new(Weather::new(setup.rates)),
            recorder: Recorder::new(Arc::clone(&trace), codec.clone()),
            owners: Arc::default(),
            trace: Arc::clone(&trace),
        };
        let switch = Switch::over(EmbeddedLog::open(kv::Database::in_memory(), wall.broker()).await?);
        let log: SharedLog = switch.clone();
        for spec in topics::all() {
            log.create(spec).await?;
        }
        lay_out(&log, &codec, &entropy).await?;
        let store = EmbeddedStore::open(kv::Database::in_memory(), wall.clock(0)).await?;
        let key = SigningKey::generate(&entropy)?;
        let jwks = key.jwks();
        let net = Net::new(trace, Arc::clone(&shared.weather), setup.pipe, key, wall.clock(0), seed ^ 0x4e37);
        let ground = Ground { log, store, codec, net, wall, shared: shared.clone(), jwks };
        let mut services = Services::new(ground, setup, seed);
        for (process, (name, _)) in PROCESSES.iter().enumerate() {
            if setup.several || !name.ends_with("t-1") && !name.ends_with("e-1") {
                services.start(process, setup.old[process]);
            }
        }
        let mut random = Random::new(seed ^ 0x0b00);
        let people = people(&services, setup, &mut random).await?;
        let rooms = setup.rooms.iter().map(|members| room(&services, &people, members, &mut random)).collect();
        Ok(Self { services, people, shared, looks: Looks::default(), setup: setup.clone(), rooms, switch })
    }

    /// Waits until all devices have synced, without faults; then the founders create the conversations, and faults
    /// begin. (Frames that only an author gets, from before a device's first sync, need not come to that device.)
    pub(crate) async fn gather(&self) -> Result<()> {
        self.people.until("all devices are synced", GATHERED_WITHIN, |device| device.memory().live).await?;
        self.shared.weather.break_loose();
        self.open_rooms();
        Ok(())
    }

    /// Executes the next step.
    pub(crate) async fn step(&mut self, step: &Step) {
        for _ in 0..step.yields {
            tokio::task::yield_now().await;
        }
        if step.wait_ms > 0 {
            sleep(Duration::from_millis(step.wait_ms)).await;
        }
        self.services.look_after().await;
        self.shared.trace.note(&format!("step: {:?}", step.what));
        self.act(step).await;
    }

    async fn act(&mut self, step: &Step) {
        let (services, weather, trace) = (&mut self.services, &self.shared.weather, &self.shared.trace);
        let device = |device: usize| device % self.people.devices.len();
        let process = |process: usize| process % PROCESSES.len();
        let ms = Duration::from_millis;
        match step.what {
            What::Say { .. } | What::Repeat { .. } => self.speak(step),
            What::Cut { device: which, after } => {
                trace.count("links cut");
                services.net.cables(device(which)).iter().for_each(|cable| cable.cut_after(after));
            }
            What::Vanish { device: which } => {
                trace.count("links that fell silent");
                services.net.cables(device(which)).iter().for_each(|cable| cable.vanish());
            }
            What::Stall { device: which, ms: time } => {
                trace.count("devices that stalled");
                services.net.cables(device(which)).iter().for_each(|cable| cable.stall(ms(time)));
            }
            What::Away { device: which, away } => self.people.devices[device(which)].set_away(away),
            What::Save { device: which } => self.people.devices[device(which)].save(),
            What::GoBack { device: which } => {
                trace.count("devices that lost what they stored");
                self.people.devices[device(which)].go_back();
            }
            What::Kill { process: which } => services.kill(process(which)),
            What::Stop { process: which } => services.stop(process(which)),
            What::Start { process: which, old } => services.start(process(which), old),
            What::Pause { .. } | What::Deafen { .. } | What::Doom { .. } => services.afflict(step.what),
            What::Ghost { storage, ms: time } => ghost(services, storage, ms(time)).await,
            What::BrokerDown { ms: time } => {
                trace.count("broker outages");
                weather.broker_down(ms(time));
            }
            What::Leaderless { device: which, ms: time } => {
                trace.count("delivery partitions without a leader");
                let user = self.people.devices[device(which)].memory().user.to_string();
                let partition = eventlog::partition_of(user.as_bytes(), topics::spec_of(DELIVERIES).partitions);
                weather.lose_leader(partition, ms(time));
            }
            What::StoreDown { ms: time } => {
                trace.count("store outages");
                weather.store_down(ms(time));
            }
            What::StoreSlow { kind, by_ms, ms: time } => weather.slow_store(kind, ms(by_ms), ms(time)),
            What::Faults { rates } => weather.set_rates(rates),
            What::BrokerClock { ms } => {
                trace.count("broker clocks moved");
                services.wall.set_broker(ms);
            }
            What::Leap { ms } => {
                trace.count("leaps in time");
                services.wall.leap(ms);
            }
            What::Empty => {
                trace.count("stores emptied");
                if let Ok(store) = services.store.attach() {
                    let _ = store.new_incarnation().await;
                }
            }
            What::Garble { room, kind, ms: time } => {
                weather.garble(self.rooms[room % self.rooms.len()].id, kind, ms(time));
            }
            What::Look { device: which, room, list } => self.look(device(which), room, list),
            What::Foreign { room, what } => self.foreign(room, what, step.salt).await,
            What::Drop => self.drop_unreadable().await,
            What::Recreate { fewer } => self.recreate(fewer, step.salt).await,
            What::Wait => {}
        }
    }

    /// An operator drops the events that both consumers wait at and that no program can read.
    async fn drop_unreadable(&self) {
        let operator = Operator { log: Arc::clone(&self.services.log), codec: self.services.codec.clone() };
        let (Ok(store), Ok(unreadable)) = (self.services.store.attach(), operator.unreadable().await) else { return };
        let store: SharedStore = store;
        let dropped = operator.drop(&store, &unreadable).await;
        self.shared.trace.add("events dropped by an operator", dropped);
    }

    /// Re-creates `chat.deliveries`, filled with ticks until each partition has so many records fewer than before.
    async fn recreate(&self, fewer: u64, salt: u64) {
        let made = async {
            let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), self.services.wall.broker()).await?;
            let (spec, codec) = (topics::spec_of(DELIVERIES), &self.services.codec);
            log.create(spec).await?;
            for partition in 0..spec.partitions {
                let before = self.services.log.watermarks(DELIVERIES, partition).await?.next;
                let genesis = codec.genesis(Entropy::seeded(salt).bytes(), spec.generation);
                let ticks = std::iter::repeat_with(|| codec.tick()).take(before.saturating_sub(1 + fewer) as usize);
                for Encoded { headers, payload } in std::iter::once(genesis).chain(ticks) {
                    let record = NewRecord { key: "tick".into(), partition: Some(partition), headers, payload };
                    eventlog::append(&*log, DELIVERIES, record).await?;
                }
            }
            anyhow::Ok(log)
        };
        if let Ok(log) = made.await {
            self.shared.trace.fault("deliveries created anew", "chat.deliveries is created anew");
            self.shared.recorder.recreated();
            self.switch.replace(log);
        }
    }
}

/// Creates accounts directly: hashing passwords runs on threads of its own, which virtual time does not control.
async fn people(services: &Services, setup: &Setup, random: &mut Random) -> Result<People> {
    let (stamps, mut accounts, mut devices) = (Stamps::default(), Vec::new(), Vec::new());
    let endpoints = Endpoints {
        users: "http://users".into(),
        chat: vec!["http://chat".into()],
        sockets: vec!["http://sockets-0".into(), "http://sockets-1".into()],
    };
    for number in 0..setup.users {
        let account = Account { name: format!("user-{number}"), user: UserId::try_from(random.uuid())? };
        register(services, &account).await?;
        for _ in 0..setup.devices {
            let device = devices.len();
            let network = DeviceNet { net: Arc::clone(&services.net), device, user: account.user };
            let http = Http::over(Arc::new(network), endpoints.clone(), account.clone());
            devices.push(Device::over(http, device, &account, &stamps));
        }
        accounts.push(account);
    }
    let config = LoadConfig { users: setup.users, devices: setup.devices, ..LoadConfig::default() };
    Ok(People { config, accounts, devices, rooms: Vec::new() })
}

/// Writes the rows of an account, as the user service does.
async fn register(services: &Services, account: &Account) -> Result<()> {
    let Account { name, user } = account.clone();
    let event = OutboxRow { id: *user.as_bytes(), user, account_name: name.clone(), payload: Vec::new() };
    let (display_name, password_hash) = (name.clone(), String::new());
    let account = store::Account { id: user, name, display_name, password_hash, created_ms: services.wall.now_ms() };
    services.store.create_account(&account, &event).await?;
    Ok(())
}

fn room(services: &Services, people: &People, members: &[usize], random: &mut Random) -> Room {
    let id = speaking::mint(services.wall.now_ms(), random.bits());
    let users: Vec<UserId> = members.iter().map(|user| people.accounts[*user].user).collect();
    let (kind, conversation, title) = if let [one, other] = users[..] {
        ("direct", ConversationId::direct(one, other), None)
    } else {
        ("group", ConversationId::group(users[0], id), Some("a group".to_owned()))
    };
    let create =
        CommandFrame::new(id, None, CommandKind::Create { kind: kind.into(), title, members: users[1..].to_vec() });
    Room { id: conversation, members: members.to_vec(), create }
}

/// A member joins a group, takes partitions without processing them, and leaves.
async fn ghost(services: &Services, storage: bool, stays: Duration) {
    let (group, topics) = if storage {
        (GROUP_STORAGE, &[MESSAGES, RECEIPTS][..])
    } else {
        (GROUP_FANOUT, &[MESSAGES, RECEIPTS, USERS][..])
    };
    services.shared.trace.count("ghosts in groups");
    if let Ok(mut member) = services.log.join(group, topics).await {
        tokio::spawn(async move {
            let _ = tokio::time::timeout(stays, async { while member.next().await.is_ok() {} }).await;
        });
    }
}
