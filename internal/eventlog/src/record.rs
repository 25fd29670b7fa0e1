//! Records before and after they are appended.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::Fingerprint;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::AppendError;

/// The cost of a header besides its name and bytes: its length fields.
const HEADER_COST: usize = 16;

/// A header of a record: a name and bytes.
pub type Header = (String, Bytes);

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
    /// record at the same offset of a re-created topic has another one.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
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
