//! Incarnations side by side: the meta table has their stages; their tables have the number in their names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use kv::Durability;

use crate::embedded::change::Changes;
use crate::embedded::derived::Derived;
use crate::embedded::{EmbeddedStore, INCARNATION_KEY, Shared, broken};
use crate::{Beside, IncarnationStore, Incarnations, SharedStore, Stage, StoreError, no_incarnation};

/// Keys of the meta table: this prefix and the number, big-endian. A folder from before stages existed has none:
/// an incarnation below the current number that has tables was current once.
const STAGE_PREFIX: &[u8] = b"incarnation/";
/// Numbers that are read at once; a store has only a few.
const NUMBERS_MAX: usize = 1 << 16;

const BUILDING: u8 = b'b';
const SERVED: u8 = b's';
const DROPPED: u8 = b'd';

#[async_trait]
impl IncarnationStore for EmbeddedStore {
    async fn incarnations(&self) -> Result<Incarnations, StoreError> {
        let (meta, database) = (self.kept()?.meta.table.clone(), self.shared.database.clone());
        // Read in the writer's order, so that the current number and the stages belong to the same moment.
        let change = self.change(Durability::Process, move |changes| {
            let (current, stages) = (changes.incarnation(), stages(&meta)?);
            let beside = tables_of(&database).into_iter().filter(|number| *number != current);
            let beside = beside.filter_map(|number| {
                let stage = match stages.get(&number) {
                    Some(&DROPPED) => return None,
                    Some(&BUILDING) => Stage::Building,
                    Some(_) => Stage::Served,
                    None if number > current => Stage::Building,
                    None => Stage::Served,
                };
                Some(Beside { number, stage })
            });
            Ok(Incarnations { current, beside: beside.collect() })
        });
        change.await
    }

    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        let there = self.incarnations().await?;
        if there.current == incarnation {
            let handle: Arc<Self> = self.attach()?;
            return Ok(handle);
        }
        if there.find(incarnation).is_none() {
            return Err(no_incarnation(incarnation));
        }
        let pinned = Arc::new(Derived::open(&self.shared.database, incarnation, true, self.shared.observer.clone())?);
        Ok(Arc::new(Self::handle(Arc::clone(&self.shared), pinned, self.jobs()?)))
    }

    async fn make_incarnation(&self) -> Result<u32, StoreError> {
        let (shared, meta) = (Arc::clone(&self.shared), self.kept()?.meta.clone());
        let change = self.change(Durability::Power, move |changes| {
            let known = stages(&meta.table)?.into_keys().chain(tables_of(&shared.database));
            let number = known.max().unwrap_or(0).max(changes.incarnation()) + 1;
            // Made before the number is published; after a crash at this point the tables are still empty.
            Derived::open(&shared.database, number, true, shared.observer.clone())?;
            changes.put(&meta, stage_key(number), vec![BUILDING]);
            Ok(number)
        });
        change.await
    }

    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.open_still()?;
        self.change(Durability::Power, move |changes| switch(&shared, changes, from, to)).await
    }

    async fn drop_incarnation(&self, incarnation: u32) -> Result<(), StoreError> {
        let meta = self.kept()?.meta.clone();
        let change = self.change(Durability::Power, move |changes| {
            if changes.incarnation() == incarnation {
                return Err(StoreError::Misconfigured(format!("incarnation {incarnation} is the current one")));
            }
            // Its rows are removed when the store is opened next: until then handles to them may exist.
            changes.put(&meta, stage_key(incarnation), vec![DROPPED]);
            Ok(())
        });
        change.await
    }
}

/// Makes `to` current if `from` is, as one change of the writer; returns whether it did.
pub(super) fn switch(shared: &Arc<Shared>, changes: &mut Changes, from: u32, to: u32) -> Result<bool, StoreError> {
    let meta = &shared.kept.meta;
    let dropped = changes.get(meta, &stage_key(to))?.is_some_and(|stage| stage[..] == [DROPPED]);
    if dropped || !tables_of(&shared.database).contains(&to) {
        return Err(no_incarnation(to));
    }
    if changes.incarnation() != from {
        return Ok(false);
    }
    if from == to {
        return Ok(true);
    }
    changes.put(meta, INCARNATION_KEY, to.to_be_bytes().to_vec());
    changes.put(meta, stage_key(from), vec![SERVED]);
    changes.put(meta, stage_key(to), vec![SERVED]);
    changes.set_incarnation(to);
    let progress = Arc::clone(&shared.progress);
    changes.on_commit(move || progress.forget(from));
    Ok(true)
}

/// Removes the tables of dropped incarnations: when a store is opened, no handle to them exists.
pub(super) fn remove_dropped(database: &kv::Database, meta: &kv::Table) -> Result<(), StoreError> {
    let stages = stages(meta)?;
    for name in database.table_names() {
        if number_of(&name).is_some_and(|number| stages.get(&number) == Some(&DROPPED)) {
            database.remove_table(&name).map_err(broken)?;
        }
    }
    Ok(())
}

fn stages(meta: &kv::Table) -> Result<BTreeMap<u32, u8>, StoreError> {
    let mut stages = BTreeMap::new();
    for (key, value) in meta.scan_prefix(STAGE_PREFIX, NUMBERS_MAX).map_err(broken)? {
        let number = key.get(STAGE_PREFIX.len()..).and_then(|number| number.try_into().ok()).map(u32::from_be_bytes);
        if let (Some(number), [stage]) = (number, &value[..]) {
            stages.insert(number, *stage);
        }
    }
    Ok(stages)
}

fn stage_key(number: u32) -> Vec<u8> {
    [STAGE_PREFIX, &number.to_be_bytes()].concat()
}

/// The numbers of the incarnations that have tables.
fn tables_of(database: &kv::Database) -> BTreeSet<u32> {
    database.table_names().iter().filter_map(|name| number_of(name)).collect()
}

fn number_of(table: &str) -> Option<u32> {
    table.strip_prefix("store/i")?.split('/').next()?.parse().ok()
}
