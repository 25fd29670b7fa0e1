//! Who owns which partition, as the broker told it: a commit by who was replaced must not count.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use eventlog::TopicPartition;

/// All partitions of all groups.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whom the broker named last, by group.
    owners: BTreeMap<(String, TopicPartition), String>,
    /// Commits that counted and must not have.
    wrong: Vec<String>,
}

impl Owners {
    /// The broker gives the partition to that process.
    pub(super) fn assigned(&self, group: &str, at: &TopicPartition, who: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.owners.insert((group.to_owned(), at.clone()), who.to_owned());
    }

    /// Who else has the partition by now, if somebody has.
    pub(super) fn successor(&self, group: &str, at: &TopicPartition, who: &str) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.owners.get(&(group.to_owned(), at.clone())).filter(|owner| *owner != who).cloned()
    }

    /// A commit counted that must not have.
    pub(super) fn fault(&self, words: String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wrong.push(words);
    }

    /// The commits that counted and must not have.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wrong.clone()
    }
}
