//! The entries of the timeline, as the API reads them: their type, and how they are made of their row and of the rows
//! that annotate them.
//!
//! To show something new of an entry, add its field here: from a cell of the timeline in [`RowValues::entry`], from rows
//! of another table in [`Annotations`]. Engines need no change.

use std::collections::{BTreeMap, BTreeSet};

use domain::{CommandId, Content, CustomContent, Mentions, MessageBody, Quote, Reply, Seq, ThreadPlace, UserId};

use crate::rows::{KIND_CREATED, KIND_JOINED, KIND_LEFT, KIND_MESSAGE, KIND_TITLE};
use crate::tables::{REACTIONS, REACTIONS_BY_EMOJI, THREADS, Table};
use crate::{Malformed, RowValues, Value};

/// The tables whose rows annotate entries. Their keys are conversation, bucket, the entry's seq as `message`, and then
/// others; engines read the rows for the entries of a page, one table after the other.
pub static ANNOTATING: [&Table; 3] = [&REACTIONS, &REACTIONS_BY_EMOJI, &THREADS];

/// The most reactions that an entry shows: the first ones in the order of users, and of the emojis of each. Every member
/// may react to a message, so there may be many times as many reactions as members.
pub const REACTIONS_SHOWN_MAX: usize = 300;

/// An entry of the timeline in its current form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its seq.
    pub seq: Seq,
    /// Its slot in the timeline.
    pub slot: u64,
    /// The number of messages up to and including it.
    pub ordinal: u64,
    /// The command's id.
    pub id: CommandId,
    /// The author.
    pub author: UserId,
    /// The log's time, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The content; a deleted message has an empty body.
    pub content: Content,
    /// The event that changed it last, reactions included; its own seq if there is none.
    pub changed: Seq,
    /// The log's time of the last edit.
    pub edited_ms: Option<i64>,
    /// Whether the message was deleted.
    pub deleted: bool,
    /// The user who deleted it, if that is not its author.
    pub deleted_by: Option<UserId>,
    /// Its current reactions, by user and emoji.
    pub reactions: Vec<MessageReaction>,
    /// The thread under it, if there is one. It does not count as a change.
    pub replies: Option<ThreadSummary>,
    /// What a message said before its edits that were kept, if its last edit is one of those: at first, unless a service of an
    /// older release has edited it.
    pub original: Option<MessageBody>,
}

/// What a message has said since one of its edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageVersion {
    /// The seq of the edit.
    pub changed: Seq,
    /// The log's time of the edit.
    pub time_ms: i64,
    /// What it says.
    pub body: MessageBody,
}

/// The cells of what a message said at first, and in a row of a version.
const SAID: [&str; 4] = ["body", "mentions", "custom_kind", "custom_data"];
/// The cells of what a message says since its last edit.
const SAID_SINCE_AN_EDIT: [&str; 4] = ["edited_body", "edited_mentions", "edited_custom_kind", "edited_custom_data"];

/// A thread, as its root shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadSummary {
    /// The number of its messages, deleted ones included.
    pub messages: u64,
    /// The seq of the last one.
    pub last: Seq,
    /// The log's time of the last one, milliseconds since the Unix epoch.
    pub last_ms: i64,
}

/// One user's reaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageReaction {
    /// The user who reacted.
    pub user: UserId,
    /// The emoji.
    pub emoji: String,
}

impl Entry {
    /// The last event that it shows: its change, or the last message of the thread under it.
    #[must_use]
    pub fn newest(&self) -> Seq {
        self.replies.map_or(self.changed, |replies| replies.last.max(self.changed))
    }
}

impl RowValues {
    /// The seq in the key of an entry, even of a partial one.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn entry_seq(&self) -> Result<Seq, Malformed> {
        let seq = match self.get("seq") {
            Some(Value::Bigint(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        seq.and_then(|number| Seq::try_from(number).ok()).ok_or_else(|| self.malformed("seq"))
    }

    /// An entry without its reactions; absent while the entry's own cells are missing.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn entry(mut self) -> Result<Option<Entry>, Malformed> {
        if !self.has("id") {
            return Ok(None);
        }
        let (seq, id) = (self.seq("seq")?, self.command_id("id")?);
        let changed = self.optional_seq("changed")?.unwrap_or(seq);
        let edited_by = self.optional_seq("edited_by")?;
        let mut entry = Entry {
            seq,
            slot: self.number("place")?,
            ordinal: self.number("ordinal")?,
            id,
            author: self.user("author")?,
            time_ms: self.bigint("time")?,
            changed,
            edited_ms: if self.has("edited") { Some(self.bigint("edited")?) } else { None },
            deleted: self.take("deleted") == Some(Value::Boolean(true)),
            deleted_by: if self.has("deleted_by") { Some(self.user("deleted_by")?) } else { None },
            content: self.content()?,
            reactions: Vec::new(),
            replies: None,
            original: None,
        };
        // A later edit that was not kept, by a service of the last release, or the deletion, is in the first cells.
        if edited_by == Some(changed)
            && let Content::Message { body, .. } = &mut entry.content
        {
            let edited = self.message_body(&SAID_SINCE_AN_EDIT)?;
            entry.original = Some(std::mem::replace(body, edited));
        }
        // Whatever a program that did not know of it has left there.
        if entry.deleted
            && let Content::Message { body, .. } = &mut entry.content
        {
            (body.mentions, body.custom) = (Mentions::default(), None);
        }
        Ok(Some(entry))
    }

    /// What a message has said since one of its edits; absent while the cells of the edit are missing.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn version(mut self) -> Result<Option<MessageVersion>, Malformed> {
        if !self.has("time") {
            return Ok(None);
        }
        let (changed, time_ms) = (self.seq("changed")?, self.bigint("time")?);
        Ok(Some(MessageVersion { changed, time_ms, body: self.message_body(&SAID)? }))
    }

    fn content(&mut self) -> Result<Content, Malformed> {
        let kind = self.text("kind")?;
        Ok(match kind.as_str() {
            KIND_MESSAGE => {
                let reply_to = if self.has("reply_to") { Some(self.reply()?) } else { None };
                let thread = if self.has("thread") { Some(self.thread_place()?) } else { None };
                Content::Message { body: self.message_body(&SAID)?, reply_to, thread }
            }
            KIND_CREATED => Content::Created,
            KIND_JOINED => Content::Joined(self.users()?),
            KIND_LEFT => Content::Left(*self.users()?.first().ok_or(self.malformed("users"))?),
            KIND_TITLE => Content::Title(self.text("body")?),
            _ => return Err(self.malformed("kind")),
        })
    }

    fn message_body(&mut self, [text, mentions, kind, data]: &[&'static str; 4]) -> Result<MessageBody, Malformed> {
        let mentions = if self.has(mentions) { self.mentions(mentions)? } else { Mentions::default() };
        let kind = if self.has(kind) { self.text(kind)? } else { String::new() };
        let custom = match kind.as_str() {
            "" => None,
            _ => Some(CustomContent { kind, data: self.message_text(data)? }),
        };
        Ok(MessageBody { text: self.message_text(text)?, mentions, custom })
    }

    fn reply(&mut self) -> Result<Reply, Malformed> {
        let to = self.command_id("reply_to")?;
        if !self.has("quote") {
            return Ok(to.into());
        }
        let bytes = <[u8; 8]>::try_from(self.blob("quote")?).map_err(|_| self.malformed("quote"))?;
        let [from, upto] = [[0, 1, 2, 3], [4, 5, 6, 7]].map(|at| u32::from_be_bytes(at.map(|at| bytes[at])));
        Ok(Reply { to, quote: Some(Quote { from, to: upto }) })
    }

    fn thread_place(&mut self) -> Result<ThreadPlace, Malformed> {
        Ok(ThreadPlace {
            root: self.command_id("thread")?,
            ordinal: self.number("thread_ordinal")?,
            also_in_conversation: self.boolean("also_in_conversation")?,
        })
    }
}

/// Adds the rows of [`ANNOTATING`] tables to the entries of one page: of each table in the order of the entries' seqs,
/// then of the further key; the entries may be in any order.
///
/// A removed reaction is not shown, but counts as a change of its message. A deleted message shows no reactions. Messages
/// of a thread are no change of its root: devices keep the newest of [`Entry::replies`] by itself.
#[derive(Debug)]
pub struct Annotations<'e> {
    slots: BTreeMap<Seq, Slot<'e>>,
}

#[derive(Debug)]
struct Slot<'e> {
    entry: &'e mut Entry,
    /// The events that last set users' only reactions, under rules before version 3.
    only: BTreeMap<UserId, Seq>,
    /// The first reactions by user and emoji: more than are shown, because some of them may be taken back again.
    reactions: BTreeSet<MessageReaction>,
}

impl<'e> Annotations<'e> {
    /// Adds rows to these entries, which have no annotations yet.
    pub fn new(entries: &'e mut [Entry]) -> Self {
        let slot =
            |entry: &'e mut Entry| (entry.seq, Slot { entry, only: BTreeMap::new(), reactions: BTreeSet::new() });
        Self { slots: entries.iter_mut().map(slot).collect() }
    }

    /// Adds the next row.
    ///
    /// # Errors
    /// When the row is malformed, or its table is not one of [`ANNOTATING`].
    pub fn put(&mut self, mut row: RowValues) -> Result<(), Malformed> {
        let message = row.seq("message")?;
        match row.table() {
            table if *table == REACTIONS => {
                let changed = row.seq("changed")?;
                let (user, emoji) = (row.user("user")?, row.text("emoji")?);
                self.change(message, changed, |slot| {
                    slot.only.insert(user, changed);
                    if !emoji.is_empty() {
                        slot.add(MessageReaction { user, emoji });
                    }
                });
            }
            table if *table == REACTIONS_BY_EMOJI => {
                let changed = row.seq("changed")?;
                let (user, emoji) = (row.user("user")?, row.text("emoji")?);
                let stands = row.boolean("stands")?;
                self.change(message, changed, |slot| {
                    // An only reaction that was set later has replaced it.
                    if slot.only.get(&user).is_none_or(|only| *only < changed) {
                        let reaction = MessageReaction { user, emoji };
                        if stands {
                            slot.add(reaction);
                        } else {
                            slot.reactions.remove(&reaction);
                        }
                    }
                });
            }
            table if *table == THREADS => {
                let (messages, last, last_ms) = (row.number("ordinal")?, row.seq("last")?, row.bigint("time")?);
                if let Some(slot) = self.slots.get_mut(&message) {
                    slot.entry.replies = Some(ThreadSummary { messages, last, last_ms });
                }
            }
            _ => return Err(row.malformed("message")),
        }
        Ok(())
    }

    fn change(&mut self, message: Seq, changed: Seq, change: impl FnOnce(&mut Slot<'e>)) {
        if let Some(slot) = self.slots.get_mut(&message) {
            slot.entry.changed = slot.entry.changed.max(changed);
            change(slot);
        }
    }

    /// Ends the rows. Reactions are sorted, also of engines that do not sort UUIDs by bytes.
    pub fn finish(self) {
        for Slot { entry, reactions, .. } in self.slots.into_values() {
            entry.reactions = reactions.into_iter().take(REACTIONS_SHOWN_MAX).collect();
        }
    }
}

impl Slot<'_> {
    fn add(&mut self, reaction: MessageReaction) {
        if self.entry.deleted {
            return;
        }
        self.reactions.insert(reaction);
        if self.reactions.len() > 2 * REACTIONS_SHOWN_MAX {
            self.reactions.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CELL_SETS;
    use crate::rows::ENTRY;
    use crate::tables::TIMELINE;

    #[test]
    fn tables_that_annotate_are_keyed_as_the_timeline_is() {
        for table in ANNOTATING {
            let key: Vec<&str> = table.key().map(|column| column.name).collect();
            assert_eq!(key[..3], ["conversation", "bucket", "message"], "{}", table.name);
        }
    }

    /// Devices keep the version of an entry that was changed last.
    #[test]
    fn what_changes_an_entry_says_when() {
        for set in CELL_SETS {
            let annotates = ANNOTATING.contains(&set.table) && set.table != &THREADS;
            let changes = set.table == &TIMELINE && set != &ENTRY || annotates;
            assert!(!changes || set.cells.contains(&"changed"), "{set:?}");
        }
    }
}
