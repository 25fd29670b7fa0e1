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

/// An attempt is late after this time, or after [`USUAL_TIMES`] as long as the work takes otherwise, if that is more.
const PATIENCE_MIN: Duration = Duration::from_millis(100);
/// An attempt is late after this time in any case.
const PATIENCE_MAX: Duration = Duration::from_millis(400);
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
    /// The shortest time that the work has taken on a thread that does not give way. Not the last one: that would be
    /// the longer, the less time there is to spare.
    usual: Option<Duration>,
}

impl SpareTime {
    /// Runs `work` and waits for what it gives. Late work is run again while the first attempt still runs, so it must
    /// give the same each time. Blocks.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl Fn() -> T + Send + Sync + 'static) -> T {
        let work = Arc::new(work);
        if self.is_some_left()
            && let Some(done) = self.attempt(Arc::clone(&work), self.patience())
        {
            return done;
        }
        let begun = Instant::now();
        let done = work();
        let (took, mut state) = (begun.elapsed(), self.lock());
        state.usual = Some(state.usual.map_or(took, |usual| usual.min(took)));
        done
    }

    fn is_some_left(&self) -> bool {
        let mut state = self.lock();
        state.late.retain(|attempt| !attempt.is_finished());
        state.late.is_empty()
    }

    /// The time after which an attempt is late.
    fn patience(&self) -> Duration {
        (self.lock().usual.unwrap_or_default() * USUAL_TIMES).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// Runs the work on a thread that gives way; the thread ends with it. `None` when it is late, or the thread ended
    /// without having done it, or there is none.
    fn attempt<T: Send + 'static>(
        &self,
        work: Arc<impl Fn() -> T + Send + Sync + 'static>,
        patience: Duration,
    ) -> Option<T> {
        let (result, done) = channel();
        let attempt = thread::Builder::new().name("spare-time".to_owned()).spawn(move || {
            give_way();
            // Nobody waits for it any more when it is late.
            let _ = result.send(work());
        });
        let attempt = attempt.ok()?;
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
    use std::sync::{Barrier, mpsc};

    use super::*;

    /// Longer than any machine that runs tests keeps a thread waiting.
    const LONG: Duration = Duration::from_secs(600);

    #[cfg(target_os = "linux")]
    #[test]
    fn work_gives_way_to_everybody_and_its_thread_only() {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};
        let (usual, policy) = (thread_schedule_policy().unwrap(), || thread_schedule_policy().unwrap());
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let found = SpareTime::default().attempt(Arc::new(policy), LONG);
        assert_eq!(found, Some(idle), "this system does not let a thread give way");
        assert_eq!(policy(), usual);
    }

    #[test]
    fn late_work_is_begun_again_and_other_work_does_not_wait_for_spare_time_until_then() {
        let (spare_time, here) = (SpareTime::default(), thread::current().id());
        let (go_on, stands) = mpsc::channel::<()>();
        let stands = Mutex::new(stands);
        // On another thread it stands still until it is told to go on.
        let work = move || {
            let at = thread::current().id();
            if at != here {
                let _ = stands.lock().unwrap().recv();
            }
            at
        };
        assert_eq!(spare_time.run(work), here);
        assert!(!spare_time.is_some_left());
        assert_eq!(spare_time.run(|| thread::current().id()), here, "no thread of its own");
        drop(go_on);
        while !spare_time.is_some_left() {
            thread::yield_now();
        }
    }

    #[test]
    fn an_attempt_is_given_several_times_what_the_work_takes_within_bounds() {
        let spare_time = SpareTime::default();
        assert_eq!(spare_time.patience(), PATIENCE_MIN);
        for (usual, patience) in [(1, 100), (25, 100), (50, 200), (1_000, 400)] {
            spare_time.lock().usual = Some(Duration::from_millis(usual));
            assert_eq!(spare_time.patience(), Duration::from_millis(patience), "{usual} ms");
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
    fn attempts_run_at_the_same_time() {
        let (spare_time, meet) = (SpareTime::default(), Arc::new(Barrier::new(3)));
        let attempts: Vec<_> = (0..3)
            .map(|_| {
                let (spare_time, meet) = (spare_time.clone(), Arc::clone(&meet));
                thread::spawn(move || spare_time.attempt(Arc::new(move || meet.wait().is_leader()), LONG))
            })
            .collect();
        let leaders: Vec<_> = attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect();
        assert_eq!(leaders.iter().filter(|leads| **leads == Some(true)).count(), 1, "{leaders:?}");
        assert!(leaders.iter().all(Option::is_some), "{leaders:?}");
    }
}
