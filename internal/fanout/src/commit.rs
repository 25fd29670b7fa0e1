//! Commits: the position is committed once the deliveries before it are acknowledged, and the skips before it written.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ConversationId;
use environment::seeded_bugs::{Bug, seeded};
use store::Hold;

use crate::FanoutError;
use crate::lagging::LAGGING_MAX;
use crate::outbox::first_source;
use crate::partition::Partition;
use crate::position::Position;
use crate::request::{Reply, Request};

/// How long the last commit may take.
pub(crate) const COMMIT_AT_END: Duration = Duration::from_secs(5);
/// How much of that may be spent on waiting for acknowledgements.
pub(crate) const SETTLE_AT_END: Duration = Duration::from_secs(3);

impl Partition {
    /// Requests the commit of the position if it has changed, or something was skipped: it is made once the deliveries
    /// before it are acknowledged, and the skips before it are written. While the store or the group do not answer,
    /// commits are late, and deliveries go on.
    pub(crate) fn commit(&mut self) {
        let position = self.position();
        if self.committing.is_some() || position == self.committed && self.state.skips.is_empty() {
            return;
        }
        let skips = self.take_skips();
        self.committing = Some(skips.clone());
        self.settling.push((self.outbox.mark(), Request::Commit(position, skips)));
    }

    /// The position is committed.
    pub(crate) async fn committed(&mut self, position: Position) -> Result<(), FanoutError> {
        self.deps.metrics.commits.inc();
        (self.committed, self.committing) = (position, None);
        if self.lagging.pauses() {
            // A follower may wait for the rows of what was skipped meanwhile.
            self.commit();
        }
        if seeded(Bug::HoldAfterCommit) {
            self.background.put_holds(std::mem::take(&mut self.state.skips)).await?;
        }
        Ok(())
    }

    /// Takes the skips that must be written before the position.
    fn take_skips(&mut self) -> BTreeMap<ConversationId, Hold> {
        if seeded(Bug::HoldAfterCommit) { BTreeMap::new() } else { std::mem::take(&mut self.state.skips) }
    }

    /// The position from which the fan-out would go on now.
    fn position(&self) -> Position {
        let parked = self.state.parked.firsts().into_iter().map(|(conversation, first)| (conversation, first.offset()));
        let parked = if seeded(Bug::ParkedForgotten) { Vec::new() } else { parked.collect() };
        let lagging = self.lagging.positions();
        Position { next: self.state.intake, fingerprint: self.state.fingerprint, parked, lagging }
    }

    /// The last commit: tried once, since the process is stopping. Deliveries that it misses are repeated, and dropped
    /// by the clients' filter.
    pub(crate) async fn commit_at_end(&mut self) -> Result<(), FanoutError> {
        // It is not known whether these were written.
        for (conversation, hold) in self.committing.take().into_iter().flatten() {
            self.state.skip(conversation, hold);
        }
        let mut position = self.position();
        if position == self.committed && self.state.skips.is_empty() {
            return Ok(());
        }
        let skips = self.take_skips();
        let background = self.background.clone().unstoppable();
        let last = async {
            let settled = tokio::time::timeout(SETTLE_AT_END, self.outbox.settle()).await;
            settled.unwrap_or(Ok(()))?;
            // The next owner goes on there from what was not acknowledged.
            for partition in self.outbox.unsettled() {
                let first = first_source(&self.outbox.take(partition)).unwrap_or(position.next);
                position.lagging.push((partition, first.min(position.next)));
            }
            if position.lagging.len() > LAGGING_MAX {
                return std::future::pending().await;
            }
            match background.run(Request::Commit(position, skips)).await? {
                Reply::Committed(position) => self.committed(position).await,
                _ => Ok(()),
            }
        };
        match tokio::time::timeout(COMMIT_AT_END, last).await {
            Ok(committed) => committed,
            Err(_) => {
                tracing::warn!(partition = %self.access.at, "position not committed in time: deliveries will be repeated");
                Ok(())
            }
        }
    }
}
