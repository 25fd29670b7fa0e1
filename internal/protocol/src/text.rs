//! Message text in JSON: the only place where it is read and written as JSON. A received text is not checked here;
//! a service checks it together with the command that it belongs to.

use domain::MessageText;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(text: &MessageText, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.reveal())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MessageText, D::Error> {
    String::deserialize(deserializer).map(MessageText::from)
}

/// The same for a field that may be absent.
pub(crate) mod optional {
    use domain::MessageText;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(text: &Option<MessageText>, serializer: S) -> Result<S::Ok, S::Error> {
        text.as_ref().map(MessageText::reveal).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MessageText>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(MessageText::from))
    }
}
