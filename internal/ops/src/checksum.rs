//! Digests of the log-derived tables, to compare two stores byte for byte.
//!
//! A table's digest is the sum, modulo 2^256, of SHA-256 over the table's name and each row's canonical bytes. A sum
//! does not depend on the order of reading, which differs between engines. Rows are distinct (a row's bytes hold its
//! key), so two tables with the same sum and the same number of rows have the same rows, unless SHA-256 sums
//! collide: for faults of software, disks or networks, that has the odds of 2^-256. Unlike with XOR, a row counted
//! twice does not cancel itself. Against an attacker who can forge arbitrary rows, a plain sum of 256 bits is weak
//! (Wagner's generalised birthday attack); this is a check for faults, not a seal.

use std::collections::BTreeMap;

use events::topics::{STORAGE_SOURCES, spec_of};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Source, Store};

use crate::OpsError;

/// A sum of SHA-256 digests modulo 2^256, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowSum([u8; 32]);

impl RowSum {
    /// Adds a row of `table`.
    pub fn add(&mut self, table: &str, row: &[u8]) {
        let digest = Sha256::new()
            .chain_update((table.len() as u64).to_be_bytes())
            .chain_update(table)
            .chain_update(row)
            .finalize();
        let mut carry = 0_u16;
        for (sum, byte) in self.0.iter_mut().zip(digest).rev() {
            let [high, low] = (u16::from(*sum) + u16::from(byte) + carry).to_be_bytes();
            (*sum, carry) = (low, u16::from(high));
        }
    }

    /// The sum as 64 hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One table's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSum {
    /// Its name.
    pub table: String,
    /// The number of its rows.
    pub rows: u64,
    /// The sum over its rows, as hexadecimal digits.
    pub digest: String,
}

/// The digests of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The incarnation that was read; it is not compared.
    pub incarnation: u32,
    /// How far storage had come, by source partition. Stores that have come to different offsets have different
    /// rows.
    pub applied: BTreeMap<String, u64>,
    /// The tables, in the order of their names.
    pub tables: Vec<TableSum>,
    /// SHA-256 over the tables' names, numbers of rows and digests.
    pub total: String,
}

/// Reads the log-derived tables, or only the named one. Calls `progress` after each page, with the table and the
/// number of rows so far.
///
/// # Errors
/// When there is no such table or the store cannot be read.
pub async fn checksum(
    store: &dyn Store,
    only: Option<&str>,
    mut progress: impl FnMut(&str, u64),
) -> Result<Checksum, OpsError> {
    let mut names = store.derived_tables();
    if let Some(only) = only {
        let known = names.join(", ");
        names.retain(|name| *name == only);
        if names.is_empty() {
            return Err(OpsError::Usage(format!("there is no derived table '{only}'; there are: {known}")));
        }
    }
    let applied = applied(store).await?;
    let mut tables = Vec::new();
    for name in names {
        let (mut sum, mut rows, mut after) = (RowSum::default(), 0, None);
        loop {
            let (page, next) = store.scan(name, after).await?;
            page.iter().for_each(|row| sum.add(name, row));
            rows += page.len() as u64;
            progress(name, rows);
            if next.is_none() {
                break;
            }
            after = next;
        }
        tables.push(TableSum { table: name.to_owned(), rows, digest: sum.hex() });
    }
    Ok(Checksum { incarnation: store.incarnation(), applied, total: total(&tables), tables })
}

async fn applied(store: &dyn Store) -> Result<BTreeMap<String, u64>, OpsError> {
    let mut all = BTreeMap::new();
    for topic in STORAGE_SOURCES {
        for partition in 0..spec_of(topic).partitions {
            if let Some(applied) = store.applied(Source { topic, partition }).await? {
                all.insert(format!("{topic}/{partition}"), applied.seq.get());
            }
        }
    }
    Ok(all)
}

fn total(tables: &[TableSum]) -> String {
    let mut hash = Sha256::new();
    for table in tables {
        hash.update(format!("{} {} {}\n", table.table, table.rows, table.digest));
    }
    hex(&hash.finalize())
}

impl Checksum {
    /// The differences from `other`, in words; empty when all tables are the same.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let by_name = |sums: &'_ Self| -> BTreeMap<String, TableSum> {
            sums.tables.iter().map(|table| (table.table.clone(), table.clone())).collect()
        };
        let (mine, others) = (by_name(self), by_name(other));
        let mut names: Vec<&String> = mine.keys().chain(others.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let mut found: Vec<String> = names
            .into_iter()
            .filter_map(|name| match (mine.get(name), others.get(name)) {
                (Some(one), Some(two)) if one == two => None,
                (Some(one), Some(two)) if one.rows != two.rows => {
                    Some(format!("{name}: {} rows here, {} there", one.rows, two.rows))
                }
                (Some(one), Some(_)) => Some(format!("{name}: {} rows in both, but not the same ones", one.rows)),
                (Some(_), None) => Some(format!("{name}: not in the other checksum")),
                (None, _) => Some(format!("{name}: only in the other checksum")),
            })
            .collect();
        if !found.is_empty() && self.applied != other.applied {
            found.push("storage had come differently far when the two were made: compare again when it rests".into());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_depends_on_the_rows_and_not_on_their_order() {
        let sum = |rows: &[&[u8]]| {
            let mut sum = RowSum::default();
            rows.iter().for_each(|row| sum.add("t", row));
            sum
        };
        assert_eq!(sum(&[b"a", b"b", b"c"]), sum(&[b"c", b"a", b"b"]));
        assert_ne!(sum(&[b"a", b"b"]), sum(&[b"a", b"c"]));
        assert_ne!(sum(&[b"a", b"a"]), sum(&[]), "what is there twice does not cancel itself");
        let mut other = RowSum::default();
        other.add("u", b"a");
        assert_ne!(sum(&[b"a"]), other, "the table counts");
    }

    #[test]
    fn the_sum_carries_over_all_bytes() {
        let mut full = RowSum([u8::MAX; 32]);
        let mut empty = RowSum::default();
        full.add("t", b"x");
        empty.add("t", b"x");
        // 2^256 - 1 + h = h - 1.
        let mut one = RowSum::default();
        one.0[31] = 1;
        let mut back = full;
        let mut carry = 1_u16;
        for byte in back.0.iter_mut().rev() {
            let [high, low] = (u16::from(*byte) + carry).to_be_bytes();
            (*byte, carry) = (low, u16::from(high));
        }
        assert_eq!(back, empty);
        assert_eq!(one.hex().len(), 64);
    }

    #[test]
    fn differences_are_named() {
        let table = |table: &str, rows, digest: &str| TableSum { table: table.into(), rows, digest: digest.into() };
        let of = |tables: Vec<TableSum>| Checksum {
            incarnation: 1,
            applied: BTreeMap::new(),
            total: total(&tables),
            tables,
        };
        let one = of(vec![table("heads", 1, "a"), table("ids", 2, "b"), table("marks", 3, "c")]);
        let two = of(vec![table("heads", 1, "a"), table("ids", 3, "b"), table("marks", 3, "d")]);
        assert_eq!(one.differences(&one), Vec::<String>::new());
        assert_eq!(
            one.differences(&two),
            ["ids: 2 rows here, 3 there", "marks: 3 rows in both, but not the same ones"]
        );
        assert_ne!(one.total, two.total);
    }
}
