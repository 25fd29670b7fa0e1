//! Starting, moving and ending the followers of lagging delivery partitions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::lagging::{Following, Reached};
use crate::outbox::{Outbox, Sent, first_source};
use crate::partition::Partition;
use crate::request::Request;

impl Partition {
    /// A delivery partition accepts no records: from `source` on, a follower delivers to it. The follower also waits
    /// for the records that were handed over before.
    pub(crate) fn lag(&mut self, partition: u32, source: u64) {
        let sent = self.outbox.take(partition);
        // Parked conversations are judged later, and their deliveries would have to go there as well.
        let from = self.state.parked.firsts().iter().map(|(_, first)| first.offset()).fold(source, u64::min);
        let reached = first_source(&sent).map_or(from, |first| first.min(from));
        tracing::warn!(partition = %self.access.at, delivery_partition = partition, from = reached, "a delivery partition lags");
        self.follow(partition, from, reached, sent);
        self.correct_commit(partition);
    }

    /// Leaves the deliveries of the event at `source` to that partition's follower. A follower that began behind it
    /// starts anew: a conversation that was parked or held before is judged only now.
    pub(crate) async fn leave_to_follower(&mut self, partition: u32, source: u64) {
        if self.lagging.covers(partition, source) {
            return;
        }
        let from = self.lagging.reached(partition).map_or(source, |reached| reached.min(source));
        self.end_follower(partition).await;
        self.follow(partition, from, from, VecDeque::new());
        self.correct_commit(partition);
    }

    /// Starts a follower from `from` on. Deliveries may be missing from `reached` on, of which those in `sent` are in
    /// flight.
    pub(crate) fn follow(&mut self, partition: u32, from: u64, reached: u64, sent: VecDeque<Sent>) {
        let reached = Arc::new(AtomicU64::new(reached));
        let background = self.background.following(Arc::new(Reached(Arc::clone(&reached))));
        let mut follower = Self::over(Arc::clone(&self.deps), background, Some(partition));
        follower.outbox = Outbox::beginning(Arc::clone(&self.deps.limits), partition, sent);
        follower.state.intake = from;
        follower.wanted.push(Request::Read { from, last: None, wait: Duration::ZERO });
        self.deps.metrics.lagging.inc();
        self.lagging.begin(partition, from, reached, following(follower));
    }

    /// Corrects a waiting commit, which was made when the deliveries to that partition were still waited for.
    fn correct_commit(&mut self, partition: u32) {
        let Some(reached) = self.lagging.reached(partition) else { return };
        for (_, request) in &mut self.settling {
            if let Request::Commit(position, _) = request {
                position.lagging.retain(|(other, _)| *other != partition);
                position.lagging.push((partition, reached.min(position.next)));
            }
        }
    }

    /// Ends followers that have caught up, and starts one where records have waited for long while others went on.
    pub(crate) async fn mind_lagging(&mut self) {
        for partition in self.lagging.caught_up(self.state.intake) {
            tracing::info!(partition = %self.access.at, delivery_partition = partition, "a delivery partition has caught up");
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

    /// Ends all followers, because the partition's work ends.
    pub(crate) async fn end_followers(&mut self) {
        self.deps.metrics.lagging.dec_by(i64::try_from(self.lagging.len()).unwrap_or(i64::MAX));
        self.lagging.end_all().await;
    }
}

/// Boxed here, where the recursion of the types must end: a follower is the same loop.
fn following(mut follower: Partition) -> Following {
    Box::pin(async move { follower.work().await })
}
