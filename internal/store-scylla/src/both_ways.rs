//! Reading a part of a partition from either end.

use std::ops::ControlFlow;

use domain::Seq;
use scylla::serialize::value::SerializeValue;
use store::tables::Table;
use store::{Direction, Malformed, Page, ROWS_LOOKED_AT_MAX, RowValues, StoreError};
use uuid::Uuid;

use crate::cql::{Cql, TableRead};

/// Rows per page of a result.
const PAGE_ROWS: i32 = 1000;

/// Rows of a partition in the order of a seq: those before one, descending, and those after one.
pub(crate) struct BothWays {
    before: TableRead,
    after: TableRead,
}

impl BothWays {
    /// Of the partition with a key that `partition` compares, in the order of the column `seq`.
    pub(crate) async fn prepare(
        cql: &Cql,
        table: &'static Table,
        partition: &str,
        seq: &str,
    ) -> Result<Self, StoreError> {
        let before = format!("{partition} AND {seq} < ? ORDER BY {seq} DESC");
        let after = format!("{partition} AND {seq} > ?");
        Ok(Self {
            before: cql.prepare_read(table, &before, PAGE_ROWS).await?,
            after: cql.prepare_read(table, &after, PAGE_ROWS).await?,
        })
    }

    /// Adds rows of a partition to a page until it is full, without those that `decode` leaves out.
    pub(crate) async fn fill<T: Send, K: SerializeValue + Send + Sync>(
        &self,
        cql: &Cql,
        (first, second): (Uuid, K),
        page: &Page,
        found: &mut Vec<T>,
        decode: impl Fn(RowValues) -> Result<Option<T>, Malformed> + Send + Sync,
    ) -> Result<(), StoreError> {
        if found.len() >= page.limit {
            return Ok(());
        }
        let (read, open) = match page.direction {
            Direction::Before => (&self.before, i64::MAX),
            Direction::After => (&self.after, -1),
        };
        let (anchor, mut looked_at) = (page.anchor.map_or(open, Seq::timestamp), 0);
        cql.each_row(read, (first, second, anchor), |row| {
            found.extend(decode(row)?);
            looked_at += 1;
            let full = found.len() >= page.limit || looked_at >= ROWS_LOOKED_AT_MAX;
            Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .await
    }
}
