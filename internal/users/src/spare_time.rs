//! Runs work in the processor time that nobody else wants, as long as there is some.
//!
//! A password hash keeps a core busy for about 20 ms. Linux lets a thread finish its slice of a few milliseconds when
//! another one wakes up on its core, whatever their niceness, so a stream of sign-ins would be felt in messages. A
//! thread with the policy `SCHED_IDLE` gives way at once; but beside threads that never sleep it hardly gets on
//! (`sched(7)`), and an unprivileged process cannot give it its usual policy back. So work that is late is begun again
//! like any other work. As long as the late attempt is not done, there is no time to spare, and all work is done like
//! any other.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

/// An attempt is late after this time, or after [`USUAL_TIMES`] as long as the work usually takes, if that is more.
const PATIENCE_MIN: Duration = Duration::from_millis(100);
/// An attempt is late after this time in any case.
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// See [`PATIENCE_MIN`].
const USUAL_TIMES: u32 = 4;

/// Runs work on threads that give way to all others. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpareTime {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The late attempts that are not done, as far as anybody has looked. Not more than were begun at the same time.
    late: Vec<JoinHandle<()>>,
    /// How long the last work took on a thread that does not give way.
    usual: Duration,
}

impl SpareTime {
    /// Runs `work` and waits for what it gives. Late work is run again while the first attempt still runs, so it must
    /// give the same each time. Blocks.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl Fn() -> T + Send + Sync + 'static) -> T {
        let work = Arc::new(work);
        if self.is_some_left()
            && let Some(done) = self.attempt(Arc::clone(&work))
        {
            return done;
        }
        let begun = Instant::now();
        let done = work();
        self.lock().usual = begun.elapsed();
        done
    }

    fn is_some_left(&self) -> bool {
        let mut state = self.lock();
        state.late.retain(|attempt| !attempt.is_finished());
        state.late.is_empty()
    }

    /// Runs the work on a thread that gives way; the thread ends with it. `None` when it is late, or the thread ended
    /// without having done it, or there is none.
    fn attempt<T: Send + 'static>(&self, work: Arc<impl Fn() -> T + Send + Sync + 'static>) -> Option<T> {
        let (result, done) = channel();
        let attempt = thread::Builder::new().name("spare-time".to_owned()).spawn(move || {
            give_way();
            // Nobody waits for it any more when it is late.
            let _ = result.send(work());
        });
        let attempt = attempt.ok()?;
        let patience = (self.lock().usual * USUAL_TIMES).clamp(PATIENCE_MIN, PATIENCE_MAX);
        match done.recv_timeout(patience) {
            Ok(done) => Some(done),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                self.lock().late.push(attempt);
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes this thread give way to all others. Where that cannot be, it is a thread like any other.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
        use thread_priority::{set_thread_priority_and_policy, thread_native_id};
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn work_gives_way_to_everybody_and_its_thread_only() {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};
        let usual = thread_schedule_policy().unwrap();
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let spare_time = SpareTime::default();
        let policy = loop {
            // Late on a machine that has no time to spare.
            if let Some(policy) = spare_time.attempt(Arc::new(|| thread_schedule_policy().unwrap())) {
                break policy;
            }
        };
        assert_eq!(policy, idle);
        assert_eq!(thread_schedule_policy().unwrap(), usual);
    }

    #[test]
    fn late_work_is_begun_again_and_other_work_does_not_wait_for_spare_time_until_then() {
        let spare_time = SpareTime::default();
        let (go_on, stands) = mpsc::channel::<()>();
        let (stands, runs) = (Mutex::new(stands), AtomicUsize::new(0));
        // The first run stands still until it is told to go on, or for ever.
        let work = move || {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            if run == 0 {
                let _ = stands.lock().unwrap().recv();
            }
            run
        };
        assert_eq!(spare_time.run(work), 1, "the second run is not late");
        assert!(!spare_time.is_some_left());
        let here = thread::current().id();
        assert_eq!(spare_time.run(|| thread::current().id()), here, "no thread of its own");
        drop(go_on);
        while !spare_time.is_some_left() {
            thread::yield_now();
        }
    }

    #[test]
    fn work_that_fails_without_a_result_fails_where_it_is_waited_for() {
        let spare_time = SpareTime::default();
        let caller = thread::spawn(move || spare_time.run(|| panic!("this work cannot be done")));
        let failure: String = match caller.join() {
            Ok(()) => unreachable!("it panics"),
            Err(failure) => (*failure.downcast_ref::<&str>().unwrap()).to_owned(),
        };
        assert_eq!(failure, "this work cannot be done");
    }

    #[test]
    fn work_of_many_runs_at_the_same_time() {
        let (spare_time, meet) = (SpareTime::default(), Arc::new(Barrier::new(3)));
        let at_once: Vec<_> = (0..3)
            .map(|number| {
                let (spare_time, meet) = (spare_time.clone(), Arc::clone(&meet));
                let met = Arc::new(AtomicUsize::new(0));
                thread::spawn(move || {
                    spare_time.run(move || {
                        // A second run would wait for three more.
                        if met.fetch_add(1, Ordering::Relaxed) == 0 {
                            meet.wait();
                        }
                        number
                    })
                })
            })
            .collect();
        let done: Vec<_> = at_once.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(done, [0, 1, 2]);
    }
}
