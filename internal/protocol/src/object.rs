//! The check whether a JSON text is an object.

/// Whether a JSON text begins as an object. Parsers that serde derives would also accept an array of the fields'
/// values.
#[must_use]
pub fn is_object(json: &[u8]) -> bool {
    json.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) == Some(&b'{')
}
