//! From the columns of a row to what it means: the same for every engine.
//!
//! A row may be there in part, when a later event's cell came before the row it changes (a batch cut short, a replay
//! beside a live writer): such a row reads as absent. What the rows up to `applied` say is complete.

use std::collections::BTreeMap;

use domain::{
    CommandId, Content, ConversationId, ConversationKind, IdRow, Membership, MessageText, PayloadHash, Refusal, Role,
    Seq, Settings, Stands, UserId,
};
use uuid::Uuid;

use crate::rows::{
    KIND_CREATED, KIND_JOINED, KIND_LEFT, KIND_MESSAGE, KIND_TITLE, ROLE_LEFT, STANDS_COMMAND, STANDS_MESSAGE,
    STANDS_WITHDRAWAL,
};
use crate::tables::Table;
use crate::{Entry, Head, LastMessage, Mark, MessageReaction, UserConversation, Value};

/// A row as an engine read it.
#[derive(Debug, Clone)]
pub struct RowValues {
    table: &'static Table,
    values: Vec<Option<Value>>,
}

/// A row that no program of this release has written: a newer one has, or it came to harm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a row of {table} cannot be read: column {column} is missing or malformed")]
pub struct Malformed {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
}

/// A version of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberVersion {
    /// Who.
    pub user: UserId,
    /// The event.
    pub seq: Seq,
    /// The role from here on; `None` for who left.
    pub role: Option<Role>,
}

/// A reaction row, also one that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReactionRow {
    /// The message's seq.
    pub message: Seq,
    /// Who.
    pub user: UserId,
    /// The emoji; empty when it was taken back.
    pub emoji: String,
    /// The event.
    pub changed: Seq,
}

impl RowValues {
    /// The row of `table` with these values, in the order of [`Table::columns`].
    #[must_use]
    pub fn new(table: &'static Table, values: Vec<Option<Value>>) -> Self {
        Self { table, values }
    }

    /// The seq in the key of an entry, also of one that is there in part.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn entry_seq(&self) -> Result<Seq, Malformed> {
        let seq = match self.position("seq").map(|at| self.values.get(at)) {
            Some(Some(Some(Value::Bigint(number)))) => u64::try_from(*number).ok(),
            _ => None,
        };
        seq.and_then(|number| Seq::try_from(number).ok()).ok_or_else(|| self.malformed("seq"))
    }

    /// An entry without its reactions. Absent while its own cells are not there.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn entry(mut self) -> Result<Option<Entry>, Malformed> {
        if !self.has("id") {
            return Ok(None);
        }
        let (seq, id) = (self.seq("seq")?, self.command_id("id")?);
        Ok(Some(Entry {
            seq,
            slot: self.number("place")?,
            ordinal: self.number("ordinal")?,
            id,
            author: self.user("author")?,
            time_ms: self.bigint("time")?,
            changed: self.optional_seq("changed")?.unwrap_or(seq),
            edited_ms: if self.has("edited") { Some(self.bigint("edited")?) } else { None },
            deleted: self.take("deleted") == Some(Value::Boolean(true)),
            content: self.content()?,
            reactions: Vec::new(),
        }))
    }

    fn content(&mut self) -> Result<Content, Malformed> {
        let kind = self.text("kind")?;
        Ok(match kind.as_str() {
            KIND_MESSAGE => {
                let reply_to = if self.has("reply_to") { Some(self.command_id("reply_to")?) } else { None };
                Content::Message { body: self.message_text("body")?, reply_to }
            }
            KIND_CREATED => Content::Created,
            KIND_JOINED => Content::Joined(self.users()?),
            KIND_LEFT => Content::Left(*self.users()?.first().ok_or(self.malformed("users"))?),
            KIND_TITLE => Content::Title(self.text("body")?),
            _ => return Err(self.malformed("kind")),
        })
    }

    /// A bucket and the seq where it begins.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn bucket(mut self) -> Result<(u64, Seq), Malformed> {
        Ok((self.number("bucket")?, self.seq("start")?))
    }

    /// A version of a membership.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn member_version(mut self) -> Result<MemberVersion, Malformed> {
        Ok(MemberVersion { user: self.user("user")?, seq: self.seq("seq")?, role: self.role()? })
    }

    /// A user's own row. Absent while its joining is not there.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn user_conversation(mut self) -> Result<Option<UserConversation>, Malformed> {
        if !self.has("joined") {
            return Ok(None);
        }
        Ok(Some(UserConversation {
            conversation: self.conversation()?,
            role: self.role()?,
            changed: self.seq("changed")?,
            joined: self.seq("joined")?,
            joined_ordinal: self.number("joined_ordinal")?,
        }))
    }

    /// A version of the settings.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn settings(mut self) -> Result<(Seq, Settings), Malformed> {
        let kind = ConversationKind::from_name(&self.text("kind")?).ok_or(self.malformed("kind"))?;
        Ok((self.seq("seq")?, Settings { kind, title: self.text("title")? }))
    }

    /// A reaction.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn reaction(mut self) -> Result<ReactionRow, Malformed> {
        Ok(ReactionRow {
            message: self.seq("message")?,
            user: self.user("user")?,
            emoji: self.text("emoji")?,
            changed: self.seq("changed")?,
        })
    }

    /// An id's row as of `as_of`: absent when it was accepted later, not deleted when it was deleted later.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn id_row(mut self, as_of: Seq) -> Result<Option<(CommandId, IdRow)>, Malformed> {
        let Some(seq) = self.optional_seq("seq")?.filter(|seq| *seq <= as_of) else { return Ok(None) };
        let stands = match self.text("stands")?.as_str() {
            STANDS_MESSAGE => Stands::Message { slot: self.number("place")? },
            STANDS_COMMAND => Stands::Command,
            STANDS_WITHDRAWAL => Stands::Withdrawal,
            _ => return Err(self.malformed("stands")),
        };
        let hash = self.blob("hash")?.try_into().map_err(|_| self.malformed("hash"))?;
        let deleted = self.optional_seq("deleted")?.filter(|deleted| *deleted <= as_of);
        let row = IdRow { author: self.user("author")?, seq, hash: PayloadHash(hash), stands, deleted };
        Ok(Some((self.command_id("id")?, row)))
    }

    /// Where a conversation ends. Absent while it has no event.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn head(mut self) -> Result<Option<Head>, Malformed> {
        let Some(seq) = self.optional_seq("seq")? else { return Ok(None) };
        let last_message = match self.optional_seq("message_seq")? {
            Some(seq) => Some(LastMessage { seq, slot: self.number("message_place")? }),
            None => None,
        };
        Ok(Some(Head {
            seq,
            time_ms: self.bigint("time")?,
            slot: self.number("place")?,
            ordinal: self.number("ordinal")?,
            last_message,
        }))
    }

    /// The newest accepted stamp that a head row names, milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn newest_stamp_ms(mut self) -> Result<Option<i64>, Malformed> {
        if self.has("newest_stamp") { self.bigint("newest_stamp").map(Some) } else { Ok(None) }
    }

    /// When a message was deleted: its seq, and the event's.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn deletion(mut self) -> Result<(Seq, Seq), Malformed> {
        Ok((self.seq("message")?, self.seq("deleted")?))
    }

    /// Why a command was refused, and the copy.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn refusal(mut self) -> Result<(Refusal, Seq), Malformed> {
        let reason = Refusal::from_name(&self.text("reason")?).ok_or(self.malformed("reason"))?;
        Ok((reason, self.seq("seq")?))
    }

    /// A read mark, or how far a user has spoken, and its conversation.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn mark(mut self) -> Result<(ConversationId, Mark), Malformed> {
        Ok((self.conversation()?, Mark { seq: self.seq("seq")?, ordinal: self.number("ordinal")? }))
    }

    /// Who took the row's user into a group.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn invitation(mut self) -> Result<(ConversationId, UserId), Malformed> {
        Ok((self.conversation()?, self.user("inviter")?))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.table.columns().position(|column| column.name == name)
    }

    fn has(&self, name: &str) -> bool {
        self.position(name).is_some_and(|at| matches!(self.values.get(at), Some(Some(_))))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.position(name)?;
        self.values.get_mut(at)?.take()
    }

    fn malformed(&self, column: &'static str) -> Malformed {
        Malformed { table: self.table.name, column }
    }

    fn bigint(&mut self, name: &'static str) -> Result<i64, Malformed> {
        match self.take(name) {
            Some(Value::Bigint(number)) => Ok(number),
            _ => Err(self.malformed(name)),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<u64, Malformed> {
        u64::try_from(self.bigint(name)?).map_err(|_| self.malformed(name))
    }

    fn seq(&mut self, name: &'static str) -> Result<Seq, Malformed> {
        Seq::try_from(self.number(name)?).map_err(|_| self.malformed(name))
    }

    fn optional_seq(&mut self, name: &'static str) -> Result<Option<Seq>, Malformed> {
        if self.has(name) { self.seq(name).map(Some) } else { Ok(None) }
    }

    fn text(&mut self, name: &'static str) -> Result<String, Malformed> {
        match self.take(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.malformed(name)),
        }
    }

    /// What somebody wrote: the one place on the way out of rows.
    fn message_text(&mut self, name: &'static str) -> Result<MessageText, Malformed> {
        self.text(name).map(MessageText::recorded)
    }

    fn blob(&mut self, name: &'static str) -> Result<Vec<u8>, Malformed> {
        match self.take(name) {
            Some(Value::Blob(bytes)) => Ok(bytes),
            _ => Err(self.malformed(name)),
        }
    }

    fn uuid(&mut self, name: &'static str) -> Result<Uuid, Malformed> {
        match self.take(name) {
            Some(Value::Uuid(uuid)) => Ok(uuid),
            _ => Err(self.malformed(name)),
        }
    }

    fn user(&mut self, name: &'static str) -> Result<UserId, Malformed> {
        UserId::try_from(self.uuid(name)?).map_err(|_| self.malformed(name))
    }

    fn users(&mut self) -> Result<Vec<UserId>, Malformed> {
        let bytes = self.blob("users")?;
        let (chunks, []) = bytes.as_chunks::<16>() else { return Err(self.malformed("users")) };
        chunks.iter().map(|id| UserId::try_from(Uuid::from_bytes(*id)).map_err(|_| self.malformed("users"))).collect()
    }

    fn conversation(&mut self) -> Result<ConversationId, Malformed> {
        ConversationId::try_from(self.uuid("conversation")?).map_err(|_| self.malformed("conversation"))
    }

    fn command_id(&mut self, name: &'static str) -> Result<CommandId, Malformed> {
        let bytes = self.blob(name)?;
        let uuid = Uuid::from_slice(&bytes).map_err(|_| self.malformed(name))?;
        CommandId::try_from(uuid).map_err(|_| self.malformed(name))
    }

    fn role(&mut self) -> Result<Option<Role>, Malformed> {
        match self.text("role")?.as_str() {
            ROLE_LEFT => Ok(None),
            name => Role::from_name(name).map(Some).ok_or(self.malformed("role")),
        }
    }
}

/// Folds versions into the members as of `as_of`. Each user's versions must come in the order of their seqs; those
/// beyond `as_of` are skipped.
#[derive(Debug)]
pub struct MembersAsOf {
    as_of: Seq,
    members: BTreeMap<UserId, Membership>,
}

impl MembersAsOf {
    /// No members yet.
    #[must_use]
    pub fn new(as_of: Seq) -> Self {
        Self { as_of, members: BTreeMap::new() }
    }

    /// The next version.
    pub fn absorb(&mut self, version: MemberVersion) {
        if version.seq > self.as_of {
            return;
        }
        match version.role {
            None => drop(self.members.remove(&version.user)),
            Some(role) => {
                // A change of role keeps `since`: it is the first version after not having been a member.
                let fresh = Membership { role, since: version.seq, changed: version.seq };
                let membership = self.members.entry(version.user).or_insert(fresh);
                (membership.role, membership.changed) = (role, version.seq);
            }
        }
    }

    /// Whether the first `limit` members are whole, which they are once a version of `next`, another user, has come:
    /// all versions of a user stand together.
    #[must_use]
    pub fn fill(&self, limit: usize, next: UserId) -> bool {
        self.members.len() >= limit && !self.members.contains_key(&next)
    }

    /// The members.
    #[must_use]
    pub fn finish(self) -> BTreeMap<UserId, Membership> {
        self.members
    }
}

/// Reactions that an entry shows, at most: the first by user. Whoever is in a conversation may react to each message, so
/// there may be as many as members.
pub const REACTIONS_SHOWN_MAX: usize = 300;

/// Puts reactions to the entries of one page, row by row, by seq of their messages, then by user; the entries stand in
/// any order.
///
/// One taken back does not show, but counts as a change of its message. A message that is gone has lost them all.
#[derive(Debug)]
pub struct Reactions<'e> {
    slots: BTreeMap<Seq, &'e mut Entry>,
}

impl<'e> Reactions<'e> {
    /// To these entries, which have none yet.
    pub fn new(entries: &'e mut [Entry]) -> Self {
        Self { slots: entries.iter_mut().map(|entry| (entry.seq, entry)).collect() }
    }

    /// The next row.
    pub fn put(&mut self, row: ReactionRow) {
        let Some(entry) = self.slots.get_mut(&row.message) else { return };
        entry.changed = entry.changed.max(row.changed);
        let shows = !row.emoji.is_empty() && !entry.deleted;
        if shows && entry.reactions.len() < REACTIONS_SHOWN_MAX {
            entry.reactions.push(MessageReaction { user: row.user, emoji: row.emoji });
        }
    }

    /// All rows have come. Engines that sort users' ids otherwise than as bytes are put right.
    pub fn finish(self) {
        for entry in self.slots.into_values() {
            entry.reactions.sort_unstable_by_key(|reaction| reaction.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{MEMBERS, TIMELINE};

    #[test]
    fn a_row_in_part_is_absent_and_a_malformed_one_names_its_column() {
        let mut values: Vec<_> = TIMELINE.columns().map(|_| None).collect();
        assert_eq!(RowValues::new(&TIMELINE, values.clone()).entry(), Ok(None));
        values[3] = Some(Value::Blob(vec![1]));
        values[2] = Some(Value::Bigint(1));
        let malformed = RowValues::new(&TIMELINE, values).entry().unwrap_err();
        assert_eq!(malformed, Malformed { table: "timeline", column: "id" });
    }

    #[test]
    fn since_is_the_latest_joining() {
        let user = UserId::try_from(Uuid::from_u128(1)).unwrap();
        let at = |offset| Seq::new(0, offset).unwrap();
        let versions = [(1, "member"), (2, "admin"), (3, ""), (5, "member"), (6, "owner")];
        let as_of = |seq| {
            let mut members = MembersAsOf::new(at(seq));
            for (offset, role) in versions {
                let values = vec![None, Some(user.uuid().into()), Some(Value::Bigint(offset)), Some(role.into())];
                members.absorb(RowValues::new(&MEMBERS, values).member_version().unwrap());
            }
            members.finish().remove(&user)
        };
        assert_eq!(as_of(0), None);
        assert_eq!(as_of(2), Some(Membership { role: Role::Admin, since: at(1), changed: at(2) }));
        assert_eq!(as_of(4), None);
        assert_eq!(as_of(9), Some(Membership { role: Role::Owner, since: at(5), changed: at(6) }));
    }
}
