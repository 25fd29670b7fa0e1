//! Consumer groups: the owners of partitions, and their committed offsets.

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

/// The committed position of a group in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The next offset to process; all code uses this convention.
    pub next: u64,
    /// The consumer's own data, stored with the offset; at most [`crate::METADATA_BYTES_MAX`] bytes.
    pub metadata: String,
}

/// A partition that was assigned to this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The partition.
    pub at: TopicPartition,
    /// The group's commit at the time of the assignment; `None` when there is none.
    pub commit: Option<Commit>,
}

/// Partitions that the member must give up.
#[derive(Debug)]
pub struct Revocation {
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
    /// Until this is dropped or sent to (within the group's time limit), no other member gets the partitions, and
    /// commits are accepted.
    pub release: oneshot::Sender<()>,
}

/// An event for a member of a group.
#[derive(Debug)]
pub enum GroupEvent {
    /// These partitions were assigned, in addition to those that the member owns.
    Assigned(Vec<Assigned>),
    /// The member must finish its work on these partitions, commit, then release them.
    Revoked(Revocation),
    /// The member has lost these partitions already, because it was too slow: it must stop, and not commit for
    /// them.
    Lost(Vec<TopicPartition>),
}

/// A member of a group. Dropping it leaves the group at once, without a commit.
#[async_trait]
pub trait GroupMember: Send {
    /// Waits for the next event. Fails when the group cannot go on: its log was closed, or has failed for good.
    /// Must be polled all the time: a member that does not poll for longer than the group's limit (60 s) is
    /// declared dead. Cancel safe.
    async fn next(&mut self) -> Result<GroupEvent, LogError>;

    /// A handle for commits while another task waits in `next`.
    fn committer(&self) -> Box<dyn Committer>;
}

/// Commits the offsets of one member.
#[async_trait]
pub trait Committer: Send + Sync {
    /// Commits, all or none per partition; durable when it returns. Only partitions that the member owns, or that
    /// were revoked and not yet released, are accepted; for others the call fails with [`CommitError::Fenced`].
    async fn commit(&self, commits: &[(TopicPartition, Commit)]) -> Result<(), CommitError>;
}
