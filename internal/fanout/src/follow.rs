//! Beginning, moving and ending the followers of delivery partitions that lag.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::lagging::{Following, Reached};
use crate::outbox::{Outbox, Sent, first_source};
use crate::partition::Partition;
use crate::request::Request;

impl Partition {
    /// A delivery partition takes nothing: from `source` on, a follower delivers there. It waits for what was handed over
    /// before, too.
    pub(crate) fn lag(&mut self, partition: u32, source: u64) {
        let sent = self.outbox.take(partition);
        // What is parked, is judged later, and would have to go there as well.
        let from = self.state.parked.firsts().iter().map(|(_, first)| first.offset()).fold(source, u64::min);
        let reached = first_source(&sent).map_or(from, |first| first.min(from));
        tracing::warn!(partition = %self.lane.at, delivery_partition = partition, from = reached, "a delivery partition lags");
        self.follow(partition, from, reached, sent);
        self.correct_commit(partition);
    }

    /// What follows from the event at `source` is delivered by the follower of that partition. One that begins behind it
    /// begins anew: a conversation that was parked or held before is judged now.
    pub(crate) async fn leave_to_follower(&mut self, partition: u32, source: u64) {
        if self.lagging.covers(partition, source) {
            return;
        }
        let from = self.lagging.reached(partition).map_or(source, |reached| reached.min(source));
        self.end_follower(partition).await;
        self.follow(partition, from, from, VecDeque::new());
        self.correct_commit(partition);
    }

    /// Begins a follower from `from` on. Deliveries may be missing from `reached` on, of which those in `sent` are on their
    /// way.
    pub(crate) fn follow(&mut self, partition: u32, from: u64, reached: u64, sent: VecDeque<Sent>) {
        let reached = Arc::new(AtomicU64::new(reached));
        let background = self.background.following(Arc::new(Reached(Arc::clone(&reached))));
        let mut follower = Self::over(Arc::clone(&self.deps), background, Some(partition));
        follower.outbox = Outbox::beginning(Arc::clone(&self.deps.rooms), partition, sent);
        follower.state.intake = from;
        follower.wanted.push(Request::Read { from, last: None, wait: Duration::ZERO });
        self.deps.metrics.lagging.inc();
        self.lagging.begin(partition, from, reached, following(follower));
    }

    /// A commit that waits for deliveries was made up when those to that partition were among them.
    fn correct_commit(&mut self, partition: u32) {
        let Some(reached) = self.lagging.reached(partition) else { return };
        for (_, request) in &mut self.settling {
            if let Request::Commit(position, _) = request {
                position.lagging.retain(|(other, _)| *other != partition);
                position.lagging.push((partition, reached.min(position.next)));
            }
        }
    }

    /// Ends followers that have caught up, and begins one where records have waited for long while others went on.
    pub(crate) async fn mind_lagging(&mut self) {
        for partition in self.lagging.caught_up(self.state.intake) {
            tracing::info!(partition = %self.lane.at, delivery_partition = partition, "a delivery partition has caught up");
            self.end_follower(partition).await;
        }
        if !self.state.is_follower() {
            for partition in self.outbox.stale() {
                if self.lagging.has_room() {
                    self.lag(partition, self.state.intake);
                }
            }
        }
    }

    async fn end_follower(&mut self, partition: u32) {
        self.deps.metrics.lagging.dec();
        self.lagging.end(partition).await;
    }

    /// Ends all of them: the partition's work ends.
    pub(crate) async fn end_followers(&mut self) {
        self.deps.metrics.lagging.dec_by(i64::try_from(self.lagging.len()).unwrap_or(i64::MAX));
        self.lagging.end_all().await;
    }
}

/// Boxed here, where its type ends: a follower is what it follows.
fn following(mut follower: Partition) -> Following {
    Box::pin(async move { follower.work().await })
}
