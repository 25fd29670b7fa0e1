//! `cursor`: how far a device has come in its user's delivery partition.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A short digest of one record: its bytes, its offset and its append time. Two records at one offset differ in it, so
/// a re-created topic is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let digits = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !digits {
            return Err(CursorError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| CursorError)
    }
}

/// The point from which a device resumes: the next offset of its delivery partition, and the fingerprint of the
/// record before it, which proves that the partition was not re-created.
///
/// Clients store its text and send it back unchanged. The format is `generation.partition.next.fingerprint`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cursor {
    /// The generation of `chat.deliveries`.
    pub generation: u8,
    /// The delivery partition of the user.
    pub partition: u32,
    /// The offset to read next; at least 1, since offset 0 holds the genesis record.
    pub next: u64,
    /// The fingerprint of the record at `next - 1`.
    pub fingerprint: Fingerprint,
}

/// The length of most texts of cursors.
const TEXT_BYTES: usize = 40;

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: send back the text of the last frame as it was, or none to start anew")]
pub struct CursorError;

impl Cursor {
    /// Appends its text. Every frame has one, so it is written without the formatting machinery.
    pub fn put(&self, out: &mut String) {
        for number in [u64::from(self.generation), u64::from(self.partition), self.next] {
            put_number(out, number);
            out.push('.');
        }
        for digit in (0..16).rev() {
            let value = (self.fingerprint.0 >> (4 * digit)) & 0xf;
            out.push(char::from_digit(value as u32, 16).unwrap_or('0'));
        }
    }
}

/// Appends the number in decimal.
fn put_number(out: &mut String, number: u64) {
    if number > 9 {
        put_number(out, number / 10);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TEXT_BYTES);
        self.put(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let mut parts = text.split('.');
        let cursor = Self {
            generation: number(parts.next())?,
            partition: number(parts.next())?,
            next: number(parts.next())?,
            fingerprint: parts.next().ok_or(CursorError)?.parse()?,
        };
        // Each cursor has exactly one text: leading zeros, plus signs and trailing parts are refused.
        if parts.next().is_some() || cursor.next == 0 || cursor.to_string() != text {
            return Err(CursorError);
        }
        Ok(cursor)
    }
}

fn number<T: FromStr>(part: Option<&str>) -> Result<T, CursorError> {
    part.ok_or(CursorError)?.parse().map_err(|_| CursorError)
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_cursor_comes_back_and_nothing_else_parses() {
        let cursor = Cursor { generation: 1, partition: 7, next: 42, fingerprint: Fingerprint(0xabc) };
        assert_eq!(cursor.to_string(), "1.7.42.0000000000000abc");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in [
            "",
            "1.7.42",
            "1.7.042.0000000000000abc",
            "1.7.0.0000000000000abc",
            "1.7.42.abc",
            "1.7.42.0000000000000abc.1",
            "256.7.42.0000000000000abc",
            "1.7.42.0000000000000ABC",
            "1.7.42.+000000000000abc",
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad}");
        }
    }
}
