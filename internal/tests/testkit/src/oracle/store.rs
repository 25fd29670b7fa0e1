//! Compares the store's rows with those of a replay of the log into an empty store, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use domain::RULES_TRIAL;
use environment::{Clock, Entropy};
use eventlog::SharedLog;
use events::Codec;
use events::topics::{MESSAGES, RECEIPTS, spec_of};
use process::Metrics;
use storage::{Deps, StorageMetrics};
use store::embedded::EmbeddedStore;
use store::{SharedStore, canonical};
use tokio_util::sync::CancellationToken;

use super::again::again;
use super::verdict::{Fault, Verdict};

/// Rows of each log-derived table, as canonical bytes.
pub type Rows = BTreeMap<&'static str, BTreeSet<Vec<u8>>>;

/// Reads every row of every log-derived table.
///
/// # Errors
/// When the store cannot be read.
pub async fn rows(store: &SharedStore) -> Result<Rows> {
    let mut tables = Rows::new();
    for table in store.derived_tables() {
        let (mut rows, mut after) = (BTreeSet::new(), None);
        loop {
            let what = format!("reading {table}");
            let (page, next) = again(&what, async || store.scan(table, after.clone()).await).await?;
            rows.extend(page);
            if next.is_none() {
                break;
            }
            after = next;
        }
        tables.insert(table, rows);
    }
    Ok(tables)
}

/// The rows of a replay into an empty store; events that `beside` notes as dropped are dropped here, too.
///
/// # Errors
/// When the log cannot be read.
pub async fn replayed(log: &SharedLog, codec: &Codec, beside: &SharedStore) -> Result<Rows> {
    let store: SharedStore = EmbeddedStore::open(kv::Database::in_memory(), Clock::system()).await?;
    for partition in 0..spec_of(MESSAGES).partitions {
        for dropped in again("dropped events", || beside.drops(partition)).await? {
            store.put_drop(partition, &dropped).await?;
        }
    }
    let (metrics, entropy) = (StorageMetrics::new(&Metrics::new()), Entropy::system());
    let deps = Deps::new(Arc::clone(log), Arc::clone(&store), codec.clone(), entropy, metrics);
    // The oracle judges events of all versions of the rules, trial versions included.
    let deps = Arc::new(Deps { rules_newest: RULES_TRIAL, ..deps });
    for partition in 0..spec_of(MESSAGES).partitions {
        let to = log.watermarks(MESSAGES, partition).await?.next;
        storage::replay(Arc::clone(&deps), partition, 0, to, CancellationToken::new(), |_| {}).await?;
    }
    for partition in 0..spec_of(RECEIPTS).partitions {
        let to = log.watermarks(RECEIPTS, partition).await?.next;
        storage::replay_marks(Arc::clone(&deps), partition, 0, to, CancellationToken::new(), |_| {}).await?;
    }
    let rows = rows(&store).await?;
    store.close().await;
    Ok(rows)
}

/// Compares a store with a replay of its log.
///
/// # Errors
/// When either cannot be read.
pub async fn check_store(log: &SharedLog, codec: &Codec, store: &SharedStore) -> Result<Verdict> {
    let (found, expected) = (rows(store).await?, replayed(log, codec, store).await?);
    let mut verdict = Verdict::default();
    for (table, expected) in &expected {
        let found = &found[table];
        verdict.compared("rows", expected.len());
        for row in expected.difference(found) {
            verdict.fault(Fault::StoreDiffers, || format!("{table} lacks {}", words(row)));
        }
        for row in found.difference(expected) {
            verdict.fault(Fault::StoreDiffers, || format!("{table} has {}", words(row)));
        }
    }
    Ok(verdict)
}

/// A row in readable form.
fn words(row: &[u8]) -> String {
    let columns = canonical::decode(row).unwrap_or_default();
    let value = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() > 8 && !text.contains('\0') => format!("{text:?}"),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let words = columns.iter().map(|(name, part)| match part {
        canonical::Part::Key(bytes) => format!("{name}: {}", value(bytes)),
        canonical::Part::Cell { value: bytes, timestamp } => format!("{name}: {} @{timestamp}", value(bytes)),
    });
    words.collect::<Vec<_>>().join(", ")
}
