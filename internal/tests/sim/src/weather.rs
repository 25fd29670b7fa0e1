//! The faults that apply at the moment: their rates, what is down, and how slow everything is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ConversationId;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::plan::Kind;

/// Rates of random faults, per 1,000 calls, and the longest duration of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// A call of the log fails, before it has any effect.
    pub log_error: u64,
    /// An append is not answered: half of them took effect.
    pub unknown: u64,
    /// An append is not answered, and takes effect up to a minute later.
    pub late: u64,
    /// The producer fails for good.
    pub fatal: u64,
    /// The queue of the producer is full.
    pub busy: u64,
    /// A call of the store fails, before it has any effect.
    pub store_error: u64,
    /// A write of the store takes effect, and is answered with an error.
    pub store_done: u64,
    /// A write of the store is answered with an error, and takes effect later.
    pub store_late: u64,
    /// A write of several rows takes effect in two parts, with time between them.
    pub store_split: u64,
    /// A commit is answered with an error: half of them took effect.
    pub commit_error: u64,
    /// The answer to an HTTP request is lost.
    pub answer_lost: u64,
    /// The longest duration of a call of the log, in milliseconds.
    pub log_ms: u64,
    /// The longest duration of a call of the store, in milliseconds.
    pub store_ms: u64,
}

impl Rates {
    /// The number of fields.
    pub(crate) const COUNT: usize = 13;

    /// A field, by its number.
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

/// The present faults, shared by all processes.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    state: Mutex<State>,
    calmed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Whether there are no faults and no delays.
    calm: bool,
    rates: Rates,
    broker_down: Option<Instant>,
    /// A partition of `chat.deliveries` has no leader until then.
    leaderless: Option<(u32, Instant)>,
    store_down: Option<Instant>,
    /// The kind of process that the store is slow for, by how much, and until when.
    slow: Option<(Kind, Duration, Instant)>,
    /// The conversation whose rows cannot be read, by which kind of process, and until when.
    garbled: Option<(ConversationId, Kind, Instant)>,
    /// Number of appends and writes that will take effect later.
    under_way: usize,
}

impl Weather {
    /// Without faults until [`Self::break_loose`].
    pub(crate) fn new(rates: Rates) -> Self {
        Self { state: Mutex::new(State { calm: true, rates, ..State::default() }), calmed: Notify::new() }
    }

    /// Starts the faults.
    pub(crate) fn break_loose(&self) {
        self.state().calm = false;
    }

    /// Ends all faults.
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

    /// That partition of `chat.deliveries` has no leader for a while.
    pub(crate) fn lose_leader(&self, partition: u32, time: Duration) {
        self.state().leaderless = Some((partition, Instant::now() + time));
    }

    /// The partition of `chat.deliveries` that has no leader now.
    pub(crate) fn leaderless(&self) -> Option<u32> {
        self.state().leaderless.filter(|(_, until)| *until > Instant::now()).map(|(partition, _)| partition)
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

    /// Waits until the broker is up.
    pub(crate) async fn broker_up(&self) {
        self.over(|state| state.broker_down).await;
    }

    /// Returns when all partitions of `chat.deliveries` have leaders.
    pub(crate) async fn leader_elected(&self) {
        self.over(|state| state.leaderless.map(|(_, until)| until)).await;
    }

    async fn over(&self, end: fn(&State) -> Option<Instant>) {
        loop {
            let until = end(&self.state());
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

    /// The extra delay of the store for that kind of process, at most.
    pub(crate) fn slowness(&self, kind: Kind) -> Duration {
        match self.state().slow {
            Some((slow, by, until)) if slow == kind && until > Instant::now() => by,
            _ => Duration::ZERO,
        }
    }

    /// Makes the conversation's rows unreadable for that kind of process, for that time.
    pub(crate) fn garble(&self, conversation: ConversationId, kind: Kind, time: Duration) {
        self.state().garbled = Some((conversation, kind, Instant::now() + time));
    }

    /// Whether the conversation's rows are unreadable for that kind of process.
    pub(crate) fn is_garbled(&self, conversation: ConversationId, kind: Kind) -> bool {
        let garbled = self.state().garbled;
        garbled.is_some_and(|(of, by, until)| of == conversation && by == kind && until > Instant::now())
    }

    /// Notes that an append or write will take effect later.
    pub(crate) fn begin_late(&self) {
        self.state().under_way += 1;
    }

    /// Notes that such an append or write has taken effect.
    pub(crate) fn end_late(&self) {
        self.state().under_way -= 1;
    }

    /// Whether an append or write has still to take effect.
    pub(crate) fn something_late(&self) -> bool {
        self.state().under_way > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
