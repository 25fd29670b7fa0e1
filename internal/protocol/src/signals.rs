//! Signals as frames: the lossy lane.
//!
//! What a server sends by itself belongs to one of two lanes, and each has its own type, so that a frame cannot
//! get into the wrong lane. A [`FeedFrame`](crate::FeedFrame) is durable: it is received as
//! [`Received`](crate::Received), with the cursor behind it, alone or in a batch. A [`SignalFrame`] is lossy: it
//! has no cursor and no seq, is never in a batch, and is sent only to clients that asked for signals in their
//! `hello`.

use domain::{ConversationId, Signal, UserId};
use serde::{Deserialize, Serialize};

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
    },
}

impl SignalFrame {
    /// The `type` of each. They are reserved: no feed frame may have one.
    pub const TYPES: [&str; 1] = ["typing"];
}

impl From<Signal> for SignalFrame {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Typing { conversation, user } => Self::Typing { conversation, user },
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
        let frame = SignalFrame::from(Signal::Typing { conversation, user });
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(text, format!(r#"{{"type":"typing","conversation":"{conversation}","user":"{user}"}}"#));
        assert_eq!(serde_json::from_str::<SignalFrame>(&text).unwrap(), frame);
        assert!(!crate::is_frame(&text), "and no frame of the feed");
    }
}
