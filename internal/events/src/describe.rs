//! Records as JSON, for people: `klatschctl tail`.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::codec::{Codec, DecodeError};
use crate::records::*;
use crate::schemas::SchemaKind;

impl Codec {
    /// What kind of record it is, and its fields, named as in its schema.
    ///
    /// # Errors
    /// When its schema is not known or its bytes are not of it.
    pub fn describe(&self, headers: &[(String, Bytes)], payload: &[u8]) -> Result<(SchemaKind, Value), DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        macro_rules! fields_of {
            ($($name:ident)*) => { match kind { $(SchemaKind::$name => fields::<$name>(kind, datum),)* } };
        }
        let value = fields_of!(
            ConversationCreatedV1 MembersAddedV1 MemberRemovedV1 MemberLeftV1 RoleChangedV1 TitleChangedV1
            MessageSentV1 MessageEditedV1 MessageDeletedV1 ReactionAddedV1 ReactionRemovedV1 IdWithdrawnV1
            ReadMarkV1 DeliveryV1 QuarantinedV1 GenesisV1 TickV1 UserRegisteredV1 SessionStartedV1 SessionEndedV1
            ConversationCreatedV2 MembersAddedV2
        );
        Ok((kind, value?))
    }
}

fn fields<T: Serialize + DeserializeOwned>(kind: SchemaKind, datum: &[u8]) -> Result<Value, DecodeError> {
    let record: T = Codec::read(kind, datum)?;
    serde_json::to_value(&record).map_err(|error| DecodeError::Corrupt(error.to_string()))
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
