//! Short texts that clients send back to the server: cursors, page tokens, ids.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use domain::{CommandId, ConversationId, Cursor, Fingerprint, Seq, UserId};

/// The input is a cursor, an id, a fingerprint or a seq.
pub(crate) fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A cursor has one form only: a parsed cursor is written as the same text.
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
    written_again::<Fingerprint>(text);
    written_again::<UserId>(text);
    written_again::<ConversationId>(text);
    written_again::<CommandId>(text);
    if let Ok(id) = text.parse::<CommandId>() {
        assert!((0..1 << 48).contains(&id.stamp_ms()) && CommandId::first_at(id.stamp_ms()) <= id);
    }
    if let Ok(seq) = serde_json::from_str::<Seq>(text) {
        assert_eq!(Seq::new(seq.generation(), seq.offset()), Ok(seq));
    }
}

/// The input is the token of a page of the conversation list or of a sync, or the position of an audit.
pub(crate) fn page_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((time, conversation)) = chat::parse_page(text) {
        assert_eq!(chat::parse_page(&format!("{time}.{conversation}")).ok(), Some((time, conversation)));
    }
    if let Ok(cursor) = chat::parse_sync_cursor(text) {
        assert_eq!(chat::parse_sync_cursor(&cursor.to_string()).ok(), Some(cursor));
    }
    drop(ops::audit::AuditOffsets::parse(text));
}

fn written_again<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Debug,
{
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>().expect("what was written can be read");
        assert_eq!(again, value, "{text}");
    }
}
