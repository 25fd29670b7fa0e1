//! The table of topics: `schemas/topics.toml`, compiled in.

use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;

/// Everything clients do to conversations.
pub const MESSAGES: &str = "chat.messages";
/// Read marks.
pub const RECEIPTS: &str = "chat.receipts";
/// What concerns a user, for every device of theirs.
pub const DELIVERIES: &str = "chat.deliveries";
/// Records that could not be decoded.
pub const QUARANTINE: &str = "chat.quarantine";
/// Accounts.
pub const USERS: &str = "users.events";

/// The storage consumer's group.
pub const GROUP_STORAGE: &str = "klatsch.storage";
/// The fan-out consumer's group.
pub const GROUP_FANOUT: &str = "klatsch.fanout";
/// What the storage consumer reads.
pub const STORAGE_SOURCES: [&str; 2] = [MESSAGES, RECEIPTS];
/// What the fan-out reads: its group has a commit in every partition of these.
pub const FANOUT_SOURCES: [&str; 3] = [MESSAGES, RECEIPTS, USERS];

/// What a topic must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The topic's name.
    pub name: String,
    /// Fixed within a generation.
    pub partitions: u32,
    /// Part of every seq and cursor.
    pub generation: u8,
    /// How long records are kept; `None`: for ever.
    pub retention: Option<Duration>,
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

/// The topic of that name, if it is one of the table.
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
    TopicSpec { name: row.name, partitions: row.partitions, generation: row.generation, retention }
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
        let named = [MESSAGES, RECEIPTS, DELIVERIES, QUARANTINE, USERS];
        assert_eq!(all().iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), named);
        assert_eq!(spec_of(MESSAGES).retention, None, "the truth is kept for ever");
        assert_eq!(spec_of(DELIVERIES).retention, Some(Duration::from_secs(7 * 86_400)));
    }
}
