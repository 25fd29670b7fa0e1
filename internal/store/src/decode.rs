//! Decodes the columns of a row into its meaning, in the same way for every engine; entries of the timeline in `entry`.
//!
//! A row may be partial, when the cell of a later event was written before the row itself (by an interrupted
//! batch, or a replay beside a live writer): such a row reads as absent. Rows up to `applied` are complete.

use std::collections::BTreeMap;

use domain::{
    CommandId, ConversationId, ConversationKind, Extras, IdRow, InThread, Membership, Mentions, MessageText,
    PayloadHash, Pin, Refusal, Role, Said, Seq, Settings, Stands, UserId,
};
use uuid::Uuid;

use crate::rows::{PIN_BYTES, ROLE_LEFT, STANDS_COMMAND, STANDS_MESSAGE, STANDS_THREAD_MESSAGE, STANDS_WITHDRAWAL};
use crate::tables::Table;
use crate::{Head, LastMessage, Mark, MentionOfAll, ThreadMessage, UserConversation, Value};

/// A row as an engine read it.
#[derive(Debug, Clone)]
pub struct RowValues {
    table: &'static Table,
    values: Vec<Option<Value>>,
}

/// A row that no program of this release has written: a newer program wrote it, or it is damaged.
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
    /// The user.
    pub user: UserId,
    /// The seq of the event.
    pub seq: Seq,
    /// The role from this event on; `None` when the user left or was removed.
    pub role: Option<Role>,
}

impl RowValues {
    /// The row of `table` with these values, in the order of [`Table::columns`].
    #[must_use]
    pub fn new(table: &'static Table, values: Vec<Option<Value>>) -> Self {
        Self { table, values }
    }

    /// A bucket and the seq of its first entry.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn bucket(mut self) -> Result<(u64, Seq), Malformed> {
        Ok((self.number("bucket")?, self.seq("start")?))
    }

    /// An emoji that a message had taken by `as_of`.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn message_emoji(mut self, as_of: Seq) -> Result<Option<String>, Malformed> {
        let emoji = self.text("emoji")?;
        Ok((self.seq("first")? <= as_of).then_some(emoji))
    }

    /// A message of a thread as of `as_of`: absent when it was sent later, not deleted when it was deleted later.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn thread_message(mut self, as_of: Seq) -> Result<Option<ThreadMessage>, Malformed> {
        let seq = self.seq("seq")?;
        if seq > as_of || !self.has("ordinal") {
            return Ok(None);
        }
        let deleted = self.optional_seq("deleted")?.is_some_and(|deleted| deleted <= as_of);
        Ok(Some(ThreadMessage { seq, slot: self.number("place")?, ordinal: self.number("ordinal")?, deleted }))
    }

    /// The place of a thread's root in the timeline: its seq and slot.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn thread_root(mut self) -> Result<(Seq, u64), Malformed> {
        Ok((self.seq("message")?, self.number("place")?))
    }

    /// Takes the next version of what a message has besides its text into what is known of the message.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn add_to(mut self, said: &mut Said) -> Result<(), Malformed> {
        said.extras = Extras { mentions: self.mentions("mentions")?, custom: self.boolean("custom")? };
        if self.boolean("edit")? {
            said.edits.push(self.seq("changed")?);
        }
        Ok(())
    }

    /// Whom a message mentions: in its row of the timeline, or in one of what it has besides its text.
    ///
    /// # Errors
    /// When the row is malformed.
    pub(crate) fn mentions(&mut self, name: &'static str) -> Result<Mentions, Malformed> {
        let bytes = self.blob(name)?;
        let malformed = || self.malformed(name);
        let (all, users) = bytes.split_first().ok_or_else(malformed)?;
        let (users, []) = users.as_chunks::<16>() else { return Err(malformed()) };
        let user = |id: &[u8; 16]| UserId::try_from(Uuid::from_bytes(*id)).map_err(|_| malformed());
        Ok(Mentions::new(users.iter().map(user).collect::<Result<_, _>>()?, *all == 1))
    }

    /// The place of a message that mentions the user of the row: its seq and slot; absent when it does so no more.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn mention(mut self) -> Result<Option<(Seq, u64)>, Malformed> {
        let place = (self.seq("message")?, self.number("place")?);
        Ok(self.boolean("stands")?.then_some(place))
    }

    /// A message that mentions every member; absent when it does so no more.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn mention_of_all(mut self) -> Result<Option<MentionOfAll>, Malformed> {
        let (seq, slot, author) = (self.seq("message")?, self.number("place")?, self.user("author")?);
        Ok(self.boolean("stands")?.then_some(MentionOfAll { seq, slot, author }))
    }

    /// A version of a membership.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn member_version(mut self) -> Result<MemberVersion, Malformed> {
        Ok(MemberVersion { user: self.user("user")?, seq: self.seq("seq")?, role: self.role()? })
    }

    /// A user's own row; absent while the cells of the joining are missing.
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

    /// A version of the pinned messages.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn pins(mut self) -> Result<Vec<Pin>, Malformed> {
        let bytes = self.blob("pins")?;
        let (pins, []) = bytes.as_chunks::<PIN_BYTES>() else { return Err(self.malformed("pins")) };
        let pin = |bytes: &[u8; PIN_BYTES]| {
            let (id, numbers) = bytes.split_first_chunk::<16>()?;
            let (seq, slot) = numbers.split_first_chunk::<8>()?;
            Some(Pin {
                id: CommandId::try_from(Uuid::from_bytes(*id)).ok()?,
                seq: Seq::try_from(u64::from_be_bytes(*seq)).ok()?,
                slot: u64::from_be_bytes(slot.try_into().ok()?),
            })
        };
        pins.iter().map(pin).collect::<Option<_>>().ok_or(self.malformed("pins"))
    }

    /// An id's row as of `as_of`: absent when the id was accepted later, not deleted when it was deleted later.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn id_row(mut self, as_of: Seq) -> Result<Option<(CommandId, IdRow)>, Malformed> {
        let Some(seq) = self.optional_seq("seq")?.filter(|seq| *seq <= as_of) else { return Ok(None) };
        let stands = match self.text("stands")?.as_str() {
            STANDS_MESSAGE | STANDS_THREAD_MESSAGE => Stands::Message { slot: self.number("place")? },
            STANDS_COMMAND => Stands::Command,
            STANDS_WITHDRAWAL => Stands::Withdrawal,
            _ => return Err(self.malformed("stands")),
        };
        let hash = self.blob("hash")?.try_into().map_err(|_| self.malformed("hash"))?;
        let deleted = self.optional_seq("deleted")?.filter(|deleted| *deleted <= as_of);
        let thread = match self.optional_seq("root")? {
            Some(root_seq) => Some(InThread {
                root_seq,
                root_slot: self.number("root_place")?,
                also_in_conversation: self.boolean("also_in_conversation")?,
            }),
            None => None,
        };
        let row = IdRow { author: self.user("author")?, seq, hash: PayloadHash(hash), stands, thread, deleted };
        Ok(Some((self.command_id("id")?, row)))
    }

    /// The head of a conversation; absent while no event was written.
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

    /// The newest accepted stamp in a head row, milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn newest_stamp_ms(mut self) -> Result<Option<i64>, Malformed> {
        if self.has("newest_stamp") { self.bigint("newest_stamp").map(Some) } else { Ok(None) }
    }

    /// The deletion of a message: the message's seq, and the seq of the deletion.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn deletion(mut self) -> Result<(Seq, Seq), Malformed> {
        Ok((self.seq("message")?, self.seq("deleted")?))
    }

    /// The reason of a refusal, and the seq of the refused event.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn refusal(mut self) -> Result<(Refusal, Seq), Malformed> {
        let reason = Refusal::from_name(&self.text("reason")?).ok_or(self.malformed("reason"))?;
        Ok((reason, self.seq("seq")?))
    }

    /// A read mark, or the last message that a user has sent, with its conversation.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn mark(mut self) -> Result<(ConversationId, Mark), Malformed> {
        Ok((self.conversation()?, Mark { seq: self.seq("seq")?, ordinal: self.number("ordinal")? }))
    }

    /// The user who took the row's user into a group, with the conversation.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn invitation(mut self) -> Result<(ConversationId, UserId), Malformed> {
        Ok((self.conversation()?, self.user("inviter")?))
    }

    pub(crate) fn table(&self) -> &'static Table {
        self.table
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.table.columns().position(|column| column.name == name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.position(name)?)?.as_ref()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.position(name)?;
        self.values.get_mut(at)?.take()
    }

    pub(crate) fn malformed(&self, column: &'static str) -> Malformed {
        Malformed { table: self.table.name, column }
    }

    pub(crate) fn bigint(&mut self, name: &'static str) -> Result<i64, Malformed> {
        match self.take(name) {
            Some(Value::Bigint(number)) => Ok(number),
            _ => Err(self.malformed(name)),
        }
    }

    pub(crate) fn number(&mut self, name: &'static str) -> Result<u64, Malformed> {
        u64::try_from(self.bigint(name)?).map_err(|_| self.malformed(name))
    }

    pub(crate) fn seq(&mut self, name: &'static str) -> Result<Seq, Malformed> {
        Seq::try_from(self.number(name)?).map_err(|_| self.malformed(name))
    }

    pub(crate) fn optional_seq(&mut self, name: &'static str) -> Result<Option<Seq>, Malformed> {
        if self.has(name) { self.seq(name).map(Some) } else { Ok(None) }
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<String, Malformed> {
        match self.take(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.malformed(name)),
        }
    }

    /// Reads the text of a message: the only place that takes it from rows.
    pub(crate) fn message_text(&mut self, name: &'static str) -> Result<MessageText, Malformed> {
        self.text(name).map(MessageText::recorded)
    }

    pub(crate) fn blob(&mut self, name: &'static str) -> Result<Vec<u8>, Malformed> {
        match self.take(name) {
            Some(Value::Blob(bytes)) => Ok(bytes),
            _ => Err(self.malformed(name)),
        }
    }

    pub(crate) fn uuid(&mut self, name: &'static str) -> Result<Uuid, Malformed> {
        match self.take(name) {
            Some(Value::Uuid(uuid)) => Ok(uuid),
            _ => Err(self.malformed(name)),
        }
    }

    pub(crate) fn boolean(&mut self, name: &'static str) -> Result<bool, Malformed> {
        match self.take(name) {
            Some(Value::Boolean(truth)) => Ok(truth),
            _ => Err(self.malformed(name)),
        }
    }

    pub(crate) fn user(&mut self, name: &'static str) -> Result<UserId, Malformed> {
        UserId::try_from(self.uuid(name)?).map_err(|_| self.malformed(name))
    }

    pub(crate) fn users(&mut self) -> Result<Vec<UserId>, Malformed> {
        let bytes = self.blob("users")?;
        let (chunks, []) = bytes.as_chunks::<16>() else { return Err(self.malformed("users")) };
        chunks.iter().map(|id| UserId::try_from(Uuid::from_bytes(*id)).map_err(|_| self.malformed("users"))).collect()
    }

    pub(crate) fn conversation(&mut self) -> Result<ConversationId, Malformed> {
        ConversationId::try_from(self.uuid("conversation")?).map_err(|_| self.malformed("conversation"))
    }

    pub(crate) fn command_id(&mut self, name: &'static str) -> Result<CommandId, Malformed> {
        let bytes = self.blob(name)?;
        let uuid = Uuid::from_slice(&bytes).map_err(|_| self.malformed(name))?;
        CommandId::try_from(uuid).map_err(|_| self.malformed(name))
    }

    pub(crate) fn role(&mut self) -> Result<Option<Role>, Malformed> {
        match self.text("role")?.as_str() {
            ROLE_LEFT => Ok(None),
            name => Role::from_name(name).map(Some).ok_or(self.malformed("role")),
        }
    }
}

/// Computes the members as of `as_of` from membership versions. The versions of a user must come in the order of
/// their seqs; versions after `as_of` are skipped.
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

    /// Adds the next version.
    pub fn absorb(&mut self, version: MemberVersion) {
        if version.seq > self.as_of {
            return;
        }
        match version.role {
            None => drop(self.members.remove(&version.user)),
            Some(role) => {
                // A change of role keeps `since`, which is set by the first version after a time without
                // membership.
                let fresh = Membership { role, since: version.seq, changed: version.seq };
                let membership = self.members.entry(version.user).or_insert(fresh);
                (membership.role, membership.changed) = (role, version.seq);
            }
        }
    }

    /// Whether the first `limit` members are complete, which they are once a version of another user, `next`,
    /// follows: the versions of a user are adjacent.
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
