//! Starting, moving and ending the followers of lagging delivery partitions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::SeqError;
use tokio::sync::watch;

use crate::lagging::{Following, Reached};
use crate::outbox::{Outbox, Sent, first_source};
use crate::partition::Partition;
use crate::request::Request;

impl Partition {
    /// A delivery partition accepts no records: from `source` on, a follower delivers to it. The follower also waits
    /// for the records that were handed over before.
    pub(crate) fn lag(&mut self, partition: u32, source: u64) -> Result<(), SeqError> {
        let sent = self.outbox.take(partition);
        self.begin_lagging()?;
        // Parked conversations are judged later, and their deliveries would have to go there as well.
        let from = self.state.parked.first_to_judge().map_or(source, |first| first.offset().min(source));
        let reached = reached(first_source(&sent), from, self.state.intake);
        tracing::warn!(partition = %self.access.at, delivery_partition = partition, from = reached, "a delivery partition lags");
        self.follow(partition, from, reached, sent);
        self.correct_commit(partition);
        Ok(())
    }

    /// Leaves the deliveries of the event at `source` to that partition's follower. A follower that began behind it
    /// starts anew: a conversation that was parked or held before is judged only now.
    pub(crate) async fn leave_to_follower(&mut self, partition: u32, source: u64) -> Result<(), SeqError> {
        if self.lagging.covers(partition, source) {
            return Ok(());
        }
        let from = self.lagging.reached(partition).map_or(source, |reached| reached.min(source));
        self.end_follower(partition).await;
        // Behind that end, after which nothing may lag.
        self.begin_lagging()?;
        self.follow(partition, from, from, VecDeque::new());
        self.correct_commit(partition);
        Ok(())
    }

    /// Goes on with the followers of the partition's last owner.
    pub(crate) fn resume_followers(&mut self, lagging: &[(u32, u64)]) -> Result<(), SeqError> {
        if !lagging.is_empty() {
            self.begin_lagging()?;
        }
        for (partition, offset) in lagging {
            self.follow(*partition, *offset, *offset, VecDeque::new());
        }
        Ok(())
    }

    /// Starts a follower from `from` on. Deliveries may be missing from `reached` on, of which those in `sent` are in
    /// flight. [`Self::begin_lagging`] comes first.
    fn follow(&mut self, partition: u32, from: u64, reached: u64, sent: VecDeque<Sent>) {
        let (tell, reached) = watch::channel(reached);
        let background = self.background.following(Arc::new(Reached(tell)));
        let mut follower = Self::over(Arc::clone(&self.deps), background, Some(partition));
        follower.outbox = Outbox::beginning(Arc::clone(&self.deps.limits), partition, sent);
        follower.state.intake = from;
        follower.wanted.push(Request::Read { from, last: None, wait: Duration::ZERO });
        self.deps.metrics.lagging.inc();
        self.lagging.begin(partition, from, reached, following(follower));
    }

    /// A partition lags: re-driven conversations whose rows wait to be written stay held as they are. Such a row says of
    /// events that they are delivered, while one of them may be lost with the follower that waits for its acknowledgement;
    /// the next follower passes over it as long as it is skipped. All other re-drives give up when their request is
    /// answered.
    fn begin_lagging(&mut self) -> Result<(), SeqError> {
        self.state.lags = true;
        let parked = &self.state.parked;
        let redriven = |request: &Request| request.row_of().filter(|conversation| parked.is_redriven(*conversation));
        let given_up: Vec<_> = self.settling.extract_if(.., |(_, request)| redriven(request).is_some()).collect();
        for conversation in given_up.iter().filter_map(|(_, request)| request.row_of()) {
            self.state.stay_held(conversation)?;
        }
        Ok(())
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

    /// Ends followers that have caught up, lets one that is close catch up, and starts one where records have waited for
    /// long while others went on.
    pub(crate) async fn mind_lagging(&mut self) -> Result<(), SeqError> {
        for partition in self.lagging.caught_up(self.state.intake) {
            tracing::info!(partition = %self.access.at, delivery_partition = partition, "a delivery partition has caught up");
            self.end_follower(partition).await;
            if !self.state.lags {
                self.state.begin_pass_anew();
            }
        }
        self.lagging.pause_if_close(self.state.intake);
        if !self.state.is_follower() {
            for partition in self.outbox.stale() {
                if self.lagging.has_room() {
                    self.lag(partition, self.state.intake)?;
                }
            }
        }
        Ok(())
    }

    async fn end_follower(&mut self, partition: u32) {
        self.deps.metrics.lagging.dec();
        self.lagging.end(partition).await;
        self.state.lags = !self.lagging.is_empty();
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

/// Up to which offset nothing is missing when a partition begins to lag: `unacknowledged` is the first source of what
/// was handed over before, and `from` the first event that its follower judges. It is before the intake as long as
/// something is not acknowledged, so that the follower does not end: a re-driven event has the intake as its source.
fn reached(unacknowledged: Option<u64>, from: u64, intake: u64) -> u64 {
    unacknowledged.map_or(from, |first| first.min(from).min(intake.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_does_not_end_before_everything_is_acknowledged() {
        let intake = 7;
        assert_eq!(reached(None, intake, intake), intake);
        assert_eq!(reached(Some(3), 5, intake), 3);
        assert!(reached(Some(intake), intake, intake) < intake, "a re-driven event");
    }
}
