//! A member of a group, and its commits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Core;
use super::assignment::{MemberId, Subscription};
use super::codec;
use super::groups::{Groups, Pending};
use super::topics::broken;
use super::writer::Item;
use crate::{
    Assigned, Commit, CommitError, Committer, GroupEvent, GroupMember, LogError, METADATA_BYTES_MAX, Revocation,
    TopicPartition,
};

/// How long a member may go without polling before it is declared dead.
const POLL_WAIT: Duration = Duration::from_secs(60);

/// The identity of a member in its group.
#[derive(Debug, Clone)]
struct Identity {
    groups: Arc<Groups>,
    group: String,
    id: MemberId,
}

#[derive(Debug)]
pub(super) struct Member {
    core: Arc<Core>,
    identity: Identity,
    queue: mpsc::WeakSender<Item>,
    /// Notified by the coordinator when there is an event.
    wake: Arc<Notify>,
    /// Dropping it ends the task that watches this member's polling.
    _watched: DropGuard,
}

#[derive(Debug)]
struct MemberCommitter {
    identity: Identity,
    queue: mpsc::WeakSender<Item>,
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the metadata of a commit is longer than {METADATA_BYTES_MAX} bytes")]
    MetadataTooLong,
    #[error("the log is closed")]
    Closed,
}

impl Member {
    pub(super) fn join(core: Arc<Core>, queue: mpsc::WeakSender<Item>, group: &str, topics: Subscription) -> Self {
        let groups = Arc::clone(&core.groups);
        let (id, wake) = groups.join(group, topics);
        let identity = Identity { groups, group: group.to_owned(), id };
        let gone = core.closing.child_token();
        core.tasks.spawn(watch(identity.clone(), gone.clone()));
        Self { core, identity, queue, wake, _watched: gone.drop_guard() }
    }

    /// The event with the commits as of now: the previous owner of the partitions has finished writing.
    fn event(&self, pending: Pending) -> Result<GroupEvent, LogError> {
        Ok(match pending {
            Pending::Assigned(partitions) => {
                let with_commit = |at: TopicPartition| {
                    let commit = self.core.committed(&self.identity.group, &at)?;
                    Ok(Assigned { at, commit })
                };
                GroupEvent::Assigned(partitions.into_iter().map(with_commit).collect::<Result<_, LogError>>()?)
            }
            Pending::Revoked(partitions, release) => GroupEvent::Revoked(Revocation { partitions, release }),
            Pending::Lost(partitions) => GroupEvent::Lost(partitions),
        })
    }
}

#[async_trait]
impl GroupMember for Member {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        let _polling = Polling::begin(&self.identity);
        loop {
            if self.core.closing.is_cancelled() {
                return Err(LogError::Closed);
            }
            // Nothing can be committed or appended any more: the partitions would be restarted for ever.
            if let Some(failed) = self.core.failure.get() {
                return Err(broken(failed));
            }
            // A notification between this check and the wait is not lost: `wake` keeps it for the wait.
            if let Some(pending) = self.identity.groups.take_pending(&self.identity.group, self.identity.id) {
                return self.event(pending);
            }
            tokio::select! {
                biased;
                () = self.core.closing.cancelled() => {}
                () = self.core.failure.wait() => {}
                () = self.wake.notified() => {}
            }
        }
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(MemberCommitter { identity: self.identity.clone(), queue: self.queue.clone() })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.identity.groups.leave(&self.identity.group, self.identity.id);
    }
}

#[async_trait]
impl Committer for MemberCommitter {
    async fn commit(&self, commits: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
        if commits.iter().any(|(_, commit)| commit.metadata.len() > METADATA_BYTES_MAX) {
            return Err(CommitError::Broken(Box::new(Refused::MetadataTooLong)));
        }
        let closed = || CommitError::Broken(Box::new(Refused::Closed));
        let Identity { groups, group, id } = &self.identity;
        let partitions = commits.iter().map(|(at, _)| at.clone()).collect();
        let ticket = groups.begin_commit(group, *id, partitions).ok_or(CommitError::Fenced)?;
        let rows = commits.iter().map(|(at, commit)| (codec::commit_key(group, at), codec::encode_commit(commit)));
        let (report, written) = oneshot::channel();
        let item = Item::Commit { rows: rows.collect(), ticket, report };
        let queue = self.queue.upgrade().ok_or_else(closed)?;
        queue.send(item).await.map_err(|_| closed())?;
        written.await.map_err(|_| closed())?
    }
}

/// While this exists, the member counts as polling.
struct Polling<'a>(&'a Identity);

impl<'a> Polling<'a> {
    fn begin(identity: &'a Identity) -> Self {
        identity.groups.polls(&identity.group, identity.id, true);
        Self(identity)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.groups.polls(&self.0.group, self.0.id, false);
    }
}

/// Declares the member dead when it has not polled for too long.
async fn watch(identity: Identity, gone: CancellationToken) {
    let Identity { groups, group, id } = &identity;
    loop {
        let idle_since = groups.idle_since(group, *id);
        let deadline = idle_since.unwrap_or_else(Instant::now) + POLL_WAIT;
        if idle_since.is_some() && deadline <= Instant::now() {
            tracing::warn!(group, member = id, "a member of the group has not polled for too long: it loses its share");
            groups.expel(group, *id);
            continue;
        }
        tokio::select! {
            biased;
            () = gone.cancelled() => return,
            () = sleep_until(deadline) => {}
        }
    }
}
