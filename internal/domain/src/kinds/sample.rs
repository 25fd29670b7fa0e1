//! The values that the samples of all kinds use: the same at every call.

use uuid::Uuid;

use crate::{CommandId, CustomContent, Mentions, MessageBody, Quote, Reply, UserId};

/// A user with the given number.
pub(super) fn user(number: u8) -> UserId {
    UserId::try_from(Uuid::from_bytes([number; 16])).expect("any UUID is a user id")
}

/// The id of the message that samples refer to.
pub(super) fn target() -> CommandId {
    CommandId::first_at(1_700_000_000_009)
}

/// A body with everything that a body can have.
pub(super) fn body() -> MessageBody {
    MessageBody {
        text: "where shall we meet, @bob?".into(),
        mentions: Mentions::new(vec![user(2)], true),
        custom: Some(CustomContent { kind: "com.example.poll".into(), data: r#"{"options":2}"#.into() }),
    }
}

/// A reply to a part of the message that samples refer to.
pub(super) fn quoting() -> Reply {
    Reply { to: target(), quote: Some(Quote { from: 2, to: 5 }) }
}
