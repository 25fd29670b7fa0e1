//! What a group assigns to this process, as metrics: how often it rebalances, and the partitions that are held.
//!
//! The events of a group pass through a wrapper around the log's membership, so that every engine is counted alike.
//! Only the loop of [`eventlog::consume`] sees that wrapper: appends and reads do not pass through it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{Assigned, Committer, GroupEvent, GroupMember, LogError, SharedLog, TopicPartition};
use events::topics;
use process::{Metrics, TopicLabel};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The metrics of one consumer group in this process. Cheap to clone; clones share the counts.
#[derive(Debug, Clone)]
pub struct GroupMetrics {
    rebalances: Family<KindLabel, Counter>,
    partitions: Family<TopicLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl GroupMetrics {
    /// Registers the metrics, whose names begin with `group`.
    #[must_use]
    pub fn new(metrics: &Metrics, group: &str) -> Self {
        let rebalances: Family<KindLabel, Counter> = metrics.register(
            &format!("{group}_rebalances"),
            "Changes of what the group assigns to this process, by kind: assigned, revoked, lost",
            Family::default(),
        );
        // There from the start: a counter that appears with its first event shows no increase.
        for kind in ["assigned", "revoked", "lost"] {
            let _ = rebalances.get_or_create(&KindLabel { kind });
        }
        let words = "Partitions that the group has assigned to this process, by topic";
        Self { rebalances, partitions: metrics.register(&format!("{group}_partitions"), words, Family::default()) }
    }

    fn count(&self, kind: &'static str) {
        self.rebalances.get_or_create(&KindLabel { kind }).inc();
    }

    /// So many partitions of that topic more. Topics outside the table are not counted, so that labels stay a closed set.
    fn change(&self, topic: &str, more: i64) {
        if let Some(spec) = topics::find(topic) {
            self.partitions.get_or_create(&TopicLabel { topic: &spec.name }).inc_by(more);
        }
    }
}

/// A log whose members count what their group tells them.
pub(crate) struct CountingLog {
    pub(crate) inner: SharedLog,
    pub(crate) metrics: GroupMetrics,
}

#[async_trait]
impl LogWrapper for CountingLog {
    fn inner(&self) -> SharedLog {
        SharedLog::clone(&self.inner)
    }

    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        let inner = self.inner.join(group, topics).await?;
        // A member without any partition is told from a topic that is not read.
        topics.iter().for_each(|topic| self.metrics.change(topic, 0));
        Ok(Box::new(CountingMember { inner, held: BTreeSet::new(), metrics: self.metrics.clone() }))
    }
}

/// A member of a group. What it holds counts until it is revoked or lost, or the member leaves.
struct CountingMember {
    inner: Box<dyn GroupMember>,
    held: BTreeSet<TopicPartition>,
    metrics: GroupMetrics,
}

impl CountingMember {
    fn hold(&mut self, partitions: &[Assigned]) {
        for Assigned { at, .. } in partitions {
            if self.held.insert(at.clone()) {
                self.metrics.change(&at.topic, 1);
            }
        }
    }

    fn give_up(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            if self.held.remove(at) {
                self.metrics.change(&at.topic, -1);
            }
        }
    }
}

#[async_trait]
impl GroupMember for CountingMember {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        let event = self.inner.next().await?;
        match &event {
            GroupEvent::Assigned(partitions) => {
                self.metrics.count("assigned");
                self.hold(partitions);
            }
            GroupEvent::Revoked(revocation) => {
                self.metrics.count("revoked");
                self.give_up(&revocation.partitions);
            }
            GroupEvent::Lost(partitions) => {
                self.metrics.count("lost");
                self.give_up(partitions);
            }
        }
        Ok(event)
    }

    fn committer(&self) -> Box<dyn Committer> {
        self.inner.committer()
    }
}

impl Drop for CountingMember {
    fn drop(&mut self) {
        let held: Vec<_> = self.held.iter().cloned().collect();
        self.give_up(&held);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use environment::Clock;
    use eventlog::embedded::EmbeddedLog;
    use events::topics::{MESSAGES, spec_of};

    use super::*;

    /// One process of the group, with metrics of its own.
    async fn process(log: &SharedLog) -> (Metrics, Box<dyn GroupMember>) {
        let metrics = Metrics::new();
        let counting = CountingLog { inner: Arc::clone(log), metrics: GroupMetrics::new(&metrics, "things") };
        (metrics, LogWrapper::join(&counting, "things", &[MESSAGES]).await.unwrap())
    }

    fn shows(metrics: &Metrics, partitions: usize, [assigned, revoked, lost]: [u64; 3]) {
        let text = metrics.text();
        let held = format!("klatsch_things_partitions{{topic=\"{MESSAGES}\"}} {partitions}\n");
        assert!(text.contains(&held), "{held} is not in {text}");
        for (kind, times) in [("assigned", assigned), ("revoked", revoked), ("lost", lost)] {
            let line = format!("klatsch_things_rebalances_total{{kind=\"{kind}\"}} {times}\n");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_process_holds_follows_every_rebalance() {
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
        log.create(spec_of(MESSAGES)).await.unwrap();
        let all = spec_of(MESSAGES).partitions as usize;
        let (first, mut member) = process(&log).await;
        shows(&first, 0, [0, 0, 0]);
        member.next().await.unwrap();
        shows(&first, all, [1, 0, 0]);

        // Another process joins; the first one does not release in time what it has to give up.
        let (second, mut joined) = process(&log).await;
        let GroupEvent::Revoked(held_back) = member.next().await.unwrap() else { panic!("half of them are revoked") };
        shows(&first, all - held_back.partitions.len(), [1, 1, 0]);
        let GroupEvent::Lost(lost) = member.next().await.unwrap() else { panic!("it was too slow") };
        assert_eq!(lost, held_back.partitions);
        shows(&first, all - lost.len(), [1, 1, 1]);
        joined.next().await.unwrap();
        shows(&second, lost.len(), [1, 0, 0]);

        // The first one leaves: it holds nothing, and the second one gets the rest.
        drop(member);
        shows(&first, 0, [1, 1, 1]);
        joined.next().await.unwrap();
        shows(&second, all, [2, 0, 0]);
        log.close().await;
    }
}
