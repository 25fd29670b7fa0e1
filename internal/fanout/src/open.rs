//! Opening a conversation: the own hold, then `applied`, then storage's hold, then the rows as of the event before.
//!
//! The order is the proof: storage writes rows, then holds, then `applied`. Whoever has seen `applied >= s - 1` and then
//! no hold reads rows that are complete as of `s - 1`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::{ConversationId, Seq};
use eventlog::{Meaning, Message};
use futures_util::future::try_join_all;
use store::{Consumer, Hold, Loaded, load};

use crate::FanoutError;
use crate::partition::Partition;

/// Conversations that are opened at once.
const OPENS_AT_ONCE: usize = 64;

/// Whether facts as of a place can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Facts {
    /// Yes.
    There,
    /// Storage has not come so far: park.
    NotYet,
    /// Storage holds the conversation: hold it too.
    Held,
}

/// A conversation that was cold.
#[derive(Debug)]
pub(crate) enum Opened {
    /// As of the event before.
    Ready(Box<Loaded>),
    /// Its event is of no kind that this program knows, so nothing was loaded.
    Unjudged,
    /// Storage has not come so far.
    NotYet,
    /// Storage holds it.
    Held,
    /// We hold it ourselves: it has to be judged again from here.
    Redrive(Seq),
}

impl Partition {
    /// Opens the cold conversations of a batch together, each as of the event before its first one here.
    pub(crate) async fn open_cold(
        &self,
        messages: &[Message],
    ) -> Result<BTreeMap<ConversationId, Opened>, FanoutError> {
        let mut seen = BTreeSet::new();
        let cold = messages.iter().filter(|message| {
            message.conversation.is_some_and(|conversation| {
                !self.cache.contains(conversation) && !self.parked.contains(conversation) && seen.insert(conversation)
            })
        });
        let cold: Vec<(ConversationId, &Message)> =
            cold.filter_map(|message| Some((message.conversation?, message))).collect();
        let mut opened = BTreeMap::new();
        for some in cold.chunks(OPENS_AT_ONCE) {
            let opening = some.iter().map(|(conversation, message)| self.open(*conversation, message));
            let states = try_join_all(opening).await?;
            opened.extend(some.iter().map(|(conversation, _)| *conversation).zip(states));
        }
        Ok(opened)
    }

    /// Opens one conversation for its next event.
    pub(crate) async fn open(&self, conversation: ConversationId, message: &Message) -> Result<Opened, FanoutError> {
        let as_of = message.placed.seq.before().unwrap_or_default();
        let own = self.read_hold(Consumer::Fanout, conversation).await?;
        if own.is_held() && own.done_through < Some(as_of) {
            return Ok(Opened::Redrive(own.done_through.unwrap_or_default().next()));
        }
        if !self.knows(message) {
            return Ok(Opened::Unjudged);
        }
        Ok(match self.facts_at(conversation, as_of).await? {
            Facts::There => Opened::Ready(self.load(conversation, as_of, message.placed.append_time_ms).await?),
            Facts::NotYet => Opened::NotYet,
            Facts::Held => Opened::Held,
        })
    }

    /// Whether the event can be judged by this program at all.
    pub(crate) fn knows(&self, message: &Message) -> bool {
        match &message.meaning {
            Meaning::Unknown(_) => false,
            Meaning::Event(event) => event.rules <= self.deps.rules_newest,
            Meaning::Marker | Meaning::Corrupt(_) => true,
        }
    }

    /// Whether the conversation's facts as of `as_of` can be read now.
    pub(crate) async fn facts_at(&self, conversation: ConversationId, as_of: Seq) -> Result<Facts, FanoutError> {
        let source = self.source;
        let asked = self.store("read applied", |store| store.wait_applied(source, as_of, Duration::ZERO)).await?;
        if !asked {
            return Ok(Facts::NotYet);
        }
        let hold = self.read_hold(Consumer::Storage, conversation).await?;
        Ok(if hold.is_held() { Facts::Held } else { Facts::There })
    }

    pub(crate) async fn load(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        time_ms: i64,
    ) -> Result<Box<Loaded>, FanoutError> {
        self.deps.metrics.loads.inc();
        let loaded = self.store("load a conversation", |store| load(store, conversation, as_of, time_ms)).await?;
        Ok(Box::new(loaded))
    }

    pub(crate) async fn read_hold(
        &self,
        consumer: Consumer,
        conversation: ConversationId,
    ) -> Result<Hold, FanoutError> {
        let partition = self.at.partition;
        self.store("read a hold", |store| store.hold(consumer, partition, conversation)).await
    }
}
