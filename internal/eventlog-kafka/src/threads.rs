//! Plain threads: librdkafka's calls block, some for as long as a session lasts.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventlog::LogError;
use tokio_util::task::TaskTracker;

use crate::errors::broken;

/// How long a producer's thread waits for events before it checks whether it has to end. Not less: `BaseProducer::poll`
/// of rdkafka 0.39 spins for the last millisecond of each wait.
pub(crate) const PRODUCER_POLL_WAIT: Duration = Duration::from_millis(500);

/// Runs `work` on a thread of its own; `tasks` tracks it until its end.
pub(crate) fn spawn(name: &str, tasks: &TaskTracker, work: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
    let alive = tasks.token();
    let run = move || {
        let _alive = alive;
        work();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(broken)
}

/// A queue of tasks for a thread that also waits for other events. Its senders bound its length.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    state: Mutex<State<T>>,
    arrival: Condvar,
}

#[derive(Debug)]
struct State<T> {
    letters: VecDeque<T>,
    woken: bool,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { letters: VecDeque::new(), woken: false }), arrival: Condvar::new() }
    }

    pub(crate) fn post(&self, letter: T) {
        self.lock().letters.push_back(letter);
        self.wake();
    }

    /// Ends the current wait, or the next one.
    pub(crate) fn wake(&self) {
        self.lock().woken = true;
        self.arrival.notify_all();
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.lock().letters.pop_front()
    }

    /// Waits for [`Mailbox::wake`], at most for `at_most`.
    pub(crate) fn wait(&self, at_most: Duration) {
        let waiting = |state: &mut State<T>| !state.woken;
        let waited = self.arrival.wait_timeout_while(self.lock(), at_most, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.woken = false;
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
