//! The encoding of topics, records, time marks and commits in the tables: keys are big-endian, so they sort in log
//! order; values are compact and begin with a version byte.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use events::header_name;

use crate::{Commit, Header, NewRecord, Record, TopicPartition};

/// The first byte of every value; a value with another one was written by a later version of the program.
const VERSION: u8 = 1;
/// The append time's range in a record's value: the writer fills it in when it assigns the position.
const TIME_AT: std::ops::Range<usize> = 1..9;

/// A stored value that cannot be decoded: it was written by a later version of the program, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("the log's folder holds a {0} that this program cannot read: was it written by a later version?")]
pub(super) struct Unreadable(pub(super) &'static str);

/// The key prefix of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartitionKey {
    pub(super) topic: u16,
    pub(super) partition: u16,
}

impl PartitionKey {
    pub(super) fn bytes(self) -> [u8; 4] {
        let (topic, partition) = (self.topic.to_be_bytes(), self.partition.to_be_bytes());
        [topic[0], topic[1], partition[0], partition[1]]
    }

    pub(super) fn record(self, offset: u64) -> [u8; 12] {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&self.bytes());
        key[4..].copy_from_slice(&offset.to_be_bytes());
        key
    }

    /// Marks sort by time, then by offset; the sign bit is flipped so that negative times sort first.
    pub(super) fn mark(self, time_ms: i64, offset: u64) -> [u8; 20] {
        let mut key = [0; 20];
        key[..4].copy_from_slice(&self.bytes());
        key[4..12].copy_from_slice(&(time_ms.cast_unsigned() ^ 1 << 63).to_be_bytes());
        key[12..].copy_from_slice(&offset.to_be_bytes());
        key
    }
}

/// The offset in a record's key.
pub(super) fn offset_of(key: &[u8]) -> Result<u64, Unreadable> {
    let bytes = key.get(4..12).ok_or(Unreadable("record key"))?;
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| Unreadable("record key"))?))
}

/// The time and the offset in a mark's key.
pub(super) fn mark_of(key: &[u8]) -> Result<(i64, u64), Unreadable> {
    let mut rest = key.get(4..20).ok_or(Unreadable("time mark"))?;
    Ok(((rest.get_u64() ^ 1 << 63).cast_signed(), rest.get_u64()))
}

/// Encodes a record's value, without its append time.
pub(super) fn encode_record(record: &NewRecord) -> BytesMut {
    let mut out = BytesMut::with_capacity(record.bytes() + 16);
    out.put_u8(VERSION);
    out.put_i64(0);
    put_part(&mut out, record.key.as_bytes());
    put_varint(&mut out, record.headers.len() as u64);
    for (name, value) in &record.headers {
        put_part(&mut out, name.as_bytes());
        put_part(&mut out, value);
    }
    out.put_slice(&record.payload);
    out
}

/// Writes the append time into an encoded record.
pub(super) fn stamp(value: &mut BytesMut, time_ms: i64) {
    value[TIME_AT].copy_from_slice(&time_ms.to_be_bytes());
}

/// The append time in a record's value.
pub(super) fn time_of(value: &[u8]) -> Result<i64, Unreadable> {
    let bytes = value.get(TIME_AT).filter(|_| value[0] == VERSION).ok_or(Unreadable("record"))?;
    Ok(i64::from_be_bytes(bytes.try_into().map_err(|_| Unreadable("record"))?))
}

/// Decodes the record at `offset`; key, header values and body share the bytes of `value`.
pub(super) fn decode_record(offset: u64, value: &Bytes) -> Result<Record, Unreadable> {
    let append_time_ms = time_of(value)?;
    let mut rest = value.slice(TIME_AT.end..);
    let mut read = || -> Option<(Bytes, Vec<Header>)> {
        let key = take_part(&mut rest)?;
        let count = take_varint(&mut rest)?;
        let mut headers = Vec::with_capacity(usize::try_from(count).ok()?.min(64));
        for _ in 0..count {
            let name = header_name(std::str::from_utf8(&take_part(&mut rest)?).ok()?);
            headers.push((name, take_part(&mut rest)?));
        }
        Some((key, headers))
    };
    let (key, headers) = read().ok_or(Unreadable("record"))?;
    Ok(Record { offset, append_time_ms, key, headers, payload: rest })
}

/// The key of a group's commit for a partition.
pub(super) fn commit_key(group: &str, at: &TopicPartition) -> Bytes {
    let mut key = BytesMut::new();
    put_part(&mut key, group.as_bytes());
    put_part(&mut key, at.topic.as_bytes());
    key.put_u32(at.partition);
    key.freeze()
}

pub(super) fn encode_commit(commit: &Commit) -> Bytes {
    let mut out = BytesMut::with_capacity(9 + commit.metadata.len());
    out.put_u8(VERSION);
    out.put_u64(commit.next);
    out.put_slice(commit.metadata.as_bytes());
    out.freeze()
}

pub(super) fn decode_commit(value: &[u8]) -> Result<Commit, Unreadable> {
    let (head, metadata) = value.split_at_checked(9).filter(|_| value[0] == VERSION).ok_or(Unreadable("commit"))?;
    let next = (&head[1..]).get_u64();
    Ok(Commit { next, metadata: String::from_utf8(metadata.to_vec()).map_err(|_| Unreadable("commit"))? })
}

fn put_part(out: &mut BytesMut, part: &[u8]) {
    put_varint(out, part.len() as u64);
    out.put_slice(part);
}

/// A varint: seven bits per byte, lowest first; the high bit is set on all bytes but the last.
fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8((number & 0x7f) as u8);
}

fn take_part(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn take_varint(rest: &mut Bytes) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = rest.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, payload: usize) -> NewRecord {
        NewRecord {
            key: key.to_owned(),
            partition: None,
            headers: vec![("event".into(), Bytes::from_static(b"x")), ("".into(), Bytes::from(vec![7; 300]))],
            payload: Bytes::from(vec![1; payload]),
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        for payload in [0, 1, 127, 128, 70_000] {
            let new = record("key", payload);
            let mut value = encode_record(&new);
            stamp(&mut value, -5);
            let value = value.freeze();
            let read = decode_record(9, &value).unwrap();
            assert_eq!((read.offset, read.append_time_ms), (9, -5));
            assert_eq!((&read.key[..], read.headers, read.payload), (b"key".as_slice(), new.headers, new.payload));
            assert_eq!(time_of(&value).unwrap(), -5);
        }
    }

    #[test]
    fn no_cut_and_no_flipped_byte_of_a_record_panics() {
        let value = encode_record(&record("key", 3)).freeze();
        for end in 0..value.len() {
            let _ = decode_record(0, &value.slice(..end));
        }
        for at in 0..value.len() {
            for bit in 0..8 {
                let mut damaged = value.to_vec();
                damaged[at] ^= 1 << bit;
                let _ = decode_record(0, &Bytes::from(damaged));
            }
        }
    }

    #[test]
    fn keys_sort_as_the_log_does() {
        let key = PartitionKey { topic: 1, partition: 2 };
        assert!(key.record(255) < key.record(256));
        assert!(key.record(u64::MAX) < PartitionKey { topic: 1, partition: 3 }.record(0));
        assert!(key.mark(-1, 9) < key.mark(0, 0) && key.mark(0, 1) < key.mark(1, 0));
        assert_eq!(mark_of(&key.mark(-7, 3)).unwrap(), (-7, 3));
        assert_eq!(offset_of(&key.record(77)).unwrap(), 77);
    }

    #[test]
    fn a_commit_reads_as_it_was_written() {
        let commit = Commit { next: 1 << 40, metadata: "fingerprint é".into() };
        assert_eq!(decode_commit(&encode_commit(&commit)).unwrap(), commit);
        let at = TopicPartition::new("b", 1);
        assert_ne!(commit_key("ab", &TopicPartition::new("", 1)), commit_key("a", &at), "parts do not run together");
        assert!(decode_commit(&[2, 0]).is_err());
    }
}
