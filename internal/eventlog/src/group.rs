//! Consumer groups: who owns which partition, and how far they have come.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::{CommitError, LogError};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
}

impl TopicPartition {
    /// The partition of that topic.
    #[must_use]
    pub fn new(topic: impl Into<String>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The next offset to work on. There is one convention, this one, everywhere.
    pub next: u64,
    /// What the consumer keeps beside it; at most [`crate::METADATA_BYTES_MAX`] bytes.
    pub metadata: String,
}

/// A partition that became this member's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Which.
    pub at: TopicPartition,
    /// The group's commit when it was assigned; `None` when there is none.
    pub commit: Option<Commit>,
}

/// Partitions that are to be given up.
#[derive(Debug)]
pub struct Revocation {
    /// Which.
    pub partitions: Vec<TopicPartition>,
    /// Until this is dropped or sent to (within the group's bound), no other member gets them, and commits count.
    pub release: oneshot::Sender<()>,
}

/// What happens to a member.
#[derive(Debug)]
pub enum GroupEvent {
    /// These partitions became this member's; those it has stay.
    Assigned(Vec<Assigned>),
    /// Finish, commit, then release them.
    Revoked(Revocation),
    /// These are gone already (the member was too slow): stop, and commit nothing for them.
    Lost(Vec<TopicPartition>),
}

/// A member of a group. Dropping it leaves the group at once, without a commit.
#[async_trait]
pub trait GroupMember: Send {
    /// What happens next; waits. Fails when the group cannot be worked in any more: its log was closed, or has failed for
    /// good. Must be polled all the time: a member that does not poll for longer than the group's
    /// bound (60 s) is taken for dead. Cancel safe.
    async fn next(&mut self) -> Result<GroupEvent, LogError>;

    /// A handle to commit with while another task is waiting in `next`.
    fn committer(&self) -> Box<dyn Committer>;
}

/// Commits for one member.
#[async_trait]
pub trait Committer: Send + Sync {
    /// Commits, all or none per partition; durable when it returns. Only partitions that the member owns, or is asked
    /// to give up and has not released, count: for others [`CommitError::Fenced`].
    async fn commit(&self, commits: &[(TopicPartition, Commit)]) -> Result<(), CommitError>;
}
