//! The content of the tables as bytes.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use kv::Durability;

use crate::embedded::derived::READ_ROWS_MAX;
use crate::embedded::{EmbeddedStore, incarnations, row};
use crate::{IncarnationStore as _, StoreAdmin, StoreError, Value, ValueRef, tables};

#[async_trait]
impl StoreAdmin for EmbeddedStore {
    fn incarnation(&self) -> u32 {
        self.pinned.incarnation
    }

    async fn current_incarnation(&self) -> Result<u32, StoreError> {
        self.open_still()?;
        Ok(*self.shared.incarnation.borrow())
    }

    async fn new_incarnation(&self) -> Result<u32, StoreError> {
        let (made, shared) = (self.make_incarnation().await?, Arc::clone(&self.shared));
        let change = self.change(Durability::Power, move |changes| {
            let from = changes.incarnation();
            incarnations::switch(&shared, changes, from, made)
        });
        change.await.map(|_| made)
    }

    fn derived_tables(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = tables::ALL.iter().map(|table| table.name).collect();
        names.sort_unstable();
        names
    }

    async fn scan(&self, table: &str, after: Option<Vec<u8>>) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        let spec = tables::named(table).ok_or_else(|| unknown(table))?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let pairs = self.read().await?.table(spec).pairs(&(from, Bound::Unbounded), READ_ROWS_MAX, false)?;
        let rows = pairs.iter().map(|(key, value)| row::canonical(spec, key, value)).collect::<Result<_, _>>()?;
        let last = pairs.last().filter(|_| pairs.len() == READ_ROWS_MAX).map(|(key, _)| key.to_vec());
        Ok((rows, last))
    }

    async fn rows(&self, table: &str, keys: &[Vec<Value>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let spec = tables::named(table).ok_or_else(|| unknown(table))?;
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let key: Vec<ValueRef<'_>> = key.iter().map(Value::borrow).collect();
            rows.push(self.read().await?.table(spec).canonical(&key)?);
        }
        Ok(rows)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.open_still()
    }

    async fn close(&self) {
        self.shut().await;
    }
}

fn unknown(table: &str) -> StoreError {
    StoreError::Broken(format!("there is no derived table '{table}'").into())
}
