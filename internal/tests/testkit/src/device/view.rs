//! A conversation as a device shows it: rows that were read, changed by frames.
//!
//! Entries have the form of the API, so that a device's view can be compared with the history.

use std::collections::BTreeMap;

use domain::{CommandId, MessageText, Seq, UserId};
use protocol::{EntryBody, FeedFrame, FeedKind, ReactionBody, RepliesBody};

/// A conversation.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The timeline.
    pub entries: BTreeMap<Seq, EntryBody>,
    /// The seq of each message.
    seqs: BTreeMap<CommandId, Seq>,
    /// The last change of the user's own membership, and whether it made them a member.
    pub membership: Option<(Seq, bool)>,
}

/// What a frame requires of the device, beside showing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Nothing.
    Nothing,
    /// The user was added: what was said before has to be read.
    Joined,
    /// A message of an earlier membership has changed, and the frame does not say how: it has to be read.
    Changed,
}

impl Room {
    /// Whether the user is a member, as far as the device knows.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.membership.is_some_and(|(_, member)| member)
    }

    /// The message with that id.
    #[must_use]
    pub fn message(&self, id: CommandId) -> Option<&EntryBody> {
        self.seqs.get(&id).and_then(|seq| self.entries.get(seq))
    }

    /// Merges a row: the version with the higher `changed` wins, and nothing is removed. A user who has left gets
    /// less than the device may have (`withheld`); the device then keeps its version, although that may be newer
    /// than the leaving.
    pub(crate) fn merge(&mut self, mut row: EntryBody) {
        row.reactions.sort();
        match self.entries.get_mut(&row.seq) {
            Some(mine) if row.withheld => mine.withheld = true,
            Some(mine) if row.changed < mine.changed => mine.replies = newer(mine.replies, row.replies),
            mine => {
                row.replies = newer(mine.and_then(|mine| mine.replies), row.replies);
                if row.kind == "message" {
                    self.seqs.insert(row.id, row.seq);
                }
                self.entries.insert(row.seq, row);
            }
        }
    }

    /// Notes a change of the user's own membership.
    pub(crate) fn set_membership(&mut self, at: Seq, member: bool) {
        if self.membership.is_none_or(|(known, _)| at >= known) {
            self.membership = Some((at, member));
        }
    }

    /// Applies an event of the feed that passed the filter.
    pub(crate) fn apply(&mut self, frame: &FeedFrame, me: UserId) -> Own {
        let FeedFrame::Event { seq, id, author, time, ordinal, what, .. } = frame else { return Own::Nothing };
        let (seq, author, time) = (*seq, *author, *time);
        let entry = |kind: &str, body: Option<MessageText>, users: Vec<UserId>| EntryBody {
            seq,
            id: *id,
            author,
            time,
            kind: kind.to_owned(),
            ordinal: ordinal.unwrap_or_default(),
            changed: seq,
            body,
            reply_to: None,
            thread: None,
            thread_ordinal: None,
            also_in_conversation: false,
            quote: None,
            mentions: None,
            content: None,
            users,
            edited: None,
            deleted: false,
            deleted_by: None,
            reactions: Vec::new(),
            replies: None,
            withheld: false,
        };
        match what {
            FeedKind::Created { .. } => {
                self.set_membership(seq, true);
                self.merge(entry("created", None, Vec::new()));
            }
            FeedKind::Joined { members } => {
                self.merge(entry("joined", None, members.clone()));
                if members.contains(&me) {
                    self.set_membership(seq, true);
                    return Own::Joined;
                }
            }
            FeedKind::Left { user, .. } => {
                self.merge(entry("left", None, vec![*user]));
                if *user == me {
                    self.set_membership(seq, false);
                }
            }
            FeedKind::TitleChanged { title } => self.merge(entry("title", Some(title.as_str().into()), Vec::new())),
            FeedKind::Message { .. } => self.said(what, entry("message", None, Vec::new())),
            FeedKind::Edited { .. }
            | FeedKind::Deleted { .. }
            | FeedKind::Reacted { .. }
            | FeedKind::ReactionAdded { .. }
            | FeedKind::ReactionRemoved { .. } => return self.rewrite((seq, author, time), what),
            FeedKind::RoleChanged { .. }
            | FeedKind::Withdrawn {}
            | FeedKind::Pinned { .. }
            | FeedKind::Unpinned { .. } => {}
        }
        Own::Nothing
    }

    /// Adds a message, which its root shows, too, if it is in a thread.
    fn said(&mut self, what: &FeedKind, entry: EntryBody) {
        let FeedKind::Message { body, reply_to, thread, thread_ordinal, also_in_conversation, .. } = what else {
            return;
        };
        let FeedKind::Message { quote, mentions, content, .. } = what else { return };
        let (last, last_time) = (entry.seq, entry.time);
        self.merge(EntryBody {
            body: Some(body.clone()),
            reply_to: *reply_to,
            quote: *quote,
            mentions: mentions.clone(),
            content: content.clone(),
            thread: *thread,
            thread_ordinal: *thread_ordinal,
            also_in_conversation: *also_in_conversation,
            ..entry
        });
        let root = thread.and_then(|root| self.seqs.get(&root)).and_then(|root| self.entries.get_mut(root));
        if let Some((root, messages)) = root.zip(*thread_ordinal) {
            root.replies = newer(root.replies, Some(RepliesBody { messages, last, last_time }));
        }
    }

    /// Applies an event that changes a message.
    fn rewrite(&mut self, (seq, author, time): (Seq, UserId, i64), what: &FeedKind) -> Own {
        match what {
            FeedKind::Edited { target, body: None, .. }
            | FeedKind::Reacted { target, emoji: None }
            | FeedKind::ReactionAdded { target, emoji: None }
            | FeedKind::ReactionRemoved { target, emoji: None } => {
                if self.seqs.contains_key(target) {
                    return Own::Changed;
                }
            }
            FeedKind::Edited { target, body: Some(body), mentions, content, .. } => {
                self.change(*target, seq, |message| {
                    if !message.deleted {
                        message.body = Some(body.clone());
                        message.mentions = mentions.clone();
                        message.content = content.clone();
                        message.edited = Some(time);
                    }
                })
            }
            FeedKind::Deleted { target } => self.change(*target, seq, |message| {
                message.body = Some("".into());
                message.mentions = None;
                message.content = None;
                message.deleted = true;
                if message.author != author {
                    message.deleted_by = Some(author);
                }
                message.reactions.clear();
            }),
            FeedKind::Reacted { target, emoji: Some(emoji) } => self.change(*target, seq, |message| {
                message.reactions.retain(|reaction| reaction.user != author);
                if !emoji.is_empty() && !message.deleted {
                    message.reactions.push(ReactionBody { user: author, emoji: emoji.clone() });
                    message.reactions.sort();
                }
            }),
            FeedKind::ReactionAdded { target, emoji: Some(emoji) } => self.change(*target, seq, |message| {
                let theirs = |reaction: &&ReactionBody| reaction.user == author && reaction.emoji == *emoji;
                if !message.deleted && message.reactions.iter().find(theirs).is_none() {
                    message.reactions.push(ReactionBody { user: author, emoji: emoji.clone() });
                    message.reactions.sort();
                }
            }),
            FeedKind::ReactionRemoved { target, emoji: Some(emoji) } => self.change(*target, seq, |message| {
                message.reactions.retain(|reaction| reaction.user != author || reaction.emoji != *emoji);
            }),
            FeedKind::Created { .. }
            | FeedKind::Joined { .. }
            | FeedKind::Left { .. }
            | FeedKind::RoleChanged { .. }
            | FeedKind::TitleChanged { .. }
            | FeedKind::Message { .. }
            | FeedKind::Withdrawn {}
            | FeedKind::Pinned { .. }
            | FeedKind::Unpinned { .. } => {}
        }
        Own::Nothing
    }

    /// Changes a message. One that the device does not have was sent while the user was not a member, and is
    /// ignored.
    fn change(&mut self, target: CommandId, seq: Seq, change: impl FnOnce(&mut EntryBody)) {
        let Some(message) = self.seqs.get(&target).and_then(|place| self.entries.get_mut(place)) else { return };
        if seq > message.changed {
            change(message);
            message.changed = seq;
        }
    }
}

/// Of two summaries of a thread, the one with the later message.
fn newer(one: Option<RepliesBody>, other: Option<RepliesBody>) -> Option<RepliesBody> {
    [one, other].into_iter().flatten().max_by_key(|replies| replies.last)
}
