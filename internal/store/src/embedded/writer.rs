//! The task that makes all changes: it drains a bounded queue into batches.

use std::fmt;
use std::sync::Arc;

use kv::{Database, Durability, KvError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::StoreError;
use crate::embedded::broken;
use crate::embedded::change::Changes;

/// Changed rows in a batch; at the bound it is committed before further jobs are taken.
const BATCH_ROWS_MAX: usize = 4096;
/// Bytes in a batch; at the bound it is committed before further jobs are taken.
const BATCH_BYTES_MAX: usize = 8 << 20;

type Run = Box<dyn FnOnce(&mut Changes) -> Finish + Send>;
type Finish = Box<dyn FnOnce(Result<(), Arc<KvError>>) + Send>;

/// A change and how durable it must be.
pub(super) struct Job {
    durability: Durability,
    /// Makes the change; returns the function that answers the caller once the batch is committed.
    run: Run,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("durability", &self.durability).finish_non_exhaustive()
    }
}

/// A job that makes `change`, and the receiver of its result.
pub(super) fn job<T: Send + 'static>(
    durability: Durability,
    change: impl FnOnce(&mut Changes) -> Result<T, StoreError> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, StoreError>>) {
    let (reply, answer) = oneshot::channel();
    let run: Run = Box::new(move |changes| {
        let changed = change(changes);
        Box::new(move |committed| {
            // The caller may have stopped waiting; the change stays all the same.
            drop(reply.send(committed.map_err(broken).and(changed)));
        })
    });
    (Job { durability, run }, answer)
}

/// The state of the writer's task.
pub(super) struct Writer {
    pub(super) database: Database,
    /// Publishes the current incarnation.
    pub(super) current: watch::Sender<u32>,
    pub(super) queue: mpsc::Receiver<Job>,
}

impl Writer {
    /// Runs until all senders are dropped and the queue is empty.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let mut changes = Changes::new(*self.current.borrow());
            let mut durability = Durability::Process;
            let mut finishes = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                durability = stronger(durability, job.durability);
                finishes.push((job.run)(&mut changes));
                if changes.rows() >= BATCH_ROWS_MAX || changes.bytes() >= BATCH_BYTES_MAX {
                    break;
                }
                // Merging reads from disk: let other tasks of this thread run.
                tokio::task::consume_budget().await;
                next = self.queue.try_recv().ok();
            }
            self.commit(changes, durability, finishes).await;
        }
    }

    async fn commit(&mut self, changes: Changes, durability: Durability, finishes: Vec<Finish>) {
        let (batch, incarnation, hooks) = changes.finish();
        let committed = match batch {
            Some(batch) => self.database.commit(batch, durability).await.map_err(Arc::new),
            None => Ok(()),
        };
        match &committed {
            Ok(()) => {
                // Publish the incarnation first: tasks that a hook wakes read it.
                self.current.send_if_modified(|current| std::mem::replace(current, incarnation) != incarnation);
                hooks.into_iter().for_each(|hook| hook());
            }
            Err(error) => tracing::error!(error = %error, "store batch could not be committed"),
        }
        for finish in finishes {
            finish(committed.clone());
        }
    }
}

fn stronger(one: Durability, other: Durability) -> Durability {
    if one == Durability::Power { one } else { other }
}
