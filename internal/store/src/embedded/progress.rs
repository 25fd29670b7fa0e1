//! Who waits for progress, per incarnation and source partition.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::Seq;
use environment::{Latest, Seen};

use crate::{Source, StoreError};

type Sources = BTreeMap<(u32, Source), Latest<Option<Seq>>>;

/// Progress as those who wait see it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    sources: Mutex<Sources>,
}

impl Progress {
    /// Progress from now on. `read` says how far it is, where nobody has waited yet.
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
        // Read under the lock: what is committed after this read is published after this insert.
        let progress = Latest::new(read()?);
        let seen = progress.seen();
        sources.insert((incarnation, source), progress);
        Ok(seen)
    }

    /// Wakes who waits, after the commit.
    pub(super) fn publish(&self, incarnation: u32, source: Source, seq: Seq) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(progress) = sources.get(&(incarnation, source)) else { return };
        if progress.get() < Some(seq) {
            progress.set(Some(seq));
        }
    }

    /// Forgets an incarnation that is current no more: who waits there is woken.
    pub(super) fn forget(&self, left: u32) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(incarnation, _), _| *incarnation != left);
    }
}
