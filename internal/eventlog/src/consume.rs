//! Runs a group's partitions as owned tasks: one task per partition, started when the partition is assigned, ended
//! and awaited before the partition is released. Every consumer runs in this loop.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use environment::Entropy;
use events::topics;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{Assigned, Commit, Committer, GroupEvent, LogError, SharedLog, TopicPartition};

/// The wait before the group's commit is read again after a failure.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The longest first wait before a partition is restarted; the maximum doubles with each further restart.
const AGAIN_BASE: Duration = Duration::from_millis(50);
/// The longest wait before a partition is restarted.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// After a partition has run for this long, its next restart waits as the first one does.
const STEADY_AFTER: Duration = Duration::from_secs(30);

/// How a partition's task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop; it has finished its work in progress and committed.
    Stopped,
    /// It must be restarted from the group's commit. The wait grows with each restart that does not last.
    Again,
}

/// Why consuming stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The group failed.
    #[error("the consumer group failed: {0}")]
    Group(#[from] LogError),
    /// A partition's task failed for good.
    #[error("{at}: {source}")]
    Partition {
        /// The partition.
        at: TopicPartition,
        /// The error of its task.
        source: BoxError,
    },
}

/// An error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The work on a partition, which runs until the token is cancelled or it fails for good. It retries transient
/// failures itself.
pub type Work = Arc<
    dyn Fn(Assigned, Arc<dyn Committer>, CancellationToken) -> Pin<Box<dyn Future<Output = Outcome> + Send>>
        + Send
        + Sync,
>;

/// The result of a partition's task.
pub type Outcome = Result<Ended, BoxError>;

/// Runs `work` for every partition that the group assigns to this member, until `shutdown`; then ends the tasks in
/// order. `entropy` provides jitter.
///
/// # Errors
/// When the group or a partition's work fails for good; all other tasks have ended by then.
pub async fn consume(
    log: &SharedLog,
    group: &str,
    topics: &[&str],
    work: Work,
    entropy: &Entropy,
    shutdown: CancellationToken,
) -> Result<(), ConsumeError> {
    let mut member = log.join(group, topics).await?;
    let mut owned = Owned {
        log: Arc::clone(log),
        group: group.to_owned(),
        work,
        committer: member.committer().into(),
        entropy: entropy.clone(),
        attempts: BTreeMap::new(),
        stop: shutdown.child_token(),
        tokens: BTreeMap::new(),
        tasks: JoinSet::new(),
        whose: HashMap::new(),
    };
    let ended = loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break Ok(()),
            Some((at, outcome)) = owned.joined() => {
                if let Err(error) = owned.restart(at, outcome) {
                    break Err(error);
                }
            }
            event = member.next() => match event {
                Ok(GroupEvent::Assigned(partitions)) => partitions.into_iter().for_each(|one| owned.start(one)),
                Ok(GroupEvent::Revoked(revocation)) => {
                    let others = owned.end(&revocation.partitions).await;
                    let _ = revocation.release.send(());
                    if let Err(error) = others.into_iter().try_for_each(|(at, outcome)| owned.restart(at, outcome)) {
                        break Err(error);
                    }
                }
                Ok(GroupEvent::Lost(partitions)) => {
                    let others = owned.end(&partitions).await;
                    if let Err(error) = others.into_iter().try_for_each(|(at, outcome)| owned.restart(at, outcome)) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error.into()),
            },
        }
    };
    owned.stop.cancel();
    while owned.tasks.join_next().await.is_some() {}
    ended
}

/// A partition's task that ended. A task that panicked has failed for good.
type Joined = (TopicPartition, Outcome);

/// The tasks of the partitions that this member owns.
struct Owned {
    log: SharedLog,
    group: String,
    work: Work,
    committer: Arc<dyn Committer>,
    entropy: Entropy,
    /// The time of each partition's last start, and its restarts since it last ran for [`STEADY_AFTER`].
    attempts: BTreeMap<TopicPartition, (Instant, u32)>,
    /// Ends all tasks.
    stop: CancellationToken,
    /// The token that ends each partition's task.
    tokens: BTreeMap<TopicPartition, CancellationToken>,
    tasks: JoinSet<Outcome>,
    /// The partition of each task: a task that panics cannot return it.
    whose: HashMap<Id, TopicPartition>,
}

impl Owned {
    fn start(&mut self, assigned: Assigned) {
        let at = assigned.at.clone();
        if topics::find(&at.topic).is_some_and(|spec| at.partition >= spec.partitions) {
            tracing::warn!(partition = %at, "a partition that somebody added is not read: see 'klatschctl topics check'");
            return;
        }
        tracing::info!(partition = %at, next = assigned.commit.as_ref().map(|commit| commit.next), "partition assigned");
        let token = self.stop.child_token();
        let work = (self.work)(assigned, Arc::clone(&self.committer), token.clone());
        self.tokens.insert(at.clone(), token);
        self.attempts.insert(at.clone(), (Instant::now(), 0));
        self.spawn(at, work);
    }

    fn spawn(&mut self, at: TopicPartition, task: impl Future<Output = Outcome> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.whose.insert(id, at);
    }

    /// The next task that ends; `None` when there is none. Cancel safe.
    async fn joined(&mut self) -> Option<Joined> {
        let (id, outcome) = match self.tasks.join_next_with_id().await? {
            Ok(joined) => joined,
            // Tasks are never aborted, so this one panicked. Its message went to stderr; the error leaves it out,
            // since it may quote users' text.
            Err(lost) => (lost.id(), Err("its task panicked".into())),
        };
        let at = self.whose.remove(&id).expect("every task is spawned for a partition");
        Some((at, outcome))
    }

    /// Ends the tasks of these partitions and waits for them. Returns the tasks of other partitions that ended
    /// meanwhile.
    async fn end(&mut self, partitions: &[TopicPartition]) -> Vec<Joined> {
        let (mut ending, mut others) = (Vec::new(), Vec::new());
        for at in partitions {
            if let Some(token) = self.tokens.remove(at) {
                token.cancel();
                ending.push(at.clone());
            }
        }
        while !ending.is_empty() {
            match self.joined().await {
                Some((at, outcome)) if ending.contains(&at) => {
                    if let Err(error) = outcome {
                        tracing::error!(partition = %at, %error, "partition ended with an error");
                    }
                    ending.retain(|other| *other != at);
                }
                Some(joined) => others.push(joined),
                None => break,
            }
        }
        others
    }

    /// Handles a task that ended by itself: restarts it, or returns the error that ends all of them.
    fn restart(&mut self, at: TopicPartition, outcome: Outcome) -> Result<(), ConsumeError> {
        match outcome {
            // Remove the token: otherwise a later revocation would wait for a task that has already ended.
            Ok(Ended::Stopped) => drop(self.tokens.remove(&at)),
            Ok(Ended::Again) if self.tokens.contains_key(&at) => {
                let wait = self.next_wait(&at);
                tracing::warn!(partition = %at, ?wait, "partition begins again from its commit");
                self.begin_again(at, wait);
            }
            Ok(Ended::Again) => {}
            Err(source) => return Err(ConsumeError::Partition { at, source }),
        }
        Ok(())
    }

    /// The wait before the partition is restarted.
    fn next_wait(&mut self, at: &TopicPartition) -> Duration {
        let (begun, attempts) = self.attempts.remove(at).unwrap_or_else(|| (Instant::now(), 0));
        let attempts = if begun.elapsed() >= STEADY_AFTER { 0 } else { attempts };
        let wait = self.entropy.backoff(attempts, AGAIN_BASE, AGAIN_MAX);
        self.attempts.insert(at.clone(), (Instant::now() + wait, attempts.saturating_add(1)));
        wait
    }

    /// The wait and the read of the commit run inside the task, because the member must keep polling.
    fn begin_again(&mut self, at: TopicPartition, wait: Duration) {
        let (log, group, work) = (Arc::clone(&self.log), self.group.clone(), Arc::clone(&self.work));
        let (committer, token) = (Arc::clone(&self.committer), self.stop.child_token());
        self.tokens.insert(at.clone(), token.clone());
        self.spawn(at.clone(), async move {
            let found = tokio::select! {
                biased;
                () = token.cancelled() => return Ok(Ended::Stopped),
                found = async {
                    sleep(wait).await;
                    committed(&log, &group, &at).await
                } => found,
            };
            work(Assigned { at, commit: found? }, committer, token).await
        });
    }
}

/// Reads the group's commit; retries until the log answers.
async fn committed(log: &SharedLog, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
    loop {
        match log.committed(group, at).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(partition = %at, %error, "the group's commit cannot be read: asking again");
                sleep(ASK_AGAIN_AFTER).await;
            }
            found => return found,
        }
    }
}
