//! Parsing the frames from a server.

use std::borrow::Cow;

use domain::Cursor;
use protocol::{FeedFrame, Received, ServerFrame, SignalFrame};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A frame from the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Inbound {
    Server(ServerFrame),
    Feed(Box<Received>),
    /// Several feed frames, and the cursor behind all of them. `None` is a frame that this client does not know.
    Batch(Cursor, Vec<Option<FeedFrame>>),
    /// A signal. It does not move the cursor.
    Signal(SignalFrame),
    /// A feed frame that this client does not know, or that has a type reserved for server frames. The frame is
    /// ignored, but its cursor is stored.
    Passed(Cursor),
    /// Any other frame that this client does not know.
    Unknown,
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    cursor: Option<Cursor>,
}

/// As [`ServerFrame::Batch`], whose frames are not made into JSON values before they are parsed: most of what a device
/// receives comes in batches.
#[derive(Deserialize)]
struct Batch<'a> {
    cursor: Cursor,
    #[serde(borrow)]
    frames: Vec<&'a RawValue>,
}

/// Parses a frame.
///
/// Any producer may put frames with any type on the feed, and the server adds a cursor to each. A feed frame with
/// the type of a server frame must not end the socket: the device would reconnect and receive the same frame for
/// ever.
///
/// # Errors
/// When it is no JSON object with a type, or an incomplete server frame.
pub(crate) fn parse(text: &str) -> Result<Inbound, serde_json::Error> {
    let peek: Peek<'_> = serde_json::from_str(text)?;
    match (&*peek.kind, peek.cursor) {
        // The server's own frames of these types have no cursor: this one is a feed frame of another producer.
        ("ack" | "mark_ack" | "renewed" | "error", Some(cursor)) => Ok(Inbound::Passed(cursor)),
        ("welcome" | "ack" | "mark_ack" | "renewed" | "error" | "ping", cursor) => {
            let passed = |error| cursor.map(Inbound::Passed).ok_or(error);
            serde_json::from_str(text).map(Inbound::Server).or_else(passed)
        }
        // Ignoring a batch that cannot be parsed would leave a gap.
        ("batch", _) => {
            let Batch { cursor, frames } = serde_json::from_str(text)?;
            let frames = frames.into_iter().map(|frame| serde_json::from_str(frame.get()).ok());
            Ok(Inbound::Batch(cursor, frames.collect()))
        }
        (kind, None) if SignalFrame::TYPES.contains(&kind) => {
            Ok(serde_json::from_str(text).map_or(Inbound::Unknown, Inbound::Signal))
        }
        (_, cursor) => Ok(match (serde_json::from_str::<Received>(text), cursor) {
            (Ok(received), _) => Inbound::Feed(Box::new(received)),
            (Err(_), Some(cursor)) => Inbound::Passed(cursor),
            (Err(_), None) => Inbound::Unknown,
        }),
    }
}

#[cfg(test)]
mod tests {
    use protocol::ErrorCode;

    use super::*;

    #[test]
    fn a_batch_is_whole_or_nothing() {
        let cursor = "0.1.2.0000000000000003";
        let frames = r#"[{"type":"account","event":"signed_in","time":1},{"type":"sticker"}]"#;
        let batch = parse(&format!(r#"{{"type":"batch","cursor":"{cursor}","frames":{frames}}}"#)).unwrap();
        let account = FeedFrame::Account { event: "signed_in".into(), time: 1 };
        assert_eq!(batch, Inbound::Batch(cursor.parse().unwrap(), vec![Some(account), None]));
        assert!(parse(&format!(r#"{{"type":"batch","cursor":"{cursor}"}}"#)).is_err());
        assert!(parse(&format!(r#"{{"type":"batch","frames":{frames}}}"#)).is_err());
    }

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

    #[test]
    fn a_signal_has_no_cursor_and_ends_nothing() {
        let id = "01890a5d-ac96-874b-bcce-b302099a8057";
        let typing = format!(r#""type":"typing","conversation":"{id}","user":"{id}""#);
        assert!(matches!(parse(&format!("{{{typing}}}")).unwrap(), Inbound::Signal(SignalFrame::Typing { .. })));
        assert_eq!(parse(r#"{"type":"typing"}"#).unwrap(), Inbound::Unknown);
        // With a cursor, it is a feed frame of another producer that has this type.
        let cursor = "0.1.2.0000000000000003";
        let fed = parse(&format!(r#"{{"cursor":"{cursor}",{typing}}}"#)).unwrap();
        assert_eq!(fed, Inbound::Passed(cursor.parse().unwrap()));
    }

    #[test]
    fn what_a_newer_server_says_no_to_is_a_no() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let error = format!(r#"{{"type":"error","id":"{id}","code":"too_loud","message":"hush"}}"#);
        let Inbound::Server(ServerFrame::Error { code, .. }) = parse(&error).unwrap() else { panic!("{error}") };
        assert_eq!(code, ErrorCode::Other);
        let refused = r#""type":"refused","conversation":"01890a5d-ac96-874b-bcce-b302099a8057","seq":7,"id":"ID""#;
        let refused = format!(r#"{{"cursor":"0.1.2.0000000000000003",{refused},"reason":"too_loud"}}"#);
        let Inbound::Feed(received) = parse(&refused.replace("ID", id)).unwrap() else { panic!("{refused}") };
        assert!(matches!(received.frame, FeedFrame::Refused { reason: ErrorCode::Other, .. }), "{received:?}");
    }

    #[test]
    fn a_frame_of_the_feed_that_is_named_like_one_of_the_server_s_is_passed_over() {
        let cursor = "0.1.2.0000000000000003";
        let passed = Inbound::Passed(cursor.parse().unwrap());
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for rest in [
            r#""type":"error","text":"disk full""#.to_owned(),
            r#""type":"error","code":"not_member","message":"no""#.to_owned(),
            format!(r#""type":"ack","id":"{id}","conversation":"{id}""#),
            r#""type":"mark_ack""#.to_owned(),
            r#""type":"renewed","until":7"#.to_owned(),
            r#""type":"welcome","text":"to the club""#.to_owned(),
        ] {
            assert_eq!(parse(&format!(r#"{{"cursor":"{cursor}",{rest}}}"#)).unwrap(), passed, "{rest}");
        }
        for broken in [r#"{"type":"welcome","text":"to the club"}"#, r#"{"type":"error"}"#, r#"{"type":"ping"}"#] {
            assert!(parse(broken).is_err(), "{broken}");
        }
        let ack = format!(r#"{{"type":"ack","id":"{id}","conversation":"{id}"}}"#);
        assert!(matches!(parse(&ack).unwrap(), Inbound::Server(ServerFrame::Ack { .. })));
    }
}
