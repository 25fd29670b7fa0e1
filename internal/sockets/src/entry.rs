//! A record of `chat.deliveries`, ready to be sent: rendered once, shared by every socket that it concerns.

use domain::{Cursor, UserId};
use eventlog::Record;
use events::{Codec, DecodeError, says_its_schema};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::metrics::{Metrics, Unreadable};
use crate::signals::MembersCache;

/// What an entry costs beside its text and recipients, about.
const ENTRY_COST: usize = 96;

/// Said of a frame that [`protocol::is_frame`] refuses.
const NO_FRAME: &str = "its frame is not a JSON object with a text `type` of the feed, or has a cursor of its own";

/// A record as the ring and range reads keep it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where a device stands that has had it.
    pub(crate) end: Cursor,
    /// The recipients, sorted; none for markers.
    recipients: Box<[UserId]>,
    /// The frame as it goes out, with its cursor. Empty for markers.
    pub(crate) frame: Utf8Bytes,
    /// What it hides, if this program does not know its schema.
    pub(crate) hidden: Hidden,
}

/// Whom a record may concern that this program cannot read: they may not pass over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// Nobody: it was read.
    Nothing,
    /// The user of its key: another producer's plain keyed record, since ours say by a header of which schema they are.
    From(UserId),
    /// Anybody: a newer program's, whose recipients stand in it.
    FromAll,
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

    /// Whether it may be for that user, and cannot be read.
    pub(crate) fn hides_from(&self, user: UserId) -> bool {
        match self.hidden {
            Hidden::Nothing => false,
            Hidden::From(one) => one == user,
            Hidden::FromAll => true,
        }
    }

    pub(crate) fn recipients(&self) -> &[UserId] {
        &self.recipients
    }

    /// The bytes it takes, about, without the list of recipients: what it costs whom it concerns.
    pub(crate) fn bytes(&self) -> usize {
        ENTRY_COST + self.frame.len()
    }

    /// The bytes of the list of recipients.
    pub(crate) fn list_bytes(&self) -> usize {
        size_of_val(&*self.recipients)
    }

    /// Gives the list of recipients up: nobody asks any more whom it concerns.
    pub(crate) fn drop_list(&mut self) {
        self.recipients = Box::default();
    }

    #[cfg(test)]
    pub(crate) fn of(end: Cursor, recipients: Box<[UserId]>, frame: Utf8Bytes) -> Self {
        Self { end, recipients, frame, hidden: Hidden::Nothing }
    }
}

/// Makes entries of one partition's records.
#[derive(Debug)]
pub(crate) struct Renderer {
    codec: Codec,
    metrics: Metrics,
    /// Told when the feed shows that members have changed.
    members: MembersCache,
    generation: u8,
    partition: u32,
}

impl Renderer {
    pub(crate) fn new(
        codec: Codec,
        metrics: Metrics,
        members: MembersCache,
        (generation, partition): (u8, u32),
    ) -> Self {
        Self { codec, metrics, members, generation, partition }
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
        let nobody = |hidden| Entry { end, recipients: Box::default(), frame: Utf8Bytes::default(), hidden };
        match self.codec.read_delivery(&record.headers, &record.payload) {
            Ok(None) => nobody(Hidden::Nothing),
            // Any producer may push a frame. One that clients cannot read, or take for the server's word, would throw
            // them out again and again.
            Ok(Some(delivery)) if !protocol::is_frame(&delivery.frame) => {
                self.unreadable(record, Unreadable::Corrupt, NO_FRAME);
                nobody(Hidden::Nothing)
            }
            Ok(Some(delivery)) => {
                if let Some((conversation, _)) = delivery.event_key {
                    self.members.fed(conversation, &delivery.frame);
                }
                let mut recipients = delivery.recipients;
                if recipients.is_empty() {
                    // A plain keyed record, as any producer may push one.
                    recipients.extend(key_of(record));
                }
                if !recipients.is_sorted() {
                    recipients.sort_unstable();
                }
                recipients.dedup();
                let frame = protocol::with_cursor(&end, &delivery.frame).into();
                Entry { end, recipients: recipients.into(), frame, hidden: Hidden::Nothing }
            }
            Err(error @ DecodeError::Corrupt(_)) => {
                self.unreadable(record, Unreadable::Corrupt, error);
                nobody(Hidden::Nothing)
            }
            Err(error @ DecodeError::UnknownSchema(_)) => {
                self.unreadable(record, Unreadable::UnknownSchema, error);
                nobody(hidden_in(record))
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

fn key_of(record: &Record) -> Option<UserId> {
    std::str::from_utf8(&record.key).ok()?.parse().ok()
}

fn hidden_in(record: &Record) -> Hidden {
    if says_its_schema(&record.headers) {
        return Hidden::FromAll;
    }
    key_of(record).map_or(Hidden::Nothing, Hidden::From)
}

/// The entries in order, in parts of about so many bytes at most, their lists of recipients included: a batch that is
/// larger than the ring would push itself out, whoever is waited for, and what waits for one socket is bounded in bytes.
pub(crate) fn parts(entries: Vec<Entry>, bytes_max: usize) -> Vec<Vec<Entry>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for entry in entries {
        let more = entry.bytes() + entry.list_bytes();
        bytes += more;
        if bytes > bytes_max {
            bytes = more;
            parts.push(Vec::new());
        }
        parts.last_mut().expect("there is one").push(entry);
    }
    parts
}
