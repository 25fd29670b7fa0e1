//! The list of the tables with rows derived from the log: every engine uses it, and a test compares `schemas/cql`
//! with it.
//!
//! Key columns are always present and never change; cells have a timestamp each and may be absent. Every type has
//! one encoding, CQL's: bigint as eight bytes, big-endian, two's complement; text as UTF-8; boolean as one byte;
//! uuid as sixteen; blob as it is. So "the larger bytes" on a tie of timestamps means the same in every engine.

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `uuid`.
    Uuid,
    /// `bigint`; never negative in a key, so that its bytes sort as its numbers do.
    Bigint,
    /// `text`.
    Text,
    /// `boolean`.
    Boolean,
    /// `blob`.
    Blob,
}

impl ColumnType {
    /// The bytes of every value of the type, if all have the same number.
    #[must_use]
    pub const fn width(self) -> Option<usize> {
        match self {
            Self::Uuid => Some(16),
            Self::Bigint => Some(8),
            Self::Boolean => Some(1),
            Self::Text | Self::Blob => None,
        }
    }

    /// The name in CQL.
    #[must_use]
    pub const fn cql(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Bigint => "bigint",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Blob => "blob",
        }
    }
}

/// An upper bound of the cells of any table.
pub(crate) const CELLS_MAX: usize = 32;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnType,
}

/// A table: `((partition key), clustering key) -> cells`.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name within an incarnation.
    pub name: &'static str,
    /// The columns that determine the partition.
    pub partition_key: &'static [Column],
    /// The columns that order the rows of a partition, ascending.
    pub clustering_key: &'static [Column],
    /// The columns with a timestamp. Their order is part of the embedded engine's encoding: append, never insert.
    pub cells: &'static [Column],
}

impl Table {
    /// The key's columns in order: partition key, then clustering key.
    pub fn key(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.partition_key.iter().chain(self.clustering_key)
    }

    /// The columns of a key with their values, from those values one after another: all have a fixed width, except
    /// the last of some keys. Ends where the bytes end.
    pub fn split_key<'a>(&self, key: &'a [u8]) -> impl Iterator<Item = (&'static Column, &'a [u8])> + use<'a> {
        let mut rest = key;
        self.key().map_while(move |column| {
            let (value, after) = rest.split_at_checked(column.kind.width().unwrap_or(rest.len()))?;
            rest = after;
            Some((column, value))
        })
    }

    /// All columns in order: key, then cells.
    pub fn columns(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.key().chain(self.cells)
    }

    /// The index of a cell in [`Self::cells`].
    #[must_use]
    pub fn cell(&self, name: &str) -> Option<usize> {
        self.cells.iter().position(|column| column.name == name)
    }
}

/// The entries of the timelines.
pub static TIMELINE: Table = Table {
    name: "timeline",
    partition_key: &[uuid("conversation"), bigint("bucket")],
    clustering_key: &[bigint("seq")],
    cells: &[
        blob("id"),
        uuid("author"),
        bigint("time"),
        bigint("place"),
        bigint("ordinal"),
        text("kind"),
        text("body"),
        blob("reply_to"),
        blob("users"),
        bigint("changed"),
        bigint("edited"),
        boolean("deleted"),
        uuid("deleted_by"),
        blob("thread"),
        bigint("thread_ordinal"),
        boolean("also_in_conversation"),
        blob("quote"),
        blob("mentions"),
        text("custom_kind"),
        text("custom_data"),
        text("edited_body"),
        blob("edited_mentions"),
        text("edited_custom_kind"),
        text("edited_custom_data"),
        bigint("edited_by"),
    ],
};

/// The first seq of each bucket of a timeline.
pub static BUCKETS: Table = Table {
    name: "buckets",
    partition_key: &[uuid("conversation")],
    clustering_key: &[bigint("bucket")],
    cells: &[bigint("start")],
};

/// Versions of memberships; the role is empty for a user who left.
pub static MEMBERS: Table = Table {
    name: "members",
    partition_key: &[uuid("conversation")],
    clustering_key: &[uuid("user"), bigint("seq")],
    cells: &[text("role")],
};

/// The conversations of each user.
pub static USER_CONVERSATIONS: Table = Table {
    name: "user_conversations",
    partition_key: &[uuid("user")],
    clustering_key: &[uuid("conversation")],
    cells: &[text("role"), bigint("changed"), bigint("joined"), bigint("joined_ordinal")],
};

/// Versions of settings.
pub static SETTINGS: Table = Table {
    name: "settings",
    partition_key: &[uuid("conversation")],
    clustering_key: &[bigint("seq")],
    cells: &[text("kind"), text("title")],
};

/// Versions of the pinned messages.
pub static PINS: Table = Table {
    name: "pins",
    partition_key: &[uuid("conversation")],
    clustering_key: &[bigint("seq")],
    cells: &[blob("pins")],
};

/// Reactions to messages under rules before version 3; the emoji of a removed one is empty.
pub static REACTIONS: Table = Table {
    name: "reactions",
    partition_key: &[uuid("conversation"), bigint("bucket")],
    clustering_key: &[bigint("message"), uuid("user")],
    cells: &[text("emoji"), bigint("changed")],
};

/// Reactions to messages since version 3 of the rules.
pub static REACTIONS_BY_EMOJI: Table = Table {
    name: "reactions_by_emoji",
    partition_key: &[uuid("conversation"), bigint("bucket")],
    clustering_key: &[bigint("message"), uuid("user"), text("emoji")],
    cells: &[boolean("stands"), bigint("changed")],
};

/// The emojis that messages have taken since version 3 of the rules.
pub static MESSAGE_EMOJIS: Table = Table {
    name: "message_emojis",
    partition_key: &[uuid("conversation"), bigint("bucket")],
    clustering_key: &[bigint("message"), text("emoji")],
    cells: &[bigint("first")],
};

/// The messages of threads, by the seq of the thread's root.
pub static THREAD_MESSAGES: Table = Table {
    name: "thread_messages",
    partition_key: &[uuid("conversation"), bigint("root")],
    clustering_key: &[bigint("seq")],
    cells: &[bigint("place"), bigint("ordinal"), bigint("deleted")],
};

/// The threads, by the seq of their roots, each with its last message.
pub static THREADS: Table = Table {
    name: "threads",
    partition_key: &[uuid("conversation"), bigint("bucket")],
    clustering_key: &[bigint("message")],
    cells: &[bigint("place"), bigint("ordinal"), bigint("time"), bigint("last")],
};

/// Versions of what messages have besides their text, of those that ever had something, and of those that were edited.
pub static MESSAGE_EXTRAS: Table = Table {
    name: "message_extras",
    partition_key: &[uuid("conversation"), bigint("bucket")],
    clustering_key: &[bigint("message"), bigint("changed")],
    cells: &[blob("mentions"), boolean("custom"), boolean("edit")],
};

/// What messages have said since each of their edits.
pub static MESSAGE_VERSIONS: Table = Table {
    name: "message_versions",
    partition_key: &[uuid("conversation"), bigint("message")],
    clustering_key: &[bigint("changed")],
    cells: &[bigint("time"), text("body"), blob("mentions"), text("custom_kind"), text("custom_data")],
};

/// The messages that mention each user by name.
pub static MENTIONS: Table = Table {
    name: "mentions",
    partition_key: &[uuid("user"), uuid("conversation")],
    clustering_key: &[bigint("message")],
    cells: &[bigint("place"), boolean("stands")],
};

/// The messages that mention every member.
pub static MENTIONS_OF_ALL: Table = Table {
    name: "mentions_of_all",
    partition_key: &[uuid("conversation"), bigint("bucket")],
    clustering_key: &[bigint("message")],
    cells: &[bigint("place"), boolean("stands"), uuid("author")],
};

/// Deleted messages of the main view.
pub static DELETIONS: Table = Table {
    name: "deletions",
    partition_key: &[uuid("conversation"), bigint("bucket")],
    clustering_key: &[bigint("message")],
    cells: &[bigint("deleted")],
};

/// Each user's last message.
pub static SENT: Table = Table {
    name: "sent",
    partition_key: &[uuid("user")],
    clustering_key: &[uuid("conversation")],
    cells: &[bigint("seq"), bigint("ordinal")],
};

/// The user who took each user into a group.
pub static INVITATIONS: Table = Table {
    name: "invitations",
    partition_key: &[uuid("user")],
    clustering_key: &[uuid("conversation")],
    cells: &[uuid("inviter"), bigint("seq")],
};

/// Refused commands of current and former members.
pub static REFUSALS: Table = Table {
    name: "refusals",
    partition_key: &[uuid("conversation"), uuid("author")],
    clustering_key: &[blob("id")],
    cells: &[text("reason"), bigint("seq")],
};

/// Accepted ids.
pub static IDS: Table = Table {
    name: "ids",
    partition_key: &[uuid("conversation"), bigint("week")],
    clustering_key: &[blob("id")],
    cells: &[
        uuid("author"),
        bigint("seq"),
        bigint("place"),
        blob("hash"),
        text("stands"),
        bigint("deleted"),
        bigint("root"),
        bigint("root_place"),
        boolean("also_in_conversation"),
    ],
};

/// The head of each conversation.
pub static HEADS: Table = Table {
    name: "heads",
    partition_key: &[uuid("conversation")],
    clustering_key: &[],
    cells: &[
        bigint("seq"),
        bigint("time"),
        bigint("place"),
        bigint("ordinal"),
        bigint("newest_stamp"),
        bigint("message_seq"),
        bigint("message_place"),
    ],
};

/// Read marks.
pub static MARKS: Table = Table {
    name: "marks",
    partition_key: &[uuid("user")],
    clustering_key: &[uuid("conversation")],
    cells: &[bigint("seq"), bigint("ordinal")],
};

/// Every derived table, in the order of [`crate::Phase`].
pub static ALL: [&Table; 22] = [
    &TIMELINE,
    &BUCKETS,
    &MEMBERS,
    &USER_CONVERSATIONS,
    &SETTINGS,
    &PINS,
    &REACTIONS,
    &REACTIONS_BY_EMOJI,
    &MESSAGE_EMOJIS,
    &THREAD_MESSAGES,
    &THREADS,
    &MESSAGE_EXTRAS,
    &MESSAGE_VERSIONS,
    &MENTIONS,
    &MENTIONS_OF_ALL,
    &DELETIONS,
    &SENT,
    &INVITATIONS,
    &REFUSALS,
    &IDS,
    &HEADS,
    &MARKS,
];

/// The table of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Table> {
    ALL.into_iter().find(|table| table.name == name)
}

const fn uuid(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Uuid }
}

const fn bigint(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Bigint }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Text }
}

const fn boolean(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Boolean }
}

const fn blob(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Blob }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_row_names_its_conversation() {
        for table in ALL {
            let mut names: Vec<_> = table.columns().map(|column| column.name).collect();
            assert!(table.key().any(|column| column.name == "conversation"), "{}", table.name);
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", table.name);
            assert_eq!(named(table.name), Some(table));
        }
    }
}
