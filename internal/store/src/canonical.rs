//! Canonical row bytes: the content of a row, independent of the engine that stores it.
//!
//! A row is the list of its present columns, sorted by name, each with its kind, its value in CQL's encoding and,
//! for a cell, its timestamp. `klatschctl checksum` and the conformance suite compare stores by these bytes.

/// A column of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Part of the key.
    Key(&'a [u8]),
    /// A cell.
    Cell {
        /// Its value.
        value: &'a [u8],
        /// Its timestamp, in microseconds.
        timestamp: i64,
    },
}

/// The bytes of a row from its columns, given in any order. Absent cells are left out.
///
/// Each column: name length (2 bytes), name, `k` or `c`, value length (4 bytes), value, for a cell the timestamp
/// (8 bytes); numbers are big-endian.
///
/// # Panics
/// When a value has 4 GiB or a name 64 KiB, which no store holds.
#[must_use]
pub fn encode(columns: &[(&str, Part<'_>)]) -> Vec<u8> {
    let mut columns = columns.to_vec();
    columns.sort_unstable_by_key(|(name, _)| *name);
    let mut out = Vec::new();
    for (name, part) in columns {
        let (kind, value) = match part {
            Part::Key(value) => (b'k', value),
            Part::Cell { value, .. } => (b'c', value),
        };
        out.extend(u16::try_from(name.len()).expect("a column's name is short").to_be_bytes());
        out.extend(name.as_bytes());
        out.push(kind);
        out.extend(u32::try_from(value.len()).expect("a value fits in memory many times").to_be_bytes());
        out.extend(value);
        if let Part::Cell { timestamp, .. } = part {
            out.extend(timestamp.to_be_bytes());
        }
    }
    out
}

/// The columns of a row, sorted by name; `None` when the bytes are not those of [`encode`].
#[must_use]
pub fn decode(mut bytes: &[u8]) -> Option<Vec<(&str, Part<'_>)>> {
    let mut columns = Vec::new();
    while !bytes.is_empty() {
        let length = u16::from_be_bytes(*take(&mut bytes)?);
        let name = std::str::from_utf8(take_slice(&mut bytes, usize::from(length))?).ok()?;
        let [kind] = *take(&mut bytes)?;
        let length = u32::from_be_bytes(*take(&mut bytes)?);
        let value = take_slice(&mut bytes, usize::try_from(length).ok()?)?;
        let part = match kind {
            b'k' => Part::Key(value),
            b'c' => Part::Cell { value, timestamp: i64::from_be_bytes(*take(&mut bytes)?) },
            _ => return None,
        };
        columns.push((name, part));
    }
    Some(columns)
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(taken)
}

fn take_slice<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_do_not_depend_on_the_order_of_columns_and_come_back() {
        let key = ("seq", Part::Key(&[0, 1]));
        let cell = ("body", Part::Cell { value: b"hi", timestamp: 7 });
        let bytes = encode(&[key, cell]);
        assert_eq!(bytes, encode(&[cell, key]));
        assert_eq!(decode(&bytes), Some(vec![cell, key]));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        // Pinned: checksums of stores are compared across releases.
        assert_eq!(bytes, b"\0\x04bodyc\0\0\0\x02hi\0\0\0\0\0\0\0\x07\0\x03seqk\0\0\0\x02\0\x01");
    }
}
