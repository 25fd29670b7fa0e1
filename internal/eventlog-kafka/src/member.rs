//! Membership in a consumer group: a consumer that is subscribed and fetches no records.
//!
//! It is used only for assignments, revocations and commits; records are read by [`crate::reading`]. Two plain
//! threads serve it: one polls, so that rebalances happen, and blocks inside the rebalance until revoked
//! partitions are released; the other one commits, which must go on during that wait.

mod commits;
mod membership;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use async_trait::async_trait;
use eventlog::{Committer, GroupEvent, GroupMember, LogError};
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::KafkaConfig;
use crate::errors::{Kind, broken, kind_of, log_error, transient};
use crate::{context, requests, threads};
use commits::MemberCommitter;
use membership::GroupMembership;

/// Events that may wait for a member. At the bound its thread waits, and so does the group, within its time
/// limits.
const EVENTS_MAX: usize = 64;
/// Commits that may wait to be written.
const COMMITS_MAX: usize = 64;
/// How long a poll waits; the thread notices that the member has left after at most this time.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// The consumer of a member.
pub(crate) type GroupConsumer = BaseConsumer<Rebalances>;

/// A member; dropping it leaves the group.
pub(crate) struct Member {
    membership: Arc<GroupMembership>,
    events: mpsc::Receiver<Result<GroupEvent, LogError>>,
    closing: CancellationToken,
}

/// Joins the group for topics that exist.
pub(crate) fn join(
    config: &KafkaConfig,
    group: &str,
    topics: &[&str],
    closing: CancellationToken,
    tasks: &TaskTracker,
) -> Result<Member, LogError> {
    let (tell, events) = mpsc::channel(EVENTS_MAX);
    let (order, orders) = sync_channel(COMMITS_MAX);
    let membership = Arc::new(GroupMembership::new(tell, order));
    let rebalances = Rebalances { membership: Arc::clone(&membership) };
    let consumer = GroupConsumer::from_config_and_context(&config.member(group), rebalances).map_err(broken)?;
    let consumer = Arc::new(consumer);
    let committing = (Arc::clone(&consumer), Arc::clone(&membership));
    threads::spawn("kafka-commits", tasks, move || commits::write_all(&committing.0, &committing.1, &orders))?;
    let worker = Worker {
        consumer,
        membership: Arc::clone(&membership),
        topics: topics.iter().map(ToString::to_string).collect(),
    };
    let ended = closing.clone();
    threads::spawn("kafka-group", tasks, move || worker.run(&ended))?;
    Ok(Member { membership, events, closing })
}

#[async_trait]
impl GroupMember for Member {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        let _polling = Polling::begin(&self.membership);
        let event = tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(LogError::Closed),
            event = self.events.recv() => event.unwrap_or(Err(LogError::Closed)),
        }?;
        self.membership.handed(&event);
        Ok(event)
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(MemberCommitter::new(Arc::clone(&self.membership)))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.membership.leave();
    }
}

/// While this exists, the member counts as polling.
struct Polling<'a>(&'a GroupMembership);

impl<'a> Polling<'a> {
    fn begin(membership: &'a GroupMembership) -> Self {
        membership.polls(true);
        Self(membership)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.polls(false);
    }
}

/// The polling thread of a member.
struct Worker {
    consumer: Arc<GroupConsumer>,
    membership: Arc<GroupMembership>,
    topics: Vec<String>,
}

impl Worker {
    /// Runs until the member leaves; then closes the consumer, which may take a while.
    fn run(self, closing: &CancellationToken) {
        if let Err(error) = self.subscribe() {
            self.membership.tell(Err(broken(error)));
            self.membership.leave();
        }
        while !self.membership.has_left() {
            if closing.is_cancelled() {
                self.membership.leave();
                break;
            }
            self.mind_polling();
            if let Some(Err(error)) = self.consumer.poll(POLL_WAIT) {
                self.fault(error);
            }
            self.tell_assigned();
        }
    }

    fn subscribe(&self) -> Result<(), KafkaError> {
        self.consumer.subscribe(&self.topics.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Unsubscribes a member that does not poll, so that others get its partitions, until it polls again.
    fn mind_polling(&self) {
        match self.membership.expulsion() {
            membership::Expulsion::None => {}
            membership::Expulsion::Begins => {
                tracing::warn!(topics = ?self.topics, "a member of the group has not polled for too long: it loses its share");
                self.consumer.unsubscribe();
            }
            membership::Expulsion::Ends => {
                if let Err(error) = self.subscribe() {
                    self.membership.tell(Err(broken(error)));
                    self.membership.leave();
                }
            }
        }
    }

    fn fault(&self, error: KafkaError) {
        match kind_of(&error) {
            // No records are fetched here; the consumer reconnects, or rejoins, by itself.
            Kind::Transient | Kind::TimedOut | Kind::QueueFull | Kind::OutOfRange | Kind::Fenced | Kind::TooLarge => {
                tracing::debug!(%error, "the group goes on");
            }
            // A broker that has just started does not know which partitions it leads; the topics are known again
            // in a moment.
            Kind::NoTopic if !self.lacks_a_topic() => tracing::debug!(%error, "the group goes on"),
            Kind::NoTopic | Kind::Broken => {
                self.membership.tell(Err(log_error(&self.topics.join(", "), error)));
                self.membership.leave();
            }
        }
    }

    /// Whether the cluster's metadata lacks one of the topics.
    fn lacks_a_topic(&self) -> bool {
        let count = |topic: &String| requests::count_partitions(self.consumer.as_ref(), topic, requests::REQUEST_WAIT);
        self.topics.iter().any(|topic| matches!(count(topic), Ok(0)))
    }

    /// Sends the member its new partitions with the group's current commits: the previous owner has released them.
    fn tell_assigned(&self) {
        let fresh = self.membership.fresh();
        if fresh.is_empty() {
            return;
        }
        match requests::committed(self.consumer.as_ref(), &fresh) {
            Ok(commits) => self.membership.assign(commits),
            Err(error) if matches!(kind_of(&error), Kind::Broken) => {
                self.membership.tell(Err(transient(error)));
            }
            // The next turn of the thread retries.
            Err(error) => tracing::debug!(%error, "the group's commits cannot be read yet"),
        }
    }
}

/// Follows the group's rebalances, on the polling thread.
pub(crate) struct Rebalances {
    membership: Arc<GroupMembership>,
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka group error");
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, change: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let named = requests::named(partitions);
        let done = if change == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.membership.freshen(named);
            // Assign at the end and paused: then nothing is fetched, and librdkafka looks up no commit.
            partitions
                .set_all_offsets(Offset::End)
                .and_then(|()| consumer.incremental_assign(partitions))
                .and_then(|()| consumer.pause(partitions))
        } else {
            self.membership.give_up(named, consumer.assignment_lost());
            consumer.incremental_unassign(partitions)
        };
        if let Err(error) = done {
            tracing::error!(%error, "the group's new assignment was refused");
        }
    }
}
