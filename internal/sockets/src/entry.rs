//! A record of `chat.deliveries`, ready to be sent: rendered once, shared by the sockets of all its recipients.

use domain::{Cursor, UserId};
use eventlog::Record;
use events::{Codec, DecodeError, DeliveryRef, says_its_schema};

use crate::metrics::{Metrics, Unreadable};
use crate::signals::MembersCache;
use crate::text_frame::{TextFrame, TextFrames};

/// Bytes that an entry takes beside its frame and recipients, approximately.
const ENTRY_COST: usize = 96;

/// What a frame gains by its cursor and header, approximately.
const FRAME_COST: usize = 64;

/// The reason that is logged for a frame that [`protocol::is_frame`] refuses.
const NO_FRAME: &str = "its frame is not a JSON object with a text `type` of the feed, or has a cursor of its own";

/// A delivery record as the ring and range reads keep it. A record without a frame (a tick, a genesis record, one
/// that cannot be read) is a *marker*: it only moves cursors on.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The cursor behind the record: that of a device that has received it.
    pub(crate) end: Cursor,
    /// The recipients, sorted; none for markers.
    recipients: Box<[UserId]>,
    /// The frame as it is written, with its cursor. Empty for markers.
    pub(crate) frame: TextFrame,
    /// The users whom the record may be for, if this program does not know its schema.
    pub(crate) hidden: Hidden,
}

/// The users whom an unreadable record may be for. Their devices must sync: passing over the record would be a
/// silent gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// Nobody: it was read, or it is corrupt and skipped.
    Nothing,
    /// The user of its key: a plain keyed record of another producer. Records of ours name their schema in a
    /// header.
    From(UserId),
    /// Anybody: a record of a newer program, whose recipients are in the payload that cannot be read.
    FromAll,
}

impl Entry {
    /// The record's offset.
    pub(crate) fn offset(&self) -> u64 {
        self.end.next - 1
    }

    /// Whether that user is one of the recipients.
    pub(crate) fn concerns(&self, user: UserId) -> bool {
        self.recipients.binary_search(&user).is_ok()
    }

    /// Whether the record may be for that user, and cannot be read.
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

    /// The bytes it takes, approximately, without the recipient list: this counts for those it is sent to.
    pub(crate) fn bytes(&self) -> usize {
        ENTRY_COST + self.frame.len()
    }

    /// The bytes of the list of recipients.
    pub(crate) fn list_bytes(&self) -> usize {
        size_of_val(&*self.recipients)
    }

    /// Drops the recipient list, which only devices that reconnect need.
    pub(crate) fn drop_list(&mut self) {
        self.recipients = Box::default();
    }

    #[cfg(test)]
    pub(crate) fn of(end: Cursor, recipients: Box<[UserId]>, frame: TextFrame) -> Self {
        Self { end, recipients, frame, hidden: Hidden::Nothing }
    }
}

/// Makes entries of one partition's records.
#[derive(Debug)]
pub(crate) struct Renderer {
    codec: Codec,
    metrics: Metrics,
    /// Its entries are invalidated when a frame shows that members have changed.
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

    /// The cursor behind `record`: that of a device that has received it.
    pub(crate) fn cursor_behind(&self, record: &Record) -> Cursor {
        Cursor {
            generation: self.generation,
            partition: self.partition,
            next: record.offset + 1,
            fingerprint: record.fingerprint(),
        }
    }

    /// The records, ready to be sent.
    pub(crate) fn entries(&self, records: &[Record]) -> Vec<Entry> {
        let read: Vec<_> = records.iter().map(|record| (record, self.read(record))).collect();
        let frames = read.iter().filter_map(|(_, read)| read.as_ref().ok());
        let mut frames = TextFrames::new(frames.map(|delivery| delivery.frame.len() + FRAME_COST).sum());
        let mut text = String::new();
        read.into_iter().map(|(record, read)| self.entry(record, read, &mut text, &mut frames)).collect()
    }

    /// The delivery, if clients can be sent it; else the users whom the record may be for.
    fn read<'r>(&self, record: &'r Record) -> Result<DeliveryRef<'r>, Hidden> {
        match self.codec.read_delivery_ref(&record.headers, &record.payload) {
            Ok(None) => Err(Hidden::Nothing),
            // Any producer may append a frame. One that clients cannot parse, or would mistake for a server frame,
            // would make them disconnect again and again.
            Ok(Some(delivery)) if !protocol::is_frame(delivery.frame) => {
                self.unreadable(record, Unreadable::Corrupt, NO_FRAME);
                Err(Hidden::Nothing)
            }
            Ok(Some(delivery)) => Ok(delivery),
            Err(error @ DecodeError::Corrupt(_)) => {
                self.unreadable(record, Unreadable::Corrupt, error);
                Err(Hidden::Nothing)
            }
            Err(error @ DecodeError::UnknownSchema(_)) => {
                self.unreadable(record, Unreadable::UnknownSchema, error);
                Err(hidden_in(record))
            }
        }
    }

    /// The entry of a record that was read; `text` is a buffer for its frame's text.
    fn entry(
        &self,
        record: &Record,
        read: Result<DeliveryRef<'_>, Hidden>,
        text: &mut String,
        frames: &mut TextFrames,
    ) -> Entry {
        let end = self.cursor_behind(record);
        let DeliveryRef { mut recipients, event_key, frame } = match read {
            Ok(delivery) => delivery,
            Err(hidden) => return Entry { end, recipients: Box::default(), frame: TextFrame::default(), hidden },
        };
        if let Some((conversation, _)) = event_key {
            self.members.fed(conversation, frame);
        } else {
            self.members.fed_account(&recipients, frame);
        }
        if recipients.is_empty() {
            // A plain keyed record, which any producer may append: it is for the user of its key.
            recipients.extend(key_of(record));
        }
        if !recipients.is_sorted() {
            recipients.sort_unstable();
        }
        recipients.dedup();
        text.clear();
        protocol::put_with_cursor(text, &end, frame);
        Entry { end, recipients: recipients.into(), frame: frames.frame(text), hidden: Hidden::Nothing }
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

/// The entries in order, in parts of about `bytes_max` bytes at most, with their recipient lists. The parts bound
/// two things: a batch larger than the ring would drop its own first records, however long the reader waits; and
/// chunks that wait for one socket are bounded in bytes.
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

#[cfg(test)]
mod tests {
    use events::{Delivery, Encoded};
    use uuid::Uuid;

    use super::*;

    /// A record of a large group has far more bytes of recipients than of its frame, and its frame is kept for long.
    #[test]
    fn what_is_allocated_for_frames_is_not_more_than_they_need() {
        let metrics = Metrics::new(&process::Metrics::new());
        let renderer = Renderer::new(Codec::compiled_in(), metrics, MembersCache::new(), (0, 0));
        let recipients = (0..800).map(|number| UserId::try_from(Uuid::from_u128(number)).unwrap()).collect();
        let frame = format!(r#"{{"type":"x","text":"{}"}}"#, "x".repeat(300));
        let delivery = Delivery { recipients, event_key: None, frame };
        let Encoded { headers, payload } = renderer.codec.delivery(&delivery);
        let record = Record { offset: 7, append_time_ms: 0, key: "key".into(), headers, payload };
        let entry = renderer.entries(&[record]).remove(0);
        assert_eq!(entry.recipients().len(), 800);
        let (frame, kept) = (entry.frame.len(), entry.frame.kept());
        assert!(kept < frame + 2 * FRAME_COST, "{kept} bytes are kept for {frame}");
    }
}
