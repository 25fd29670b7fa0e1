//! From a typed row write to its statement, its values and its partition.

use domain::{Content, IdRow, Role, Seq, Stands};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter as CellWriter;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::MaybeUnset;
use store::{Row, RowWrite, StoreError, bucket_of};
use uuid::Uuid;

use crate::cql::{Cql, Kind};

/// The role of who left.
const ROLE_LEFT: &str = "";

const GONE: &str = "INSERT INTO {derived}.deletions (conversation, bucket, message, deleted) VALUES (?, ?, ?, ?) \
                 USING TIMESTAMP ?";
const SENT: &str =
    "INSERT INTO {derived}.sent (user, conversation, seq, ordinal) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
const INVITED: &str =
    "INSERT INTO {derived}.invitations (user, conversation, inviter, seq) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
const REFUSAL: &str = "INSERT INTO {derived}.refusals (conversation, author, id, reason, seq) VALUES (?, ?, ?, ?, ?) \
                 USING TIMESTAMP ?";

/// One prepared statement for each kind of row write. Each names exactly the cells that the write has; what is unset
/// writes no cell.
pub(crate) struct RowStatements {
    entry: PreparedStatement,
    edit: PreparedStatement,
    deletion: PreparedStatement,
    bucket: PreparedStatement,
    member: PreparedStatement,
    joined: PreparedStatement,
    user_role: PreparedStatement,
    settings: PreparedStatement,
    reaction: PreparedStatement,
    gone: PreparedStatement,
    sent: PreparedStatement,
    invited: PreparedStatement,
    refusal: PreparedStatement,
    id: PreparedStatement,
    id_deleted: PreparedStatement,
    newest_stamp: PreparedStatement,
    head: PreparedStatement,
    last_message: PreparedStatement,
}

impl RowStatements {
    pub(crate) async fn prepare(cql: &Cql) -> Result<Self, StoreError> {
        let write = |text| cql.prepare(Kind::Idempotent, text);
        let timeline = "WHERE conversation = ? AND bucket = ? AND seq = ?";
        let edit =
            format!("UPDATE {{derived}}.timeline USING TIMESTAMP ? SET body = ?, changed = ?, edited = ? {timeline}");
        let deletion = format!(
            "UPDATE {{derived}}.timeline USING TIMESTAMP ? SET body = '', deleted = true, changed = ? {timeline}"
        );
        Ok(Self {
            entry: write(
                "INSERT INTO {derived}.timeline (conversation, bucket, seq, id, author, time, place, ordinal, kind, \
                 body, reply_to, users) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            edit: write(&edit).await?,
            deletion: write(&deletion).await?,
            bucket: write(
                "INSERT INTO {derived}.buckets (conversation, bucket, start) VALUES (?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            member: write(
                "INSERT INTO {derived}.members (conversation, user, seq, role) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            joined: write(
                "INSERT INTO {derived}.user_conversations (user, conversation, role, changed, joined, joined_ordinal) \
                 VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            user_role: write(
                "UPDATE {derived}.user_conversations USING TIMESTAMP ? SET role = ?, changed = ? \
                 WHERE user = ? AND conversation = ?",
            )
            .await?,
            settings: write(
                "INSERT INTO {derived}.settings (conversation, seq, kind, title) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            reaction: write(
                "INSERT INTO {derived}.reactions (conversation, bucket, message, user, emoji, changed) \
                 VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            gone: write(GONE).await?,
            sent: write(SENT).await?,
            invited: write(INVITED).await?,
            refusal: write(REFUSAL).await?,
            id: write(
                "INSERT INTO {derived}.ids (conversation, week, id, author, seq, place, hash, stands) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            id_deleted: write(
                "UPDATE {derived}.ids USING TIMESTAMP ? SET deleted = ? WHERE conversation = ? AND week = ? AND id = ?",
            )
            .await?,
            newest_stamp: write("UPDATE {derived}.heads USING TIMESTAMP ? SET newest_stamp = ? WHERE conversation = ?")
                .await?,
            head: write(
                "UPDATE {derived}.heads USING TIMESTAMP ? SET seq = ?, time = ?, place = ?, ordinal = ? \
                 WHERE conversation = ?",
            )
            .await?,
            last_message: write(
                "UPDATE {derived}.heads USING TIMESTAMP ? SET message_seq = ?, message_place = ? \
                 WHERE conversation = ?",
            )
            .await?,
        })
    }

    pub(crate) fn of(&self, row: &Row) -> &PreparedStatement {
        match row {
            Row::Entry { .. } => &self.entry,
            Row::Edit { .. } => &self.edit,
            Row::Deletion { .. } => &self.deletion,
            Row::Bucket { .. } => &self.bucket,
            Row::Member { .. } => &self.member,
            Row::Joined { .. } => &self.joined,
            Row::UserRole { .. } => &self.user_role,
            Row::Settings { .. } => &self.settings,
            Row::Reaction { .. } => &self.reaction,
            Row::Gone { .. } => &self.gone,
            Row::Sent { .. } => &self.sent,
            Row::Invited { .. } => &self.invited,
            Row::Refusal { .. } => &self.refusal,
            Row::Id { .. } => &self.id,
            Row::IdDeleted { .. } => &self.id_deleted,
            Row::NewestStamp { .. } => &self.newest_stamp,
            Row::Head { .. } => &self.head,
            Row::LastMessage { .. } => &self.last_message,
        }
    }
}

/// A partition of one of the tables: what one batch may write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Partition {
    Timeline(Uuid, u64),
    Buckets(Uuid),
    Members(Uuid),
    UserConversations(Uuid),
    Settings(Uuid),
    Reactions(Uuid, u64),
    Deletions(Uuid, u64),
    Sent(Uuid),
    Invitations(Uuid),
    Refusals(Uuid, Uuid),
    Ids(Uuid, i64),
    Heads(Uuid),
}

/// A row write of a conversation, as values of its statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BoundRow<'a> {
    pub(crate) conversation: Uuid,
    pub(crate) write: &'a RowWrite,
}

impl BoundRow<'_> {
    pub(crate) fn partition(&self) -> Partition {
        let conversation = self.conversation;
        match &self.write.row {
            Row::Entry { place, .. } | Row::Edit { place, .. } | Row::Deletion { place, .. } => {
                Partition::Timeline(conversation, bucket_of(*place))
            }
            Row::Bucket { .. } => Partition::Buckets(conversation),
            Row::Member { .. } => Partition::Members(conversation),
            Row::Joined { user, .. } | Row::UserRole { user, .. } => Partition::UserConversations(user.uuid()),
            Row::Settings { .. } => Partition::Settings(conversation),
            Row::Reaction { place, .. } => Partition::Reactions(conversation, bucket_of(*place)),
            Row::Gone { place, .. } => Partition::Deletions(conversation, bucket_of(*place)),
            Row::Sent { user, .. } => Partition::Sent(user.uuid()),
            Row::Invited { user, .. } => Partition::Invitations(user.uuid()),
            Row::Refusal { author, .. } => Partition::Refusals(conversation, author.uuid()),
            Row::Id { id, .. } | Row::IdDeleted { id, .. } => Partition::Ids(conversation, id.week()),
            Row::NewestStamp { .. } | Row::Head { .. } | Row::LastMessage { .. } => Partition::Heads(conversation),
        }
    }

    /// About how many bytes the write takes in a batch.
    pub(crate) fn bytes(&self) -> usize {
        const FIXED: usize = 160;
        FIXED
            + match &self.write.row {
                Row::Entry { content: Content::Message { body, .. }, .. } | Row::Edit { body, .. } => body.len(),
                Row::Entry { content: Content::Joined(users), .. } => 16 * users.len(),
                Row::Entry { content: Content::Title(title), .. } => title.len(),
                Row::Settings { settings, .. } => settings.title.len(),
                Row::Reaction { emoji, .. } => emoji.len(),
                Row::Entry { content: Content::Created | Content::Left(_), .. }
                | Row::Deletion { .. }
                | Row::Bucket { .. }
                | Row::Member { .. }
                | Row::Joined { .. }
                | Row::UserRole { .. }
                | Row::Gone { .. }
                | Row::Sent { .. }
                | Row::Invited { .. }
                | Row::Refusal { .. }
                | Row::Id { .. }
                | Row::IdDeleted { .. }
                | Row::NewestStamp { .. }
                | Row::Head { .. }
                | Row::LastMessage { .. } => 0,
            }
    }
}

impl SerializeRow for BoundRow<'_> {
    fn serialize(&self, ctx: &RowSerializationContext<'_>, out: &mut CellWriter<'_>) -> Result<(), SerializationError> {
        let (conversation, timestamp) = (self.conversation, self.write.timestamp);
        match &self.write.row {
            Row::Entry { .. } => entry(conversation, self.write, ctx, out),
            Row::Edit { seq, place, body, changed, time_ms } => {
                let key = (conversation, number(bucket_of(*place)), at(*seq));
                (timestamp, body, at(*changed), time_ms, key.0, key.1, key.2).serialize(ctx, out)
            }
            Row::Deletion { seq, place, changed } => {
                (timestamp, at(*changed), conversation, number(bucket_of(*place)), at(*seq)).serialize(ctx, out)
            }
            Row::Bucket { bucket, start } => (conversation, number(*bucket), at(*start), timestamp).serialize(ctx, out),
            Row::Member { user, seq, role } => {
                (conversation, user.uuid(), at(*seq), role_name(*role), timestamp).serialize(ctx, out)
            }
            Row::Joined { user, role, seq, ordinal } => {
                let (seq, ordinal) = (at(*seq), number(*ordinal));
                (user.uuid(), conversation, role.name(), seq, seq, ordinal, timestamp).serialize(ctx, out)
            }
            Row::UserRole { user, role, seq } => {
                (timestamp, role_name(*role), at(*seq), user.uuid(), conversation).serialize(ctx, out)
            }
            Row::Settings { seq, settings } => {
                (conversation, at(*seq), settings.kind.name(), &settings.title, timestamp).serialize(ctx, out)
            }
            Row::Reaction { message, place, user, emoji, changed } => {
                let bucket = number(bucket_of(*place));
                let (message, changed) = (at(*message), at(*changed));
                (conversation, bucket, message, user.uuid(), emoji, changed, timestamp).serialize(ctx, out)
            }
            Row::Gone { message, place, deleted } => {
                (conversation, number(bucket_of(*place)), at(*message), at(*deleted), timestamp).serialize(ctx, out)
            }
            Row::Sent { user, seq, ordinal } => {
                (user.uuid(), conversation, at(*seq), number(*ordinal), timestamp).serialize(ctx, out)
            }
            Row::Invited { user, inviter, seq } => {
                (user.uuid(), conversation, inviter.uuid(), at(*seq), timestamp).serialize(ctx, out)
            }
            Row::Refusal { author, id, reason, seq } => {
                let key = (conversation, author.uuid(), id.as_bytes());
                (key.0, key.1, key.2, reason.name(), at(*seq), timestamp).serialize(ctx, out)
            }
            Row::Id { id, row } => {
                let IdRow { author, seq, hash, stands, .. } = row;
                let (stands, place) = stands_cells(*stands);
                let key = (conversation, id.week(), id.as_bytes());
                (key.0, key.1, key.2, author.uuid(), at(*seq), place, &hash.0, stands, timestamp).serialize(ctx, out)
            }
            Row::IdDeleted { id, deleted } => {
                (timestamp, at(*deleted), conversation, id.week(), id.as_bytes()).serialize(ctx, out)
            }
            Row::NewestStamp { stamp_ms } => (timestamp, stamp_ms, conversation).serialize(ctx, out),
            Row::Head { seq, time_ms, place, ordinal } => {
                (timestamp, at(*seq), time_ms, number(*place), number(*ordinal), conversation).serialize(ctx, out)
            }
            Row::LastMessage { seq, place } => (timestamp, at(*seq), number(*place), conversation).serialize(ctx, out),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

fn entry(
    conversation: Uuid,
    write: &RowWrite,
    ctx: &RowSerializationContext<'_>,
    out: &mut CellWriter<'_>,
) -> Result<(), SerializationError> {
    let Row::Entry { seq, place, ordinal, id, author, time_ms, content } = &write.row else {
        unreachable!("the caller passes an entry")
    };
    let (mut body, mut reply_to, mut users) = (None, None, None);
    let kind = match content {
        Content::Message { body: text, reply_to: answered } => {
            body = Some(text.as_str());
            reply_to = answered.as_ref().map(domain::CommandId::as_bytes);
            "message"
        }
        Content::Created => "created",
        Content::Joined(joined) => {
            users = Some(joined.iter().flat_map(|user| *user.as_bytes()).collect::<Vec<u8>>());
            "joined"
        }
        Content::Left(user) => {
            users = Some(user.as_bytes().to_vec());
            "left"
        }
        Content::Title(title) => {
            body = Some(title.as_str());
            "title"
        }
    };
    (
        conversation,
        number(bucket_of(*place)),
        at(*seq),
        id.as_bytes(),
        author.uuid(),
        time_ms,
        number(*place),
        number(*ordinal),
        kind,
        MaybeUnset::from_option(body),
        MaybeUnset::from_option(reply_to),
        MaybeUnset::from_option(users),
        write.timestamp,
    )
        .serialize(ctx, out)
}

fn stands_cells(stands: Stands) -> (&'static str, MaybeUnset<i64>) {
    match stands {
        Stands::Message { place } => ("message", MaybeUnset::Set(number(place))),
        Stands::Command => ("command", MaybeUnset::Unset),
        Stands::Withdrawal => ("withdrawal", MaybeUnset::Unset),
    }
}

fn role_name(role: Option<Role>) -> &'static str {
    role.map_or(ROLE_LEFT, Role::name)
}

const fn at(seq: Seq) -> i64 {
    seq.timestamp()
}

/// Places, ordinals and buckets count events: they stay far below 2^63.
#[allow(clippy::cast_possible_wrap)]
pub(crate) const fn number(number: u64) -> i64 {
    number as i64
}
