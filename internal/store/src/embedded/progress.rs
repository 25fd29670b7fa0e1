//! Publishes progress to waits, per incarnation and source partition.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::Seq;
use environment::{Latest, Seen};

use crate::{Source, StoreError};

type Sources = BTreeMap<(u32, Source), Latest<Option<Seq>>>;

/// The progress that waits observe.
#[derive(Debug, Default)]
pub(super) struct Progress {
    sources: Mutex<Sources>,
}

impl Progress {
    /// Observes progress from now on. `read` returns the stored progress when nobody has waited for this source
    /// yet.
    pub(super) fn watch(
        &self,
        incarnation: u32,
        source: Source,
        read: impl FnOnce() -> Result<Option<Seq>, StoreError>,
    ) -> Result<Seen<Option<Seq>>, StoreError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = sources.get(&(incarnation, source)) {
            return Ok(progress.seen());
        }
        // Read under the lock: a commit after this read is published after this insert.
        let progress = Latest::new(read()?);
        let seen = progress.seen();
        sources.insert((incarnation, source), progress);
        Ok(seen)
    }

    /// Wakes the waits, after the commit.
    pub(super) fn publish(&self, incarnation: u32, source: Source, seq: Seq) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(progress) = sources.get(&(incarnation, source)) else { return };
        if progress.get() < Some(seq) {
            progress.set(Some(seq));
        }
    }

    /// Drops the progress of an incarnation that is no longer current, which wakes its waits.
    pub(super) fn forget(&self, left: u32) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(incarnation, _), _| *incarnation != left);
    }
}
