//! The table of topics: `schemas/topics.toml`, compiled in.

use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;

/// The events of all conversations.
pub const MESSAGES: &str = "chat.messages";
/// Read marks.
pub const RECEIPTS: &str = "chat.receipts";
/// The frames for each user's devices.
pub const DELIVERIES: &str = "chat.deliveries";
/// Copies of records that could not be decoded.
pub const QUARANTINE: &str = "chat.quarantine";
/// Account events.
pub const USERS: &str = "users.events";
/// Signals: who is typing.
pub const SIGNALS: &str = "chat.signals";

/// The storage consumer's group.
pub const GROUP_STORAGE: &str = "klatsch.storage";
/// The fan-out consumer's group.
pub const GROUP_FANOUT: &str = "klatsch.fanout";
/// The topics that the storage consumer reads.
pub const STORAGE_SOURCES: [&str; 2] = [MESSAGES, RECEIPTS];
/// The topics that the fan-out reads; its group commits offsets in every partition of them.
pub const FANOUT_SOURCES: [&str; 3] = [MESSAGES, RECEIPTS, USERS];

/// The reliability of a topic's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Acknowledged records are kept for the whole retention; readers resume from cursors and skip nothing.
    /// Programs are not ready without the topic.
    Durable,
    /// Records may be lost, first of all under load. Readers do not resume, no genesis record or tick is written,
    /// and no program waits for the topic.
    Lossy,
}

/// The required properties of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The topic's name.
    pub name: String,
    /// The number of partitions; fixed within a generation.
    pub partitions: u32,
    /// The generation of the topic, which is part of every seq and cursor.
    pub generation: u8,
    /// How long records are kept; `None` for ever.
    pub retention: Option<Duration>,
    /// The reliability of its records.
    pub lane: Lane,
}

#[derive(Deserialize)]
struct Table {
    topic: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[allow(dead_code)] // for readers of the table
    key: String,
    partitions: u32,
    generation: u8,
    retention: String,
    lane: Lane,
    #[allow(dead_code)] // for readers of the table
    about: String,
}

/// All topics, in the order of the table.
///
/// # Panics
/// When the compiled-in table is malformed, which a test rules out.
pub fn all() -> &'static [TopicSpec] {
    static TOPICS: OnceLock<Vec<TopicSpec>> = OnceLock::new();
    TOPICS.get_or_init(|| {
        let text = include_str!("../../../schemas/topics.toml");
        let table: Table = toml::from_str(text).expect("schemas/topics.toml is well formed");
        table.topic.into_iter().map(spec).collect()
    })
}

/// The topics of the durable lane, in the order of the table.
pub fn durable() -> impl Iterator<Item = &'static TopicSpec> {
    all().iter().filter(|topic| topic.lane == Lane::Durable)
}

/// Whether lossy records may be written to the topic: it is in the lossy lane, or not in the table.
#[must_use]
pub fn takes_lossy(name: &str) -> bool {
    find(name).is_none_or(|topic| topic.lane == Lane::Lossy)
}

/// The topic of that name, if it is in the table.
#[must_use]
pub fn find(name: &str) -> Option<&'static TopicSpec> {
    all().iter().find(|topic| topic.name == name)
}

/// The topic of that name.
///
/// # Panics
/// When `name` is not one of this module's constants.
#[must_use]
pub fn spec_of(name: &str) -> &'static TopicSpec {
    find(name).expect("the topic stands in schemas/topics.toml")
}

fn spec(row: Row) -> TopicSpec {
    assert!(row.partitions > 0, "{} has no partition", row.name);
    let retention = match row.retention.as_str() {
        "forever" => None,
        text => Some(duration(text).expect("a retention is 'forever' or a number with d, h or m")),
    };
    let Row { name, partitions, generation, lane, .. } = row;
    TopicSpec { name, partitions, generation, retention, lane }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()? * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_topic_stands_in_the_table() {
        let named = [MESSAGES, RECEIPTS, DELIVERIES, QUARANTINE, USERS, SIGNALS];
        assert_eq!(all().iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), named);
        assert_eq!(spec_of(MESSAGES).retention, None, "the truth is kept for ever");
        assert_eq!(spec_of(DELIVERIES).retention, Some(Duration::from_secs(7 * 86_400)));
        assert!(spec_of(SIGNALS).retention < Some(Duration::from_secs(3_600)), "minutes");
    }

    #[test]
    fn signals_alone_are_lossy_and_partitioned_as_deliveries() {
        assert!(durable().map(|topic| topic.name.as_str()).eq([MESSAGES, RECEIPTS, DELIVERIES, QUARANTINE, USERS]));
        assert!(takes_lossy(SIGNALS) && durable().all(|topic| !takes_lossy(&topic.name)));
        assert_eq!(spec_of(SIGNALS).partitions, spec_of(DELIVERIES).partitions);
    }
}
