//! The frames of the socket: JSON texts with a `type`. `schemas/asyncapi.yaml` and `schemas/PROTOCOL.md` describe them.

use domain::{Appended, CommandId, ConversationId, Cursor, Decision, Effects, Event, Seq, Stands, UserId};
use secret::Secret;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::integer::{integer, maybe};
use crate::{BatchedFrame, CommandFrame, DoingName, ErrorCode, FeedKind, OwnStatus, SignalFrame};

/// A frame from a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// The first frame: the token (unless the upgrade request had it) and the position to resume at.
    Hello {
        /// The access token, for clients that cannot set headers.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        token: Option<Secret>,
        /// The cursor of the last frame that the device received; absent at the first connect.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        cursor: Option<String>,
        /// The user of that cursor, as the earlier `welcome` named them. A cursor of another user is answered with
        /// `reset`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        user: Option<UserId>,
        /// Whether the client accepts several feed frames in one websocket message: [`ServerFrame::Batch`].
        #[serde(skip_serializing_if = "Option::is_none", default)]
        batch: Option<bool>,
        /// Whether the client wants signals: [`crate::SignalFrame`].
        #[serde(skip_serializing_if = "Option::is_none", default)]
        signals: Option<bool>,
    },
    /// A read mark: the user has read up to this entry. Acknowledged with `mark_ack`; to be sent again until then.
    Mark {
        /// The conversation.
        conversation: ConversationId,
        /// The seq of the entry.
        #[serde(deserialize_with = "integer")]
        seq: Seq,
    },
    /// A new access token of the same session, sent before the present one expires. Answered with `renewed`, or
    /// with an `error`; after an error the socket keeps its old token.
    Renew {
        /// The access token.
        token: Secret,
    },
    /// The answer to a ping; any other frame counts as one, too.
    Pong {},
    /// The user is typing. It has no id and no answer: it is passed on, or lost.
    Typing {
        /// The conversation in which the user is typing.
        conversation: ConversationId,
        /// What the user is about to say; absent for a text.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        doing: Option<DoingName>,
        /// The root of the thread; absent outside threads.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        thread: Option<CommandId>,
    },
    /// How present the user is at this device, which asked for signals. Not answered.
    Presence {
        /// The device's status, until it says another one.
        status: OwnStatus,
    },
    /// The users whose presence the client shows: all of them each time. Not answered.
    Watch {
        /// The users, at most [`domain::WATCHED_MAX`].
        users: Vec<UserId>,
    },
    /// A command.
    #[serde(untagged)]
    Command(CommandFrame),
}

/// The reasons why a device has to sync from heads, as `welcome.reset` names them.
pub const RESET_REASONS: [&str; 4] = ["first", "gone", "too_far", "lapped"];

/// A frame from the server, other than feed frames and signals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The answer to `hello`. With `reset`, the device must sync from heads, and may store the cursor only
    /// together with the result of that sync.
    Welcome {
        /// The cursor at which the feed begins.
        cursor: Cursor,
        /// The user of the socket.
        user: UserId,
        /// The user's delivery partition, by which load balancers may route.
        #[serde(deserialize_with = "integer")]
        partition: u32,
        /// One of [`RESET_REASONS`]; absent when the feed resumes at the device's cursor.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reset: Option<String>,
        /// The server pings after this many milliseconds without a frame. A device that is silent for three times
        /// as long is closed.
        #[serde(deserialize_with = "integer")]
        ping_ms: u64,
        /// Whether the device should come back soon with its partition in the URL, so that a balancer leads it to the
        /// node that serves the partition already.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        r#move: Option<bool>,
    },
    /// The command is in the log. The ack has no seq: the result of the command comes on the feed.
    Ack {
        /// The command's id.
        id: CommandId,
        /// Its conversation.
        conversation: ConversationId,
    },
    /// A read mark is in the log.
    MarkAck {
        /// The conversation.
        conversation: ConversationId,
        /// The seq of the entry that the server found, which may be an earlier one than was sent.
        #[serde(deserialize_with = "integer")]
        seq: Seq,
    },
    /// The socket now uses the token that was sent.
    Renewed {
        /// When that token expires, milliseconds since the Unix epoch.
        until: i64,
    },
    /// A frame was refused. With `id`, that command was not appended (with the code `unknown`, it may have been).
    Error {
        /// The command's id.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        id: Option<CommandId>,
        /// The conversation of a read mark that was refused.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        conversation: Option<ConversationId>,
        /// The stable code.
        code: ErrorCode,
        /// A sentence.
        message: String,
        /// Seconds after which the same frame will be accepted, where the server knows that.
        #[serde(deserialize_with = "maybe", skip_serializing_if = "Option::is_none", default)]
        retry_after: Option<u32>,
    },
    /// A ping, after a while without frames.
    Ping {
        /// The device's new cursor, to be stored as a feed frame's is.
        cursor: Cursor,
    },
    /// Feed frames in their order, for a client that set `batch` in its `hello`. A single frame may be sent by
    /// itself instead.
    Batch {
        /// The cursor behind all of them. It must be stored together with the changes of all frames, or not at
        /// all.
        cursor: Cursor,
        /// The frames: each is a [`FeedFrame`], or a frame of another producer, which is ignored. None has a
        /// cursor of its own.
        frames: Vec<BatchedFrame>,
    },
}

impl ServerFrame {
    /// The `type` of each. They are reserved: no feed frame may have one.
    pub const TYPES: [&str; 7] = ["welcome", "ack", "mark_ack", "renewed", "error", "ping", "batch"];
}

/// What was accepted under a command's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandsName {
    /// A message.
    Message,
    /// A command that is no message.
    Command,
    /// A withdrawal: the command will never be accepted.
    Withdrawal,
}

impl From<Stands> for StandsName {
    fn from(stands: Stands) -> Self {
        match stands {
            Stands::Message { .. } => Self::Message,
            Stands::Command => Self::Command,
            Stands::Withdrawal => Self::Withdrawal,
        }
    }
}

/// A frame of the feed, the durable lane: the payload of `chat.deliveries`, rendered once by the fan-out. A client
/// drops a frame whose `seq` is not higher than the highest that it has seen in that conversation. Frames of the
/// lossy lane are [`crate::SignalFrame`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeedFrame {
    /// An accepted event.
    Event {
        /// The conversation.
        conversation: ConversationId,
        /// Its seq.
        #[serde(deserialize_with = "integer")]
        seq: Seq,
        /// The command's id.
        id: CommandId,
        /// The author of the event.
        author: UserId,
        /// The log's time, milliseconds since the Unix epoch.
        #[serde(deserialize_with = "integer")]
        time: i64,
        /// The count of messages up to and including it; absent for a withdrawal, which does not appear in the
        /// conversation.
        #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "maybe")]
        ordinal: Option<u64>,
        /// What happened.
        #[serde(flatten)]
        what: FeedKind,
    },
    /// A retry of a command that was settled before. Sent to the author only.
    Settled {
        /// The conversation.
        conversation: ConversationId,
        /// The seq of the retry.
        #[serde(deserialize_with = "integer")]
        seq: Seq,
        /// The command's id.
        id: CommandId,
        /// The seq of the event that was accepted under the id.
        #[serde(deserialize_with = "integer")]
        first_seq: Seq,
        /// What that event is.
        stands: StandsName,
    },
    /// The reducer refused this copy of a command. Sent to the author only.
    Refused {
        /// The conversation.
        conversation: ConversationId,
        /// The seq of the copy.
        #[serde(deserialize_with = "integer")]
        seq: Seq,
        /// The command's id.
        id: CommandId,
        /// The reason.
        reason: ErrorCode,
        /// The reason as a sentence.
        #[serde(default)]
        message: String,
    },
    /// A read mark of the user's own. It has no seq of an event: of several marks, the highest counts.
    Read {
        /// The conversation.
        conversation: ConversationId,
        /// The user, on any of their devices.
        user: UserId,
        /// The seq of the entry up to which they have read.
        #[serde(deserialize_with = "integer")]
        mark: Seq,
        /// The count of messages up to it.
        #[serde(deserialize_with = "integer")]
        ordinal: u64,
    },
    /// An event of the user's account. Delivered at least once, so it may repeat.
    Account {
        /// `registered`, `signed_in`, `signed_out`, `privacy_changed`.
        event: String,
        /// The time of the event, milliseconds since the Unix epoch.
        #[serde(deserialize_with = "integer")]
        time: i64,
    },
}

impl FeedFrame {
    /// The frame of an event that was judged, for all of its recipients.
    #[must_use]
    pub fn of(event: &Event, appended: Appended, effects: &Effects) -> Self {
        let (conversation, seq, id) = (event.conversation, appended.seq, event.id);
        match effects.decision {
            Decision::Settled { first_seq, stands } => {
                Self::Settled { conversation, seq, id, first_seq, stands: stands.into() }
            }
            Decision::Refused(refusal) => {
                let message = crate::sentence(refusal).to_owned();
                Self::Refused { conversation, seq, id, reason: refusal.into(), message }
            }
            Decision::Accepted => Self::Event {
                conversation,
                seq,
                id,
                author: event.author,
                time: appended.append_time_ms,
                ordinal: effects.raises_head(event).then_some(effects.ordinal),
                what: FeedKind::of(event, effects),
            },
        }
    }

    /// The frame for recipients who may learn that a message has changed, but not how: [`Effects::blind`].
    #[must_use]
    pub fn withheld(mut self) -> Self {
        let Self::Event { what, .. } = &mut self else { return self };
        what.withhold();
        self
    }

    /// The conversation and seq by which a client filters, for frames that have them.
    #[must_use]
    pub const fn event_key(&self) -> Option<(ConversationId, Seq)> {
        match self {
            Self::Event { conversation, seq, .. }
            | Self::Settled { conversation, seq, .. }
            | Self::Refused { conversation, seq, .. } => Some((*conversation, *seq)),
            Self::Read { .. } | Self::Account { .. } => None,
        }
    }
}

/// A feed frame as a client receives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The cursor behind this frame.
    pub cursor: Cursor,
    /// The frame.
    #[serde(flatten)]
    pub frame: FeedFrame,
}

/// Whether the text is a feed frame that every client accepts: a JSON object with a text `type` that is none of
/// [`ServerFrame::TYPES`] and [`SignalFrame::TYPES`], and without a `cursor` field, not even `null`.
#[must_use]
pub fn is_frame(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Frame<'t> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'t, str>,
        #[serde(default, deserialize_with = "there")]
        cursor: bool,
    }
    let taken = |kind: &str| ServerFrame::TYPES.contains(&kind) || SignalFrame::TYPES.contains(&kind);
    let free = |frame: Frame<'_>| !frame.cursor && !taken(&frame.kind);
    text.starts_with('{') && serde_json::from_str(text).is_ok_and(free)
}

/// True for a field that is present, whatever its value.
fn there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// The text before and after the cursor at the beginning of a rendered feed frame.
const CURSOR: &str = "{\"cursor\":\"";
const CURSOR_END: &str = "\",";
/// The beginning of a rendered event, behind its cursor, and the name of the field with its append time. That field comes
/// before everything that users have written.
const EVENT: &str = "\"type\":\"event\",";
const TIME: &str = "\"time\":";

/// Puts the cursor in front of a rendered feed frame (a JSON object that is not empty) without parsing it.
#[must_use]
pub fn with_cursor(cursor: &Cursor, frame: &str) -> String {
    let mut out = String::with_capacity(frame.len() + 64);
    put_with_cursor(&mut out, cursor, frame);
    out
}

/// As [`with_cursor`], appended to `out`.
pub fn put_with_cursor(out: &mut String, cursor: &Cursor, frame: &str) {
    out.push_str(CURSOR);
    cursor.put(out);
    out.push_str(CURSOR_END);
    out.push_str(frame.strip_prefix('{').unwrap_or(frame));
}

/// When the event of a rendered feed frame, as [`with_cursor`] makes it, was appended: milliseconds since the Unix epoch.
/// `None` for frames of other types. Reads only what stands in front of the event's own fields, and parses nothing else.
#[must_use]
pub fn appended_ms(frame: &str) -> Option<i64> {
    let (_, rest) = frame.strip_prefix(CURSOR)?.split_once(CURSOR_END)?;
    let (_, time) = rest.strip_prefix(EVENT)?.split_once(TIME)?;
    time.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
}

/// Joins rendered feed frames, each as [`with_cursor`] makes it, into the text of one [`ServerFrame::Batch`],
/// without parsing them.
#[must_use]
pub fn batch(frames: &[impl AsRef<str>]) -> String {
    let parts = || frames.iter().filter_map(|frame| frame.as_ref().strip_prefix(CURSOR)?.split_once(CURSOR_END));
    let bytes: usize = frames.iter().map(|frame| frame.as_ref().len()).sum();
    let mut out = String::with_capacity(bytes + 64);
    out.push_str("{\"type\":\"batch\",\"cursor\":\"");
    out.push_str(parts().last().map_or("", |(cursor, _)| cursor));
    out.push_str("\",\"frames\":[");
    for (number, (_, rest)) in parts().enumerate() {
        out.push_str(if number == 0 { "{" } else { ",{" });
        out.push_str(rest);
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommandKind;
    use domain::Fingerprint;

    #[test]
    fn a_command_parses_by_its_type_and_others_do_not() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let text = format!(r#"{{"type":"send","id":"{id}","conversation":"{id}","body":"hi","extra":1}}"#);
        let frame: ClientFrame = serde_json::from_str(&text).unwrap();
        assert!(
            matches!(&frame, ClientFrame::Command(command) if matches!(command.what, CommandKind::Send { .. })),
            "{frame:?}"
        );
        let hello: ClientFrame = serde_json::from_str(r#"{"type":"hello"}"#).unwrap();
        assert_eq!(hello, ClientFrame::Hello { token: None, cursor: None, user: None, batch: None, signals: None });
        assert!(serde_json::from_str::<ClientFrame>(r#"{"type":"shout"}"#).is_err());
    }

    #[test]
    fn a_frame_is_an_object_with_a_type_and_without_a_cursor() {
        assert!(is_frame(r#"{"type":"message","body":"\"x\""}"#));
        assert!(is_frame(r#"{"body":{"cursor":1},"type":"of tomorrow"}"#));
        let mut bad =
            ["", "{}", "[]", r#"{"type":1}"#, r#"{"kind":"x"}"#, r#"{"type":"x""#].map(str::to_owned).to_vec();
        bad.extend(["\"0\"", "null", "{}"].map(|cursor| format!(r#"{{"type":"x","cursor":{cursor}}}"#)));
        bad.extend(ServerFrame::TYPES.map(|kind| format!(r#"{{"type":"{kind}","text":"hi"}}"#)));
        bad.extend(SignalFrame::TYPES.map(|kind| format!(r#"{{"type":"{kind}"}}"#)));
        bad.extend([r#"{"type":"x","type":"ack"}"#, r#"{"type":"\u0061ck"}"#].map(str::to_owned));
        for bad in bad {
            assert!(!is_frame(&bad), "{bad}");
        }
    }

    #[test]
    fn the_types_of_the_server_are_those_of_its_frames() {
        let words = serde_json::from_str::<ServerFrame>(r#"{"type":"?"}"#).unwrap_err().to_string();
        let types = words.split('`').skip(3).step_by(2);
        assert!(types.eq(ServerFrame::TYPES), "{words}");
    }

    #[test]
    fn the_cursor_goes_in_front_of_a_rendered_frame() {
        let user = domain::UserId::try_from(uuid::Uuid::nil()).unwrap();
        let conversation = domain::ConversationId::direct(user, user);
        let frame = FeedFrame::Read { conversation, user, mark: Seq::try_from(5).unwrap(), ordinal: 2 };
        let cursor = Cursor { generation: 0, partition: 1, next: 2, fingerprint: Fingerprint(3) };
        let text = with_cursor(&cursor, &serde_json::to_string(&frame).unwrap());
        assert_eq!(serde_json::from_str::<Received>(&text).unwrap(), Received { cursor, frame });
    }

    #[test]
    fn the_append_time_of_an_event_is_read_and_nothing_that_a_user_wrote() {
        let cursor = Cursor { generation: 0, partition: 1, next: 2, fingerprint: Fingerprint(3) };
        let user = domain::UserId::try_from(uuid::Uuid::nil()).unwrap();
        let conversation = domain::ConversationId::direct(user, user);
        let rendered = |frame: &FeedFrame| with_cursor(&cursor, &serde_json::to_string(frame).unwrap());
        let id: CommandId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let body = domain::MessageText::from("\"time\":7,".to_owned());
        let event = FeedFrame::Event {
            conversation,
            seq: Seq::try_from(5).unwrap(),
            id,
            author: user,
            time: 1_757_000_000_020,
            ordinal: None,
            what: FeedKind::message(body, None),
        };
        assert_eq!(appended_ms(&rendered(&event)), Some(1_757_000_000_020));
        let account = FeedFrame::Account { event: "signed_in".into(), time: 12 };
        assert_eq!(appended_ms(&rendered(&account)), None, "this time is none of the log");
        let read = FeedFrame::Read { conversation, user, mark: Seq::try_from(5).unwrap(), ordinal: 2 };
        assert_eq!(appended_ms(&rendered(&read)), None);
        assert_eq!(appended_ms(r#"{"cursor":"0","type":"event","time":"soon"}"#), None);
    }

    #[test]
    fn a_batch_is_its_frames_with_the_last_cursor() {
        let cursor = |next| Cursor { generation: 0, partition: 1, next, fingerprint: Fingerprint(3) };
        let frames = [r#"{"type":"read","body":"\",x"}"#, r#"{"type":"sticker","of":{"cursor":1}}"#];
        let texts: Vec<String> = (7..).zip(frames).map(|(next, frame)| with_cursor(&cursor(next), frame)).collect();
        for count in [1, 2] {
            let frames = frames[..count].iter().map(|frame| serde_json::from_str(frame).unwrap()).collect();
            let batch: ServerFrame = serde_json::from_str(&batch(&texts[..count])).unwrap();
            assert_eq!(batch, ServerFrame::Batch { cursor: cursor(6 + count as u64), frames });
        }
    }
}
