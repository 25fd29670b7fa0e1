//! The input of every judgement: the state before the event, the event and the facts, with the checks that several
//! kinds share. Where a version of the rules differs from the one before, a comment says so.

use super::input;
use crate::limits::{
    BODY_BYTES_MAX, CUSTOM_DATA_BYTES_MAX, EDITS_MAX, EMOJIS_PER_MESSAGE_MAX, MENTIONS_MAX, THREAD_MESSAGES_MAX,
    TITLE_BYTES_MAX,
};
use crate::state::one_more;
use crate::{
    Change, Content, ConversationKind, ConversationState, Emojis, Event, Extras, Facts, IdRow, Mentions, MessageBody,
    ReactionChange, Refusal, Reply, Role, Seq, Settings, Stands, UserId, words,
};

/// From this version of the rules on, users must have been looked up before they become members.
const RULES_LOOKED_UP: u32 = 2;

/// The complete input of a judgement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The conversation before the event.
    pub(crate) state: &'a ConversationState,
    /// The event.
    pub(crate) event: &'a Event,
    /// Its seq.
    pub(crate) seq: Seq,
    /// The facts that were read from the store for the event.
    pub(crate) facts: &'a Facts,
}

impl<'a> Context<'a> {
    /// The author's role. Every kind that is for members only checks this first.
    pub(super) fn member(&self) -> Result<Role, Refusal> {
        self.state.role(self.event.author).ok_or(Refusal::NotMember)
    }

    pub(super) fn group(&self) -> Result<&'a Settings, Refusal> {
        let settings = self.state.settings.as_ref();
        settings.filter(|settings| settings.kind == ConversationKind::Group).ok_or(Refusal::Forbidden)
    }

    pub(super) fn group_admin(&self, role: Role) -> Result<&'a Settings, Refusal> {
        if role < Role::Admin { Err(Refusal::Forbidden) } else { self.group() }
    }

    /// From version 2 on, only users whom the event marks as looked up become members; version 1 accepts any id.
    pub(super) fn looked_up(&self) -> Result<(), Refusal> {
        let event = self.event;
        if event.rules < RULES_LOOKED_UP || event.looked_up { Ok(()) } else { Err(Refusal::NoSuchUser) }
    }

    /// A timeline entry that is not a message.
    pub(super) fn entry(&self, content: Content) -> Change {
        Change::Timeline { slot: self.state.slot, ordinal: self.state.ordinal, content }
    }

    /// The target and its slot in the timeline, if it is a message that was accepted and is not deleted.
    fn target(&self) -> Result<(&'a IdRow, u64), Refusal> {
        match &self.facts.target {
            Some(row @ IdRow { stands: Stands::Message { slot }, deleted: None, .. }) => Ok((row, *slot)),
            Some(_) | None => Err(Refusal::NoSuchMessage),
        }
    }

    /// As [`Self::target`], and the author of the event must be the author of the message.
    pub(super) fn own_message(&self) -> Result<(&'a IdRow, u64), Refusal> {
        let (row, slot) = self.target()?;
        match row.author == self.event.author {
            true => Ok((row, slot)),
            false if self.hides(row) => Err(Refusal::NoSuchMessage),
            false => Err(Refusal::NotAuthor),
        }
    }

    /// As [`Self::target`], and the author must be able to read the message: as a current member, or by an
    /// earlier membership.
    pub(super) fn readable_message(&self) -> Result<(&'a IdRow, u64), Refusal> {
        let (row, slot) = self.target()?;
        if self.hides(row) && !self.facts.past {
            return Err(Refusal::NoSuchMessage);
        }
        Ok((row, slot))
    }

    /// As [`Self::target`], and the author may delete it: it is their own or, since version 3, a message in a group by
    /// somebody of a lower role than theirs, or by a former member, and they are an admin.
    pub(super) fn deletable_message(&self, role: Role) -> Result<(&'a IdRow, u64), Refusal> {
        if self.event.rules < 3 {
            return self.own_message();
        }
        let (row, slot) = self.readable_message()?;
        match self.state.role(row.author) {
            _ if row.author == self.event.author => Ok((row, slot)),
            _ if self.group_admin(role).is_err() => Err(Refusal::NotAuthor),
            Some(theirs) if theirs >= role => Err(Refusal::Forbidden),
            Some(_) | None => Ok((row, slot)),
        }
    }

    /// The seq and slot of the message that a thread is about. It must be one that the author can read, and in no thread
    /// itself, and the thread must not be full.
    pub(super) fn thread_root(&self) -> Result<(Seq, u64), Refusal> {
        if self.event.rules < 3 {
            return Err(Refusal::Invalid);
        }
        let (row, slot) = self.readable_message()?;
        match row.thread {
            Some(_) => Err(Refusal::NotARoot),
            None if self.facts.of_target.thread >= THREAD_MESSAGES_MAX => Err(Refusal::ThreadFull),
            None => Ok((row.seq, slot)),
        }
    }

    /// The timeline entry of a message, which counts in the conversation unless it is in a thread alone.
    pub(super) fn message(&self, content: Content) -> Change {
        let before = self.state.ordinal;
        let ordinal = if content.is_main_message() { one_more(before) } else { before };
        Change::Timeline { slot: self.state.slot, ordinal, content }
    }

    /// Whether the author may pin: in a group as an admin, in a direct conversation always.
    pub(super) fn may_pin(&self, role: Role) -> Result<(), Refusal> {
        if self.event.rules < 3 {
            return Err(Refusal::Invalid);
        }
        self.acts_for_everybody(role)
    }

    /// Whether the author may do what concerns every member: in a group as an admin, in a direct conversation always.
    fn acts_for_everybody(&self, role: Role) -> Result<(), Refusal> {
        let direct = self.group().is_err();
        if direct || role >= Role::Admin { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    /// The pins without that of the message; `None` if it is not pinned. Before version 3 of the rules there were none, and
    /// events of that time leave them as they are, also where programs that know no pins judge them.
    pub(super) fn without_pin(&self, message: Seq) -> Option<Change> {
        let pins = &self.state.pins;
        let at = pins.iter().position(|pin| pin.seq == message).filter(|_| self.event.rules >= 3)?;
        let mut left = pins.clone();
        left.remove(at);
        Some(Change::Pins(left))
    }

    /// What adding the emoji does, unless the message has taken as many as it can.
    pub(super) fn reaction_added(&self) -> Result<ReactionChange, Refusal> {
        match self.facts.of_target.emojis {
            Emojis { has_it: true, .. } => Ok(ReactionChange::Added { is_new: false }),
            Emojis { count, .. } if count >= EMOJIS_PER_MESSAGE_MAX => Err(Refusal::TooManyReactions),
            Emojis { .. } => Ok(ReactionChange::Added { is_new: true }),
        }
    }

    /// Whether another user wrote the message before the author's latest joining. Since version 2, an author who
    /// may not read a message does not learn that it exists.
    fn hides(&self, row: &IdRow) -> bool {
        let joined_later = |author| self.state.members.get(author).is_some_and(|member| member.since > row.seq);
        self.event.rules >= 2 && row.author != self.event.author && joined_later(&self.event.author)
    }

    /// Whether a message can say so. Before version 3, messages had text and nothing else.
    pub(super) fn body_fits(&self, body: &MessageBody) -> Result<(), Refusal> {
        self.text_fits(body.text.reveal(), BODY_BYTES_MAX)?;
        let custom = body.custom.as_ref();
        let custom_fits = custom
            .is_none_or(|custom| input::is_custom_kind(&custom.kind) && custom.data.bytes() <= CUSTOM_DATA_BYTES_MAX);
        let fits = custom_fits && body.mentions.users().len() <= MENTIONS_MAX;
        if body.is_plain() || (self.event.rules >= 3 && fits) { Ok(()) } else { Err(Refusal::Invalid) }
    }

    /// Whether a message can have such a quoted part. Before version 3, there was none.
    pub(super) fn quote_fits(&self, reply: Option<Reply>) -> Result<(), Refusal> {
        match reply.and_then(|reply| reply.quote) {
            Some(quote) if self.event.rules < 3 || !input::is_quotable(quote) => Err(Refusal::Invalid),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the author may mention these, whom the message has not mentioned `before`: every member in a group as an
    /// admin, in a direct conversation always; users if they are members.
    pub(super) fn may_mention(&self, role: Role, before: &Mentions, mentions: &Mentions) -> Result<(), Refusal> {
        if mentions.all && !before.all {
            self.acts_for_everybody(role)?;
        }
        let known = |user| self.state.members.contains_key(&user);
        if mentions.without(before).all(known) { Ok(()) } else { Err(Refusal::NoSuchMember) }
    }

    /// What becomes different of what a message by `author` has besides its text; `None` if nothing does, and the event is no
    /// edit that is kept. Of the members whom it mentions, those count who can read it: who joined after it is not told of it.
    pub(super) fn extras(
        &self,
        (seq, slot): (Seq, u64),
        author: UserId,
        (before, now): (&Extras, Extras),
        edit: Option<Seq>,
    ) -> Option<Change> {
        if *before == now && edit.is_none() {
            return None;
        }
        let reads =
            |user: &UserId| *user != author && self.state.members.get(user).is_some_and(|member| member.since <= seq);
        let (mentioned, mentions) = (&before.mentions, &now.mentions);
        Some(Change::Extras {
            seq,
            slot,
            author,
            added: mentions.without(mentioned).filter(reads).collect(),
            // Also of those who have left meanwhile: what mentions them no more is not to be found by them again.
            removed: mentioned.without(mentions).filter(|user| *user != author).collect(),
            all: Some(mentions.all).filter(|all| *all != mentioned.all),
            now,
            edit,
        })
    }

    /// The event's seq, if it is an edit of which a version is kept, as since version 3; the message must not have been edited
    /// too often.
    pub(super) fn kept_edit(&self) -> Result<Option<Seq>, Refusal> {
        match self.facts.of_target.said.edits.len() {
            _ if self.event.rules < 3 => Ok(None),
            EDITS_MAX.. => Err(Refusal::TooManyEdits),
            _ => Ok(Some(self.seq)),
        }
    }

    /// The text must have a visible character and fit into `bytes_max`. Before version 2, any character but ASCII
    /// white space counted as visible.
    pub(super) fn text_fits(&self, text: &str, bytes_max: usize) -> Result<(), Refusal> {
        let ascii_says = || text.bytes().any(|byte| !byte.is_ascii_whitespace());
        let says = if self.event.rules < 2 { ascii_says() } else { words::has_visible(text) };
        if says && text.len() <= bytes_max { Ok(()) } else { Err(Refusal::Invalid) }
    }

    /// The title must fit and, since version 2, have no misleading characters ([`words::check_label`]). An empty
    /// title means none.
    pub(super) fn title_fits(&self, title: &str) -> Result<(), Refusal> {
        let honest = self.event.rules < 2 || title.is_empty() || words::check_label(title).is_ok();
        if honest && title.len() <= TITLE_BYTES_MAX { Ok(()) } else { Err(Refusal::Invalid) }
    }
}
