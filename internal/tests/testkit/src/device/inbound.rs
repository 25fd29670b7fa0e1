//! The texts that come over a device's socket.

use domain::Cursor;
use protocol::{FeedFrame, Received, ServerFrame, SignalFrame};
use serde::Deserialize;
use serde_json::Value;

/// A text from the node, parsed.
pub(super) enum Inbound {
    /// One or more frames of the feed.
    Feed(Fed),
    /// A frame of the lossy lane.
    Signal(SignalFrame),
    /// A frame of the server itself, outside the feed.
    Server(ServerFrame),
}

/// The frames of the feed that came in one text.
#[derive(Debug)]
pub(crate) struct Fed {
    /// The cursor behind all of them.
    pub(crate) cursor: Cursor,
    /// Those that the device knows, in their order.
    pub(crate) frames: Vec<FeedFrame>,
    /// The number of frames of unknown types, from other producers: the device skips them.
    pub(crate) passed: u32,
}

impl From<Received> for Fed {
    fn from(Received { cursor, frame }: Received) -> Self {
        Self { cursor, frames: vec![frame], passed: 0 }
    }
}

impl Inbound {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        Ok(match serde_json::from_str(text)? {
            Text::Feed(received) => Self::Feed((*received).into()),
            Text::Passed(Passed { cursor }) => Self::Feed(Fed { cursor, frames: Vec::new(), passed: 1 }),
            Text::Server(ServerFrame::Batch { cursor, frames }) => {
                let count = frames.len();
                let known = frames.into_iter().filter_map(|frame| serde_json::from_value(frame.0).ok());
                let frames: Vec<FeedFrame> = known.collect();
                let passed = u32::try_from(count - frames.len()).unwrap_or(u32::MAX);
                Self::Feed(Fed { cursor, frames, passed })
            }
            Text::Server(frame) => Self::Server(frame),
            Text::Signal(Moment(signal)) => Self::Signal(signal),
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    /// A frame of the feed that the device knows.
    Feed(Box<Received>),
    /// A frame of another producer: only its cursor is taken.
    Passed(Passed),
    Server(ServerFrame),
    Signal(Moment),
}

/// A signal: it moves no cursor, so it has none.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct Moment(SignalFrame);

impl TryFrom<Value> for Moment {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        if value.get("cursor").is_some() {
            return Err("a signal with a cursor".to_owned());
        }
        serde_json::from_value(value).map(Self).map_err(|error| error.to_string())
    }
}

/// A frame of an unknown type: of the feed, it has a cursor. The server's own types are not accepted here.
#[derive(Deserialize)]
#[serde(try_from = "Peek")]
struct Passed {
    cursor: Cursor,
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
        let own = matches!(&*kind, "welcome" | "ping" | "batch" | "typing" | "presence");
        if own { Err("a frame of the server's own") } else { Ok(Self { cursor }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_other_producers_are_passed_over_and_the_server_s_own_are_not() {
        let cursor = r#""cursor":"0.1.2.0000000000000003""#;
        for foreign in [r#""type":"sticker","x":1"#, r#""type":"event","kind":"danced""#, r#""type":"read""#] {
            for text in
                [format!("{{{cursor},{foreign}}}"), format!(r#"{{"type":"batch",{cursor},"frames":[{{{foreign}}}]}}"#)]
            {
                let Inbound::Feed(fed) = Inbound::parse(&text).unwrap() else { panic!("{text}") };
                assert_eq!((fed.cursor.next, fed.frames.len(), fed.passed), (2, 0, 1), "{text}");
            }
        }
        let ping = Inbound::parse(&format!(r#"{{{cursor},"type":"ping"}}"#)).unwrap();
        assert!(matches!(ping, Inbound::Server(ServerFrame::Ping { .. })));
        assert!(Inbound::parse(r#"{"type":"sticker"}"#).is_err());
    }

    #[test]
    fn a_signal_has_no_cursor() {
        let id = "01890a5d-ac96-874b-bcce-b302099a8057";
        let typing = format!(r#""type":"typing","conversation":"{id}","user":"{id}""#);
        assert!(matches!(
            Inbound::parse(&format!("{{{typing}}}")).unwrap(),
            Inbound::Signal(SignalFrame::Typing { .. })
        ));
        assert!(Inbound::parse(&format!(r#"{{"cursor":"0.1.2.0000000000000003",{typing}}}"#)).is_err());
    }

    #[test]
    fn a_batch_is_taken_in_its_order_whatever_else_is_in_it() {
        let account = |event| format!(r#"{{"type":"account","event":"{event}","time":1}}"#);
        let frames = [account("a"), r#"{"type":"sticker"}"#.to_owned(), account("b")].join(",");
        let text = format!(r#"{{"type":"batch","cursor":"0.1.9.0000000000000003","frames":[{frames}]}}"#);
        let Inbound::Feed(fed) = Inbound::parse(&text).unwrap() else { panic!("{text}") };
        let expected = ["a", "b"].map(|event| FeedFrame::Account { event: event.into(), time: 1 });
        assert_eq!((fed.cursor.next, fed.frames, fed.passed), (9, expected.to_vec(), 1));
    }
}
