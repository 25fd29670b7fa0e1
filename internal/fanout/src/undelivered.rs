//! What one partition has not delivered yet, as metrics: how old the oldest of it is, by the reason why it waits.

use process::Age;
use prometheus_client::encoding::EncodeLabelSet;

use crate::FanoutMetrics;
use crate::partition::Partition;

/// A source partition, and why an event of it waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub(crate) struct UndeliveredLabels {
    partition: u32,
    /// `flowing`: it was read, and the log has not acknowledged its deliveries yet. `parked`: its conversation waits for
    /// facts from the store. `held`: its conversation waits for an upgrade. `lagging`: a delivery partition takes nothing.
    reason: &'static str,
}

/// The ages of one partition's work: for each reason, that of the event that was appended first among those that wait for
/// it.
#[derive(Debug)]
pub(crate) struct Undelivered {
    flowing: Age,
    /// The ages of events that wait for another reason. `None` for a follower: whatever it waits for, its delivery
    /// partition lags.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    parked: Age,
    held: Age,
    /// The number of held conversations in the metric.
    counted: i64,
}

impl Undelivered {
    /// Of that source partition; a follower's work lags, whatever it waits for.
    pub(crate) fn new(metrics: &FanoutMetrics, partition: u32, follower: bool) -> Self {
        let age = |reason| metrics.oldest_undelivered.of(UndeliveredLabels { partition, reason });
        if follower {
            return Self { flowing: age("lagging"), waiting: None };
        }
        let waiting = Waiting { parked: age("parked"), held: age("held"), counted: 0 };
        Self { flowing: age("flowing"), waiting: Some(waiting) }
    }

    /// The partition's work ends: it holds no conversation any more.
    pub(crate) fn end(&mut self, metrics: &FanoutMetrics) {
        if let Some(waiting) = &mut self.waiting {
            metrics.held.dec_by(std::mem::take(&mut waiting.counted));
        }
    }
}

impl Partition {
    /// Brings the metrics of what is delivered, and of what is not, up to date: once a turn of the loop.
    pub(crate) fn observe(&mut self) {
        let metrics = &self.deps.metrics;
        if let Some(appended_ms) = self.outbox.take_delivered() {
            metrics.append_to_delivered.observe_between(appended_ms, metrics.clock.now_ms());
        }
        let read = self.backlog.front().map(|message| message.appended.append_time_ms);
        let unacknowledged = self.outbox.oldest_ms();
        let flowing = [read, unacknowledged].into_iter().flatten().min();
        let parked = self.state.parked.oldest_ms();
        let Some(waiting) = &mut self.undelivered.waiting else {
            self.undelivered.flowing.since([flowing, parked].into_iter().flatten().min());
            return;
        };
        self.undelivered.flowing.since(flowing);
        waiting.parked.since(parked);
        waiting.held.since(self.state.held.oldest_ms());
        let held = i64::try_from(self.state.held.len()).unwrap_or(i64::MAX);
        metrics.held.inc_by(held - std::mem::replace(&mut waiting.counted, held));
    }
}
