//! Every kind of row that is derived from the log, and the cells that it is written as.
//!
//! To add a kind, add its variant, its cells and its cell set here; [`crate::rows_of`] writes it, and `decode` or `entry`
//! reads it. Engines need no change.

use domain::{
    CommandId, Content, ConversationId, IdRow, MessageBody, Pin, Refusal, Role, Seq, Settings, Stands, UserId,
};

use crate::cell_sets::{newest_of, set};
use crate::content_cells::{BodyCells, ContentCells};
use crate::message_rows::NOBODY;
use crate::tables::{
    BUCKETS, DELETIONS, HEADS, IDS, INVITATIONS, MARKS, MEMBERS, MENTIONS, MENTIONS_OF_ALL, MESSAGE_EMOJIS,
    MESSAGE_EXTRAS, MESSAGE_VERSIONS, PINS, REACTIONS, REACTIONS_BY_EMOJI, REFUSALS, SENT, SETTINGS, THREAD_MESSAGES,
    THREADS, TIMELINE, USER_CONVERSATIONS,
};
use crate::{CellSet, CellWrites, ExtrasRow, Mark, Phase, ReactionRow, ThreadRow, ValueRef};

/// Timeline entries per partition of the timeline.
pub const BUCKET_SLOTS: u64 = 16_384;

/// The bucket that holds a slot of the timeline.
#[must_use]
pub const fn bucket_of(slot: u64) -> u64 {
    slot / BUCKET_SLOTS
}

/// The role of a user who has left.
pub(crate) const ROLE_LEFT: &str = "";

pub(crate) const KIND_MESSAGE: &str = "message";
pub(crate) const KIND_CREATED: &str = "created";
pub(crate) const KIND_JOINED: &str = "joined";
pub(crate) const KIND_LEFT: &str = "left";
pub(crate) const KIND_TITLE: &str = "title";

pub(crate) const STANDS_MESSAGE: &str = "message";
/// A message in a thread. A text of its own: a program that does not know threads cannot read the row, and holds the
/// conversation instead of taking the message for one of the main view.
pub(crate) const STANDS_THREAD_MESSAGE: &str = "thread_message";
pub(crate) const STANDS_COMMAND: &str = "command";
pub(crate) const STANDS_WITHDRAWAL: &str = "withdrawal";

/// A write to one row: the cells that it names, and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A new entry: `timeline ((conversation, bucket), seq)`.
    Entry {
        /// The event's seq.
        seq: Seq,
        /// Its slot in the timeline.
        slot: u64,
        /// Messages up to and including it.
        ordinal: u64,
        /// The command's id.
        id: CommandId,
        /// The author.
        author: UserId,
        /// The log's time, milliseconds since the Unix epoch.
        time_ms: i64,
        /// The entry's content.
        content: Content,
    },
    /// What a message says from an edit on: cells `body`, `changed`, `edited` of its timeline row and, if it says more than
    /// a text or did so before, `mentions`, `custom_kind`, `custom_data`.
    Edit {
        /// The message's seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// What it says.
        body: MessageBody,
        /// Whether it says more than a text, or did so before.
        whole: bool,
        /// The event that changed it.
        changed: Seq,
        /// The log's time of that event.
        time_ms: i64,
    },
    /// The deletion of a message: cells `body` (empty), `deleted`, `changed`, `deleted_by` of its timeline row and, if
    /// it said more than a text, `mentions`, `custom_kind`, `custom_data`, if edits were kept also those (empty).
    Deletion {
        /// The message's seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// The event that deleted it.
        changed: Seq,
        /// The user who deleted it, if that is not its author.
        by: Option<UserId>,
        /// Whether it may have said more than a text at some time.
        whole: bool,
        /// Whether edits were kept.
        kept: bool,
    },
    /// The beginning of a bucket of the timeline: `buckets (conversation, bucket)`.
    Bucket {
        /// The bucket.
        bucket: u64,
        /// The seq of its first entry.
        start: Seq,
    },
    /// A version of a membership: `members (conversation, user, seq)`.
    Member {
        /// The user.
        user: UserId,
        /// The seq of the event.
        seq: Seq,
        /// The role from this event on; `None` when the user left or was removed.
        role: Option<Role>,
    },
    /// The user's own row, on joining: `user_conversations (user, conversation)`, cells `role`, `changed`, `joined`,
    /// `joined_ordinal`.
    Joined {
        /// The user.
        user: UserId,
        /// The role.
        role: Role,
        /// The seq of the event.
        seq: Seq,
        /// The number of messages before the joining, which do not count as unread.
        ordinal: u64,
    },
    /// The user's own row, on a change of role or on leaving: cells `role`, `changed`.
    UserRole {
        /// The user.
        user: UserId,
        /// The role from this event on; `None` when the user left or was removed.
        role: Option<Role>,
        /// The seq of the event.
        seq: Seq,
    },
    /// A version of the settings: `settings (conversation, seq)`.
    Settings {
        /// The seq of the event.
        seq: Seq,
        /// The settings from this event on.
        settings: Settings,
    },
    /// A version of the pinned messages: `pins (conversation, seq)`.
    Pins {
        /// The seq of the event.
        seq: Seq,
        /// The pinned messages from this event on.
        pins: Vec<Pin>,
    },
    /// Of a user's reactions to a message, or of the emojis that it has taken.
    Reaction(ReactionRow),
    /// Of a thread.
    Thread(ThreadRow),
    /// Of what a message has besides its text.
    Extras(ExtrasRow),
    /// A deleted message of the main view, which does not count as unread: `deletions ((conversation, bucket), message)`.
    Gone {
        /// The message's seq.
        message: Seq,
        /// The message's slot.
        slot: u64,
        /// The seq of the deletion.
        deleted: Seq,
    },
    /// The last message that a user has sent, which also counts as read: `sent (user, conversation)`.
    Sent {
        /// The user.
        user: UserId,
        /// The seq of the user's last message.
        seq: Seq,
        /// The number of messages up to and including it.
        ordinal: u64,
    },
    /// The user who took another into a group: `invitations (user, conversation)`.
    Invited {
        /// The user who was taken in.
        user: UserId,
        /// The user who took them in.
        inviter: UserId,
        /// The seq of the joining.
        seq: Seq,
    },
    /// A refused command: `refusals ((conversation, author), id)`.
    Refusal {
        /// The author of the command.
        author: UserId,
        /// The command's id.
        id: CommandId,
        /// The reason.
        reason: Refusal,
        /// The seq of the refused event.
        seq: Seq,
    },
    /// An accepted id: `ids ((conversation, week), id)`.
    Id {
        /// The id.
        id: CommandId,
        /// Its row; `deleted` is not written.
        row: IdRow,
    },
    /// The deletion of the message under an id: cell `deleted`.
    IdDeleted {
        /// The id.
        id: CommandId,
        /// The seq of the deletion.
        deleted: Seq,
    },
    /// The conversation's newest accepted stamp: cell `newest_stamp` of the head, timestamp = value.
    NewestStamp {
        /// The stamp, milliseconds since the Unix epoch.
        stamp_ms: i64,
    },
    /// The last accepted event of any kind: `heads (conversation)`.
    Head {
        /// The seq of the event.
        seq: Seq,
        /// The log's time of the event.
        time_ms: i64,
        /// The number of timeline entries after it.
        slot: u64,
        /// The number of messages after it.
        ordinal: u64,
    },
    /// The last message: cells `message_seq`, `message_place` of the head.
    LastMessage {
        /// The message's seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
    },
    /// A read mark: `marks (user, conversation)`. The higher one wins, whenever it is written.
    Mark {
        /// The user.
        user: UserId,
        /// The user's read mark.
        mark: Mark,
    },
}

impl Row {
    /// The cell writes of a row of `conversation`, for the event at `seq`. The seq is their timestamp, except for
    /// monotone cells, whose timestamp is their value.
    #[must_use]
    pub fn write(self, conversation: ConversationId, seq: Seq) -> CellWrites {
        let (of, at) = (ValueRef::from(conversation), seq.timestamp());
        match self {
            Self::Entry { seq, slot, ordinal, id, author, time_ms, content } => {
                let cells = ContentCells::from(content);
                let (place, ordinal) = (("place", slot.into()), ("ordinal", ordinal.into()));
                let by = [("id", (&id).into()), ("author", author.into()), ("time", time_ms.into()), place, ordinal];
                let key = [of, bucket_of(slot).into(), seq.into()];
                ENTRY.write(at, &key, &by.into_iter().chain(cells.cells()).collect::<Vec<_>>())
            }
            Self::Edit { seq, slot, body, whole, changed, time_ms } => {
                let body = BodyCells::of(body, whole);
                let [text, mentions, kind, data] = body.cells();
                let cells = [text, ("changed", changed.into()), ("edited", time_ms.into()), mentions, kind, data];
                EDIT.write(at, &[of, bucket_of(slot).into(), seq.into()], &cells)
            }
            Self::Deletion { seq, slot, changed, by, whole, kept } => {
                DELETION.write(at, &[of, bucket_of(slot).into(), seq.into()], &deletion_cells(changed, by, whole, kept))
            }
            Self::Bucket { bucket, start } => BUCKET.write(at, &[of, bucket.into()], &[("start", start.into())]),
            Self::Member { user, seq, role } => {
                MEMBER.write(at, &[of, user.into(), seq.into()], &[("role", role_name(role).into())])
            }
            Self::Joined { user, role, seq, ordinal } => {
                let (role, seq, ordinal) = (role.name().into(), seq.into(), ordinal.into());
                let cells = [("role", role), ("changed", seq), ("joined", seq), ("joined_ordinal", ordinal)];
                JOINED.write(at, &[user.into(), of], &cells)
            }
            Self::UserRole { user, role, seq } => {
                USER_ROLE.write(at, &[user.into(), of], &[("role", role_name(role).into()), ("changed", seq.into())])
            }
            Self::Pins { seq, pins } => PINNED.write(at, &[of, seq.into()], &[("pins", (&*pin_bytes(&pins)).into())]),
            Self::Settings { seq, settings: Settings { kind, title } } => {
                let cells = [("kind", kind.name().into()), ("title", title.as_str().into())];
                SETTINGS_VERSION.write(at, &[of, seq.into()], &cells)
            }
            Self::Reaction(row) => row.write(of, at),
            Self::Thread(row) => row.write(of, at),
            Self::Extras(row) => row.write(of, at),
            Self::Gone { message, slot, deleted } => {
                GONE.write(at, &[of, bucket_of(slot).into(), message.into()], &[("deleted", deleted.into())])
            }
            Self::Sent { user, seq, ordinal } => {
                SPOKEN.write(at, &[user.into(), of], &[("seq", seq.into()), ("ordinal", ordinal.into())])
            }
            Self::Invited { user, inviter, seq } => {
                INVITED.write(at, &[user.into(), of], &[("inviter", inviter.into()), ("seq", seq.into())])
            }
            Self::Refusal { author, id, reason, seq } => {
                let cells = [("reason", reason.name().into()), ("seq", seq.into())];
                REFUSED.write(at, &[of, author.into(), (&id).into()], &cells)
            }
            Self::Id { id, row } => ID.write(at, &[of, id.week().into(), (&id).into()], &id_cells(&row)),
            Self::IdDeleted { id, deleted } => {
                ID_DELETED.write(at, &[of, id.week().into(), (&id).into()], &[("deleted", deleted.into())])
            }
            Self::NewestStamp { stamp_ms } => NEWEST_STAMP.write(stamp_ms, &[of], &[("newest_stamp", stamp_ms.into())]),
            Self::Head { seq, time_ms, slot, ordinal } => {
                let (time, place, ordinal) = (time_ms.into(), slot.into(), ordinal.into());
                let cells = [("seq", seq.into()), ("time", time), ("place", place), ("ordinal", ordinal)];
                HEAD.write(at, &[of], &cells)
            }
            Self::LastMessage { seq, slot } => {
                LAST_MESSAGE.write(at, &[of], &[("message_seq", seq.into()), ("message_place", slot.into())])
            }
            Self::Mark { user, mark: Mark { seq, ordinal } } => {
                let cells = [("seq", seq.into()), ("ordinal", ordinal.into())];
                MARK.write(seq.timestamp(), &[user.into(), of], &cells)
            }
        }
    }
}

/// A new entry of a timeline.
#[rustfmt::skip]
pub(crate) static ENTRY: CellSet = set(&TIMELINE, Phase::Rows, &[
    "id", "author", "time", "place", "ordinal", "kind", "body", "reply_to", "users", "thread", "thread_ordinal",
    "also_in_conversation", "quote", "mentions", "custom_kind", "custom_data",
]);
/// What a message says from an edit on.
#[rustfmt::skip]
pub(crate) static EDIT: CellSet = set(&TIMELINE, Phase::Rows, &[
    "body", "changed", "edited", "mentions", "custom_kind", "custom_data",
]);
/// The deletion of a message.
#[rustfmt::skip]
pub(crate) static DELETION: CellSet = set(&TIMELINE, Phase::Rows, &[
    "body", "deleted", "changed", "deleted_by", "mentions", "custom_kind", "custom_data",
    "edited_body", "edited_mentions", "edited_custom_kind", "edited_custom_data",
]);
/// What a message says since an edit; what it said before is kept.
#[rustfmt::skip]
pub(crate) static KEPT_EDIT: CellSet = set(&TIMELINE, Phase::Rows, &[
    "edited_body", "edited_mentions", "edited_custom_kind", "edited_custom_data", "edited_by", "changed", "edited",
]);
/// The seq where a bucket of a timeline begins.
pub(crate) static BUCKET: CellSet = set(&BUCKETS, Phase::Rows, &["start"]);
/// A version of a membership.
pub(crate) static MEMBER: CellSet = set(&MEMBERS, Phase::Rows, &["role"]);
/// A user's own row, on joining.
pub(crate) static JOINED: CellSet =
    set(&USER_CONVERSATIONS, Phase::Rows, &["role", "changed", "joined", "joined_ordinal"]);
/// A user's own row, on a change of role or on leaving.
pub(crate) static USER_ROLE: CellSet = set(&USER_CONVERSATIONS, Phase::Rows, &["role", "changed"]);
/// A version of the settings.
pub(crate) static SETTINGS_VERSION: CellSet = set(&SETTINGS, Phase::Rows, &["kind", "title"]);
/// A version of the pinned messages.
pub(crate) static PINNED: CellSet = set(&PINS, Phase::Rows, &["pins"]);
/// A reaction to a message before version 3 of the rules.
pub(crate) static REACTION: CellSet = set(&REACTIONS, Phase::Rows, &["emoji", "changed"]);
/// A reaction to a message.
pub(crate) static REACTION_BY_EMOJI: CellSet = set(&REACTIONS_BY_EMOJI, Phase::Rows, &["stands", "changed"]);
/// An emoji that is new to a message.
pub(crate) static MESSAGE_EMOJI: CellSet = set(&MESSAGE_EMOJIS, Phase::Rows, &["first"]);
/// A message of a thread.
pub(crate) static THREAD_MESSAGE: CellSet = set(&THREAD_MESSAGES, Phase::Rows, &["place", "ordinal"]);
/// The deletion of a message of a thread.
pub(crate) static THREAD_MESSAGE_GONE: CellSet = set(&THREAD_MESSAGES, Phase::Rows, &["deleted"]);
/// The last message of a thread.
pub(crate) static THREAD: CellSet = newest_of(&THREADS, Phase::Rows, &["place", "ordinal", "time", "last"]);
/// What a message has besides its text.
pub(crate) static EXTRAS: CellSet = set(&MESSAGE_EXTRAS, Phase::Rows, &["mentions", "custom", "edit"]);
/// What a message says since an edit.
#[rustfmt::skip]
pub(crate) static VERSION: CellSet = set(&MESSAGE_VERSIONS, Phase::Rows, &[
    "time", "body", "mentions", "custom_kind", "custom_data",
]);
/// The end of that with the deletion of the message.
#[rustfmt::skip]
pub(crate) static VERSION_GONE: CellSet = set(&MESSAGE_VERSIONS, Phase::Rows, &[
    "body", "mentions", "custom_kind", "custom_data",
]);
/// A user whom a message mentions.
pub(crate) static MENTION: CellSet = set(&MENTIONS, Phase::Rows, &["place", "stands"]);
/// A message that mentions every member.
pub(crate) static MENTION_OF_ALL: CellSet = set(&MENTIONS_OF_ALL, Phase::Rows, &["place", "stands", "author"]);
/// A deleted message, which does not count as unread.
pub(crate) static GONE: CellSet = set(&DELETIONS, Phase::Rows, &["deleted"]);
/// The user who took a member into a group.
pub(crate) static INVITED: CellSet = set(&INVITATIONS, Phase::Rows, &["inviter", "seq"]);
/// A refused command.
pub(crate) static REFUSED: CellSet = set(&REFUSALS, Phase::Rows, &["reason", "seq"]);
/// The last message that a user has sent.
pub(crate) static SPOKEN: CellSet = newest_of(&SENT, Phase::Rows, &["seq", "ordinal"]);
/// An accepted id.
#[rustfmt::skip]
pub(crate) static ID: CellSet = set(&IDS, Phase::Ids, &[
    "author", "seq", "hash", "stands", "place", "root", "root_place", "also_in_conversation",
]);
/// The deletion of the message under an id.
pub(crate) static ID_DELETED: CellSet = set(&IDS, Phase::Ids, &["deleted"]);
/// The last accepted event of a conversation.
pub(crate) static HEAD: CellSet = newest_of(&HEADS, Phase::Heads, &["seq", "time", "place", "ordinal"]);
/// The last message of a conversation.
pub(crate) static LAST_MESSAGE: CellSet = newest_of(&HEADS, Phase::Heads, &["message_seq", "message_place"]);
/// The newest accepted stamp of a conversation.
pub(crate) static NEWEST_STAMP: CellSet = newest_of(&HEADS, Phase::Heads, &["newest_stamp"]);
/// A read mark.
pub(crate) static MARK: CellSet = newest_of(&MARKS, Phase::Heads, &["seq", "ordinal"]);

/// Every set; a CQL handle prepares one write statement for each.
pub static CELL_SETS: [&CellSet; 31] = [
    &ENTRY,
    &EDIT,
    &KEPT_EDIT,
    &DELETION,
    &BUCKET,
    &MEMBER,
    &JOINED,
    &USER_ROLE,
    &SETTINGS_VERSION,
    &PINNED,
    &REACTION,
    &REACTION_BY_EMOJI,
    &MESSAGE_EMOJI,
    &THREAD_MESSAGE,
    &THREAD_MESSAGE_GONE,
    &THREAD,
    &EXTRAS,
    &VERSION,
    &VERSION_GONE,
    &MENTION,
    &MENTION_OF_ALL,
    &GONE,
    &INVITED,
    &REFUSED,
    &SPOKEN,
    &ID,
    &ID_DELETED,
    &HEAD,
    &LAST_MESSAGE,
    &NEWEST_STAMP,
    &MARK,
];

/// Of what a message said nothing is left: of its text, of all that it had besides if it had something, of its edits if they
/// were kept.
fn deletion_cells(
    changed: Seq,
    by: Option<UserId>,
    whole: bool,
    kept: bool,
) -> [(&'static str, ValueRef<'static>); 11] {
    let nothing = |cell, is_there: bool| (cell, is_there.then_some("").into());
    let nobody = |cell, is_there: bool| (cell, is_there.then_some(NOBODY).into());
    [
        ("body", "".into()),
        ("deleted", true.into()),
        ("changed", changed.into()),
        ("deleted_by", by.into()),
        nobody("mentions", whole),
        nothing("custom_kind", whole),
        nothing("custom_data", whole),
        nothing("edited_body", kept),
        nobody("edited_mentions", kept),
        nothing("edited_custom_kind", kept),
        nothing("edited_custom_data", kept),
    ]
}

fn id_cells(row: &IdRow) -> [(&'static str, ValueRef<'_>); 8] {
    let (stands, slot) = match row.stands {
        Stands::Message { slot } if row.thread.is_some() => (STANDS_THREAD_MESSAGE, Some(slot)),
        Stands::Message { slot } => (STANDS_MESSAGE, Some(slot)),
        Stands::Command => (STANDS_COMMAND, None),
        Stands::Withdrawal => (STANDS_WITHDRAWAL, None),
    };
    [
        ("author", row.author.into()),
        ("seq", row.seq.into()),
        ("hash", row.hash.0.as_slice().into()),
        ("stands", stands.into()),
        ("place", slot.into()),
        ("root", row.thread.map(|thread| thread.root_seq).into()),
        ("root_place", row.thread.map(|thread| thread.root_slot).into()),
        ("also_in_conversation", row.thread.map(|thread| thread.also_in_conversation).into()),
    ]
}

/// Bytes of a pin: the message's id, seq and slot, numbers big-endian.
pub(crate) const PIN_BYTES: usize = 32;

fn pin_bytes(pins: &[Pin]) -> Vec<u8> {
    let bytes =
        |pin: &Pin| [pin.id.as_bytes().as_slice(), &pin.seq.get().to_be_bytes(), &pin.slot.to_be_bytes()].concat();
    pins.iter().flat_map(bytes).collect()
}

fn role_name(role: Option<Role>) -> &'static str {
    role.map_or(ROLE_LEFT, Role::name)
}
