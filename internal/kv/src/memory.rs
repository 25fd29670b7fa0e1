//! Tables in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use crate::{Batch, Durability, Inner, KvError, Pair, Power};

pub(crate) type Rows = BTreeMap<Bytes, Bytes>;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    tables: Mutex<BTreeMap<String, MemoryTable>>,
    /// The simulated power supply; `None`: the table is gone with its last handle.
    power: Option<Power>,
}

#[derive(Debug, Clone)]
pub(crate) struct MemoryTable {
    name: Arc<str>,
    rows: Arc<RwLock<Rows>>,
}

impl Memory {
    pub(crate) fn new(tables: BTreeMap<String, Rows>, power: Option<Power>) -> Self {
        let table = |(name, rows): (String, Rows)| (name.clone(), MemoryTable::new(&name, rows));
        Self { tables: Mutex::new(tables.into_iter().map(table).collect()), power }
    }

    pub(crate) fn table(&self, name: &str) -> MemoryTable {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.entry(name.to_owned()).or_insert_with(|| MemoryTable::new(name, Rows::new())).clone()
    }

    pub(crate) fn remove_table(&self, name: &str) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(power) = &self.power {
            power.remove_table(name);
        }
    }

    pub(crate) async fn commit(&self, batch: Batch, durability: Durability) -> Result<(), KvError> {
        match &self.power {
            Some(power) => power.commit(batch, durability).await,
            None => {
                apply(batch);
                Ok(())
            }
        }
    }

    pub(crate) fn table_names(&self) -> Vec<String> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// Readers may see a batch half applied, as on disk: nothing above relies on more than order within its own commits.
pub(crate) fn apply(batch: Batch) {
    for (table, key, value) in batch.changes {
        let Inner::Memory(table) = table.inner else { unreachable!("a batch holds tables of one database") };
        let mut rows = table.rows.write().unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
    }
}

impl MemoryTable {
    fn new(name: &str, rows: Rows) -> Self {
        Self { name: name.into(), rows: Arc::new(RwLock::new(rows)) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(crate) fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize, back: bool) -> Vec<Pair> {
        if crate::disk::is_empty_range(from, to) {
            return Vec::new();
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let range = rows.range::<[u8], _>((from, to)).map(|(key, value)| (key.clone(), value.clone()));
        if back { range.rev().take(limit).collect() } else { range.take(limit).collect() }
    }
}
