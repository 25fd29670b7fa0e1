//! Records before and after they are appended.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::Fingerprint;
use events::Header;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use crate::AppendError;

/// The cost of a header besides its name and bytes: its length fields.
const HEADER_COST: usize = 16;

/// A record to be appended. Debug output shows only the body's length, because the body may be what a user wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The partitioning key: the lower-case hyphenated text of an id.
    pub key: String,
    /// The partition; `None` to choose it by the key, with Kafka's default hash ([`crate::partition_of`]).
    pub partition: Option<u32>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The body.
    pub payload: Bytes,
}

impl NewRecord {
    /// The size by which logs bound a record: key, headers (with a small cost for each) and body.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_COST);
        self.key.len() + headers.sum::<usize>() + self.payload.len()
    }

    /// The record at that offset, appended at that time (milliseconds since the Unix epoch).
    pub(crate) fn at(self, offset: u64, append_time_ms: i64) -> Record {
        let Self { key, headers, payload, .. } = self;
        Record { offset, append_time_ms, key: Bytes::from(key), headers, payload }
    }
}

/// A record of the log. Debug output shows only the body's length, because the body may be what a user wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: u64,
    /// The log's time of the append, milliseconds since the Unix epoch. It may run backwards after a failover.
    pub append_time_ms: i64,
    /// The partitioning key.
    pub key: Bytes,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The body.
    pub payload: Bytes,
}

impl Record {
    /// A digest of the record's offset, append time, key, headers and body. Every reader computes the same one; a
    /// record at the same offset of a re-created topic has another one. It is no defence against somebody who may
    /// write to the topic.
    ///
    /// It is the XXH3-64 of five numbers of eight bytes, big-endian: offset, append time, and the digests of key,
    /// headers and body. The headers' is 0 for none; each one makes a new one of three: the last, and those of its
    /// name and value.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let header = |digest, (name, value): &Header| digest_of([digest, xxh3_64(name.as_bytes()), xxh3_64(value)]);
        let headers = self.headers.iter().fold(0, header);
        let (key, payload) = (xxh3_64(&self.key), xxh3_64(&self.payload));
        Fingerprint(digest_of([self.offset, self.append_time_ms.cast_unsigned(), key, headers, payload]))
    }

    /// Whether `fingerprint` is this record's, or was it in a version before XXH3: stores and groups remember where they
    /// stood. Devices do not get this grace: one with an old cursor syncs once. Nor does a program before XXH3 believe a
    /// new position: consumers are upgraded together.
    #[must_use]
    pub fn has(&self, fingerprint: Fingerprint) -> bool {
        self.fingerprint() == fingerprint || self.old_fingerprint() == fingerprint
    }

    /// The fingerprint as it was at first: the beginning of a SHA-256.
    fn old_fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(self.offset.to_be_bytes());
        hash.update(self.append_time_ms.to_be_bytes());
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(&self.key);
        for (name, value) in &self.headers {
            part(name.as_bytes());
            part(value);
        }
        part(&self.payload);
        let digest = hash.finalize();
        Fingerprint(digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The value of the first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| &value[..])
    }
}

fn digest_of<const N: usize>(numbers: [u64; N]) -> u64 {
    xxh3_64(numbers.map(u64::to_be_bytes).as_flattened())
}

impl fmt::Debug for NewRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRecord")
            .field("key", &self.key)
            .field("partition", &self.partition)
            .field("headers", &self.headers)
            .field("payload", &format_args!("[{} bytes]", self.payload.len()))
            .finish()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("offset", &self.offset)
            .field("append_time_ms", &self.append_time_ms)
            .field("key", &self.key)
            .field("headers", &self.headers)
            .field("payload", &format_args!("[{} bytes]", self.payload.len()))
            .finish()
    }
}

/// The position of an appended record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// The readable range of a partition: `low..next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that has not been trimmed.
    pub low: u64,
    /// The offset after the last durable record.
    pub next: u64,
}

/// Resolves when the record is durable, when the append has failed, or when its fate cannot be known any more.
#[derive(Debug)]
pub struct AppendReceipt {
    fate: oneshot::Receiver<Result<Position, AppendError>>,
    /// Shows the engine, until it is dropped, that this receipt was neither read nor dropped.
    unread: Option<Arc<dyn Any + Send + Sync>>,
}

impl AppendReceipt {
    /// A receipt, and the sender by which the engine reports the record's fate. Dropping the sender reports
    /// [`AppendError::Unknown`].
    #[must_use]
    pub fn new() -> (oneshot::Sender<Result<Position, AppendError>>, Self) {
        let (report, fate) = oneshot::channel();
        (report, Self { fate, unread: None })
    }

    /// As [`Self::new`]; the receipt keeps `unread` until it has been read or dropped, so that the engine knows
    /// when every producer has heard of a failure.
    #[must_use]
    pub fn holding(unread: Arc<dyn Any + Send + Sync>) -> (oneshot::Sender<Result<Position, AppendError>>, Self) {
        let (report, receipt) = Self::new();
        (report, Self { unread: Some(unread), ..receipt })
    }
}

impl Future for AppendReceipt {
    type Output = Result<Position, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let fate = Pin::new(&mut self.fate).poll(context).map(|fate| fate.unwrap_or(Err(AppendError::Unknown)));
        if fate.is_ready() {
            self.unread = None;
        }
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let headers = vec![("event".into(), Bytes::from_static(b"sent")), ("id".into(), Bytes::new())];
        let (key, payload) = (Bytes::from_static(b"key"), Bytes::from_static(b"body"));
        Record { offset: 7, append_time_ms: 1_735_689_600_000, key, headers, payload }
    }

    /// Both forms, for ever: stores and the commits of groups have them.
    #[test]
    fn fingerprints_are_pinned() {
        let record = record();
        // Computed with other implementations: python-xxhash, hashlib.
        assert_eq!(record.fingerprint(), Fingerprint(0xd639_9aa5_4eab_fe11));
        assert_eq!(record.old_fingerprint(), Fingerprint(0x7fff_b61f_9230_e7a5));
        assert!(record.has(record.fingerprint()) && record.has(record.old_fingerprint()));
        assert!(!record.has(Fingerprint(1)));
    }

    #[test]
    fn another_record_has_another_fingerprint() {
        let mut others = vec![record(); 8];
        others[0].offset += 1;
        others[1].append_time_ms += 1;
        others[2].key = Bytes::from_static(b"kez");
        others[3].payload = Bytes::new();
        others[4].headers.pop();
        others[5].headers.swap(0, 1);
        others[6].headers[1].1 = Bytes::from_static(b"x");
        (others[7].key, others[7].payload) = (record().payload, record().key);
        others.push(record());
        let found: std::collections::BTreeSet<Fingerprint> = others.iter().map(Record::fingerprint).collect();
        assert_eq!(found.len(), others.len());
    }
}
