//! Judges the events of a partition again, with the reducer and the facts as of each event.
//!
//! The state of a conversation comes from the judge's own memory if the audit has read it from its first event. For
//! a conversation that the judge meets in the middle of the log, or has evicted to stay bounded, it is loaded from
//! the store as of the event before.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Appended, ConversationId, ConversationState, Effects, Event, IdCache, RULES_NEWEST, Seq, TargetCache, apply,
};
use eventlog::{DecodedRecord, Meaning};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use store::{Answers, CacheEntry, Conversations, FactsLookup, Loaded, Store, StoreError, load, read_target};

/// The most conversations that are remembered as seen; beyond that, every conversation that is not in memory is
/// loaded.
const MET_MAX: usize = 1 << 18;
/// Conversations that are loaded at once.
const LOADS_AT_ONCE: usize = 32;

/// An event with its effects.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) event: Box<Event>,
    pub(super) appended: Appended,
    pub(super) effects: Effects,
}

/// Judges the events of one partition, in order.
pub(super) struct Judge {
    cache: Conversations,
    /// Conversations seen so far; `None` when the set would be incomplete, because the audit began in the middle of
    /// the log or there are too many.
    met: Option<BTreeSet<ConversationId>>,
}

impl Judge {
    /// `from_start` tells whether the first event judged will be the first of the log.
    pub(super) fn new(from_start: bool) -> Self {
        Self { cache: Conversations::new(), met: from_start.then(BTreeSet::new) }
    }

    /// Loads the conversations of these messages, each as of the event before its first one here.
    pub(super) async fn load(&mut self, store: &dyn Store, messages: &[&DecodedRecord]) -> Result<(), StoreError> {
        let mut cold: BTreeMap<ConversationId, Appended> = BTreeMap::new();
        for message in messages {
            if let Some(conversation) = message.conversation
                && !self.cache.contains(conversation)
            {
                cold.entry(conversation).or_insert(message.appended);
            }
        }
        let mut loads = Vec::new();
        for (conversation, appended) in cold {
            if self.is_new(conversation) {
                let (state, ids) = (ConversationState::default(), IdCache::new(i64::MIN, []));
                let loaded = Loaded { state, ids, targets: TargetCache::default() };
                self.cache.put(conversation, CacheEntry::Ready(Box::new(loaded)));
            } else {
                loads.push((conversation, appended));
            }
        }
        let loads = loads.into_iter().map(|(conversation, appended)| async move {
            Ok::<_, StoreError>((conversation, loaded(store, conversation, appended).await?))
        });
        let loaded: Vec<_> = stream::iter(loads).buffer_unordered(LOADS_AT_ONCE).try_collect().await?;
        for (conversation, loaded) in loaded {
            self.cache.put(conversation, CacheEntry::Ready(loaded));
        }
        Ok(())
    }

    fn is_new(&mut self, conversation: ConversationId) -> bool {
        if self.met.as_ref().is_some_and(|met| met.len() >= MET_MAX) {
            self.met = None;
        }
        self.met.as_mut().is_some_and(|met| met.insert(conversation))
    }

    /// Judges one event; `None` when this program does not know its rules.
    pub(super) async fn judge(
        &mut self,
        store: &dyn Store,
        message: &DecodedRecord,
    ) -> Result<Option<Judged>, StoreError> {
        let (Meaning::Event(event), appended) = (&message.meaning, message.appended) else { return Ok(None) };
        let (conversation, as_of) = (event.conversation, appended.seq.before().unwrap_or_default());
        let mut loaded = match self.cache.take(conversation) {
            Some(CacheEntry::Ready(loaded)) => loaded,
            // The conversation was evicted after `load`, because an event of it was not judged.
            Some(CacheEntry::Held) | None => loaded(store, conversation, appended).await?,
        };
        let mut answers = Answers::default();
        let facts = loop {
            match loaded.facts(event, &answers) {
                FactsLookup::Ready(facts) => break facts,
                FactsLookup::Read(id) => match store.id(conversation, id, as_of).await? {
                    Some(row) => loaded.ids.keep(id, row),
                    None => answers.absent.push(id),
                },
                FactsLookup::ReadPast(past) => {
                    answers.learn(past, store.memberships(conversation, event.author).await?, as_of);
                }
                FactsLookup::ReadTarget(fact) => {
                    loaded.keep(read_target(store, conversation, fact, as_of).await?);
                }
            }
        };
        let Ok(effects) = apply(&loaded.state, event, appended, &facts, RULES_NEWEST) else { return Ok(None) };
        loaded.absorb(appended.seq, &effects, facts.target.as_ref());
        self.cache.put(conversation, CacheEntry::Ready(loaded));
        Ok(Some(Judged { event: event.clone(), appended, effects }))
    }

    /// Evicts a conversation of which an event was not judged: its next event loads it again.
    pub(super) fn forget(&mut self, conversation: ConversationId) {
        self.cache.remove(conversation);
        if let Some(met) = &mut self.met {
            met.insert(conversation);
        }
    }

    /// The state of a conversation as of the last event that was judged.
    pub(super) fn state(&mut self, conversation: ConversationId) -> Option<ConversationState> {
        let slot = self.cache.take(conversation)?;
        let state = match &slot {
            CacheEntry::Ready(loaded) => Some(loaded.state.clone()),
            CacheEntry::Held => None,
        };
        self.cache.put(conversation, slot);
        state
    }

    /// Evicts conversations until memory is within its bounds.
    pub(super) fn shrink(&mut self) {
        self.cache.shrink();
    }
}

async fn loaded(
    store: &dyn Store,
    conversation: ConversationId,
    appended: Appended,
) -> Result<Box<Loaded>, StoreError> {
    let as_of: Seq = appended.seq.before().unwrap_or_default();
    Ok(Box::new(load(store, conversation, as_of, appended.append_time_ms).await?))
}
