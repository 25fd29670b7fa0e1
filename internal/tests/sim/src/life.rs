//! One life of one process: whether it lives, hears and runs, and what luck its calls have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use workload::Random;

use crate::log::{Owners, Recorder};
use crate::plan::Kind;
use crate::trace::Trace;
use crate::weather::Weather;

/// A process from its start to its end.
#[derive(Debug)]
pub(crate) struct Life {
    /// For people.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Shared by all.
    pub(crate) weather: Arc<Weather>,
    /// Shared by all.
    pub(crate) trace: Arc<Trace>,
    /// Shared by all.
    pub(crate) recorder: Arc<Recorder>,
    /// Shared by all.
    pub(crate) owners: Arc<Owners>,
    random: Mutex<Random>,
    state: Mutex<State>,
    died: Notify,
    /// Runs or hears again.
    recovered: Notify,
}

/// What all lives share.
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
    /// Stopped in its tracks until then: no call goes out and no answer comes in.
    paused_until: Option<Instant>,
    /// Does not hear of its group until then: what it owned is given to others, and it goes on.
    deaf_until: Option<Instant>,
    /// It dies when it has passed so many more gates.
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

    /// Ends it: nothing that it began goes on, and no answer reaches it.
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

    /// It dies after it has passed so many more gates.
    pub(crate) fn doom(&self, points: u32) {
        self.state().doomed = Some(points);
    }

    /// One more gate is passed; whether it was the last.
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

    /// Runs and hears again.
    pub(crate) fn recover(&self) {
        let mut state = self.state();
        (state.paused_until, state.deaf_until, state.doomed) = (None, None, None);
        drop(state);
        self.recovered.notify_waiters();
    }

    /// Waits for that time, or until it has recovered.
    async fn sleep_until(&self, until: Instant) {
        tokio::select! {
            biased;
            () = self.recovered.notified() => {}
            () = sleep_until(until) => {}
        }
    }

    /// Where every call passes on its way out and back. Of a dead process, none does.
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

    /// Waits until it hears of its group.
    pub(crate) async fn hears(&self) {
        loop {
            let until = self.state().deaf_until;
            match until {
                Some(until) if until > Instant::now() => self.sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// Whether one of `per_mille` cases is this one. Never in calm weather.
    pub(crate) fn chance(&self, per_mille: u64) -> bool {
        per_mille > 0 && !self.weather.is_calm() && self.below(1000) < per_mille
    }

    /// A number below the bound.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).below(bound)
    }

    /// As long as a call takes here and now.
    pub(crate) async fn delay(&self, max: Duration) {
        let us = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
        if us > 0 && !self.weather.is_calm() {
            sleep(Duration::from_micros(self.below(us))).await;
        }
    }

    /// A fault that was made.
    pub(crate) fn fault(&self, what: &'static str) {
        self.trace.fault(what, &format!("{} meets: {what}", self.name));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
