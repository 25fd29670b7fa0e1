//! Signals as frames: the lossy lane.
//!
//! What a server sends by itself belongs to one of two lanes, and each has its own type, so that a frame cannot
//! get into the wrong lane. A [`FeedFrame`](crate::FeedFrame) is durable: it is received as
//! [`Received`](crate::Received), with the cursor behind it, alone or in a batch. A [`SignalFrame`] is lossy: it
//! has no cursor and no seq, is never in a batch, and is sent only to clients that asked for signals in their
//! `hello`.

use domain::{CommandId, ConversationId, Doing, Presence, Signal, Status, UserId};
use serde::{Deserialize, Deserializer, Serialize};

use crate::integer::maybe;

/// A frame about the present moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SignalFrame {
    /// A user is typing. Shown for [`domain::SIGNAL_SHOWN`], or until the user sends a message there.
    Typing {
        /// The conversation.
        conversation: ConversationId,
        /// The user who is typing.
        user: UserId,
        /// What the user is about to say; absent for a text, which unknown names are taken for, too.
        #[serde(skip_serializing_if = "DoingName::is_text", default, deserialize_with = "known")]
        doing: DoingName,
        /// The root of the thread; absent outside threads.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        thread: Option<CommandId>,
    },
    /// How present a user is whom this client watches.
    Presence {
        /// The user.
        user: UserId,
        /// How present they are.
        status: StatusName,
        /// Since when, milliseconds since the Unix epoch; absent where that is not known.
        #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "maybe")]
        since: Option<i64>,
    },
}

/// [`Status`] by its name, as a device says it of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnStatus {
    /// In use.
    Online,
    /// Not used for a while.
    Idle,
    /// Not to be disturbed.
    Dnd,
}

impl From<OwnStatus> for Status {
    fn from(status: OwnStatus) -> Self {
        match status {
            OwnStatus::Online => Self::Online,
            OwnStatus::Idle => Self::Idle,
            OwnStatus::Dnd => Self::Dnd,
        }
    }
}

/// [`Status`] by its name, as others are told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StatusName(&'static str);

impl From<Status> for StatusName {
    fn from(status: Status) -> Self {
        Self(status.name())
    }
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        // Only names of statuses are ever in it.
        Self::from_name(name.0).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for StatusName {
    /// A status that a newer server knows is taken for `online`.
    fn deserialize<D: Deserializer<'de>>(name: D) -> Result<Self, D::Error> {
        let name = String::deserialize(name)?;
        Ok(Status::from_name(&name).unwrap_or(Status::Online).into())
    }
}

/// [`Doing`] by its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoingName {
    /// Typing a text.
    #[default]
    Text,
    /// Sending a file.
    File,
    /// An assistant's answer is being written.
    Assistant,
}

impl DoingName {
    /// Whether it is a text, which frames need not say.
    #[must_use]
    pub fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

impl From<Doing> for DoingName {
    fn from(doing: Doing) -> Self {
        match doing {
            Doing::Text => Self::Text,
            Doing::File => Self::File,
            Doing::Assistant => Self::Assistant,
        }
    }
}

impl From<DoingName> for Doing {
    fn from(name: DoingName) -> Self {
        match name {
            DoingName::Text => Self::Text,
            DoingName::File => Self::File,
            DoingName::Assistant => Self::Assistant,
        }
    }
}

/// The name, or `text` for one that a newer server uses.
fn known<'de, D: Deserializer<'de>>(name: D) -> Result<DoingName, D::Error> {
    let name = String::deserialize(name)?;
    Ok(Doing::from_name(&name).unwrap_or_default().into())
}

impl SignalFrame {
    /// The `type` of each. They are reserved: no feed frame may have one.
    pub const TYPES: [&str; 2] = ["typing", "presence"];
}

impl From<Presence> for SignalFrame {
    fn from(Presence { user, status, since_ms }: Presence) -> Self {
        Self::Presence { user, status: status.into(), since: since_ms }
    }
}

impl From<Signal> for SignalFrame {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Typing { conversation, user, doing, thread } => {
                Self::Typing { conversation, user, doing: doing.into(), thread }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_signals_are_those_of_their_frames() {
        let words = serde_json::from_str::<SignalFrame>(r#"{"type":"?"}"#).unwrap_err().to_string();
        let (_, list) = words.split_once("expected").unwrap();
        assert!(list.split('`').skip(1).step_by(2).eq(SignalFrame::TYPES), "{words}");
    }

    #[test]
    fn a_signal_is_a_frame_without_a_cursor() {
        let user = UserId::try_from(uuid::Uuid::nil()).unwrap();
        let conversation = ConversationId::direct(user, user);
        let frame = SignalFrame::from(Signal::Typing { conversation, user, doing: Doing::Text, thread: None });
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(text, format!(r#"{{"type":"typing","conversation":"{conversation}","user":"{user}"}}"#));
        assert_eq!(serde_json::from_str::<SignalFrame>(&text).unwrap(), frame);
        assert!(!crate::is_frame(&text), "and no frame of the feed");
    }

    #[test]
    fn how_present_somebody_is_is_named_and_unknown_names_are_online() {
        let user = UserId::try_from(uuid::Uuid::nil()).unwrap();
        for status in Status::ALL {
            let frame = SignalFrame::from(Presence { user, status, since_ms: Some(7) });
            let text = serde_json::to_string(&frame).unwrap();
            let (name, since) = (status.name(), r#""since":7"#);
            assert_eq!(text, format!(r#"{{"type":"presence","user":"{user}","status":"{name}",{since}}}"#));
            assert_eq!(serde_json::from_str::<SignalFrame>(&text).unwrap(), frame);
            let newer = serde_json::from_str::<SignalFrame>(&text.replace(name, "dancing")).unwrap();
            assert_eq!(newer, Presence { user, status: Status::Online, since_ms: Some(7) }.into());
        }
    }

    #[test]
    fn what_somebody_does_is_named_and_unknown_names_are_a_text() {
        let user = UserId::try_from(uuid::Uuid::nil()).unwrap();
        let conversation = ConversationId::direct(user, user);
        for doing in Doing::ALL {
            let frame = SignalFrame::from(Signal::Typing { conversation, user, doing, thread: None });
            let text = serde_json::to_string(&frame).unwrap();
            assert_eq!(text.contains(doing.name()), doing != Doing::Text, "{text}");
            assert_eq!(serde_json::from_str::<SignalFrame>(&text).unwrap(), frame);
            let newer = text.replace(doing.name(), "sculpture");
            let read = serde_json::from_str::<SignalFrame>(&newer).unwrap();
            assert!(matches!(read, SignalFrame::Typing { doing: DoingName::Text, .. }), "{read:?}");
        }
    }
}
