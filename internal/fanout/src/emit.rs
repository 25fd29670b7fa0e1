//! Judging an event and writing its deliveries: one record for each delivery partition with recipients.

use std::collections::BTreeMap;

use domain::{CommandId, ConversationState, Effects, Event, Placed, UnknownRules, UserId, apply};
use eventlog::{Meaning, Message, NewRecord, partition_of};
use events::topics::DELIVERIES;
use events::{Delivery, HEADER_TRACE};
use host::teeth::{Bug, bites};
use runtime::{Panicked, caught};
use store::{Facts, Loaded};

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
            Meaning::Marker | Meaning::Corrupt(_) => true,
        }
    }
}

impl Partition {
    /// Judges the next event of a conversation that is loaded, and brings `loaded` behind it. The ids `absent` were
    /// never accepted.
    pub(crate) async fn judge(
        &mut self,
        loaded: &mut Loaded,
        message: &Message,
        absent: &[CommandId],
    ) -> Result<Verdict, FanoutError> {
        let event = match &message.meaning {
            Meaning::Marker | Meaning::Corrupt(_) => return Ok(Verdict::Done),
            Meaning::Event(event) if self.deps.knows(message) => event,
            Meaning::Event(_) | Meaning::Unknown(_) => return Ok(Verdict::Hold),
        };
        let Facts::Ready(facts) = loaded.facts(event, absent) else { return Ok(Verdict::Asks) };
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
        self.deps.metrics.events.inc();
        let (log, entropy) = (self.deps.log.clone(), self.deps.entropy.clone());
        for (record, recipients) in deliveries {
            self.deps.metrics.deliveries.inc();
            self.deps.metrics.recipients.inc_by(recipients);
            self.outbox.send(&*log, DELIVERIES, record, &entropy, &self.stop).await?;
        }
        Ok(Verdict::Done)
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

    /// The records of an event, each with the number of its recipients.
    fn deliveries(&self, event: &Event, message: &Message, effects: &Effects) -> Vec<(NewRecord, u64)> {
        let frame = render(event, message.placed, effects);
        let delivery = |(partition, recipients): (u32, Vec<UserId>)| {
            let (key, count) = (recipients[0].to_string(), recipients.len() as u64);
            let place = Some((event.conversation, message.placed.seq));
            let encoded = self.deps.codec.delivery(&Delivery { recipients, place, frame: frame.clone() });
            let mut headers = encoded.headers;
            headers.extend(message.trace.clone().map(|trace| (HEADER_TRACE.to_owned(), trace)));
            (NewRecord { key, partition: Some(partition), headers, payload: encoded.payload }, count)
        };
        by_partition(&effects.recipients, self.delivery_partitions).into_iter().map(delivery).collect()
    }
}

/// The socket frame, rendered once for everybody.
fn render(event: &Event, placed: Placed, effects: &Effects) -> String {
    serde_json::to_string(&api::FeedFrame::of(event, placed, effects)).expect("a feed frame has string keys only")
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
