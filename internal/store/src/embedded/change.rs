//! A batch that is being built: changed rows in memory on top of the tables.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use kv::{Batch, Table};

use crate::embedded::broken;
use crate::embedded::row;
use crate::{CellWrites, StoreError};

/// A table and its rank in a batch.
#[derive(Debug, Clone)]
pub(super) struct RankedTable {
    /// Unique. A batch takes effect in the order of ranks, where the database makes a batch visible in parts.
    pub(super) rank: u32,
    pub(super) table: Table,
}

type Hook = Box<dyn FnOnce() + Send>;

/// The changes of one commit. Later reads in the same batch see them.
pub(super) struct Changes {
    rows: BTreeMap<(u32, Bytes), (Table, Option<Bytes>)>,
    bytes: usize,
    incarnation: u32,
    hooks: Vec<Hook>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl Changes {
    pub(super) fn new(incarnation: u32) -> Self {
        Self { rows: BTreeMap::new(), bytes: 0, incarnation, hooks: Vec::new() }
    }

    /// The incarnation as of this point of the batch.
    pub(super) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    pub(super) fn set_incarnation(&mut self, incarnation: u32) {
        self.incarnation = incarnation;
    }

    /// Runs `hook` when the batch is committed, before any caller is answered.
    pub(super) fn on_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }

    /// The value of `key` as of this point of the batch.
    pub(super) fn get(&self, slot: &RankedTable, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.rows.get(&(slot.rank, Bytes::copy_from_slice(key))) {
            Some((_, value)) => Ok(value.clone()),
            None => slot.table.get(key).map_err(broken),
        }
    }

    pub(super) fn put(&mut self, slot: &RankedTable, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.set(slot, key.into(), Some(value.into()));
    }

    pub(super) fn remove(&mut self, slot: &RankedTable, key: impl Into<Bytes>) {
        self.set(slot, key.into(), None);
    }

    /// Merges cells into a row, each by its timestamp.
    pub(super) fn merge(
        &mut self,
        slot: &RankedTable,
        key: &Bytes,
        timestamp: i64,
        write: &CellWrites,
    ) -> Result<(), StoreError> {
        let old = self.get(slot, key)?;
        let cells = write.cells().map(|(index, _, value)| (index, value));
        if let Some(merged) = row::merge(old.as_deref().unwrap_or_default(), timestamp, cells)? {
            self.set(slot, key.clone(), Some(merged.into()));
        }
        Ok(())
    }

    fn set(&mut self, slot: &RankedTable, key: Bytes, value: Option<Bytes>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        self.rows.insert((slot.rank, key), (slot.table.clone(), value));
    }

    /// The number of changed rows.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// A lower bound of the bytes in the batch.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch if anything changed, the incarnation after it, and the hooks to run once it is committed.
    pub(super) fn finish(self) -> (Option<Batch>, u32, Vec<Hook>) {
        let mut batch = Batch::default();
        for ((_, key), (table, value)) in self.rows {
            match value {
                Some(value) => batch.put(&table, key, value),
                None => batch.remove(&table, key),
            }
        }
        (Some(batch).filter(|batch| !batch.is_empty()), self.incarnation, self.hooks)
    }
}
