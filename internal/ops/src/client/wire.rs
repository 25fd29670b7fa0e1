//! Frames as they come.

use std::borrow::Cow;

use api::{Received, ServerFrame};
use domain::Cursor;
use serde::Deserialize;

/// A frame from the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Inbound {
    Server(ServerFrame),
    Feed(Box<Received>),
    /// A feed frame of a type that this client does not know: it is passed over, not its cursor.
    Passed(Cursor),
    /// Another that it does not know.
    Unknown,
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    cursor: Option<Cursor>,
}

/// Parses a frame.
///
/// # Errors
/// When it is no JSON object with a type.
pub(crate) fn parse(text: &str) -> Result<Inbound, serde_json::Error> {
    let peek: Peek<'_> = serde_json::from_str(text)?;
    if matches!(&*peek.kind, "welcome" | "ack" | "mark_ack" | "error" | "ping") {
        return serde_json::from_str(text).map(Inbound::Server);
    }
    Ok(match (serde_json::from_str::<Received>(text), peek.cursor) {
        (Ok(received), _) => Inbound::Feed(Box::new(received)),
        (Err(_), Some(cursor)) => Inbound::Passed(cursor),
        (Err(_), None) => Inbound::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_a_type_from_the_future_is_passed_over_with_its_cursor() {
        let cursor = "0.1.2.0000000000000003";
        let text = format!(r#"{{"cursor":"{cursor}","type":"sticker","x":1}}"#);
        assert_eq!(parse(&text).unwrap(), Inbound::Passed(cursor.parse().unwrap()));
        assert_eq!(parse(r#"{"type":"new"}"#).unwrap(), Inbound::Unknown);
        let ping = format!(r#"{{"type":"ping","cursor":"{cursor}"}}"#);
        assert!(matches!(parse(&ping).unwrap(), Inbound::Server(ServerFrame::Ping { .. })));
        assert!(parse("[]").is_err());
    }
}
