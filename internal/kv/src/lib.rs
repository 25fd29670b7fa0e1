//! Ordered key-value tables under the embedded engines: on disk (fjall) or in memory.
//!
//! The event log and the store lay their records and rows out as byte keys and values; this crate keeps them in order
//! and makes batches atomic and durable. The two back ends behave alike: what runs in memory in a test or a simulation
//! is the engine that runs on disk, without the disk. `fjall` is named here and nowhere else.

mod disk;
mod journal;
mod memory;
mod power;

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use disk::Disk;
use memory::Memory;

pub use power::Power;

/// A key and its value.
pub type Pair = (Bytes, Bytes);

/// Why the tables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// Another process has the folder open.
    #[error("the data folder {0} is in use by another process: stop it, or use another folder")]
    Locked(String),
    /// The folder cannot be created, read or written.
    #[error("the data folder {folder} cannot be used: {source}")]
    Folder {
        /// The folder.
        folder: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The engine failed; after a failed write nothing more is accepted.
    #[error("the storage engine failed: {0}")]
    Engine(Box<dyn std::error::Error + Send + Sync>),
}

/// How durable a batch must be when its commit returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives the end of the process, not a power cut. A power cut loses a suffix of the commits, never a middle.
    Process,
    /// Survives a power cut.
    Power,
}

/// Changes that take effect together.
#[derive(Debug, Default)]
pub struct Batch {
    changes: Vec<(Table, Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, table: &Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((table.clone(), key.into(), Some(value.into())));
    }

    /// Removes `key`.
    pub fn remove(&mut self, table: &Table, key: impl Into<Bytes>) {
        self.changes.push((table.clone(), key.into(), None));
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A set of tables that share batches.
#[derive(Debug, Clone)]
pub struct Database {
    engine: Engine,
}

#[derive(Debug, Clone)]
enum Engine {
    Disk(Arc<Disk>),
    Memory(Arc<Memory>),
}

/// One ordered table.
#[derive(Debug, Clone)]
pub struct Table {
    inner: Inner,
}

#[derive(Debug, Clone)]
enum Inner {
    Disk(disk::DiskTable),
    Memory(memory::MemoryTable),
}

impl Database {
    /// Opens the tables in `folder`, creating it where needed. Blocks while it recovers.
    ///
    /// # Errors
    /// [`KvError::Locked`] when another process has it open, [`KvError::Folder`] when it cannot be used.
    pub fn open(folder: &Path) -> Result<Self, KvError> {
        Ok(Self { engine: Engine::Disk(Arc::new(Disk::open(folder)?)) })
    }

    /// Tables in memory, gone with the last handle.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { engine: Engine::Memory(Arc::new(Memory::default())) }
    }

    pub(crate) fn of_memory(memory: Memory) -> Self {
        Self { engine: Engine::Memory(Arc::new(memory)) }
    }

    /// The table of that name, created where needed.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn table(&self, name: &str) -> Result<Table, KvError> {
        let inner = match &self.engine {
            Engine::Disk(disk) => Inner::Disk(disk.table(name)?),
            Engine::Memory(memory) => Inner::Memory(memory.table(name)),
        };
        Ok(Table { inner })
    }

    /// The names of all tables, sorted.
    #[must_use]
    pub fn table_names(&self) -> Vec<String> {
        match &self.engine {
            Engine::Disk(disk) => disk.table_names(),
            Engine::Memory(memory) => memory.table_names(),
        }
    }

    /// Removes the table of that name with all its rows; no handle to it may be used any more. One that is not there is
    /// fine.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn remove_table(&self, name: &str) -> Result<(), KvError> {
        match &self.engine {
            Engine::Disk(disk) => disk.remove_table(name),
            Engine::Memory(memory) => {
                memory.remove_table(name);
                Ok(())
            }
        }
    }

    /// Makes the batch take effect, all or nothing, as durable as asked when this returns.
    ///
    /// On disk this waits on a blocking thread; cancelling the call does not take the batch back.
    ///
    /// # Errors
    /// When the engine fails: the batch may or may not be there after a reopening, and nothing more is accepted.
    pub async fn commit(&self, batch: Batch, durability: Durability) -> Result<(), KvError> {
        match &self.engine {
            Engine::Memory(memory) => memory.commit(batch, durability).await,
            Engine::Disk(disk) => {
                let disk = Arc::clone(disk);
                let committed = tokio::task::spawn_blocking(move || disk.commit(batch, durability));
                committed.await.map_err(|error| KvError::Engine(Box::new(error)))?
            }
        }
    }
}

impl Table {
    /// The value of `key`.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        match &self.inner {
            Inner::Disk(table) => table.get(key),
            Inner::Memory(table) => Ok(table.get(key)),
        }
    }

    /// At most `limit` pairs between the bounds, in key order.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<Pair>, KvError> {
        match &self.inner {
            Inner::Disk(table) => table.scan(from, to, limit, false),
            Inner::Memory(table) => Ok(table.scan(from, to, limit, false)),
        }
    }

    /// At most `limit` pairs between the bounds, from the highest key downwards.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn scan_back(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<Pair>, KvError> {
        match &self.inner {
            Inner::Disk(table) => table.scan(from, to, limit, true),
            Inner::Memory(table) => Ok(table.scan(from, to, limit, true)),
        }
    }

    /// At most `limit` pairs whose keys begin with `prefix`, in key order.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn scan_prefix(&self, prefix: &[u8], limit: usize) -> Result<Vec<Pair>, KvError> {
        match end_of_prefix(prefix) {
            Some(end) => self.scan(Bound::Included(prefix), Bound::Excluded(&end), limit),
            None => self.scan(Bound::Included(prefix), Bound::Unbounded, limit),
        }
    }
}

/// The first key after all that begin with `prefix`; `None` when there is no such key.
#[must_use]
pub fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn behaves(database: Database) {
        let table = database.table("t").unwrap();
        let other = database.table("u").unwrap();
        let mut batch = Batch::default();
        for n in [3_u8, 1, 2] {
            batch.put(&table, vec![7, n], vec![n]);
        }
        batch.put(&table, vec![8], vec![8]);
        batch.put(&other, vec![7, 1], vec![0]);
        database.commit(batch, Durability::Power).await.unwrap();
        let mut batch = Batch::default();
        batch.remove(&table, vec![7, 2]);
        batch.put(&table, vec![7, 1], vec![9]);
        database.commit(batch, Durability::Process).await.unwrap();

        assert_eq!(table.get(&[7, 1]).unwrap().as_deref(), Some(&[9][..]));
        assert_eq!(table.get(&[7, 2]).unwrap(), None);
        let keys = |pairs: Vec<Pair>| pairs.into_iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>();
        assert_eq!(keys(table.scan_prefix(&[7], 9).unwrap()), [vec![7, 1], vec![7, 3]]);
        assert_eq!(keys(table.scan(Bound::Excluded(&[7, 1]), Bound::Unbounded, 1).unwrap()), [vec![7, 3]]);
        assert_eq!(
            keys(table.scan_back(Bound::Unbounded, Bound::Excluded(&[8]), 9).unwrap()),
            [vec![7, 3], vec![7, 1]]
        );
        assert_eq!(table.scan(Bound::Included(&[9]), Bound::Excluded(&[1]), 9).unwrap(), [], "an empty range");
        assert_eq!(database.table_names(), ["t", "u"]);
    }

    #[tokio::test]
    async fn memory_and_disk_behave_alike() {
        behaves(Database::in_memory()).await;
        let folder = tempfile::tempdir().unwrap();
        behaves(Database::open(folder.path()).unwrap()).await;
    }

    #[tokio::test]
    async fn what_was_committed_is_there_after_reopening_and_the_folder_is_locked_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let table = database.table("t").unwrap();
        let mut batch = Batch::default();
        batch.put(&table, vec![1], vec![2]);
        database.commit(batch, Durability::Power).await.unwrap();
        assert!(matches!(Database::open(folder.path()), Err(KvError::Locked(_))));
        drop((table, database));
        let table = Database::open(folder.path()).unwrap().table("t").unwrap();
        assert_eq!(table.get(&[1]).unwrap().as_deref(), Some(&[2][..]));
    }

    async fn removes(database: &Database) {
        for (name, value) in [("old", 1_u8), ("new", 2)] {
            let mut batch = Batch::default();
            batch.put(&database.table(name).unwrap(), vec![0], vec![value]);
            database.commit(batch, Durability::Power).await.unwrap();
        }
        database.remove_table("old").unwrap();
        database.remove_table("old").unwrap();
        assert_eq!(database.table_names(), ["new"]);
    }

    #[tokio::test]
    async fn a_removed_table_is_gone_and_one_of_its_name_is_empty() {
        let database = Database::in_memory();
        removes(&database).await;
        assert_eq!(database.table("old").unwrap().get(&[0]).unwrap(), None);

        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        removes(&database).await;
        drop(database);
        // The journal still holds its rows.
        let database = Database::open(folder.path()).unwrap();
        assert_eq!(database.table_names(), ["new"]);
        assert_eq!(database.table("old").unwrap().get(&[0]).unwrap(), None);
        assert_eq!(database.table("new").unwrap().get(&[0]).unwrap().as_deref(), Some(&[2][..]));
    }

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_behind_it() {
        assert_eq!(end_of_prefix(&[1, 255]), Some(vec![2]));
        assert_eq!(end_of_prefix(&[255]), None);
        assert_eq!(end_of_prefix(&[]), None);
    }
}
