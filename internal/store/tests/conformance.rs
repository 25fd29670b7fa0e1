//! The embedded engine passes the conformance suite: in memory, on disk, and under paused time.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use environment::Clock;
use store::conformance::{Factory, Subject, run};
use store::embedded::EmbeddedStore;
use store::{SharedStore, StoreError};
use tempfile::TempDir;

struct Embedded {
    first: Arc<EmbeddedStore>,
    /// The temporary folder, removed with the store.
    _folder: Option<TempDir>,
}

#[async_trait]
impl Subject for Embedded {
    async fn open(&self) -> Result<SharedStore, StoreError> {
        Ok(self.first.attach()?)
    }
}

struct Memory;

#[async_trait]
impl Factory for Memory {
    async fn store(&self) -> Result<Arc<dyn Subject>, StoreError> {
        let first = EmbeddedStore::open(kv::Database::in_memory(), Clock::system()).await?;
        Ok(Arc::new(Embedded { first, _folder: None }))
    }
}

struct Disk;

#[async_trait]
impl Factory for Disk {
    async fn store(&self) -> Result<Arc<dyn Subject>, StoreError> {
        let folder = tempfile::tempdir().unwrap();
        let first = EmbeddedStore::open(kv::Database::open(folder.path()).unwrap(), Clock::system()).await?;
        Ok(Arc::new(Embedded { first, _folder: Some(folder) }))
    }
}

#[tokio::test]
async fn in_memory() {
    run(&Memory).await;
}

#[tokio::test(start_paused = true)]
async fn in_memory_under_paused_time() {
    run(&Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory_on_many_threads() {
    run(&Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_disk() {
    run(&Disk).await;
}
