//! What the world is like at the moment: how likely faults are, what is down, how slow everything is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ConversationId;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::plan::Kind;

/// How likely faults are, of 1,000 calls, and how long calls take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// A call of the log is answered with an error, before anything happened.
    pub log_error: u64,
    /// An append is not answered: half of them took effect.
    pub unknown: u64,
    /// An append is not answered, and takes effect up to a minute later.
    pub late: u64,
    /// The producer fails for good.
    pub fatal: u64,
    /// The queue of the producer is full.
    pub busy: u64,
    /// A call of the store fails, before anything happened.
    pub store_error: u64,
    /// A write of the store is done, and answered with an error.
    pub store_done: u64,
    /// A write of the store is answered with an error, and done later.
    pub store_late: u64,
    /// A write of several rows is done in two parts, with time in between.
    pub store_split: u64,
    /// A commit is answered with an error: half of them took effect.
    pub commit_error: u64,
    /// The answer to an HTTP request is lost.
    pub answer_lost: u64,
    /// Of a call of the log, in milliseconds.
    pub log_ms: u64,
    /// Of a call of the store, in milliseconds.
    pub store_ms: u64,
}

impl Rates {
    /// How many there are.
    pub(crate) const COUNT: usize = 13;

    /// One of them, by number.
    pub(crate) fn at(&mut self, number: usize) -> &mut u64 {
        match number {
            0 => &mut self.log_error,
            1 => &mut self.unknown,
            2 => &mut self.late,
            3 => &mut self.fatal,
            4 => &mut self.busy,
            5 => &mut self.store_error,
            6 => &mut self.store_done,
            7 => &mut self.store_late,
            8 => &mut self.commit_error,
            9 => &mut self.answer_lost,
            10 => &mut self.log_ms,
            11 => &mut self.store_split,
            _ => &mut self.store_ms,
        }
    }
}

/// The weather, shared by all processes.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    state: Mutex<State>,
    calmed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// No faults, no delays.
    calm: bool,
    rates: Rates,
    broker_down: Option<Instant>,
    store_down: Option<Instant>,
    /// The store is slow for that kind of process until then.
    slow: Option<(Kind, Duration, Instant)>,
    /// Rows of a conversation that cannot be read by that kind of process until then.
    garbled: Option<(ConversationId, Kind, Instant)>,
    /// Appends and writes that take effect later.
    under_way: usize,
}

impl Weather {
    /// Calm until [`Self::break_loose`].
    pub(crate) fn new(rates: Rates) -> Self {
        Self { state: Mutex::new(State { calm: true, rates, ..State::default() }), calmed: Notify::new() }
    }

    /// Faults begin.
    pub(crate) fn break_loose(&self) {
        self.state().calm = false;
    }

    /// Faults are over.
    pub(crate) fn calm_down(&self) {
        let under_way = self.state().under_way;
        *self.state() = State { calm: true, under_way, ..State::default() };
        self.calmed.notify_waiters();
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.state().calm
    }

    pub(crate) fn rates(&self) -> Rates {
        let state = self.state();
        if state.calm { Rates::default() } else { state.rates }
    }

    pub(crate) fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    pub(crate) fn broker_down(&self, time: Duration) {
        self.state().broker_down = Some(Instant::now() + time);
    }

    pub(crate) fn store_down(&self, time: Duration) {
        self.state().store_down = Some(Instant::now() + time);
    }

    pub(crate) fn slow_store(&self, kind: Kind, by: Duration, time: Duration) {
        self.state().slow = Some((kind, by, Instant::now() + time));
    }

    pub(crate) fn broker_is_down(&self) -> bool {
        self.state().broker_down.is_some_and(|until| until > Instant::now())
    }

    pub(crate) fn store_is_down(&self) -> bool {
        self.state().store_down.is_some_and(|until| until > Instant::now())
    }

    /// Returns when the broker is up.
    pub(crate) async fn broker_up(&self) {
        loop {
            let until = self.state().broker_down;
            match until {
                Some(until) if until > Instant::now() => tokio::select! {
                    biased;
                    () = self.calmed.notified() => {}
                    () = sleep_until(until) => {}
                },
                _ => return,
            }
        }
    }

    /// How much longer than usual the store takes for that kind of process, at most.
    pub(crate) fn slowness(&self, kind: Kind) -> Duration {
        match self.state().slow {
            Some((slow, by, until)) if slow == kind && until > Instant::now() => by,
            _ => Duration::ZERO,
        }
    }

    /// That kind of process cannot read the conversation's rows for a while.
    pub(crate) fn garble(&self, conversation: ConversationId, kind: Kind, time: Duration) {
        self.state().garbled = Some((conversation, kind, Instant::now() + time));
    }

    /// Whether that kind of process cannot read the conversation's rows.
    pub(crate) fn is_garbled(&self, conversation: ConversationId, kind: Kind) -> bool {
        let garbled = self.state().garbled;
        garbled.is_some_and(|(of, by, until)| of == conversation && by == kind && until > Instant::now())
    }

    /// Something will take effect later.
    pub(crate) fn begin_late(&self) {
        self.state().under_way += 1;
    }

    /// It has.
    pub(crate) fn end_late(&self) {
        self.state().under_way -= 1;
    }

    /// Whether something is still to take effect.
    pub(crate) fn something_late(&self) -> bool {
        self.state().under_way > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
