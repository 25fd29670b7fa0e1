//! Judging an event and writing its deliveries: one record for each delivery partition with recipients, and further ones
//! where there are more of them than a record lists.

use std::collections::BTreeMap;

use domain::limits::RECIPIENTS_PER_RECORD_MAX;
use domain::{ConversationState, Effects, Event, Placed, UnknownRules, UserId, apply};
use eventlog::{Meaning, Message, NewRecord, partition_of};
use events::{Delivery, HEADER_TRACE};
use host::teeth::{Bug, bites};
use runtime::{Panicked, caught};
use store::{Answers, Facts, Loaded};

use crate::outbox::{Handed, Way};
use crate::partition::Partition;
use crate::{Deps, FanoutError};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Judged; its deliveries are on their way.
    Done,
    /// Memory does not have a fact that it needs.
    Asks,
    /// It cannot be judged by this program; what was loaded may be half changed.
    Hold,
}

impl Deps {
    /// Whether the event can be judged by this program at all.
    pub(crate) fn knows(&self, message: &Message) -> bool {
        match &message.meaning {
            Meaning::Unknown(_) => false,
            Meaning::Event(event) => event.rules <= self.rules_newest,
            Meaning::Marker | Meaning::Corrupt(_) | Meaning::Dropped => true,
        }
    }
}

impl Partition {
    /// Judges the next event of a conversation that is loaded, and brings `loaded` behind it. The `answers` are what was
    /// read for it.
    pub(crate) async fn judge(
        &mut self,
        loaded: &mut Loaded,
        message: &Message,
        answers: &Answers,
    ) -> Result<Verdict, FanoutError> {
        let event = match &message.meaning {
            Meaning::Marker | Meaning::Corrupt(_) | Meaning::Dropped => return Ok(Verdict::Done),
            Meaning::Event(event) if self.deps.knows(message) => event,
            Meaning::Event(_) | Meaning::Unknown(_) => return Ok(Verdict::Hold),
        };
        let Facts::Ready(facts) = loaded.facts(event, answers) else { return Ok(Verdict::Asks) };
        // A bug here meets the same record after every restart: it holds this conversation instead of ending the program.
        let judged = caught(|| {
            let effects = self.effects(&loaded.state, event, message.placed, &facts)?;
            loaded.absorb(message.placed.seq, &effects, facts.target.as_ref());
            Ok::<_, UnknownRules>(self.deliveries(event, message, &effects))
        });
        let deliveries = match judged {
            Ok(Ok(deliveries)) => deliveries,
            Ok(Err(UnknownRules(_))) => return Ok(Verdict::Hold),
            Err(Panicked) => {
                self.deps.metrics.panics.inc();
                let (conversation, seq) = (event.conversation, message.placed.seq);
                tracing::error!(conversation_id = %conversation, %seq, "judging an event panicked");
                return Ok(Verdict::Hold);
            }
        };
        if self.follows.is_none() {
            self.deps.metrics.events.inc();
        }
        for delivery in deliveries {
            self.deliver(delivery, message.placed.seq.offset()).await?;
        }
        Ok(Verdict::Done)
    }

    /// Hands a delivery over that follows from the event at `source`, unless its partition lags.
    async fn deliver(&mut self, delivery: Outgoing, source: u64) -> Result<(), FanoutError> {
        let Outgoing { partition, record, recipients } = delivery;
        if self.lagging.contains(partition) {
            self.leave_to_follower(partition, source).await;
            return Ok(());
        }
        // A follower has nothing else to do; and at the bound of those that lag, there is nothing else to be done.
        let patient = self.follows.is_some() || !self.lagging.has_room();
        let way = Way { partition, source, patient };
        let (log, entropy) = (self.deps.log.clone(), self.deps.entropy.clone());
        match self.outbox.send(&*log, record, way, &entropy, &self.stop).await? {
            Handed::Over => {
                self.deps.metrics.deliveries.inc();
                self.deps.metrics.recipients.inc_by(recipients);
            }
            Handed::Sick => self.lag(partition, source),
        }
        Ok(())
    }

    fn effects(
        &self,
        state: &ConversationState,
        event: &Event,
        placed: Placed,
        facts: &domain::Facts,
    ) -> Result<Effects, UnknownRules> {
        let newest = self.deps.rules_newest;
        if bites(Bug::JudgedByNewestRules) {
            return apply(state, &Event { rules: newest, ..event.clone() }, placed, facts, newest);
        }
        apply(state, event, placed, facts, newest)
    }

    /// The records of an event; of a follower, only those of its partition.
    fn deliveries(&self, event: &Event, message: &Message, effects: &Effects) -> Vec<Outgoing> {
        let frame = protocol::FeedFrame::of(event, message.placed, effects);
        let (blind, seeing): (Vec<UserId>, Vec<UserId>) =
            effects.recipients.iter().partition(|user| effects.blind.binary_search(user).is_ok());
        let mut records = self.records(event, message, &seeing, &render(&frame));
        if !blind.is_empty() {
            records.extend(self.records(event, message, &blind, &render(&frame.withheld())));
        }
        records
    }

    /// The records with one frame, in order of the delivery partitions: each user is named by one of them.
    fn records(&self, event: &Event, message: &Message, recipients: &[UserId], frame: &str) -> Vec<Outgoing> {
        let outgoing = |(partition, recipients): (u32, Vec<UserId>)| {
            let (key, count) = (recipients[0].to_string(), recipients.len() as u64);
            let place = Some((event.conversation, message.placed.seq));
            let encoded = self.deps.codec.delivery(&Delivery { recipients, place, frame: frame.to_owned() });
            let mut headers = encoded.headers;
            headers.extend(message.trace.clone().map(|trace| (HEADER_TRACE.to_owned(), trace)));
            let record = NewRecord { key, partition: Some(partition), headers, payload: encoded.payload };
            Outgoing { partition, record, recipients: count }
        };
        let mut by_partition = by_partition(recipients, self.delivery_partitions);
        by_partition.retain(|partition, _| self.follows.is_none_or(|only| only == *partition));
        lists(by_partition).map(outgoing).collect()
    }
}

/// A delivery record.
struct Outgoing {
    partition: u32,
    record: NewRecord,
    /// How many.
    recipients: u64,
}

/// The socket frame, rendered once for everybody who gets it.
fn render(frame: &protocol::FeedFrame) -> String {
    serde_json::to_string(frame).expect("a feed frame has string keys only")
}

/// The lists of recipients, each short enough for a record.
fn lists(by_partition: BTreeMap<u32, Vec<UserId>>) -> impl Iterator<Item = (u32, Vec<UserId>)> {
    by_partition.into_iter().flat_map(|(partition, users)| {
        let lists: Vec<_> = users.chunks(RECIPIENTS_PER_RECORD_MAX).map(<[UserId]>::to_vec).collect();
        lists.into_iter().map(move |users| (partition, users))
    })
}

/// The recipients of each delivery partition, in order.
pub(crate) fn by_partition(recipients: &[UserId], partitions: u32) -> BTreeMap<u32, Vec<UserId>> {
    let mut by: BTreeMap<u32, Vec<UserId>> = BTreeMap::new();
    for user in recipients {
        let mut partition = partition_of(user.to_string().as_bytes(), partitions);
        if bites(Bug::WrongPartitionHash) {
            partition = (partition + 1) % partitions;
        }
        by.entry(partition).or_default().push(*user);
    }
    by
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Issue 10, item 4.
    #[test]
    fn lists_of_recipients_are_bounded_and_name_everybody_once() {
        let user = |number: u32| UserId::try_from(Uuid::from_u128(u128::from(number))).unwrap();
        let crowd: Vec<UserId> = (0..9_990).map(user).collect();
        let found: Vec<_> = lists(BTreeMap::from([(0, vec![user(1)]), (3, crowd.clone())])).collect();
        assert_eq!(found[0], (0, vec![user(1)]));
        assert!(found[1..].iter().all(|(at, users)| *at == 3 && users.len() <= RECIPIENTS_PER_RECORD_MAX));
        let named: Vec<UserId> = found[1..].iter().flat_map(|(_, users)| users.clone()).collect();
        assert_eq!(named, crowd);
    }
}
