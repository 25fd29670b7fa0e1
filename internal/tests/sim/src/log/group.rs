//! Group membership with faults: rebalances that a process learns of too late, and deaths without leaving the group.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventlog::{Commit, CommitError, Committer, GroupEvent, GroupMember, LogError, TopicPartition};
use tokio::time::sleep;

use super::Made;
use crate::life::Life;

/// How long the group may still count a dead process as a member, in milliseconds.
const SESSION_MS: u64 = 10_000;

/// The membership of a process.
pub(super) struct SimMember {
    /// `None` once it is dropped.
    inner: Option<Box<dyn GroupMember>>,
    group: String,
    life: Arc<Life>,
    /// An event that was received but not passed on yet, because the process is deaf.
    untold: Option<GroupEvent>,
}

/// Commits offsets for a process.
struct SimCommitter {
    inner: Box<dyn Committer>,
    group: String,
    life: Arc<Life>,
}

impl SimMember {
    pub(super) fn new(inner: Box<dyn GroupMember>, group: &str, life: Arc<Life>) -> Self {
        Self { inner: Some(inner), group: group.to_owned(), life, untold: None }
    }
}

#[async_trait]
impl GroupMember for SimMember {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        if self.untold.is_none() {
            self.life.gate().await;
            let Some(inner) = &mut self.inner else { return Err(LogError::Closed) };
            let event = inner.next().await?;
            if let GroupEvent::Assigned(given) = &event {
                given.iter().for_each(|one| self.life.owners.assigned(&self.group, &one.at, &self.life.name));
            }
            self.untold = Some(event);
        }
        self.life.gate().await;
        self.life.hears().await;
        let event = self.untold.take().ok_or(LogError::Closed)?;
        let (what, of) = match &event {
            GroupEvent::Assigned(partitions) => ("partitions assigned", partitions.len()),
            GroupEvent::Revoked(revocation) => ("partitions revoked", revocation.partitions.len()),
            GroupEvent::Lost(partitions) => ("partitions lost", partitions.len()),
        };
        self.life.trace.note(&format!("{}: {of} {what}", self.life.name));
        self.life.trace.add(what, of as u64);
        Ok(event)
    }

    fn committer(&self) -> Box<dyn Committer> {
        let inner = self.inner.as_ref().expect("a member that lives").committer();
        Box::new(SimCommitter { inner, group: self.group.clone(), life: Arc::clone(&self.life) })
    }
}

impl Drop for SimMember {
    /// A dead process leaves its group only when its session times out.
    fn drop(&mut self) {
        let Some(inner) = self.inner.take().filter(|_| self.life.is_dead()) else { return };
        let (life, untold) = (Arc::clone(&self.life), self.untold.take());
        let left = Duration::from_millis(life.below(SESSION_MS));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                sleep(left).await;
                drop((inner, untold));
            });
        }
    }
}

#[async_trait]
impl Committer for SimCommitter {
    async fn commit(&self, commits: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
        let (life, rates) = (&self.life, self.life.weather.rates());
        life.gate().await;
        life.delay(Duration::from_millis(rates.log_ms)).await;
        life.gate().await;
        life.weather.broker_up().await;
        let fails = life.chance(rates.commit_error);
        if fails && life.below(2) == 0 {
            life.fault("commits not done");
            return Err(CommitError::Transient(Box::new(Made("not done"))));
        }
        let successor = |(at, _): &(TopicPartition, Commit)| {
            life.owners.successor(&self.group, at, &life.name).map(|owner| format!("{at}, which is {owner}'s"))
        };
        let replaced: Vec<String> = commits.iter().filter_map(successor).collect();
        let outcome = self.inner.commit(commits).await;
        if outcome.is_ok() && !replaced.is_empty() {
            life.owners.fault(format!("a zombie's commit counted: {} commits {}", life.name, replaced.join(", ")));
        }
        life.gate().await;
        if matches!(outcome, Err(CommitError::Fenced)) {
            life.fault("commits of zombies refused");
        }
        if fails && outcome.is_ok() {
            life.fault("commits done and answered with an error");
            return Err(CommitError::Transient(Box::new(Made("done"))));
        }
        outcome
    }
}
