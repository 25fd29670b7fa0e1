//! Commits of a member: written one after the other on a plain thread, because librdkafka's synchronous commit blocks
//! and its asynchronous one does not say which commit failed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TrySendError};
use std::time::Duration;

use async_trait::async_trait;
use eventlog::{Commit, CommitError, Committer, METADATA_BYTES_MAX, TopicPartition};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::GroupConsumer;
use super::membership::{GroupMembership, WriteTicket};
use crate::errors::{Kind, commit_error, kind_of};
use crate::requests;

/// How long a commit is retried: brokers refuse commits for moments while the group rebalances.
const TRY_FOR: Duration = Duration::from_secs(5);
/// The wait between two attempts.
const RETRY_WAIT: Duration = Duration::from_millis(50);
/// How long a caller waits for its commit.
const COMMIT_WAIT: Duration = Duration::from_secs(15);

/// A commit to be written.
pub(super) struct Order {
    commits: Vec<(TopicPartition, Commit)>,
    ticket: WriteTicket,
    reply: oneshot::Sender<Result<(), CommitError>>,
}

/// The committer of a member.
pub(super) struct MemberCommitter {
    membership: Arc<GroupMembership>,
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the metadata of a commit is longer than {METADATA_BYTES_MAX} bytes")]
    MetadataTooLong,
    #[error("too many commits are waiting to be written")]
    TooMany,
    #[error("the commit was not answered in time")]
    NotAnswered,
}

impl MemberCommitter {
    pub(super) fn new(membership: Arc<GroupMembership>) -> Self {
        Self { membership }
    }
}

#[async_trait]
impl Committer for MemberCommitter {
    async fn commit(&self, commits: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
        if commits.iter().any(|(_, commit)| commit.metadata.len() > METADATA_BYTES_MAX) {
            return Err(CommitError::Broken(Box::new(Refused::MetadataTooLong)));
        }
        let partitions = commits.iter().map(|(at, _)| at.clone()).collect();
        let (ticket, orders) = self.membership.begin_commit(partitions).ok_or(CommitError::Fenced)?;
        let (reply, written) = oneshot::channel();
        match orders.try_send(Order { commits: commits.to_vec(), ticket, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(CommitError::Transient(Box::new(Refused::TooMany))),
            Err(TrySendError::Disconnected(_)) => return Err(CommitError::Fenced),
        }
        drop(orders);
        let late = || CommitError::Transient(Box::new(Refused::NotAnswered));
        timeout(COMMIT_WAIT, written).await.map_err(|_| late())?.map_err(|_| late())?
    }
}

/// Writes commits until the member has left.
pub(super) fn write_all(consumer: &GroupConsumer, membership: &GroupMembership, orders: &Receiver<Order>) {
    for Order { commits, ticket, reply } in orders {
        let written = write(consumer, membership, &commits, &ticket).map_err(commit_error);
        drop(ticket);
        // A caller that has stopped waiting does not need the answer.
        let _ = reply.send(written);
    }
}

fn write(
    consumer: &GroupConsumer,
    membership: &GroupMembership,
    commits: &[(TopicPartition, Commit)],
    ticket: &WriteTicket,
) -> Result<(), KafkaError> {
    let list = requests::with_commits(commits)?;
    let deadline = Instant::now() + TRY_FOR;
    loop {
        match consumer.commit(&list, CommitMode::Sync) {
            Err(error)
                if kind_of(&error) == Kind::Transient
                    && Instant::now() < deadline
                    && membership.may_retry(ticket, RETRY_WAIT) => {}
            written => return written,
        }
    }
}
