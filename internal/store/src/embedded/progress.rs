//! Who waits for progress, per incarnation and source partition.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::Seq;
use tokio::sync::watch;

use crate::{Source, StoreError};

type Sources = BTreeMap<(u32, Source), watch::Sender<Option<Seq>>>;

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
    ) -> Result<watch::Receiver<Option<Seq>>, StoreError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sources.get(&(incarnation, source)) {
            return Ok(sender.subscribe());
        }
        // Read under the lock: what is committed after this read is published after this insert.
        let (sender, receiver) = watch::channel(read()?);
        sources.insert((incarnation, source), sender);
        Ok(receiver)
    }

    /// Wakes who waits, after the commit.
    pub(super) fn publish(&self, incarnation: u32, source: Source, seq: Seq) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sources.get(&(incarnation, source)) else { return };
        sender.send_if_modified(|known| {
            let ahead = *known < Some(seq);
            *known = (*known).max(Some(seq));
            ahead
        });
    }

    /// Forgets incarnations before `current`.
    pub(super) fn forget_before(&self, current: u32) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(incarnation, _), _| *incarnation >= current);
    }
}
