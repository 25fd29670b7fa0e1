//! Records as JSON for people, as in `klatschctl tail`.

use serde_json::Value;

use crate::codec::{Codec, DecodeError, Header};
use crate::records::{SchemaKind, fields_of};

impl Codec {
    /// The kind of the record, and its fields, named as in its schema.
    ///
    /// # Errors
    /// When the schema is not known or the bytes do not match it.
    pub fn describe(&self, headers: &[Header], payload: &[u8]) -> Result<(SchemaKind, Value), DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        Ok((kind, fields_of(kind, datum)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn every_record_can_be_described() {
        let codec = Codec::compiled_in();
        for (encoded, _) in samples::records(&codec) {
            let (kind, fields) = codec.describe(&encoded.headers, &encoded.payload).unwrap();
            assert_eq!(kind, samples::kind_of(&encoded));
            assert!(fields.is_object(), "{kind:?}: {fields}");
        }
    }
}
