//! Compares every row of two incarnations while both change.
//!
//! First all served rows of each table are looked up beside, then those beside in the served ones (they must all be
//! there: the rows beside are never further). Rows that change meanwhile are kept and compared again, each time
//! after the rows beside were brought up, until they agree or differ for good. The comparison is exact: it allows no
//! difference because of time, and takes no samples.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ConversationId;
use eventlog::partition_of_id;
use events::topics::{MESSAGES, spec_of};
use sha2::{Digest as _, Sha256};
use store::tables::{self, Table};
use store::{SharedStore, Source, StoreError, Value};
use tokio_util::sync::CancellationToken;

use super::row::{Row, Verdict, verdict};
use super::{Engines, Pair};
use crate::OpsError;

/// The most changing rows that are kept to be compared again. With more, the comparison fails: rows change faster
/// than it can follow.
const ON_THEIR_WAY_MAX: usize = 100_000;
/// How often changing rows are compared again.
const LOOKS_MAX: u32 = 20;
/// The time between two comparisons.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A monotone cell that differs although its row has not changed for so many comparisons counts as different.
const RESTED_LOOKS: u32 = 4;
/// Rows that are looked up at once.
const LOOKED_UP: usize = 512;
/// The most differences that are described.
const EXAMPLES_MAX: usize = 20;

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// The number of served rows of each table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Rows that differ, or exist in one incarnation only.
    pub different: u64,
    /// Descriptions of some of them: table, key and names of cells, never values.
    pub examples: Vec<String>,
    /// Rows that changed at every comparison; the cells that both incarnations have applied are the same.
    pub changing: u64,
}

impl Compared {
    fn differs(&mut self, table: &Table, key: &[Value], what: &str) {
        self.different += 1;
        if self.examples.len() < EXAMPLES_MAX {
            let key: Vec<String> = key.iter().map(shown).collect();
            self.examples.push(format!("{} {}: {what}", table.name, key.join(" ")));
        }
    }
}

/// A row that changes, to be compared again.
struct ChangingRow {
    table: &'static Table,
    key: Vec<Value>,
    /// The digest of the served row at the last comparison: the rows themselves would take too much memory.
    served: [u8; 32],
    /// The number of comparisons for which it has not changed.
    rested: u32,
}

/// Compares every row, and brings the rows beside up as needed. Calls `progress` after each page, with the table and
/// the number of rows so far.
///
/// # Errors
/// When log or store cannot be read, too many rows change, or `stop` is cancelled.
pub async fn compare(
    engines: &Engines,
    pair: &Pair,
    stop: &CancellationToken,
    mut progress: impl FnMut(&str, u64),
) -> Result<Compared, OpsError> {
    pair.bring_up(engines, stop, &mut |_| {}).await?;
    let (mut compared, mut changing) = (Compared::default(), Vec::new());
    let as_of = AsOf::of(&pair.beside).await?;
    for table in tables::ALL {
        let (mut rows, mut after) = (0, None);
        loop {
            stopped(stop)?;
            let (page, next) = pair.served.scan(table.name, after).await?;
            rows += page.len() as u64;
            look(pair, table, page, &as_of, &mut compared, &mut changing).await?;
            progress(table.name, rows);
            if next.is_none() {
                break;
            }
            after = next;
        }
        compared.rows.insert(table.name, rows);
        extra(pair, table, stop, &mut compared).await?;
    }
    settle(engines, pair, stop, changing, &mut compared).await?;
    Ok(compared)
}

/// Compares a page of served rows with those beside.
async fn look(
    pair: &Pair,
    table: &'static Table,
    page: Vec<Vec<u8>>,
    as_of: &AsOf,
    compared: &mut Compared,
    changing: &mut Vec<ChangingRow>,
) -> Result<(), OpsError> {
    let keys: Vec<Vec<Value>> = page.iter().map(|row| Row::read(row)?.key(table)).collect::<Result<_, _>>()?;
    let mut beside = Vec::with_capacity(keys.len());
    for keys in keys.chunks(LOOKED_UP) {
        beside.extend(pair.beside.rows(table.name, keys).await?);
    }
    for ((served, key), beside) in page.into_iter().zip(keys).zip(beside) {
        match verdict(table, &served, beside.as_deref(), as_of.of_row(table, &key)?)? {
            Verdict::Same => {}
            Verdict::OnItsWay => changing.push(ChangingRow { table, key, served: digest(&served), rested: 0 }),
            Verdict::Differs(cells) => compared.differs(table, &key, &in_words(beside.is_some(), &cells)),
        }
    }
    if changing.len() > ON_THEIR_WAY_MAX {
        let words = "more rows change than can be compared: try again when less is written".to_owned();
        return Err(OpsError::Busy(words));
    }
    Ok(())
}

fn in_words(is_beside: bool, cells: &[&str]) -> String {
    if is_beside { format!("{} differ", cells.join(", ")) } else { "only in the served rows".to_owned() }
}

/// Looks for rows beside that are not served: the rows beside are never further, so there must be none.
async fn extra(
    pair: &Pair,
    table: &'static Table,
    stop: &CancellationToken,
    compared: &mut Compared,
) -> Result<(), OpsError> {
    let mut after = None;
    loop {
        stopped(stop)?;
        let (page, next) = pair.beside.scan(table.name, after).await?;
        let keys: Vec<Vec<Value>> = page.iter().map(|row| Row::read(row)?.key(table)).collect::<Result<_, _>>()?;
        for keys in keys.chunks(LOOKED_UP) {
            let served = pair.served.rows(table.name, keys).await?;
            for (key, _) in keys.iter().zip(served).filter(|(_, served)| served.is_none()) {
                compared.differs(table, key, "not in the served rows");
            }
        }
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

/// Compares changing rows until they agree, or differ for good.
async fn settle(
    engines: &Engines,
    pair: &Pair,
    stop: &CancellationToken,
    mut changing: Vec<ChangingRow>,
    compared: &mut Compared,
) -> Result<(), OpsError> {
    for _ in 0..LOOKS_MAX {
        if changing.is_empty() {
            return Ok(());
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return stopped(stop);
        }
        pair.bring_up(engines, stop, &mut |_| {}).await?;
        let as_of = AsOf::of(&pair.beside).await?;
        let mut still = Vec::new();
        for row in changing {
            still.extend(look_again(pair, row, &as_of, compared).await?);
        }
        changing = still;
    }
    compared.changing = changing.len() as u64;
    Ok(())
}

/// Compares a row again; `None` when the result is final.
async fn look_again(
    pair: &Pair,
    row: ChangingRow,
    as_of: &AsOf,
    compared: &mut Compared,
) -> Result<Option<ChangingRow>, OpsError> {
    let ChangingRow { table, key, served: before, rested } = row;
    let keys = std::slice::from_ref(&key);
    let served = pair.served.rows(table.name, keys).await?.pop().flatten();
    let beside = pair.beside.rows(table.name, keys).await?.pop().flatten();
    let Some(served) = served else {
        compared.differs(table, &key, "gone from the served rows");
        return Ok(None);
    };
    let now = digest(&served);
    let rested = if now == before { rested + 1 } else { 0 };
    match verdict(table, &served, beside.as_deref(), as_of.of_row(table, &key)?)? {
        Verdict::Same => Ok(None),
        // The rows beside were brought up since the row last changed, so it must be equal by now.
        Verdict::OnItsWay if rested >= RESTED_LOOKS => {
            compared.differs(table, &key, "differs although it rests");
            Ok(None)
        }
        Verdict::OnItsWay => Ok(Some(ChangingRow { table, key, served: now, rested })),
        Verdict::Differs(cells) => {
            compared.differs(table, &key, &in_words(beside.is_some(), &cells));
            Ok(None)
        }
    }
}

/// The last applied seq of the rows beside, by partition of `chat.messages`.
struct AsOf(Vec<i64>);

impl AsOf {
    async fn of(beside: &SharedStore) -> Result<Self, OpsError> {
        let mut all = Vec::new();
        for partition in 0..spec_of(MESSAGES).partitions {
            let applied = beside.applied(Source { topic: MESSAGES, partition }).await?;
            all.push(applied.map_or(-1, |applied| applied.seq.timestamp()));
        }
        Ok(Self(all))
    }

    /// The seq up to which the row with this key is applied: every row names its conversation.
    fn of_row(&self, table: &Table, key: &[Value]) -> Result<i64, StoreError> {
        let named = table.key().zip(key).find(|(column, _)| column.name == "conversation");
        let conversation = match named {
            Some((_, Value::Uuid(uuid))) => ConversationId::try_from(*uuid).ok(),
            _ => None,
        };
        let of = |id: ConversationId| partition_of_id(id.uuid(), spec_of(MESSAGES).partitions);
        let partition = conversation.and_then(|id| usize::try_from(of(id)).ok());
        let as_of = partition.and_then(|partition| self.0.get(partition)).copied();
        as_of.ok_or_else(|| StoreError::Broken(format!("a row of {} names no conversation", table.name).into()))
    }
}

fn stopped(stop: &CancellationToken) -> Result<(), OpsError> {
    if stop.is_cancelled() { Err(OpsError::stopped()) } else { Ok(()) }
}

fn digest(row: &[u8]) -> [u8; 32] {
    Sha256::digest(row).into()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Uuid(uuid) => uuid.to_string(),
        Value::Bigint(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
