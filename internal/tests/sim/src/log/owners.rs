//! The owner of each partition, as assigned by the broker: a commit by a former owner must not take effect.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use eventlog::TopicPartition;

/// The owners in all groups.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The process that the broker assigned each partition to last, by group.
    owners: BTreeMap<(String, TopicPartition), String>,
    /// Commits of former owners that took effect.
    wrong: Vec<String>,
}

impl Owners {
    /// Notes that the broker assigned the partition to that process.
    pub(super) fn assigned(&self, group: &str, at: &TopicPartition, who: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.owners.insert((group.to_owned(), at.clone()), who.to_owned());
    }

    /// The process that owns the partition now, if it is not `who`.
    pub(super) fn successor(&self, group: &str, at: &TopicPartition, who: &str) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.owners.get(&(group.to_owned(), at.clone())).filter(|owner| *owner != who).cloned()
    }

    /// Notes a former owner's commit that took effect.
    pub(super) fn fault(&self, words: String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wrong.push(words);
    }

    /// The commits of former owners that took effect.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wrong.clone()
    }
}
