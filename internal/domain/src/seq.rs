//! `seq`: the sequence number of an event, made from its position in the log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of bits that hold the offset.
const OFFSET_BITS: u32 = 42;

/// The highest offset of a partition within a generation.
pub const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 1;

/// The highest generation that a topic can have.
pub const GENERATION_MAX: u64 = 255;

/// The seq of an event in its source topic: `generation << 42 | offset`.
///
/// At most 50 bits, so it is exact as a JSON number. As microseconds since the Unix epoch it lies in the past
/// (before 2005), so the store can use it as the timestamp of every row derived from the event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Seq(u64);

/// Why a number is not a `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeqError {
    /// Above the highest seq of the highest generation.
    #[error("{0} is not a sequence number: at most 50 bits")]
    TooLarge(u64),
    /// The offset does not fit into its bits.
    #[error("offset {0} is beyond the {OFFSET_BITS} bits of a generation: the topic needs a new generation")]
    OffsetTooLarge(u64),
}

impl Seq {
    /// The seq of `offset` within `generation`.
    ///
    /// # Errors
    /// When the offset does not fit in 42 bits.
    pub const fn new(generation: u8, offset: u64) -> Result<Self, SeqError> {
        if offset > OFFSET_MAX {
            return Err(SeqError::OffsetTooLarge(offset));
        }
        Ok(Self((generation as u64) << OFFSET_BITS | offset))
    }

    /// The generation of the topic.
    #[must_use]
    pub const fn generation(self) -> u8 {
        (self.0 >> OFFSET_BITS) as u8
    }

    /// The offset in the partition.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0 & OFFSET_MAX
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The seq before this one; `None` for the first of all.
    #[must_use]
    pub const fn before(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(before) => Some(Self(before)),
            None => None,
        }
    }

    /// The seq after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The timestamp of rows derived from the event, in microseconds as CQL counts them.
    #[must_use]
    #[allow(clippy::cast_possible_wrap)] // at most 50 bits
    pub const fn timestamp(self) -> i64 {
        self.0 as i64
    }
}

impl TryFrom<u64> for Seq {
    type Error = SeqError;

    fn try_from(number: u64) -> Result<Self, SeqError> {
        if number >> OFFSET_BITS > GENERATION_MAX { Err(SeqError::TooLarge(number)) } else { Ok(Self(number)) }
    }
}

impl From<Seq> for u64 {
    fn from(seq: Seq) -> Self {
        seq.0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.generation(), self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_and_offset_come_back() {
        let seq = Seq::new(255, OFFSET_MAX).unwrap();
        assert_eq!((seq.generation(), seq.offset()), (255, OFFSET_MAX));
        assert!(seq.get() < 1 << 53, "exact as a JSON number");
        assert_eq!(Seq::try_from(seq.get()), Ok(seq));
        assert_eq!(Seq::try_from(seq.get() + 1), Err(SeqError::TooLarge(1 << 50)));
        assert_eq!(Seq::new(0, OFFSET_MAX + 1), Err(SeqError::OffsetTooLarge(1 << 42)));
    }

    #[test]
    fn a_later_generation_sorts_after_every_earlier_offset() {
        assert!(Seq::new(1, 0).unwrap() > Seq::new(0, OFFSET_MAX).unwrap());
    }

    #[test]
    fn neighbours_timestamps_and_texts_are_those_of_the_number() {
        let seq = Seq::new(1, 41).unwrap();
        let number = (1 << 42) + 41;
        assert_eq!((seq.next().get(), seq.before().unwrap().get()), (number + 1, number - 1));
        assert_eq!((seq.timestamp(), u64::from(seq)), (number as i64, number));
        assert_eq!((seq.to_string(), format!("{seq:?}")), (number.to_string(), "1:41".to_owned()));
    }
}
