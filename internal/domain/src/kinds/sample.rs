//! The values that the samples of all kinds use: the same at every call.

use uuid::Uuid;

use crate::{CommandId, UserId};

/// A user with the given number.
pub(super) fn user(number: u8) -> UserId {
    UserId::try_from(Uuid::from_bytes([number; 16])).expect("any UUID is a user id")
}

/// The id of the message that samples refer to.
pub(super) fn target() -> CommandId {
    CommandId::first_at(1_700_000_000_009)
}
