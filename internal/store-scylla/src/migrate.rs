//! Creates the tables. Idempotent, and can be resumed after a crash at any point.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use scylla::client::session::Session;
use scylla::statement::Statement;
use store::{Beside, Incarnations, Stage, StoreError};

use crate::config::{Keyspace, ScyllaConfig};
use crate::cql::{plain, unreadable};
use crate::error::{Sorted, of_agreement};
use crate::lease::Lease;
use crate::migrations::{BASE, DERIVED, Migration, added_column};
use crate::{incarnation, session};

/// A table is created on every node, which is slow and rare.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of the row which records that this store began to create a keyspace. Like the numbers below 0, it is
/// no migration.
const BEGUN: i32 = 0;
/// The number of the row which records that an incarnation was dropped: its keyspace is gone, or about to be
/// dropped.
const DROPPED: i32 = -1;
/// The number of the row which records that an incarnation was current once.
const LEFT: i32 = -2;

/// The result of [`migrate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The current incarnation.
    pub incarnation: u32,
    /// Whether it was made by this call.
    pub minted: bool,
    /// The migrations that this call applied, with their keyspaces.
    pub applied: Vec<String>,
    /// Deviations from the configuration, in words.
    pub notes: Vec<String>,
}

/// Creates keyspaces, tables and the first incarnation. Existing ones are not changed.
///
/// # Errors
/// [`StoreError::Transient`] when the server does not answer or another migration runs: call again.
/// [`StoreError::Broken`] when a migration was edited after it was applied, or the keyspace of an incarnation
/// belongs to another store.
pub async fn migrate(config: &ScyllaConfig) -> Result<Report, StoreError> {
    let session = session::connect(config).await?;
    let keyspace = &config.keyspace;
    let mut schema = Schema { session: &session, config, applied: Vec::new() };
    schema.create_keyspace(keyspace.name(), schema.without_tablets().await?).await?;
    // The tables that record the applied migrations; they may exist already.
    schema.run(&BASE[0], keyspace.name()).await?;
    let lease = Lease::take(&session, keyspace).await?;
    let outcome = schema.bring_up(&lease).await;
    lease.give_back().await;
    let (incarnation, minted) = outcome?;
    let mut notes = Vec::new();
    for made in [keyspace.name().to_owned(), keyspace.incarnation(incarnation)] {
        notes.extend(schema.replication_note(&made).await?);
    }
    Ok(Report { incarnation, minted, applied: schema.applied, notes })
}

/// Makes the next incarnation and, with `to_it`, makes it current. Returns its number.
pub(crate) async fn make(session: &Session, config: &ScyllaConfig, to_it: bool) -> Result<u32, StoreError> {
    let lease = Lease::take(session, &config.keyspace).await?;
    let mut schema = Schema { session, config, applied: Vec::new() };
    let outcome = schema.next(&lease, to_it).await;
    lease.give_back().await;
    outcome
}

/// Drops the keyspace of an incarnation.
pub(crate) async fn remove(session: &Session, config: &ScyllaConfig, number: u32) -> Result<(), StoreError> {
    let lease = Lease::take(session, &config.keyspace).await?;
    let schema = Schema { session, config, applied: Vec::new() };
    let target = config.keyspace.incarnation(number);
    // Record this first: a crash in between leaves a keyspace that does not count as an incarnation.
    let outcome = match schema.record(&target, DROPPED, "dropped", &[]).await {
        Ok(()) => schema.change(format!("DROP KEYSPACE IF EXISTS {target}")).await,
        Err(error) => Err(error),
    };
    lease.give_back().await;
    outcome
}

/// The current incarnation, and the others that were made and not dropped.
pub(crate) async fn all(session: &Session, keyspace: &Keyspace) -> Result<Incarnations, StoreError> {
    let current = incarnation::read(session, keyspace).await?;
    let current = current.ok_or_else(|| StoreError::NotMigrated("no incarnation was made".to_owned()))?;
    let marks = marks(session, keyspace).await?;
    let beside = marks.into_iter().filter_map(|(number, marks)| {
        let last = DERIVED.last().map_or(BEGUN, |migration| migration.number);
        let complete = marks.contains(&last) && !marks.contains(&DROPPED);
        let served = number < current || marks.contains(&LEFT);
        let stage = if served { Stage::Served } else { Stage::Building };
        (number != current && complete).then_some(Beside { number, stage })
    });
    Ok(Incarnations { current, beside: beside.collect() })
}

/// Records that an incarnation has been current, before another one becomes current.
pub(crate) async fn mark_left(session: &Session, config: &ScyllaConfig, number: u32) -> Result<(), StoreError> {
    let schema = Schema { session, config, applied: Vec::new() };
    schema.record(&config.keyspace.incarnation(number), LEFT, "left", &[]).await
}

/// The current incarnation, if all migrations that this program needs were applied.
pub(crate) async fn check(session: &Session, keyspace: &Keyspace) -> Result<u32, StoreError> {
    let current = incarnation::read(session, keyspace).await?;
    let current = current.ok_or_else(|| StoreError::NotMigrated("no incarnation was made".to_owned()))?;
    check_at(session, keyspace, current).await?;
    Ok(current)
}

/// Checks that all migrations that this program needs were applied to the base keyspace and to that incarnation.
pub(crate) async fn check_at(session: &Session, keyspace: &Keyspace, current: u32) -> Result<(), StoreError> {
    for (set, target) in [(&BASE[..], keyspace.name().to_owned()), (&DERIVED[..], keyspace.incarnation(current))] {
        let recorded = recorded(session, keyspace, &target).await?;
        for migration in set {
            match recorded.get(&migration.number) {
                Some(digest) if *digest == migration.digest() => {}
                Some(_) => return Err(StoreError::NotMigrated(edited(migration, &target))),
                None => {
                    let text = format!("migration {} was not applied to keyspace {target}", migration.name);
                    return Err(StoreError::NotMigrated(text));
                }
            }
        }
    }
    Ok(())
}

struct Schema<'a> {
    session: &'a Session,
    config: &'a ScyllaConfig,
    applied: Vec<String>,
}

impl Schema<'_> {
    async fn bring_up(&mut self, lease: &Lease<'_>) -> Result<(u32, bool), StoreError> {
        let keyspace = &self.config.keyspace;
        self.apply(&BASE, keyspace.name(), lease).await?;
        match incarnation::read(self.session, keyspace).await? {
            Some(current) => {
                self.apply(&DERIVED, &keyspace.incarnation(current), lease).await?;
                // The incarnations beside it, too, so that a switch back is possible after an upgrade.
                for Beside { number, .. } in all(self.session, keyspace).await?.beside {
                    self.apply(&DERIVED, &keyspace.incarnation(number), lease).await?;
                }
                Ok((current, false))
            }
            None => {
                self.make_tables(lease, 1).await?;
                self.advance(lease, None, 1).await?;
                Ok((1, true))
            }
        }
    }

    async fn next(&mut self, lease: &Lease<'_>, to_it: bool) -> Result<u32, StoreError> {
        let keyspace = &self.config.keyspace;
        let current = incarnation::read(self.session, keyspace).await?;
        let current = current.ok_or_else(|| StoreError::NotMigrated("no incarnation was made".to_owned()))?;
        let made = marks(self.session, keyspace).await?;
        // An interrupted incarnation is completed; numbers are never reused.
        let last = made.keys().copied().max().unwrap_or(0).max(current);
        let begun = |marks: &BTreeSet<i32>| marks.iter().all(|mark| *mark == BEGUN);
        let to = if last > current && made.get(&last).is_some_and(begun) { last } else { last + 1 };
        self.make_tables(lease, to).await?;
        if to_it {
            self.advance(lease, Some(current), to).await?;
        }
        Ok(to)
    }

    /// Creates an incarnation's tables, before its number is published.
    async fn make_tables(&mut self, lease: &Lease<'_>, to: u32) -> Result<(), StoreError> {
        let keyspace = &self.config.keyspace;
        let target = keyspace.incarnation(to);
        if !recorded(self.session, keyspace, &target).await?.contains_key(&BEGUN) {
            if self.replication(&target).await?.is_some() {
                let text = format!("keyspace {target} exists, but this store never made it: drop it if it is nobody's");
                return Err(StoreError::Broken(text.into()));
            }
            self.record(&target, BEGUN, "begun", &[]).await?;
        }
        lease.renew().await?;
        self.create_keyspace(&target, "").await?;
        self.apply(&DERIVED, &target, lease).await
    }

    async fn advance(&self, lease: &Lease<'_>, from: Option<u32>, to: u32) -> Result<(), StoreError> {
        lease.renew().await?;
        if !incarnation::advance(self.session, &self.config.keyspace, from, to).await? {
            return Err(StoreError::Transient("another incarnation became current meanwhile".into()));
        }
        tracing::info!(incarnation = to, "the store has a new incarnation");
        Ok(())
    }

    async fn apply(&mut self, set: &[Migration], target: &str, lease: &Lease<'_>) -> Result<(), StoreError> {
        let recorded = recorded(self.session, &self.config.keyspace, target).await?;
        for migration in set {
            let digest = migration.digest();
            match recorded.get(&migration.number) {
                Some(applied) if *applied == digest => continue,
                Some(_) => return Err(StoreError::Broken(edited(migration, target).into())),
                None => {}
            }
            lease.renew().await?;
            self.run(migration, target).await?;
            self.record(target, migration.number, migration.name, &digest).await?;
            self.applied.push(format!("{} in {target}", migration.name));
        }
        Ok(())
    }

    async fn run(&self, migration: &Migration, target: &str) -> Result<(), StoreError> {
        for statement in migration.statements(target) {
            // Not every server supports ADD IF NOT EXISTS, and a migration may have died after its statement.
            let added = added_column(&statement).map(|(table, column)| (table.to_owned(), column.to_owned()));
            match added {
                Some((table, column)) if self.has_column(target, &table, &column).await? => {}
                _ => self.change(statement).await?,
            }
        }
        self.agree().await
    }

    async fn has_column(&self, keyspace: &str, table: &str, column: &str) -> Result<bool, StoreError> {
        let text = "SELECT type FROM system_schema.columns \
                    WHERE keyspace_name = ? AND table_name = ? AND column_name = ?";
        let result = self.session.query_unpaged(text, (keyspace, table, column)).await.map_err(plain)?;
        Ok(result.into_rows_result().map_err(unreadable)?.rows_num() > 0)
    }

    /// Without tablets where the server has them: for a long time they did not support lightweight transactions.
    async fn without_tablets(&self) -> Result<&'static str, StoreError> {
        let text = "SELECT table_name FROM system_schema.tables \
                    WHERE keyspace_name = 'system_schema' AND table_name = 'scylla_keyspaces'";
        let rows = self.session.query_unpaged(text, ()).await.map_err(plain)?.into_rows_result().map_err(unreadable)?;
        Ok(if rows.rows_num() > 0 { " AND tablets = {'enabled': false}" } else { "" })
    }

    async fn create_keyspace(&self, name: &str, options: &str) -> Result<(), StoreError> {
        let copies = self.config.replication_factor;
        self.change(format!(
            "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'replication_factor': {copies}}}{options}"
        ))
        .await
    }

    /// Makes one change of the schema. The driver returns when every node has it.
    async fn change(&self, text: String) -> Result<(), StoreError> {
        let mut statement = Statement::new(text);
        statement.set_is_idempotent(true); // with IF NOT EXISTS, or checked before
        statement.set_request_timeout(Some(SCHEMA_TIMEOUT));
        self.session.query_unpaged(statement, ()).await.map(drop).map_err(plain)
    }

    /// Waits until all nodes agree: an existing table may be from a migration that died before every node had it.
    async fn agree(&self) -> Result<(), StoreError> {
        match self.session.await_schema_agreement().await {
            Ok(_) => Ok(()),
            Err(error) if of_agreement(&error) == Sorted::Transient => Err(StoreError::Transient(Box::new(error))),
            Err(error) => Err(StoreError::Broken(Box::new(error))),
        }
    }

    async fn record(&self, target: &str, number: i32, name: &str, digest: &[u8]) -> Result<(), StoreError> {
        let text = format!(
            "INSERT INTO {}.schema_migrations (keyspace_name, number, name, digest) VALUES (?, ?, ?, ?)",
            self.config.keyspace.name()
        );
        self.session.query_unpaged(text, (target, number, name, digest)).await.map_err(plain)?;
        Ok(())
    }

    /// The replication of a keyspace; `None` when it does not exist.
    async fn replication(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let result = self.session.query_unpaged(text, (name,)).await.map_err(plain)?;
        let rows = result.into_rows_result().map_err(unreadable)?;
        let row = rows.maybe_first_row::<(BTreeMap<String, String>,)>().map_err(unreadable)?;
        Ok(row.map(|(replication,)| replication))
    }

    async fn replication_note(&self, name: &str) -> Result<Option<String>, StoreError> {
        let wanted = self.config.replication_factor.to_string();
        let replication = self.replication(name).await?.unwrap_or_default();
        let factors = replication.iter().filter(|(key, _)| *key != "class");
        let others: Vec<String> = factors
            .filter(|(_, factor)| **factor != wanted)
            .map(|(datacenter, factor)| format!("{factor} in {datacenter}"))
            .collect();
        let text = || format!("keyspace {name} keeps {} copies, {wanted} are configured", others.join(", "));
        Ok((!others.is_empty()).then(text))
    }
}

/// The digests of the migrations that were applied to a keyspace, by number.
async fn recorded(session: &Session, keyspace: &Keyspace, target: &str) -> Result<BTreeMap<i32, Vec<u8>>, StoreError> {
    let text = format!("SELECT number, digest FROM {}.schema_migrations WHERE keyspace_name = ?", keyspace.name());
    let rows = session.query_unpaged(text, (target,)).await.map_err(plain)?.into_rows_result().map_err(unreadable)?;
    rows.rows::<(i32, Vec<u8>)>().map_err(unreadable)?.map(|row| row.map_err(unreadable)).collect()
}

/// The recorded stages of each incarnation ever made, by number.
async fn marks(session: &Session, keyspace: &Keyspace) -> Result<BTreeMap<u32, BTreeSet<i32>>, StoreError> {
    // Reads all of a small table: a few rows for each keyspace.
    let text = format!("SELECT keyspace_name, number FROM {}.schema_migrations", keyspace.name());
    let rows = session.query_unpaged(text, ()).await.map_err(plain)?.into_rows_result().map_err(unreadable)?;
    let mut marks: BTreeMap<u32, BTreeSet<i32>> = BTreeMap::new();
    for row in rows.rows::<(String, i32)>().map_err(unreadable)? {
        let (target, mark) = row.map_err(unreadable)?;
        if let Some(number) = keyspace.number_of(&target) {
            marks.entry(number).or_default().insert(mark);
        }
    }
    Ok(marks)
}

fn edited(migration: &Migration, target: &str) -> String {
    format!("keyspace {target} was made by another text of migration {}", migration.name)
}
