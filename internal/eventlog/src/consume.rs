//! A group's partitions as owned tasks: one per partition, started when it is assigned, ended and awaited before it is
//! released. The frame that both consumers run in.

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

/// Before the group's commit is asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The first wait before a partition begins again is at most this long; each further one at most twice the one before.
const AGAIN_BASE: Duration = Duration::from_millis(50);
/// No wait before a partition begins again is longer.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// A partition that was worked on for this long begins again with the first wait.
const STEADY_AFTER: Duration = Duration::from_secs(30);

/// How a partition's task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop, has finished what it began and committed.
    Stopped,
    /// It has to begin again from the group's commit: soon, and later each time that it does not last.
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
        /// Whose.
        at: TopicPartition,
        /// Why.
        source: BoxError,
    },
}

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A partition's work: until the token is cancelled or it fails for good. What it needs to retry, it retries inside.
pub type Work = Arc<
    dyn Fn(Assigned, Arc<dyn Committer>, CancellationToken) -> Pin<Box<dyn Future<Output = Outcome> + Send>>
        + Send
        + Sync,
>;

/// What a partition's task returns.
pub type Outcome = Result<Ended, BoxError>;

/// Runs `work` for every partition that the group gives this member, until `shutdown`; then ends all of it in order.
/// `entropy` is for jitter.
///
/// # Errors
/// When the group or a partition's work fails for good; everything else has been stopped by then.
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

/// A partition's task that ended. One that panicked has failed for good.
type Joined = (TopicPartition, Outcome);

/// The tasks of the partitions that are this member's.
struct Owned {
    log: SharedLog,
    group: String,
    work: Work,
    committer: Arc<dyn Committer>,
    entropy: Entropy,
    /// When each began last, and how often it has begun again without lasting.
    attempts: BTreeMap<TopicPartition, (Instant, u32)>,
    /// Ends all of them.
    stop: CancellationToken,
    /// Ends one of them.
    tokens: BTreeMap<TopicPartition, CancellationToken>,
    tasks: JoinSet<Outcome>,
    /// The partition of each task: one that panics cannot say it.
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
            // Nobody aborts one. What it said went to stderr, and stays out of errors: it may quote what users wrote.
            Err(lost) => (lost.id(), Err("its task panicked".into())),
        };
        let at = self.whose.remove(&id).expect("every task is spawned for a partition");
        Some((at, outcome))
    }

    /// Ends the tasks of these partitions and waits for them. Returns the tasks of other partitions that ended meanwhile.
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

    /// A task ended by itself: it begins again, or all of it ends.
    fn restart(&mut self, at: TopicPartition, outcome: Outcome) -> Result<(), ConsumeError> {
        match outcome {
            // Forgotten: who waits for its end when the partition is revoked would wait for ever.
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

    /// How long the partition waits before it begins again.
    fn next_wait(&mut self, at: &TopicPartition) -> Duration {
        let (begun, attempts) = self.attempts.remove(at).unwrap_or_else(|| (Instant::now(), 0));
        let attempts = if begun.elapsed() >= STEADY_AFTER { 0 } else { attempts };
        let wait = self.entropy.backoff(attempts, AGAIN_BASE, AGAIN_MAX);
        self.attempts.insert(at.clone(), (Instant::now() + wait, attempts.saturating_add(1)));
        wait
    }

    /// The wait and the look at the commit are in the task: the member must go on polling.
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

/// What the group has committed; asked until the log answers.
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
