//! The state of one run of one process: whether it is alive, paused or cut off from its group, and the random faults
//! of its calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use workload::Random;

use crate::log::{Owners, Recorder};
use crate::plan::Kind;
use crate::trace::Trace;
use crate::weather::Weather;

/// One run of a process, from its start to its end.
#[derive(Debug)]
pub(crate) struct Life {
    /// Its name in the trace.
    pub(crate) name: String,
    /// The kind of process.
    pub(crate) kind: Kind,
    /// The current faults; shared by all processes.
    pub(crate) weather: Arc<Weather>,
    /// The trace; shared by all processes.
    pub(crate) trace: Arc<Trace>,
    /// The recorder of appends; shared by all processes.
    pub(crate) recorder: Arc<Recorder>,
    /// The owners of partitions; shared by all processes.
    pub(crate) owners: Arc<Owners>,
    random: Mutex<Random>,
    state: Mutex<State>,
    died: Notify,
    /// Notified when it is no longer paused or deaf.
    recovered: Notify,
}

/// What all processes of a world share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) weather: Arc<Weather>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) owners: Arc<Owners>,
}

#[derive(Debug, Default)]
struct State {
    dead: bool,
    /// Paused until then: no call is sent and no answer received.
    paused_until: Option<Instant>,
    /// Receives no event of its group until then: the partitions that it owned are given to others while it goes on.
    deaf_until: Option<Instant>,
    /// How many more gates it passes before it dies.
    doomed: Option<u32>,
}

impl Life {
    pub(crate) fn new(name: String, kind: Kind, shared: Shared, seed: u64) -> Arc<Self> {
        let Shared { weather, trace, recorder, owners } = shared;
        let (random, state) = (Mutex::new(Random::new(seed)), Mutex::default());
        Arc::new(Self {
            name,
            kind,
            weather,
            trace,
            recorder,
            owners,
            random,
            state,
            died: Notify::new(),
            recovered: Notify::new(),
        })
    }

    /// Ends the process: nothing that it began goes on, and no answer reaches it.
    pub(crate) fn end(&self) {
        self.state().dead = true;
        self.died.notify_waiters();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Returns when it has ended.
    pub(crate) async fn died(&self) {
        let mut died = std::pin::pin!(self.died.notified());
        died.as_mut().enable();
        if !self.is_dead() {
            died.await;
        }
    }

    /// Lets the process die after it has passed so many more gates.
    pub(crate) fn doom(&self, points: u32) {
        self.state().doomed = Some(points);
    }

    /// Counts a gate that was passed. Returns whether it was the last.
    fn pass(&self) -> bool {
        let mut state = self.state();
        let Some(left) = &mut state.doomed else { return false };
        *left = left.saturating_sub(1);
        *left == 0 && !state.dead
    }

    pub(crate) fn pause(&self, time: Duration) {
        self.state().paused_until = Some(Instant::now() + time);
    }

    pub(crate) fn deafen(&self, time: Duration) {
        self.state().deaf_until = Some(Instant::now() + time);
    }

    /// Ends a pause, deafness or doom.
    pub(crate) fn recover(&self) {
        let mut state = self.state();
        (state.paused_until, state.deaf_until, state.doomed) = (None, None, None);
        drop(state);
        self.recovered.notify_waiters();
    }

    /// Waits until then, or until the process has recovered.
    async fn sleep_until(&self, until: Instant) {
        tokio::select! {
            biased;
            () = self.recovered.notified() => {}
            () = sleep_until(until) => {}
        }
    }

    /// Every call passes here before it is sent and after it is answered. A paused process waits here, a dead one
    /// for ever.
    pub(crate) async fn gate(&self) {
        if self.pass() {
            self.end();
        }
        loop {
            let until = {
                let state = self.state();
                if state.dead { None } else { Some(state.paused_until) }
            };
            match until {
                None => std::future::pending().await,
                Some(Some(until)) if until > Instant::now() => self.sleep_until(until).await,
                Some(_) => return,
            }
        }
    }

    /// Waits until the process receives events of its group.
    pub(crate) async fn hears(&self) {
        loop {
            let until = self.state().deaf_until;
            match until {
                Some(until) if until > Instant::now() => self.sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// Returns `true` with a probability of `per_mille` in 1,000; always `false` when faults are over.
    pub(crate) fn chance(&self, per_mille: u64) -> bool {
        per_mille > 0 && !self.weather.is_calm() && self.below(1000) < per_mille
    }

    /// A random number below the bound.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).below(bound)
    }

    /// Waits for a random part of `max`, as a call would; not at all when faults are over.
    pub(crate) async fn delay(&self, max: Duration) {
        let us = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
        if us > 0 && !self.weather.is_calm() {
            sleep(Duration::from_micros(self.below(us))).await;
        }
    }

    /// Notes a fault that this process meets.
    pub(crate) fn fault(&self, what: &'static str) {
        self.trace.fault(what, &format!("{} meets: {what}", self.name));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
