//! What a kind judges by: the state before the event, the event and the facts, with the questions that several kinds
//! have in common. Where a version of the rules differs from the one before, a line says so.

use crate::limits::{BODY_BYTES_MAX, TITLE_BYTES_MAX};
use crate::{
    Change, Content, ConversationKind, ConversationState, Event, Facts, IdRow, MessageText, Refusal, Role, Settings,
    Stands, words,
};

/// The version of the rules from which on members have to be looked up.
const RULES_LOOKED_UP: u32 = 2;

/// All that a judgement may depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The conversation before the event.
    pub(crate) state: &'a ConversationState,
    /// The event.
    pub(crate) event: &'a Event,
    /// What was read back for it.
    pub(crate) facts: &'a Facts,
}

impl<'a> Context<'a> {
    /// The author's role: the first question of every kind that is for members only.
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

    /// From version 2 on, only users who the event says were looked up become members: before, anybody could be made up.
    pub(super) fn looked_up(&self) -> Result<(), Refusal> {
        let event = self.event;
        if event.rules < RULES_LOOKED_UP || event.looked_up { Ok(()) } else { Err(Refusal::NoSuchUser) }
    }

    /// A timeline entry that is no message.
    pub(super) fn entry(&self, content: Content) -> Change {
        Change::Timeline { slot: self.state.slot, ordinal: self.state.ordinal, content }
    }

    /// The target and its slot in the timeline, if it is a message that stands and is not deleted.
    fn message(&self) -> Result<(&'a IdRow, u64), Refusal> {
        match &self.facts.target {
            Some(row @ IdRow { stands: Stands::Message { slot }, deleted: None, .. }) => Ok((row, *slot)),
            Some(_) | None => Err(Refusal::NoSuchMessage),
        }
    }

    /// The same, if it is a message of the author's own.
    pub(super) fn own_message(&self) -> Result<(&'a IdRow, u64), Refusal> {
        let (row, slot) = self.message()?;
        match row.author == self.event.author {
            true => Ok((row, slot)),
            false if self.hides(row) => Err(Refusal::NoSuchMessage),
            false => Err(Refusal::NotAuthor),
        }
    }

    /// The same, if it is a message that the author may read: as the member of today, or as one of an earlier time.
    pub(super) fn readable_message(&self) -> Result<(&'a IdRow, u64), Refusal> {
        let (row, slot) = self.message()?;
        if self.hides(row) && !self.facts.past {
            return Err(Refusal::NoSuchMessage);
        }
        Ok((row, slot))
    }

    /// Whether a message of another's was said before the author's latest joining: since version 2 who may not read it is
    /// not told that it is there.
    fn hides(&self, row: &IdRow) -> bool {
        let joined_later = |author| self.state.members.get(author).is_some_and(|member| member.since > row.seq);
        self.event.rules >= 2 && row.author != self.event.author && joined_later(&self.event.author)
    }

    /// The same of a message's text.
    pub(super) fn body_fits(&self, body: &MessageText) -> Result<(), Refusal> {
        self.text_fits(body.reveal(), BODY_BYTES_MAX)
    }

    /// A text that says something and fits. Before version 2 anything but ASCII blanks said something.
    pub(super) fn text_fits(&self, text: &str, bytes_max: usize) -> Result<(), Refusal> {
        let ascii_says = || text.bytes().any(|byte| !byte.is_ascii_whitespace());
        let says = if self.event.rules < 2 { ascii_says() } else { words::has_visible(text) };
        if says && text.len() <= bytes_max { Ok(()) } else { Err(Refusal::Invalid) }
    }

    /// A title that fits and, since version 2, does not deceive. An empty one is none.
    pub(super) fn title_fits(&self, title: &str) -> Result<(), Refusal> {
        let honest = self.event.rules < 2 || title.is_empty() || words::check_label(title).is_ok();
        if honest && title.len() <= TITLE_BYTES_MAX { Ok(()) } else { Err(Refusal::Invalid) }
    }
}
