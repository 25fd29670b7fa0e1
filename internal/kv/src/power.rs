//! Tables in memory whose power can be cut: they simulate a disk, for tests and simulations of crashes.
//!
//! A commit is first written (it survives the end of the process), and with [`Durability::Power`] synced (it survives a
//! power cut), before readers see it. Syncs can be delayed, as on a slow disk, and the power cut at any moment; of what
//! was written and not synced, the test chooses how much survives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::memory::{self, Memory, Rows};
use crate::{Batch, Database, Durability, Inner, KvError};

/// The power of a database in memory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Power {
    state: Arc<Mutex<State>>,
    /// The state that syncs wait for.
    supply: Arc<watch::Sender<Supply>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    On,
    /// Syncs wait.
    Held,
    /// The power is cut: nothing is written any more.
    Off,
}

#[derive(Debug, Default)]
struct State {
    /// What survives a cut, by table.
    synced: BTreeMap<String, Rows>,
    /// Commits since the last sync, in order.
    written: Vec<Vec<Change>>,
    /// The number of syncs so far.
    syncs: u64,
}

type Change = (String, Bytes, Option<Bytes>);

#[derive(Debug, thiserror::Error)]
#[error("the power was cut")]
struct Cut;

impl Power {
    /// An empty database, and its power.
    #[must_use]
    pub fn supply() -> (Database, Self) {
        Self::over(BTreeMap::new())
    }

    fn over(tables: BTreeMap<String, Rows>) -> (Database, Self) {
        let state = State { synced: tables.clone(), ..State::default() };
        let power = Self { state: Arc::new(Mutex::new(state)), supply: Arc::new(watch::Sender::new(Supply::On)) };
        (Database::of_memory(Memory::new(tables, Some(power.clone()))), power)
    }

    /// Delays syncs until [`Power::resume`].
    pub fn hold(&self) {
        self.supply.send_replace(Supply::Held);
    }

    /// Lets syncs go on.
    pub fn resume(&self) {
        self.supply.send_replace(Supply::On);
    }

    /// Commits that were written and are not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().written.len()
    }

    /// The number of syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Cuts the power: the old database fails from now on. The new one holds everything that was synced, and the first
    /// `lucky` commits that were only written. (All of them: the process died and the power stayed.)
    #[must_use]
    pub fn cut(&self, lucky: usize) -> (Database, Self) {
        let mut state = self.lock();
        self.supply.send_replace(Supply::Off);
        let mut tables = std::mem::take(&mut state.synced);
        for change in std::mem::take(&mut state.written).into_iter().take(lucky).flatten() {
            put(&mut tables, change);
        }
        Self::over(tables)
    }

    pub(crate) async fn commit(&self, batch: Batch, durability: Durability) -> Result<(), KvError> {
        let mut supply = self.supply.subscribe();
        {
            let mut state = self.lock();
            if *supply.borrow() == Supply::Off {
                return Err(KvError::Engine(Box::new(Cut)));
            }
            state.written.push(changes(&batch));
        }
        if durability == Durability::Power {
            let goes = supply.wait_for(|supply| *supply != Supply::Held).await.map(|supply| *supply);
            let mut state = self.lock();
            // Checked again under the lock: the cut may have come in between.
            if goes.is_err() || *self.supply.borrow() == Supply::Off {
                return Err(KvError::Engine(Box::new(Cut)));
            }
            let State { synced, written, syncs } = &mut *state;
            written.drain(..).flatten().for_each(|change| put(synced, change));
            *syncs += 1;
        }
        memory::apply(batch);
        Ok(())
    }

    pub(crate) fn remove_table(&self, name: &str) {
        let mut state = self.lock();
        state.synced.remove(name);
        state.written.iter_mut().for_each(|batch| batch.retain(|(table, ..)| table != name));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changes(batch: &Batch) -> Vec<Change> {
    let change = |(table, key, value): &(crate::Table, Bytes, Option<Bytes>)| {
        let Inner::Memory(table) = &table.inner else { unreachable!("a batch holds tables of one database") };
        (table.name().to_owned(), key.clone(), value.clone())
    };
    batch.changes.iter().map(change).collect()
}

fn put(tables: &mut BTreeMap<String, Rows>, (table, key, value): Change) {
    let rows = tables.entry(table).or_default();
    match value {
        Some(value) => drop(rows.insert(key, value)),
        None => drop(rows.remove(&key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(database: &Database, key: u8) -> (Batch, impl Fn() -> bool) {
        let table = database.table("t").unwrap();
        let mut batch = Batch::default();
        batch.put(&table, vec![key], vec![key]);
        (batch, move || table.get(&[key]).unwrap().is_some())
    }

    #[tokio::test]
    async fn a_cut_takes_what_was_not_synced_from_the_end() {
        let (database, power) = Power::supply();
        for (key, durability) in [(1, Durability::Power), (2, Durability::Process), (3, Durability::Process)] {
            let (batch, seen) = row(&database, key);
            database.commit(batch, durability).await.unwrap();
            assert!(seen());
        }
        assert_eq!((power.syncs(), power.unsynced()), (1, 2));
        let (after, power) = power.cut(1);
        assert_eq!([1, 2, 3].map(|key| row(&after, key).1()), [true, true, false]);
        assert!(database.commit(row(&database, 4).0, Durability::Process).await.is_err(), "the old one is dead");
        let (after, _) = power.cut(0);
        assert_eq!([1, 2, 3].map(|key| row(&after, key).1()), [true, true, false], "what came up is durable");
    }

    #[tokio::test]
    async fn a_held_sync_is_not_seen_and_fails_when_the_power_goes() {
        let (database, power) = Power::supply();
        power.hold();
        let (batch, seen) = row(&database, 1);
        let committing = tokio::spawn({
            let database = database.clone();
            async move { database.commit(batch, Durability::Power).await }
        });
        while power.unsynced() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!seen());
        let (after, _) = power.cut(0);
        assert!(committing.await.unwrap().is_err());
        assert!(!row(&after, 1).1());
    }
}
