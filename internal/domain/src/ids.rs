//! Ids: newtypes with one parsing constructor each, so that a value that exists is valid.
//!
//! The text form of every id is the lower-case hyphenated UUID; it is also the key of every record in the log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::{Uuid, Variant};

/// Why a text or a UUID is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a hyphenated UUID.
    #[error("'{0}' is not a hyphenated UUID")]
    NotUuid(String),
    /// A UUID of another version than the id needs.
    #[error("'{0}' is not a UUIDv7 (RFC 9562), which a command id must be")]
    NotVersion7(Uuid),
}

macro_rules! id_text {
    ($name:ident) => {
        impl $name {
            /// The sixteen bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The UUID behind the id.
            #[must_use]
            pub const fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let shaped = text.len() == 36;
                let uuid = Uuid::try_parse(text).ok().filter(|_| shaped);
                Self::try_from(uuid.ok_or_else(|| IdError::NotUuid(text.chars().take(64).collect()))?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.as_hyphenated().serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// An account. Minted by the user service; any UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Uuid);

/// A conversation. Its id is never random: it is derived from the two users of a direct conversation, or from a
/// group's creator and the id of the creating command. So a retried or simultaneous creation makes one
/// conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(Uuid);

/// The id that a client gives one of its commands: a UUIDv7, whose first 48 bits are the time at which the client
/// made it.
///
/// Ordered by its bytes, and so by its stamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(Uuid);

id_text!(UserId);
id_text!(ConversationId);
id_text!(CommandId);

impl TryFrom<Uuid> for UserId {
    type Error = IdError;

    fn try_from(uuid: Uuid) -> Result<Self, IdError> {
        Ok(Self(uuid))
    }
}

impl TryFrom<Uuid> for ConversationId {
    type Error = IdError;

    fn try_from(uuid: Uuid) -> Result<Self, IdError> {
        Ok(Self(uuid))
    }
}

impl TryFrom<Uuid> for CommandId {
    type Error = IdError;

    fn try_from(uuid: Uuid) -> Result<Self, IdError> {
        if uuid.get_version_num() == 7 && uuid.get_variant() == Variant::RFC4122 {
            Ok(Self(uuid))
        } else {
            Err(IdError::NotVersion7(uuid))
        }
    }
}

/// Milliseconds of a week, the span of one id partition.
const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

impl CommandId {
    /// The time at which the client says it made the id: milliseconds since the Unix epoch, `0..2^48`.
    #[must_use]
    pub fn stamp_ms(&self) -> i64 {
        let bytes = self.0.as_bytes();
        bytes[..6].iter().fold(0, |stamp, byte| stamp << 8 | i64::from(*byte))
    }

    /// The week of the stamp, counted from the Unix epoch: id rows of one conversation are partitioned by it.
    #[must_use]
    pub fn week(&self) -> i64 {
        Self::week_of(self.stamp_ms())
    }

    /// The week that holds `stamp_ms` (milliseconds since the Unix epoch).
    #[must_use]
    pub fn week_of(stamp_ms: i64) -> i64 {
        stamp_ms.div_euclid(WEEK_MS)
    }

    /// The smallest id with the stamp `stamp_ms`: the lower bound of a range read over id bytes.
    #[must_use]
    pub fn first_at(stamp_ms: i64) -> Self {
        let stamp = u64::try_from(stamp_ms).unwrap_or(0).min((1 << 48) - 1);
        Self(uuid::Builder::from_unix_timestamp_millis(stamp, &[0; 10]).into_uuid())
    }
}

impl ConversationId {
    /// The direct conversation between two users: the same id whichever of the two opens it.
    #[must_use]
    pub fn direct(one: UserId, other: UserId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self::derived(b"klatsch/direct/1", low.as_bytes(), high.as_bytes())
    }

    /// The group that `creator` opened with the command `id`.
    #[must_use]
    pub fn group(creator: UserId, id: CommandId) -> Self {
        Self::derived(b"klatsch/group/1", creator.as_bytes(), id.as_bytes())
    }

    /// A UUIDv8 (RFC 9562, "custom") from SHA-256 over the kind and the two ids.
    fn derived(kind: &[u8], first: &[u8; 16], second: &[u8; 16]) -> Self {
        let digest = Sha256::new().chain_update(kind).chain_update(first).chain_update(second).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V7: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn a_command_id_is_a_uuid_v7_and_sorts_by_its_stamp() {
        let id: CommandId = V7.parse().unwrap();
        assert_eq!(id.stamp_ms(), 0x0189_0a5d_ac96);
        assert_eq!(id.to_string(), V7);
        assert!(CommandId::first_at(id.stamp_ms()) <= id && CommandId::first_at(id.stamp_ms() + 1) > id);
        assert_eq!(CommandId::try_from(CommandId::first_at(5).uuid()), Ok(CommandId::first_at(5)));
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        assert!(matches!("".parse::<UserId>(), Err(IdError::NotUuid(_))));
        assert!(matches!("01890a5dac96774bbcceb302099a8057".parse::<UserId>(), Err(IdError::NotUuid(_))));
        let v4 = "936da01f-9abd-4d9d-80c7-02af85c822a8";
        assert!(v4.parse::<UserId>().is_ok());
        assert!(matches!(v4.parse::<CommandId>(), Err(IdError::NotVersion7(_))));
    }

    #[test]
    fn both_sides_of_a_direct_conversation_derive_the_same_id() {
        let (a, b): (UserId, UserId) = (V7.parse().unwrap(), "936da01f-9abd-4d9d-80c7-02af85c822a8".parse().unwrap());
        assert_eq!(ConversationId::direct(a, b), ConversationId::direct(b, a));
        // Pinned: clients compute the id too, so the derivation is part of the wire contract.
        assert_eq!(ConversationId::direct(a, b).to_string(), "1980395b-6c11-8d4f-9514-069b865ba53b");
        assert_ne!(ConversationId::group(a, V7.parse().unwrap()), ConversationId::group(b, V7.parse().unwrap()));
    }

    #[test]
    fn the_examples_of_the_protocol_page_are_derived_as_it_says() {
        let page = include_str!("../../../schemas/PROTOCOL.md");
        let row = |label: &str| {
            let row = page.lines().find(|line| line.starts_with('|') && line.contains(label)).unwrap();
            let ids = row.split('`').filter(|text| text.len() == 36);
            <[&str; 3]>::try_from(ids.collect::<Vec<_>>()).unwrap()
        };
        let [low, high, conversation] = row("klatsch/direct/1");
        let (low, high): (UserId, UserId) = (low.parse().unwrap(), high.parse().unwrap());
        assert_eq!(ConversationId::direct(high, low).to_string(), conversation);
        let [creator, command, conversation] = row("klatsch/group/1");
        assert_eq!(ConversationId::group(creator.parse().unwrap(), command.parse().unwrap()).to_string(), conversation);
    }

    #[test]
    fn stamps_and_weeks_are_counted_from_the_epoch() {
        const WEEK: i64 = 604_800_000;
        let weeks = [-1, 0, WEEK - 1, WEEK, 2900 * WEEK - 1, 2900 * WEEK].map(CommandId::week_of);
        assert_eq!(weeks, [-1, 0, 0, 1, 2899, 2900]);
        assert_eq!(CommandId::first_at(2900 * WEEK).week(), 2900);
        assert_eq!(
            [-5, 0, 0x0123_4567_89ab, 1 << 48].map(|ms| CommandId::first_at(ms).stamp_ms()),
            [0, 0, 0x0123_4567_89ab, (1 << 48) - 1]
        );
    }
}
