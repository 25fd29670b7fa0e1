//! The encoding of rows without timestamps: a sequence of fields, each with its length.

use crate::Malformed;

/// Encodes fields.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<u8>);

impl Fields {
    #[allow(clippy::cast_possible_truncation)] // names, hashes and event bodies
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend((bytes.len() as u32).to_be_bytes());
        self.0.extend(bytes);
        self
    }

    pub(super) fn number(self, number: i64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Decodes fields in the order in which they were encoded.
#[derive(Debug)]
pub(super) struct Parse<'a> {
    table: &'static str,
    bytes: &'a [u8],
}

impl<'a> Parse<'a> {
    pub(super) fn new(table: &'static str, bytes: &'a [u8]) -> Self {
        Self { table, bytes }
    }

    /// Whether no field follows; rows of earlier versions have fewer fields.
    pub(super) fn at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&mut self, column: &'static str) -> Result<&'a [u8], Malformed> {
        let malformed = Malformed { table: self.table, column };
        let (length, rest) = self.bytes.split_first_chunk::<4>().ok_or_else(|| malformed.clone())?;
        let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(malformed)?;
        self.bytes = rest;
        Ok(field)
    }

    pub(super) fn array<const N: usize>(&mut self, column: &'static str) -> Result<[u8; N], Malformed> {
        let malformed = Malformed { table: self.table, column };
        self.bytes(column)?.try_into().map_err(|_| malformed)
    }

    pub(super) fn text(&mut self, column: &'static str) -> Result<String, Malformed> {
        let malformed = Malformed { table: self.table, column };
        String::from_utf8(self.bytes(column)?.to_vec()).map_err(|_| malformed)
    }

    pub(super) fn number(&mut self, column: &'static str) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array(column)?))
    }
}
