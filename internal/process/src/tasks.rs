//! The tasks of a service: owned, named, and ended in the reverse order of their start.
//!
//! A task may use what was started before it (the HTTP server uses the relay's wake-up, the relay the log), so ending
//! in reverse order stops the intake first and the connections to log and store last.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Readiness;

/// How long the tasks of a service may take to end, altogether, unless [`Tasks::ending_later`] allows more. The rest of [`crate::shutdown::END_WITHIN`] is for
/// closing what they worked with.
pub const TASKS_END_WITHIN: Duration = Duration::from_secs(8);

/// The cause of an error that is only displayed, never matched on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a service ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A task gave up.
    #[error("{name} failed")]
    Failed {
        /// The name of the task.
        name: &'static str,
        /// The error.
        #[source]
        cause: BoxError,
    },
    /// A task ended though it was not asked to.
    #[error("{name} ended by itself")]
    Ended {
        /// The name of the task.
        name: &'static str,
    },
    /// A task panicked: a fault of ours.
    #[error("{name} panicked")]
    Panicked {
        /// The name of the task.
        name: &'static str,
        /// The panic.
        #[source]
        cause: JoinError,
    },
}

/// A service's tasks. Dropping them aborts them.
#[derive(Debug)]
pub struct Tasks {
    /// Made unready before any task ends.
    readiness: Readiness,
    /// The tasks in the order of their start.
    tasks: Vec<Task>,
    running: JoinSet<Result<(), BoxError>>,
    /// The index in `tasks` of each tokio task.
    indices: BTreeMap<Id, usize>,
    /// How long they may take to end.
    end_within: Duration,
}

#[derive(Debug)]
struct Task {
    name: &'static str,
    token: CancellationToken,
    over: bool,
}

impl Tasks {
    /// An empty list of tasks.
    #[must_use]
    pub fn new(readiness: Readiness) -> Self {
        let (running, indices) = (JoinSet::new(), BTreeMap::new());
        Self { readiness, tasks: Vec::new(), running, indices, end_within: TASKS_END_WITHIN }
    }

    /// The same tasks, which may take `later` beyond [`TASKS_END_WITHIN`] to end.
    #[must_use]
    pub fn ending_later(self, later: Duration) -> Self {
        Self { end_within: TASKS_END_WITHIN + later, ..self }
    }

    /// Starts a task; it gets the token that asks it to end.
    pub fn spawn<F, R, E>(&mut self, name: &'static str, work: F)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let token = CancellationToken::new();
        let work = work(token.clone());
        let handle = self.running.spawn(async move { work.await.map_err(Into::into) });
        self.indices.insert(handle.id(), self.tasks.len());
        self.tasks.push(Task { name, token, over: false });
    }

    /// Runs until `shutdown` is cancelled or a task ends by itself, then ends all tasks, the latest first, within
    /// [`TASKS_END_WITHIN`] or what [`Self::ending_later`] has made of it.
    ///
    /// # Errors
    /// The first task that failed, panicked or ended unasked.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), TaskError> {
        let mut result = Ok(());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            ended = Self::next(&mut self.running, &self.indices, &mut self.tasks) => {
                if let Some((at, outcome)) = ended {
                    result = outcome.and(Err(TaskError::Ended { name: self.tasks[at].name }));
                }
            }
        }
        self.readiness.stopping();
        let deadline = Instant::now() + self.end_within;
        for index in (0..self.tasks.len()).rev() {
            self.tasks[index].token.cancel();
            while !self.tasks[index].over {
                let next = Self::next(&mut self.running, &self.indices, &mut self.tasks);
                match tokio::time::timeout_at(deadline, next).await {
                    Ok(Some((_, outcome))) => result = result.and(outcome),
                    Ok(None) => break,
                    Err(_) => {
                        let task = self.tasks[index].name;
                        tracing::warn!(task, deadline = ?self.end_within, "task not ended in order: the deadline is missed");
                        break;
                    }
                }
            }
        }
        result
    }

    /// The next task that has ended, with its outcome.
    async fn next(
        running: &mut JoinSet<Result<(), BoxError>>,
        indices: &BTreeMap<Id, usize>,
        tasks: &mut [Task],
    ) -> Option<(usize, Result<(), TaskError>)> {
        let joined = running.join_next_with_id().await?;
        let id = joined.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let index = indices[&id];
        let task = &mut tasks[index];
        task.over = true;
        let name = task.name;
        let outcome = match joined {
            Ok((_, Ok(()))) => Ok(()),
            Ok((_, Err(cause))) => Err(TaskError::Failed { name, cause }),
            Err(cause) => Err(TaskError::Panicked { name, cause }),
        };
        Some((index, outcome))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn recorder(order: &Arc<Mutex<Vec<&'static str>>>, name: &'static str, tasks: &mut Tasks) {
        let order = order.clone();
        tasks.spawn(name, |token| async move {
            token.cancelled().await;
            order.lock().unwrap().push(name);
            Ok::<(), TaskError>(())
        });
    }

    #[tokio::test]
    async fn tasks_end_in_the_reverse_order_of_their_start() {
        let (order, shutdown, readiness) = (Arc::default(), CancellationToken::new(), Readiness::default());
        let mut tasks = Tasks::new(readiness.clone());
        for name in ["log", "relay", "http"] {
            recorder(&order, name, &mut tasks);
        }
        assert!(readiness.is_ready());
        shutdown.cancel();
        tasks.run(shutdown).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["http", "relay", "log"]);
        assert!(!readiness.is_ready(), "unready comes before the end");
    }

    #[tokio::test]
    async fn a_task_that_fails_ends_the_others_in_order() {
        let order = Arc::default();
        let mut tasks = Tasks::new(Readiness::default());
        recorder(&order, "log", &mut tasks);
        tasks.spawn("relay", |_| async { Err("no way on") });
        recorder(&order, "http", &mut tasks);
        let error = tasks.run(CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, TaskError::Failed { name: "relay", .. }), "{error}");
        assert_eq!(*order.lock().unwrap(), ["http", "log"]);
    }

    #[tokio::test]
    async fn a_panic_names_its_task() {
        let mut tasks = Tasks::new(Readiness::default());
        tasks.spawn("relay", |_| async {
            assert!(std::hint::black_box(false), "boom");
            Ok::<(), TaskError>(())
        });
        let error = tasks.run(CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, TaskError::Panicked { name: "relay", .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_will_not_end_is_left_at_the_deadline() {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(Readiness::default());
        tasks.spawn("stuck", |_| std::future::pending::<Result<(), TaskError>>());
        shutdown.cancel();
        let begun = Instant::now();
        tasks.run(shutdown).await.unwrap();
        assert_eq!(begun.elapsed(), TASKS_END_WITHIN);
    }
}
