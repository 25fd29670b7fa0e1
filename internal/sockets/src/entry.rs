//! A record of `chat.deliveries`, ready to be sent: rendered once, shared by every socket that it concerns.

use domain::{Cursor, UserId};
use eventlog::Record;
use events::{Codec, DecodeError};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::metrics::{Metrics, Unreadable};

/// What an entry costs beside its text and recipients, about.
const ENTRY_COST: usize = 96;

/// Said of a frame that [`api::is_frame`] refuses.
const NO_FRAME: &str = "its frame is not a JSON object with a text `type` of the feed, or has a cursor of its own";

/// A record as the ring and range reads keep it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where a device stands that has had it.
    pub(crate) end: Cursor,
    /// Whom it concerns, sorted. Nobody, for markers.
    recipients: Box<[UserId]>,
    /// The frame as it goes out, with its cursor. Empty for markers.
    pub(crate) frame: Utf8Bytes,
    /// It is of a schema that this program does not know: it may concern anybody, so nobody may pass over it.
    pub(crate) unknown: bool,
}

impl Entry {
    /// The record's offset.
    pub(crate) fn offset(&self) -> u64 {
        self.end.next - 1
    }

    /// Whether it is for that user.
    pub(crate) fn concerns(&self, user: UserId) -> bool {
        self.recipients.binary_search(&user).is_ok()
    }

    pub(crate) fn recipients(&self) -> &[UserId] {
        &self.recipients
    }

    /// The bytes it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        ENTRY_COST + self.frame.len() + size_of_val(&*self.recipients)
    }
}

/// Makes entries of one partition's records.
#[derive(Debug)]
pub(crate) struct Renderer {
    codec: Codec,
    metrics: Metrics,
    generation: u8,
    partition: u32,
}

impl Renderer {
    pub(crate) fn new(codec: Codec, metrics: Metrics, generation: u8, partition: u32) -> Self {
        Self { codec, metrics, generation, partition }
    }

    /// Where a device stands that has had `record`.
    pub(crate) fn cursor_behind(&self, record: &Record) -> Cursor {
        Cursor {
            generation: self.generation,
            partition: self.partition,
            next: record.offset + 1,
            fingerprint: record.fingerprint(),
        }
    }

    /// The record, ready to be sent.
    pub(crate) fn entry(&self, record: &Record) -> Entry {
        let end = self.cursor_behind(record);
        let nobody = |unknown| Entry { end, recipients: Box::default(), frame: Utf8Bytes::default(), unknown };
        match self.codec.read_delivery(&record.headers, &record.payload) {
            Ok(None) => nobody(false),
            // Any producer may push a frame. One that clients cannot read, or take for the server's word, would throw
            // them out again and again.
            Ok(Some(delivery)) if !api::is_frame(&delivery.frame) => {
                self.unreadable(record, Unreadable::Corrupt, NO_FRAME);
                nobody(false)
            }
            Ok(Some(delivery)) => {
                let mut recipients = delivery.recipients;
                if recipients.is_empty() {
                    // A plain keyed record, as any producer may push one.
                    let key = std::str::from_utf8(&record.key).ok();
                    recipients.extend(key.and_then(|key| key.parse::<UserId>().ok()));
                }
                if !recipients.is_sorted() {
                    recipients.sort_unstable();
                }
                recipients.dedup();
                let frame = api::with_cursor(&end, &delivery.frame).into();
                Entry { end, recipients: recipients.into(), frame, unknown: false }
            }
            Err(error @ DecodeError::Corrupt(_)) => {
                self.unreadable(record, Unreadable::Corrupt, error);
                nobody(false)
            }
            Err(error @ DecodeError::UnknownSchema(_)) => {
                self.unreadable(record, Unreadable::UnknownSchema, error);
                nobody(true)
            }
        }
    }

    fn unreadable(&self, record: &Record, what: Unreadable, error: impl std::fmt::Display) {
        let (partition, offset) = (self.partition, record.offset);
        if self.metrics.unreadable(what) == 0 {
            tracing::error!(partition, offset, %error, "a delivery cannot be read; further ones are only counted");
        }
    }
}

/// The entries in order, in parts of about so many bytes at most: a batch that is larger than the ring would push itself
/// out, whoever is waited for, and what waits for one socket is bounded in bytes.
pub(crate) fn parts(entries: Vec<Entry>, bytes_max: usize) -> Vec<Vec<Entry>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for entry in entries {
        bytes += entry.bytes();
        if bytes > bytes_max {
            bytes = entry.bytes();
            parts.push(Vec::new());
        }
        parts.last_mut().expect("there is one").push(entry);
    }
    parts
}
