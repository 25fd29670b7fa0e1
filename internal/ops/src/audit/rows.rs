//! Rows: compares the cells that a portion of events must have written with those in the store.
//!
//! The timestamp of a cell is the seq of the event that wrote it. A lower timestamp than expected means that the
//! write is missing; with the same timestamp the value must be the same; a higher one means that a later event has
//! overwritten the cell, which is then compared for that event.

use std::collections::{BTreeMap, BTreeSet};

use domain::{ConversationId, Seq};
use store::canonical::{self, Part};
use store::tables::{IDS, TIMELINE, Table};
use store::{Store, StoreError, Value};

use super::expected::{id_key, writes_of};
use super::judge::Judged;
use super::report::{Counts, Difference, Fault};

/// Rows read at once.
const ROWS_AT_ONCE: usize = 256;
/// The one cell whose timestamp is no seq: a monotone cell, whose timestamp is its value.
const MONOTONE: &str = "newest_stamp";

/// The rows that a portion of one partition's events must have written.
#[derive(Debug, Default)]
pub(super) struct ExpectedRows {
    /// The rows by table and bytes of the key.
    rows: BTreeMap<(&'static str, Vec<u8>), ExpectedRow>,
}

#[derive(Debug)]
pub(super) struct ExpectedRow {
    table: &'static Table,
    key: Vec<Value>,
    pub(super) conversation: ConversationId,
    /// The newest expected write of each cell.
    cells: BTreeMap<&'static str, Cell>,
    /// Refused events and repetitions, which must not have written to this row.
    never: BTreeSet<Seq>,
}

#[derive(Debug)]
struct Cell {
    timestamp: i64,
    value: Vec<u8>,
    /// The event.
    seq: Seq,
}

/// The ends of the portion and of the log, against which too high timestamps are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Horizon {
    pub(super) partition: u32,
    /// The seq after the last event judged.
    pub(super) judged: Seq,
    /// The end of the log: no cell can come from an event at or after it.
    pub(super) end: Seq,
}

impl ExpectedRows {
    pub(super) fn add(&mut self, judged: &Judged) {
        let Judged { event, appended, effects } = judged;
        for write in writes_of(event, *appended, effects) {
            let row = self.row(write.table, write.key, event.conversation);
            for (name, value) in write.cells {
                let cell = Cell { timestamp: write.timestamp, value: value.to_bytes(), seq: appended.seq };
                // As in the store: the later write wins; with equal timestamps, the larger bytes.
                let stands = |old: &Cell| (old.timestamp, &old.value) >= (cell.timestamp, &cell.value);
                if !row.cells.get(name).is_some_and(stands) {
                    row.cells.insert(name, cell);
                }
            }
        }
        if effects.changes.is_empty() {
            let row = self.row(&IDS, id_key(event, event.id), event.conversation);
            row.never.insert(appended.seq);
        }
    }

    fn row(&mut self, table: &'static Table, key: Vec<Value>, conversation: ConversationId) -> &mut ExpectedRow {
        let bytes = key.iter().flat_map(Value::to_bytes).collect();
        self.rows.entry((table.name, bytes)).or_insert_with(|| ExpectedRow {
            table,
            key,
            conversation,
            cells: BTreeMap::new(),
            never: BTreeSet::new(),
        })
    }

    /// The seqs of the timeline entries of a conversation that are expected.
    pub(super) fn entries(&self, conversation: ConversationId) -> BTreeSet<Seq> {
        let rows = self.rows.range((TIMELINE.name, conversation.as_bytes().to_vec())..);
        let rows = rows.take_while(|((table, _), row)| *table == TIMELINE.name && row.conversation == conversation);
        rows.filter_map(|(_, row)| row.cells.get("id").map(|cell| cell.seq)).collect()
    }

    pub(super) fn into_rows(self) -> Vec<ExpectedRow> {
        self.rows.into_values().collect()
    }
}

/// Reads these rows and compares them. Returns those that differ, each with its difference.
pub(super) async fn compare(
    store: &dyn Store,
    rows: Vec<ExpectedRow>,
    horizon: Horizon,
    counts: &mut Counts,
) -> Result<Vec<(ExpectedRow, Difference)>, StoreError> {
    let mut differing = Vec::new();
    let mut tables: BTreeMap<&'static str, Vec<ExpectedRow>> = BTreeMap::new();
    for row in rows {
        tables.entry(row.table.name).or_default().push(row);
    }
    for (table, mut rows) in tables {
        while !rows.is_empty() {
            let some: Vec<ExpectedRow> = rows.drain(..rows.len().min(ROWS_AT_ONCE)).collect();
            let keys: Vec<Vec<Value>> = some.iter().map(|row| row.key.clone()).collect();
            let found = store.rows(table, &keys).await?;
            for (row, found) in some.into_iter().zip(found) {
                if let Some(difference) = row.differs(found.as_deref(), horizon, counts) {
                    differing.push((row, difference));
                }
            }
        }
    }
    Ok(differing)
}

type Found<'a> = BTreeMap<&'a str, (i64, &'a [u8])>;

impl ExpectedRow {
    fn differs(&self, found: Option<&[u8]>, horizon: Horizon, counts: &mut Counts) -> Option<Difference> {
        counts.rows += 1;
        counts.cells += self.cells.len() as u64;
        let Some(bytes) = found else {
            let seq = self.cells.values().map(|cell| cell.seq).min()?;
            return Some(self.difference(Fault::RowMissing, horizon, seq, "the row is not there".into()));
        };
        let columns = canonical::decode(bytes).unwrap_or_default();
        let cells: Found<'_> = columns
            .into_iter()
            .filter_map(|(name, part)| match part {
                Part::Cell { value, timestamp } => Some((name, (timestamp, value))),
                Part::Key(_) => None,
            })
            .collect();
        let mut wrong = Wrong::default();
        for (name, cell) in &self.cells {
            match cells.get(name) {
                None => wrong.missing(name, cell.seq),
                Some(stands) => match cell.fault(name, *stands, horizon) {
                    Some(words) => wrong.altered(cell.seq, words),
                    None => counts.overwritten += u64::from(stands.0 > cell.timestamp),
                },
            }
        }
        let written: BTreeSet<i64> = self.cells.values().map(|cell| cell.timestamp).collect();
        for (name, (timestamp, _)) in &cells {
            let seq = seq_of(*timestamp);
            if seq.is_some_and(|seq| self.never.contains(&seq)) {
                wrong
                    .unexpected(seq.unwrap_or_default(), format!("cell {name} was written by an event without effect"));
            } else if !self.cells.contains_key(name) && written.contains(timestamp) {
                wrong.altered(seq.unwrap_or_default(), format!("cell {name} must not be there"));
            } else if !self.cells.contains_key(name) && *timestamp >= horizon.end.timestamp() && *name != MONOTONE {
                let any = self.cells.values().map(|cell| cell.seq).min().unwrap_or_default();
                wrong.altered(any, format!("cell {name} has the timestamp {timestamp}, behind the end of the log"));
            }
        }
        let (fault, seq, words) = wrong.into_words()?;
        Some(self.difference(fault, horizon, seq, words))
    }

    fn difference(&self, fault: Fault, horizon: Horizon, seq: Seq, words: String) -> Difference {
        let mut difference = Difference::of(fault, horizon.partition, self.conversation, seq, words);
        difference.table = Some(self.table.name);
        difference.key = self.table.key().map(|column| column.name).zip(self.key.iter().map(text_of)).collect();
        difference
    }
}

impl Cell {
    /// What is wrong with the stored cell, if anything is.
    fn fault(&self, name: &str, (timestamp, value): (i64, &[u8]), horizon: Horizon) -> Option<String> {
        let lengths = || format!("({} bytes, not {})", value.len(), self.value.len());
        if name == MONOTONE {
            let own = value == timestamp.to_be_bytes();
            return (timestamp < self.timestamp || !own).then(|| format!("cell {name} is not at its newest value"));
        }
        match timestamp.cmp(&self.timestamp) {
            std::cmp::Ordering::Equal if value == self.value => None,
            std::cmp::Ordering::Equal => Some(format!("cell {name} says something else {}", lengths())),
            std::cmp::Ordering::Less => Some(format!("cell {name} is still that of timestamp {timestamp}")),
            _ if timestamp >= horizon.end.timestamp() => {
                Some(format!("cell {name} has the timestamp {timestamp}, behind the end of the log"))
            }
            _ if timestamp < horizon.judged.timestamp() => {
                Some(format!("cell {name} has the timestamp {timestamp} of an event that does not write it"))
            }
            _ => None,
        }
    }
}

/// The fault of one row.
#[derive(Default)]
struct Wrong {
    missing: Vec<String>,
    others: Vec<String>,
    unexpected: bool,
    /// The earliest event that is concerned.
    seq: Option<Seq>,
}

impl Wrong {
    fn missing(&mut self, name: &str, seq: Seq) {
        self.missing.push(name.to_owned());
        self.note(seq);
    }

    fn altered(&mut self, seq: Seq, words: String) {
        self.others.push(words);
        self.note(seq);
    }

    fn unexpected(&mut self, seq: Seq, words: String) {
        self.unexpected = true;
        self.altered(seq, words);
    }

    fn note(&mut self, seq: Seq) {
        self.seq = Some(self.seq.map_or(seq, |before| before.min(seq)));
    }

    fn into_words(mut self) -> Option<(Fault, Seq, String)> {
        let seq = self.seq?;
        let fault = match (self.missing.is_empty(), self.unexpected) {
            (false, _) => Fault::RowMissing,
            (true, true) => Fault::RowUnexpected,
            (true, false) => Fault::RowAltered,
        };
        if !self.missing.is_empty() {
            self.others.insert(0, format!("not there: {}", self.missing.join(", ")));
        }
        Some((fault, seq, self.others.join("; ")))
    }
}

fn seq_of(timestamp: i64) -> Option<Seq> {
    u64::try_from(timestamp).ok().and_then(|number| Seq::try_from(number).ok())
}

/// A key's value as text.
fn text_of(value: &Value) -> String {
    match value {
        Value::Uuid(uuid) => uuid.to_string(),
        Value::Bigint(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
