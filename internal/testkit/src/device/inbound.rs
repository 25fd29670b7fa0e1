//! What comes over a device's socket.

use domain::Cursor;
use protocol::{Received, ServerFrame};
use serde::Deserialize;

/// A text from the node.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Inbound {
    /// A frame of the feed that the device knows.
    Feed(Box<Received>),
    /// A frame of another producer, of whatever type: only its cursor is taken.
    Passed(Passed),
    /// The server's own word.
    Server(ServerFrame),
}

/// What every frame of the feed has, and no frame of the server's own but `welcome` and `ping`.
#[derive(Deserialize)]
#[serde(try_from = "Peek")]
pub(super) struct Passed {
    pub(super) cursor: Cursor,
}

#[derive(Deserialize)]
struct Peek {
    #[serde(rename = "type")]
    kind: String,
    cursor: Cursor,
}

impl TryFrom<Peek> for Passed {
    type Error = &'static str;

    fn try_from(Peek { kind, cursor }: Peek) -> Result<Self, Self::Error> {
        if matches!(&*kind, "welcome" | "ping") { Err("a frame of the server's own") } else { Ok(Self { cursor }) }
    }
}

/// A frame of the feed while a sync is under way.
pub(super) enum Waiting {
    Frame(Received),
    Passed(Cursor),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_other_producers_are_passed_over_and_the_server_s_own_are_not() {
        let parse = |text: &str| serde_json::from_str::<Inbound>(text);
        let cursor = r#""cursor":"0.1.2.0000000000000003""#;
        for foreign in [r#""type":"sticker","x":1"#, r#""type":"event","kind":"danced""#, r#""type":"read""#] {
            let inbound = parse(&format!("{{{cursor},{foreign}}}")).unwrap();
            assert!(matches!(inbound, Inbound::Passed(Passed { cursor }) if cursor.next == 2), "{foreign}");
        }
        let ping = parse(&format!(r#"{{{cursor},"type":"ping"}}"#)).unwrap();
        assert!(matches!(ping, Inbound::Server(ServerFrame::Ping { .. })));
        assert!(parse(r#"{"type":"sticker"}"#).is_err());
    }
}
