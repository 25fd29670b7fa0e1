//! The processes: started, killed, stopped, and restarted when they end by themselves.

use std::sync::Arc;
use std::time::Duration;

use auth::{Jwks, Verifier};
use domain::RULES_NEWEST;
use environment::Entropy;
use eventlog::SharedLog;
use events::Codec;
use process::{Metrics, Readiness, Serving, Tasks};
use store::SharedStore;
use store::embedded::EmbeddedStore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::wall::Wall;
use crate::life::{Life, Shared};
use crate::log::SimLog;
use crate::net::{Net, serve};
use crate::plan::{Kind, PROCESSES, Setup, What};
use crate::store::SimStore;

/// A process that has not stopped within this time after it was asked to is killed, as a supervisor would.
const END_WITHIN: Duration = Duration::from_secs(12);
/// The result of a process's task.
type Ended = Result<(), String>;

/// All processes, and the engines that they share.
pub(crate) struct Services {
    pub(crate) log: SharedLog,
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) codec: Codec,
    pub(crate) net: Arc<Net>,
    pub(crate) wall: Arc<Wall>,
    pub(crate) shared: Shared,
    pub(crate) jwks: Jwks,
    setup: Setup,
    seed: u64,
    running: Vec<Option<Running>>,
    /// Processes that were asked to stop.
    ending: Vec<(usize, Running)>,
    starts: u64,
    /// Errors that must never happen.
    pub(crate) faults: Vec<String>,
}

/// A running process.
struct Running {
    life: Arc<Life>,
    stop: CancellationToken,
    /// When it was asked to stop.
    asked: Option<Instant>,
    old: bool,
    task: JoinHandle<Ended>,
}

/// The arguments of a process's start.
struct Given {
    log: SharedLog,
    store: SharedStore,
    codec: Codec,
    entropy: Entropy,
    readiness: Readiness,
    metrics: Metrics,
    stop: CancellationToken,
}

/// The engines that all processes share.
pub(crate) struct Ground {
    pub(crate) log: SharedLog,
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) codec: Codec,
    pub(crate) net: Arc<Net>,
    pub(crate) wall: Arc<Wall>,
    pub(crate) shared: Shared,
    pub(crate) jwks: Jwks,
}

impl Services {
    pub(crate) fn new(ground: Ground, setup: &Setup, seed: u64) -> Self {
        let Ground { log, store, codec, net, wall, shared, jwks } = ground;
        let running = PROCESSES.iter().map(|_| None).collect();
        let (setup, ending, faults) = (setup.clone(), Vec::new(), Vec::new());
        Self { log, store, codec, net, wall, shared, jwks, setup, seed, running, ending, starts: 0, faults }
    }

    /// Starts a process unless it is running. An old one neither writes under the newest rules nor knows them.
    pub(crate) fn start(&mut self, process: usize, old: bool) {
        if self.running[process].is_some() {
            return;
        }
        let (name, kind) = PROCESSES[process];
        let Ok(store) = self.store.attach() else { return };
        self.starts += 1;
        let seed = self.seed.wrapping_mul(1_000_003) ^ (self.starts << 8) ^ process as u64;
        let life = Life::new(format!("{name}#{}", self.starts), kind, self.shared.clone(), seed);
        self.shared.trace.note(&format!("{} starts, old: {old}", life.name));
        let given = Given {
            log: SimLog::over(Arc::clone(&self.log), Arc::clone(&life)),
            store: SimStore::over(store, Arc::clone(&life)),
            codec: self.codec.clone(),
            entropy: Entropy::seeded(seed),
            readiness: Readiness::default(),
            metrics: Metrics::with_clock(self.wall.clock(self.setup.host_skews_ms[process])),
            stop: CancellationToken::new(),
        };
        let stop = given.stop.clone();
        // In half of the worlds old processes are those of the last release, in the others today's.
        let of_old = if self.seed.is_multiple_of(2) { RULES_NEWEST - 1 } else { RULES_NEWEST };
        let rules = if old { of_old } else { of_old + 1 };
        let task = match kind {
            Kind::Chat => self.chat(process, rules, given),
            Kind::Sockets => self.sockets(process, rules, given),
            Kind::Storage | Kind::Fanout => consumer(kind, rules, given, &self.setup),
        };
        self.running[process] = Some(Running { life, stop, asked: None, old, task });
    }

    fn chat(&self, process: usize, rules: u32, given: Given) -> JoinHandle<Ended> {
        let Given { log, store, codec, entropy, readiness, metrics, stop } = given;
        let clock = self.wall.clock(self.setup.host_skews_ms[process]);
        let serving = Serving::new(entropy, readiness.clone(), metrics);
        let verifier = Verifier::new(&self.jwks, clock.clone());
        let door = self.net.open(PROCESSES[process].0);
        tokio::spawn(async move {
            let verifier = verifier.map_err(|error| error.to_string())?;
            let deps = chat::Deps { log: Arc::clone(&log), store, codec, clock, verifier, serving: serving.clone() };
            let mut tasks = Tasks::new(readiness);
            let config = chat::Config { rules, ..chat::Config::default() };
            let router = chat::start(&config, &deps, &mut tasks);
            tasks.spawn("http server", |token| serve(door, router, serving, token));
            let ended = tasks.run(stop).await.map_err(|error| process::in_words(&error));
            log.close().await;
            ended
        })
    }

    fn sockets(&self, process: usize, rules: u32, given: Given) -> JoinHandle<Ended> {
        let Given { log, store, codec, entropy, readiness, metrics, stop } = given;
        let clock = self.wall.clock(self.setup.host_skews_ms[process]);
        let serving = Serving::new(entropy.clone(), readiness.clone(), metrics.clone());
        let verifier = Verifier::new(&self.jwks, clock.clone());
        let config = sockets::Config {
            ring_records_max: self.setup.ring,
            ring_warm_records: self.setup.warm,
            range_records_max: self.setup.range,
            range_scan_records_max: self.setup.range,
            rules,
            // One of two processes: devices also live with nodes that ask for nothing.
            routed_by_partition: process.is_multiple_of(2),
            ..sockets::Config::default()
        };
        let door = self.net.open(PROCESSES[process].0);
        tokio::spawn(async move {
            let verifier = verifier.map_err(|error| error.to_string())?;
            let mut tasks = Tasks::new(readiness.clone());
            let deps =
                sockets::Deps { log: Arc::clone(&log), store, codec, verifier, clock, entropy, readiness, metrics };
            let (router, open) = sockets::start(config, deps, &mut tasks);
            tasks.spawn("http server", |token| serve(door, router, serving, token));
            tasks.spawn("sockets", |token| open.drain(token));
            let ended = tasks.run(stop).await.map_err(|error| process::in_words(&error));
            log.close().await;
            ended
        })
    }

    /// Kills the process: nothing is finished.
    pub(crate) fn kill(&mut self, process: usize) {
        let Some(running) = self.running[process].take() else { return };
        self.shared.trace.fault("crashes", &format!("{} is killed", running.life.name));
        self.bury(process, &running);
    }

    fn bury(&self, process: usize, running: &Running) {
        running.life.end();
        running.task.abort();
        if matches!(PROCESSES[process].1, Kind::Chat | Kind::Sockets) && self.running[process].is_none() {
            self.net.break_off(PROCESSES[process].0);
        }
    }

    /// Asks the process to stop. Its name is free at once: a successor may start meanwhile.
    pub(crate) fn stop(&mut self, process: usize) {
        let Some(mut running) = self.running[process].take() else { return };
        self.shared.trace.fault("stops", &format!("{} is asked to stop", running.life.name));
        running.stop.cancel();
        running.asked = Some(Instant::now());
        self.net.shut(PROCESSES[process].0);
        self.ending.push((process, running));
    }

    /// The state of a process that is running.
    pub(crate) fn life(&self, process: usize) -> Option<&Arc<Life>> {
        self.running[process].as_ref().map(|running| &running.life)
    }

    /// Pauses, deafens or dooms a process, if it is running.
    pub(crate) fn afflict(&self, what: What) {
        let (What::Pause { process, .. } | What::Deafen { process, .. } | What::Doom { process, .. }) = what else {
            return;
        };
        let Some(life) = self.life(process % PROCESSES.len()) else { return };
        match what {
            What::Pause { ms, .. } => {
                self.shared.trace.count("processes paused");
                life.pause(Duration::from_millis(ms));
            }
            What::Deafen { ms, .. } => {
                self.shared.trace.count("members deafened");
                life.deafen(Duration::from_millis(ms));
            }
            What::Doom { points, .. } => life.doom(points),
            _ => {}
        }
    }

    /// Supervises all processes: restarts those that have ended by themselves, and kills those that do not stop.
    pub(crate) async fn look_after(&mut self) {
        for process in 0..PROCESSES.len() {
            if self.life(process).is_some_and(|life| life.is_dead()) {
                self.shared.trace.count("crashes between two calls");
                self.kill(process);
            }
            let Some(running) = self.running[process].take_if(|running| running.task.is_finished()) else { continue };
            let old = running.old;
            self.ended(process, running, true).await;
            self.start(process, old);
        }
        let mut index = 0;
        while index < self.ending.len() {
            let (_, running) = &self.ending[index];
            let late = running.asked.is_some_and(|asked| asked.elapsed() > END_WITHIN);
            if running.task.is_finished() {
                let (process, running) = self.ending.remove(index);
                self.ended(process, running, false).await;
            } else if late {
                let (process, running) = self.ending.remove(index);
                self.shared.trace.fault("stops that took too long", &format!("{} does not end", running.life.name));
                self.bury(process, &running);
            } else {
                index += 1;
            }
        }
    }

    async fn ended(&mut self, process: usize, running: Running, by_itself: bool) {
        let Running { life, task, .. } = running;
        life.end();
        if by_itself {
            self.net.break_off(PROCESSES[process].0);
        }
        match task.await {
            Ok(Ok(())) => self.shared.trace.note(&format!("{} ended", life.name)),
            Ok(Err(why)) => self.shared.trace.fault("ends with an error", &format!("{} ended: {why}", life.name)),
            Err(error) if error.is_panic() => self.faults.push(format!("{} panicked: {error}", life.name)),
            Err(_) => {}
        }
    }

    /// Starts every process with the newest rules, and ends all pauses.
    pub(crate) fn recover(&mut self) {
        for process in 0..PROCESSES.len() {
            if self.life(process).is_some_and(|life| life.is_dead()) {
                self.kill(process);
            }
        }
        for process in 0..PROCESSES.len() {
            if self.running[process].as_ref().is_some_and(|running| running.old) {
                self.shared.trace.count("upgrades");
                self.stop(process);
            }
            self.start(process, false);
        }
        let all = self.running.iter().flatten().chain(self.ending.iter().map(|(_, running)| running));
        all.for_each(|running| running.life.recover());
    }
}

fn consumer(kind: Kind, rules_newest: u32, given: Given, setup: &Setup) -> JoinHandle<Ended> {
    let (slice_events, queued_max) = (setup.slice, setup.queued);
    let Given { log, store, codec, entropy, readiness, metrics, stop } = given;
    let (kept, ready) = (Arc::clone(&log), readiness.clone());
    tokio::spawn(async move {
        let mut tasks = Tasks::new(readiness);
        if kind == Kind::Storage {
            let deps = storage::Deps::new(log, store, codec, entropy, storage::StorageMetrics::new(&metrics));
            let deps = storage::Deps { rules_newest, slice_events, ..deps };
            tasks.spawn("storage", |token| storage::run(deps, ready, token));
        } else {
            let deps = fanout::Deps::new(log, store, codec, entropy, fanout::FanoutMetrics::new(&metrics));
            let deps = fanout::Deps { rules_newest, queued_max, ..deps };
            tasks.spawn("fan-out", |token| fanout::run(deps, ready, token));
        }
        let ended = tasks.run(stop).await.map_err(|error| process::in_words(&error));
        kept.close().await;
        ended
    })
}
