//! What the samples of the kinds are made of: the same values every time.

use uuid::Uuid;

use crate::{CommandId, UserId};

/// A user by number.
pub(super) fn user(number: u8) -> UserId {
    UserId::try_from(Uuid::from_bytes([number; 16])).expect("any UUID is a user id")
}

/// The message that samples are about.
pub(super) fn target() -> CommandId {
    CommandId::first_at(1_700_000_000_009)
}
