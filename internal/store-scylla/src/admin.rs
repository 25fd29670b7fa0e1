//! [`StoreAdmin`]: the content of the tables.

use async_trait::async_trait;
use store::{StoreAdmin, StoreError, Value, tables};

use crate::{ScyllaStore, migrate};

#[async_trait]
impl StoreAdmin for ScyllaStore {
    fn incarnation(&self) -> u32 {
        self.cql.pinned()
    }

    async fn current_incarnation(&self) -> Result<u32, StoreError> {
        self.cql.current_incarnation().await
    }

    async fn new_incarnation(&self) -> Result<u32, StoreError> {
        if self.closing.is_cancelled() {
            return Err(StoreError::Closed);
        }
        migrate::make(self.cql.session(), &self.config, true).await
    }

    fn derived_tables(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = tables::ALL.iter().map(|table| table.name).collect();
        names.sort_unstable();
        names
    }

    async fn scan(&self, table: &str, after: Option<Vec<u8>>) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        self.scans.page(&self.cql, table, after).await
    }

    async fn rows(&self, table: &str, keys: &[Vec<Value>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.scans.rows(&self.cql, table, keys).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.cql.current_incarnation().await.map(drop)
    }

    async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}
