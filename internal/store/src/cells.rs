//! From a typed row write to the cells of one row: the same for every engine.

use domain::{Content, ConversationId, IdRow, Role, Seq, Settings, Stands, UserId};
use uuid::Uuid;

use crate::tables::{
    BUCKETS, DELETIONS, HEADS, IDS, INVITATIONS, MARKS, MEMBERS, REACTIONS, REFUSALS, SENT, SETTINGS, TIMELINE, Table,
    USER_CONVERSATIONS,
};
use crate::{Mark, Row, Value, bucket_of};

/// The role of who left.
pub(crate) const ROLE_LEFT: &str = "";

pub(crate) const KIND_MESSAGE: &str = "message";
pub(crate) const KIND_CREATED: &str = "created";
pub(crate) const KIND_JOINED: &str = "joined";
pub(crate) const KIND_LEFT: &str = "left";
pub(crate) const KIND_TITLE: &str = "title";

pub(crate) const STANDS_MESSAGE: &str = "message";
pub(crate) const STANDS_COMMAND: &str = "command";
pub(crate) const STANDS_WITHDRAWAL: &str = "withdrawal";

/// What a row write comes to: some cells of one row of one table, all with the write's timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellWrites {
    /// The table.
    pub table: &'static Table,
    /// The key, in the order of [`Table::key`].
    pub key: Vec<Value>,
    /// The cells by name.
    pub cells: Vec<(&'static str, Value)>,
}

impl CellWrites {
    /// The cells of a row that belongs to `conversation`.
    #[must_use]
    pub fn of(conversation: ConversationId, row: &Row) -> Self {
        let conversation = conversation.uuid();
        match row {
            Row::Entry { .. } | Row::Edit { .. } | Row::Deletion { .. } => timeline(conversation, row),
            Row::Bucket { bucket, start } => {
                Self::new(&BUCKETS, vec![conversation.into(), number(*bucket)], vec![("start", seq(*start))])
            }
            Row::Member { user, seq: at, role } => Self::new(
                &MEMBERS,
                vec![conversation.into(), user.uuid().into(), seq(*at)],
                vec![("role", role_name(*role).into())],
            ),
            Row::Joined { .. } | Row::UserRole { .. } => user_conversation(conversation, row),
            Row::Settings { seq: at, settings: Settings { kind, title } } => Self::new(
                &SETTINGS,
                vec![conversation.into(), seq(*at)],
                vec![("kind", kind.name().into()), ("title", title.as_str().into())],
            ),
            Row::Reaction { message, place, user, emoji, changed } => Self::new(
                &REACTIONS,
                vec![conversation.into(), number(bucket_of(*place)), seq(*message), user.uuid().into()],
                vec![("emoji", emoji.as_str().into()), ("changed", seq(*changed))],
            ),
            Row::Gone { message, place, deleted } => Self::new(
                &DELETIONS,
                vec![conversation.into(), number(bucket_of(*place)), seq(*message)],
                vec![("deleted", seq(*deleted))],
            ),
            Row::Sent { user, seq: at, ordinal } => Self::new(
                &SENT,
                vec![user.uuid().into(), conversation.into()],
                vec![("seq", seq(*at)), ("ordinal", number(*ordinal))],
            ),
            Row::Invited { user, inviter, seq: at } => Self::new(
                &INVITATIONS,
                vec![user.uuid().into(), conversation.into()],
                vec![("inviter", inviter.uuid().into()), ("seq", seq(*at))],
            ),
            Row::Refusal { author, id, reason, seq: at } => Self::new(
                &REFUSALS,
                vec![conversation.into(), author.uuid().into(), id.as_bytes().to_vec().into()],
                vec![("reason", reason.name().into()), ("seq", seq(*at))],
            ),
            Row::Id { id, row } => Self::new(&IDS, id_key(conversation, *id), id_cells(row)),
            Row::IdDeleted { id, deleted } => {
                Self::new(&IDS, id_key(conversation, *id), vec![("deleted", seq(*deleted))])
            }
            Row::NewestStamp { .. } | Row::Head { .. } | Row::LastMessage { .. } => head(conversation, row),
        }
    }

    /// The cells of a read mark; their timestamp is the mark's seq.
    #[must_use]
    pub fn of_mark(user: UserId, conversation: ConversationId, mark: Mark) -> Self {
        Self::new(
            &MARKS,
            vec![user.uuid().into(), conversation.uuid().into()],
            vec![("seq", seq(mark.seq)), ("ordinal", number(mark.ordinal))],
        )
    }

    fn new(table: &'static Table, key: Vec<Value>, cells: Vec<(&'static str, Value)>) -> Self {
        Self { table, key, cells }
    }
}

fn timeline(conversation: Uuid, row: &Row) -> CellWrites {
    let (at, place, cells) = match row {
        Row::Entry { seq: at, place, ordinal, id, author, time_ms, content } => {
            let mut cells = vec![
                ("id", id.as_bytes().to_vec().into()),
                ("author", author.uuid().into()),
                ("time", (*time_ms).into()),
                ("place", number(*place)),
                ("ordinal", number(*ordinal)),
            ];
            content_cells(content, &mut cells);
            (at, place, cells)
        }
        Row::Edit { seq: at, place, body, changed, time_ms } => {
            (at, place, vec![("body", body.as_str().into()), ("changed", seq(*changed)), ("edited", (*time_ms).into())])
        }
        Row::Deletion { seq: at, place, changed } => {
            (at, place, vec![("body", "".into()), ("deleted", true.into()), ("changed", seq(*changed))])
        }
        _ => unreachable!("the caller passes rows of the timeline"),
    };
    CellWrites::new(&TIMELINE, vec![conversation.into(), number(bucket_of(*place)), seq(*at)], cells)
}

fn content_cells(content: &Content, cells: &mut Vec<(&'static str, Value)>) {
    let users = |users: &[UserId]| Value::Blob(users.iter().flat_map(|user| *user.as_bytes()).collect());
    match content {
        Content::Message { body, reply_to } => {
            cells.extend([("kind", KIND_MESSAGE.into()), ("body", body.as_str().into())]);
            cells.extend(reply_to.map(|id| ("reply_to", id.as_bytes().to_vec().into())));
        }
        Content::Created => cells.push(("kind", KIND_CREATED.into())),
        Content::Joined(joined) => cells.extend([("kind", KIND_JOINED.into()), ("users", users(joined))]),
        Content::Left(user) => cells.extend([("kind", KIND_LEFT.into()), ("users", users(&[*user]))]),
        Content::Title(title) => cells.extend([("kind", KIND_TITLE.into()), ("body", title.as_str().into())]),
    }
}

fn user_conversation(conversation: Uuid, row: &Row) -> CellWrites {
    let (user, cells) = match row {
        Row::Joined { user, role, seq: at, ordinal } => (
            user,
            vec![
                ("role", role.name().into()),
                ("changed", seq(*at)),
                ("joined", seq(*at)),
                ("joined_ordinal", number(*ordinal)),
            ],
        ),
        Row::UserRole { user, role, seq: at } => (user, vec![("role", role_name(*role).into()), ("changed", seq(*at))]),
        _ => unreachable!("the caller passes a user's own rows"),
    };
    CellWrites::new(&USER_CONVERSATIONS, vec![user.uuid().into(), conversation.into()], cells)
}

fn id_key(conversation: Uuid, id: domain::CommandId) -> Vec<Value> {
    vec![conversation.into(), id.week().into(), id.as_bytes().to_vec().into()]
}

fn id_cells(row: &IdRow) -> Vec<(&'static str, Value)> {
    let mut cells =
        vec![("author", row.author.uuid().into()), ("seq", seq(row.seq)), ("hash", row.hash.0.to_vec().into())];
    match row.stands {
        Stands::Message { place } => {
            cells.extend([("stands", STANDS_MESSAGE.into()), ("place", number(place))]);
        }
        Stands::Command => cells.push(("stands", STANDS_COMMAND.into())),
        Stands::Withdrawal => cells.push(("stands", STANDS_WITHDRAWAL.into())),
    }
    cells
}

fn head(conversation: Uuid, row: &Row) -> CellWrites {
    let cells = match row {
        Row::NewestStamp { stamp_ms } => vec![("newest_stamp", (*stamp_ms).into())],
        Row::Head { seq: at, time_ms, place, ordinal } => vec![
            ("seq", seq(*at)),
            ("time", (*time_ms).into()),
            ("place", number(*place)),
            ("ordinal", number(*ordinal)),
        ],
        Row::LastMessage { seq: at, place } => vec![("message_seq", seq(*at)), ("message_place", number(*place))],
        _ => unreachable!("the caller passes rows of the head"),
    };
    CellWrites::new(&HEADS, vec![conversation.into()], cells)
}

fn role_name(role: Option<Role>) -> &'static str {
    role.map_or(ROLE_LEFT, Role::name)
}

/// A seq as a column's value.
pub(crate) fn seq(seq: Seq) -> Value {
    Value::Bigint(seq.timestamp())
}

/// A count as a column's value: places, ordinals and buckets count events and stay far below 2^63.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn number(number: u64) -> Value {
    Value::Bigint(number as i64)
}

#[cfg(test)]
mod tests {
    use domain::CommandId;

    use super::*;

    #[test]
    fn every_write_fits_its_table() {
        let user = UserId::try_from(Uuid::from_u128(1)).unwrap();
        let conversation = ConversationId::direct(user, UserId::try_from(Uuid::from_u128(2)).unwrap());
        let (at, id) = (Seq::default(), CommandId::first_at(1));
        let entry = |content| Row::Entry { seq: at, place: 1, ordinal: 1, id, author: user, time_ms: 1, content };
        let stands = |stands| {
            let row = IdRow { author: user, seq: at, hash: domain::PayloadHash([1; 16]), stands, deleted: None };
            Row::Id { id, row }
        };
        let settings = Settings { kind: domain::ConversationKind::Group, title: String::new() };
        let rows = [
            entry(Content::Message { body: "a".into(), reply_to: Some(id) }),
            entry(Content::Created),
            entry(Content::Joined(vec![user])),
            entry(Content::Left(user)),
            entry(Content::Title("t".into())),
            Row::Edit { seq: at, place: 1, body: "b".into(), changed: at, time_ms: 1 },
            Row::Deletion { seq: at, place: 1, changed: at },
            Row::Gone { message: at, place: 1, deleted: at },
            Row::Sent { user, seq: at, ordinal: 1 },
            Row::Invited { user, inviter: user, seq: at },
            Row::Refusal { author: user, id, reason: domain::Refusal::Full, seq: at },
            Row::Bucket { bucket: 0, start: at },
            Row::Member { user, seq: at, role: None },
            Row::Joined { user, role: Role::Owner, seq: at, ordinal: 0 },
            Row::UserRole { user, role: None, seq: at },
            Row::Settings { seq: at, settings },
            Row::Reaction { message: at, place: 1, user, emoji: String::new(), changed: at },
            stands(Stands::Message { place: 1 }),
            stands(Stands::Command),
            stands(Stands::Withdrawal),
            Row::IdDeleted { id, deleted: at },
            Row::NewestStamp { stamp_ms: 1 },
            Row::Head { seq: at, time_ms: 1, place: 1, ordinal: 1 },
            Row::LastMessage { seq: at, place: 1 },
        ];
        let mark = CellWrites::of_mark(user, conversation, Mark { seq: at, ordinal: 1 });
        for write in rows.iter().map(|row| CellWrites::of(conversation, row)).chain([mark]) {
            let kinds: Vec<_> = write.key.iter().map(Value::kind).collect();
            assert_eq!(kinds, write.table.key().map(|column| column.kind).collect::<Vec<_>>(), "{write:?}");
            for (name, value) in &write.cells {
                let column = write.table.cell(name).map(|at| write.table.cells[at]);
                assert_eq!(column.map(|column| column.kind), Some(value.kind()), "{name} of {}", write.table.name);
            }
        }
    }
}
