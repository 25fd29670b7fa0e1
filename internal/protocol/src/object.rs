//! What is an object on the wire.

/// Whether a JSON text can be an object. The parsers that serde derives would also take a list of an object's values.
#[must_use]
pub fn is_object(json: &[u8]) -> bool {
    json.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) == Some(&b'{')
}
