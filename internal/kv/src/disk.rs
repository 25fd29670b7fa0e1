//! Tables on disk: fjall, an LSM tree with one journal for all tables.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::journal::{self, Repaired};
use crate::{Batch, Durability, Inner, KvError, Pair};

/// Bytes of blocks kept in memory, shared by all tables.
const CACHE_BYTES: u64 = 64 << 20;
/// Bytes of journal on disk before the oldest table is flushed.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one table's newest rows in memory before they are flushed.
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;

/// The part of the process's limit of open files (one in so many) that tables may keep open.
const FILES_SHARE: u64 = 8;
/// With fewer, files would be opened again for each read.
const FILES_MIN: u64 = 32;
/// More are of no use.
const FILES_MAX: u64 = 900;

/// Threads of fjall that flush and compact. With more than one, the first (3.1) hands every compaction that it takes back
/// to the queue that it takes them from, and keeps a core busy with that for as long as the others compact: an eighth
/// of all CPU time where many small messages are written.
const WORKERS: usize = 1;

/// The file that fjall locks while it has a folder open.
const LOCK_FILE: &str = "lock";

/// The folder in which fjall keeps a folder for each table.
const TABLES_FOLDER: &str = "keyspaces";

pub(crate) struct Disk {
    database: fjall::Database,
    /// The folder of the tables.
    tables: PathBuf,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

#[derive(Clone)]
pub(crate) struct DiskTable {
    keyspace: Keyspace,
}

impl std::fmt::Debug for DiskTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DiskTable").field(self.keyspace.name()).finish()
    }
}

impl Disk {
    pub(crate) fn open(folder: &Path) -> Result<Self, KvError> {
        let name = || folder.display().to_string();
        std::fs::create_dir_all(folder).map_err(|source| KvError::Folder { folder: name(), source })?;
        repair(folder).map_err(|source| KvError::Folder { folder: name(), source })?;
        let database = fjall::Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .max_cached_files(Some(files_max()))
            .open()
            .map_err(|error| match error {
                fjall::Error::Locked => KvError::Locked(name()),
                fjall::Error::Io(source) => KvError::Folder { folder: name(), source },
                other => engine(other),
            })?;
        let disk = Self { database, tables: folder.join(TABLES_FOLDER) };
        disk.sync_names().map_err(|source| KvError::Folder { folder: name(), source })?;
        // The folder itself may be new, too. A process that may not open the parent folder has not created anything in
        // it.
        if let Some(parent) = folder.canonicalize().ok().as_deref().and_then(Path::parent) {
            let _ = sync_folder(parent);
        }
        Ok(disk)
    }

    pub(crate) fn table(&self, name: &str) -> Result<DiskTable, KvError> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX);
        let is_new = !self.database.keyspace_exists(name);
        let keyspace = self.database.keyspace(name, options).map_err(engine)?;
        if is_new {
            self.sync_names().map_err(|error| KvError::Engine(Box::new(error)))?;
        }
        Ok(DiskTable { keyspace })
    }

    /// Makes the names of the tables' folders durable. fjall (3.1) syncs their content and not the folders themselves:
    /// where a file system keeps no order between names and data, a power cut could take a table's folder with all of
    /// it.
    fn sync_names(&self) -> std::io::Result<()> {
        sync_folder(&self.tables)
    }

    pub(crate) fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.database.list_keyspace_names().into_iter().map(|name| name.to_string()).collect();
        names.sort();
        names
    }

    pub(crate) fn remove_table(&self, name: &str) -> Result<(), KvError> {
        if !self.database.keyspace_exists(name) {
            return Ok(());
        }
        let DiskTable { keyspace } = self.table(name)?;
        self.database.delete_keyspace(keyspace).map_err(engine)
    }

    pub(crate) fn commit(&self, batch: Batch, durability: Durability) -> Result<(), KvError> {
        let mode = match durability {
            Durability::Process => PersistMode::Buffer,
            Durability::Power => PersistMode::SyncData,
        };
        let mut write = self.database.batch().durability(Some(mode));
        for (table, key, value) in batch.changes {
            let Inner::Disk(table) = table.inner else { unreachable!("a batch holds tables of one database") };
            match value {
                Some(value) => write.insert(&table.keyspace, &key[..], &value[..]),
                None => write.remove(&table.keyspace, &key[..]),
            }
        }
        write.commit().map_err(engine)
    }
}

impl DiskTable {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let value = self.keyspace.get(key).map_err(engine)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    pub(crate) fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        back: bool,
    ) -> Result<Vec<Pair>, KvError> {
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let range = self.keyspace.range::<&[u8], _>((from, to));
        // Copied: a slice of the engine's block would keep the whole block in memory.
        let copy = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(engine)?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        };
        if back { range.rev().take(limit).map(copy).collect() } else { range.take(limit).map(copy).collect() }
    }
}

/// The number of table files that are kept open. fjall (3.1) has no bound that respects the process's limit, and a
/// flush that finds no descriptor ends the database.
fn files_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((limit / FILES_SHARE).clamp(FILES_MIN, FILES_MAX)).unwrap_or(usize::MAX)
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Cuts off what a power cut has torn. Not while another process has the folder open: its journal is being written.
fn repair(folder: &Path) -> std::io::Result<()> {
    let Ok(lock) = std::fs::File::options().read(true).write(true).open(folder.join(LOCK_FILE)) else { return Ok(()) };
    if lock.try_lock().is_err() {
        return Ok(());
    }
    if let Some(mended) = journal::repair(folder)? {
        let Repaired { journal, kept, aside } = mended;
        let (journal, aside) = (journal.display(), aside.map(|aside| aside.display().to_string()));
        tracing::warn!(%journal, kept, aside, "a batch at the journal's end was torn by a power cut and is cut off");
    }
    drop(lock);
    Ok(())
}

/// Whether nothing can lie between the bounds: such a range makes the standard library panic.
pub(crate) fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
    }
}

fn engine(error: fjall::Error) -> KvError {
    KvError::Engine(Box::new(error))
}
