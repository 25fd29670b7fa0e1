//! The topics of the embedded log, with the watermarks of each partition.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use environment::Latest;
use events::topics::{Lane, TopicSpec};
use kv::{Database, Table};
use serde::{Deserialize, Serialize};

use super::codec::{self, PartitionKey, Unreadable};
use super::recent::Recent;
use super::times::{self, Tail};
use crate::{LogError, Watermarks};

/// The tables of the log. Their names begin with `log/`: the database is shared with the store.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    /// The database of the tables.
    pub(super) database: Database,
    /// Topic name -> [`TopicRow`].
    pub(super) topics: Table,
    /// Partition and offset -> record.
    pub(super) records: Table,
    /// Partition, time and offset -> empty; see [`times`].
    pub(super) marks: Table,
    /// Partition -> the first offset that was not trimmed; 0 without a row.
    pub(super) lows: Table,
    /// Group, topic and partition -> commit.
    pub(super) commits: Table,
}

impl Tables {
    pub(super) fn open(database: Database) -> Result<Self, LogError> {
        let table = |name: &str| database.table(&format!("log/{name}")).map_err(broken);
        Ok(Self {
            topics: table("topics")?,
            records: table("records")?,
            marks: table("marks")?,
            lows: table("lows")?,
            commits: table("commits")?,
            database,
        })
    }
}

/// A topic as stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TopicRow {
    /// Identifies the topic in keys, in place of its name; ids are consecutive, in order of creation.
    pub(super) id: u16,
    pub(super) partitions: u16,
    pub(super) generation: u8,
    /// How long records are kept; `None` for ever.
    pub(super) retention_ms: Option<u64>,
    /// Whether records are only kept in memory. Rows written before lossy topics existed lack the field, which
    /// means `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) lossy: bool,
}

/// A topic and the watermarks of its partitions.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) row: TopicRow,
    pub(super) partitions: Vec<Partition>,
}

/// The readable range of a partition. Only the writer changes it, except in lossy topics.
#[derive(Debug)]
pub(super) struct Partition {
    /// The first offset that was not trimmed.
    pub(super) low: AtomicU64,
    /// The offset after the last durable record; in a lossy topic, after the last record.
    pub(super) durable: Latest<u64>,
    /// The newest records; in a lossy topic all there are, and appends change the other fields directly, without the
    /// writer.
    pub(super) recent: Recent,
}

impl TopicRow {
    pub(super) fn new(id: u16, spec: &TopicSpec) -> Result<Self, LogError> {
        let partitions = u16::try_from(spec.partitions).ok().filter(|count| *count > 0);
        Ok(Self {
            id,
            partitions: partitions.ok_or_else(|| broken(PartitionCount(spec.partitions)))?,
            generation: spec.generation,
            retention_ms: spec.retention.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            lossy: spec.lane == Lane::Lossy,
        })
    }

    pub(super) fn retention(&self) -> Option<Duration> {
        self.retention_ms.map(Duration::from_millis)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a topic of the embedded log has 1 to 65,535 partitions, not {0}")]
struct PartitionCount(u32);

impl Topic {
    /// A topic without records.
    pub(super) fn empty(name: String, row: TopicRow) -> Self {
        let partitions = (0..row.partitions).map(|_| Partition::new(0, 0)).collect();
        Self { name, row, partitions }
    }

    pub(super) fn key(&self, partition: u32) -> PartitionKey {
        // A `Topic` has at most 65,535 partitions, and callers have checked that it has this one.
        PartitionKey { topic: self.row.id, partition: u16::try_from(partition).unwrap_or(u16::MAX) }
    }

    pub(super) fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        self.partitions.get(partition as usize).ok_or_else(|| LogError::NoTopic(self.name.clone()))
    }
}

impl Partition {
    fn new(low: u64, durable: u64) -> Self {
        Self { low: AtomicU64::new(low), durable: Latest::new(durable), recent: Recent::default() }
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        // Load `low` first: it never passes an earlier value of `durable`, so `low <= next` holds.
        let low = self.low.load(Ordering::Acquire);
        Watermarks { low, next: self.durable.get() }
    }
}

/// All topics by name.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
}

impl Catalog {
    pub(super) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn add(&self, topic: Arc<Topic>) {
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(topic.name.clone(), topic);
    }

    /// The topics in order of their ids.
    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        let mut all: Vec<_> =
            self.topics.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        all.sort_by_key(|topic| topic.row.id);
        all
    }
}

/// Reads the catalog and the tail of each partition, by topic id.
pub(super) fn load(tables: &Tables) -> Result<(Catalog, Vec<Vec<Tail>>), LogError> {
    let mut rows = Vec::new();
    for (name, row) in tables.topics.scan(Bound::Unbounded, Bound::Unbounded, usize::MAX).map_err(broken)? {
        let name = String::from_utf8(name.to_vec()).map_err(|_| broken(Unreadable("topic")))?;
        rows.push((name, serde_json::from_slice::<TopicRow>(&row).map_err(|_| broken(Unreadable("topic")))?));
    }
    rows.sort_by_key(|(_, row)| row.id);
    let ids: BTreeSet<u16> = rows.iter().map(|(_, row)| row.id).collect();
    if ids.iter().copied().map(usize::from).ne(0..rows.len()) {
        return Err(broken(Unreadable("list of topics")));
    }
    let (catalog, mut tails) = (Catalog::default(), Vec::new());
    for (name, row) in rows {
        let (mut partitions, mut of_topic) = (Vec::new(), Vec::new());
        for partition in 0..row.partitions {
            let key = PartitionKey { topic: row.id, partition };
            let low = low_of(tables, key)?;
            let tail = times::load_tail(tables, key, low)?;
            partitions.push(Partition::new(low, tail.next));
            of_topic.push(tail);
        }
        catalog.add(Arc::new(Topic { name, row, partitions }));
        tails.push(of_topic);
    }
    Ok((catalog, tails))
}

fn low_of(tables: &Tables, key: PartitionKey) -> Result<u64, LogError> {
    match tables.lows.get(&key.bytes()).map_err(broken)? {
        None => Ok(0),
        Some(value) => Ok(u64::from_be_bytes(value[..].try_into().map_err(|_| broken(Unreadable("low watermark")))?)),
    }
}

/// At most `limit` records of the partition in `from..end`, as stored.
pub(super) fn scan(
    tables: &Tables,
    key: PartitionKey,
    from: u64,
    end: u64,
    limit: usize,
) -> Result<Vec<(u64, bytes::Bytes)>, LogError> {
    let (first, last) = (key.record(from), key.record(end));
    let pairs = tables.records.scan(Bound::Included(&first), Bound::Excluded(&last), limit).map_err(broken)?;
    pairs.into_iter().map(|(key, value)| Ok((codec::offset_of(&key).map_err(broken)?, value))).collect()
}

/// Wraps an error that a retry will not mend.
pub(super) fn broken(error: impl std::error::Error + Send + Sync + 'static) -> LogError {
    LogError::Broken(Box::new(error))
}
