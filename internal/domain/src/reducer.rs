//! The reducer decides what an event means, at its seq in its conversation's log.
//!
//! The storage consumer turns the effects into rows, the fan-out turns the same effects into deliveries. Who may
//! post, who receives the event, what is a duplicate and whether a message still exists are all decided here, as
//! of the event.

use crate::kinds::{Audience, Context, Kind};
use crate::limits::STAMP_AHEAD_MS_MAX;
use crate::state::one_more;
use crate::{Appended, Change, ConversationState, Event, IdRow, PayloadHash, Role, Said, Seq, Stands, UserId};

/// The newest version of the rules that programs know and write. An event under a newer version is not judged.
///
/// Where a version differs from the one before, the code asks for the event's own version. Comments in `kinds` and
/// at [`apply`] say what each version changed; events keep being judged by their own.
pub const RULES_NEWEST: u32 = 3;

/// The version after [`RULES_NEWEST`], for tests only: no program writes it or judges by it. Under it every member
/// may add members, so two versions side by side lead to different memberships, and a program that judges by the
/// wrong one delivers to the wrong users.
pub const RULES_TRIAL: u32 = RULES_NEWEST + 1;

/// What the reducer needs besides the state, read from the store as of the event before. It must be exact: a wrong
/// fact makes a decision that stays wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The row of this event's id, if a command of that id was accepted before.
    pub first: Option<IdRow>,
    /// The row of the message that the event changes.
    pub target: Option<IdRow>,
    /// The answer to [`past_of`]; `false` where that is `None`.
    pub past: bool,
    /// What else must be known of that message.
    pub of_target: TargetFacts,
}

/// What the reducer needs of the message that the event is about: for every kind at most one of these, which
/// [`TargetFact`] names. From [`crate::TargetCache`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetFacts {
    /// What a message that is reacted to has taken.
    pub emojis: Emojis,
    /// How many messages the thread has that a message is sent into, deleted ones included.
    pub thread: u64,
    /// What a message says that is edited or deleted.
    pub said: Said,
}

/// The emojis that a message has taken since version 3 of the rules, removed ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Emojis {
    /// Whether the event's emoji is one of them.
    pub has_it: bool,
    /// How many there are.
    pub count: usize,
}

/// The question about the author's memberships before the one in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Whether the author, who is no member now, ever was one.
    Ever,
    /// Whether the author was a member at the seq of the message that the event is about.
    At(Seq),
}

impl Past {
    /// The answer, from the versions of the author's membership by seq (`None` is a leaving); versions after
    /// `as_of` are ignored.
    pub fn answer(self, versions: impl IntoIterator<Item = (Seq, Option<Role>)>, as_of: Seq) -> bool {
        let last = match self {
            Self::Ever => as_of,
            Self::At(seq) => seq.min(as_of),
        };
        let mut until_then = versions.into_iter().filter(|(seq, _)| *seq <= last);
        match self {
            Self::Ever => until_then.next().is_some(),
            Self::At(_) => until_then.last().is_some_and(|(_, role)| role.is_some()),
        }
    }
}

/// The question about the author's past that must be answered to judge the event, as of the event before. For most
/// events there is none.
#[must_use]
pub fn past_of(
    state: &ConversationState,
    event: &Event,
    first: Option<&IdRow>,
    target: Option<&IdRow>,
) -> Option<Past> {
    if event.rules < 2 || first.is_some() || state.settings.is_none() {
        return None;
    }
    let Some(member) = state.members.get(&event.author) else {
        return (event.action.kind() != Kind::Create).then_some(Past::Ever);
    };
    event.action.target_to_read()?;
    target
        .filter(|row| row.seq < member.since && row.author != event.author && row.deleted.is_none())
        .map(|row| Past::At(row.seq))
}

/// A fact about the message that an event is about, as of the event before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetFact {
    /// The emojis that it has taken; its seq and slot.
    Emojis(Seq, u64),
    /// The number of messages in the thread whose root it is; its seq.
    Thread(Seq),
    /// What it says; its seq and slot.
    Said(Seq, u64),
}

impl TargetFact {
    /// The fact that must be known to judge the event. For most events there is none.
    pub(crate) fn of(event: &Event, first: Option<&IdRow>, target: Option<&IdRow>) -> Option<Self> {
        let Some(IdRow { seq, stands: Stands::Message { slot }, deleted: None, thread, .. }) = target else {
            return None;
        };
        match event.action.kind() {
            _ if first.is_some() => None,
            // Under any rules: services of the last release edit and delete messages of this one.
            Kind::EditMessage | Kind::DeleteMessage => Some(Self::Said(*seq, *slot)),
            _ if event.rules < 3 => None,
            Kind::AddReaction => Some(Self::Emojis(*seq, *slot)),
            Kind::SendMessage if thread.is_none() => Some(Self::Thread(*seq)),
            _ => None,
        }
    }
}

/// The event is under rules that this code does not know: its conversation is held, never skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rules version {0} is newer than {RULES_NEWEST}, the newest that this program knows: upgrade it")]
pub struct UnknownRules(pub u32);

/// What was decided about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It takes effect.
    Accepted,
    /// A retry of a command that was accepted before.
    Settled {
        /// The seq of the accepted event.
        first_seq: Seq,
        /// What that event is.
        stands: Stands,
    },
    /// It has no effect, for this reason.
    Refused(Refusal),
}

/// Why an event has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The id was taken by another author, or by a command with another payload.
    Conflict,
    /// The author withdrew the id.
    Withdrawn,
    /// The id's stamp is too far ahead of the log's time.
    IdFromFuture,
    /// The conversation exists already.
    Exists,
    /// The author is not a member (or there is no such conversation).
    NotMember,
    /// The author's role does not allow it, or the kind of conversation does not.
    Forbidden,
    /// It is so already: everybody named is a member, or has that role; or the message is pinned, or is not.
    Already,
    /// The user named is not a member.
    NoSuchMember,
    /// The event does not say that a service has looked up the users.
    NoSuchUser,
    /// The conversation is full.
    Full,
    /// The target is no message of this conversation, or it was deleted.
    NoSuchMessage,
    /// The target is another author's.
    NotAuthor,
    /// The message that a thread is to begin under is in a thread itself.
    NotARoot,
    /// The thread has as many messages as it can.
    ThreadFull,
    /// The message was edited as often as it can be.
    TooManyEdits,
    /// The message has taken as many different emojis as it can.
    TooManyReactions,
    /// The conversation has as many pinned messages as it can.
    TooManyPins,
    /// A field is empty, too long or contradicts the conversation's id.
    Invalid,
}

impl Refusal {
    /// All the reasons.
    pub const ALL: [Self; 18] = [
        Self::Conflict,
        Self::Withdrawn,
        Self::IdFromFuture,
        Self::Exists,
        Self::NotMember,
        Self::Forbidden,
        Self::Already,
        Self::NoSuchMember,
        Self::NoSuchUser,
        Self::Full,
        Self::NoSuchMessage,
        Self::NotAuthor,
        Self::NotARoot,
        Self::ThreadFull,
        Self::TooManyEdits,
        Self::TooManyReactions,
        Self::TooManyPins,
        Self::Invalid,
    ];

    /// The refusal with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.name() == name)
    }

    /// The stable name that clients see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Withdrawn => "withdrawn",
            Self::IdFromFuture => "id_from_future",
            Self::Exists => "exists",
            Self::NotMember => "not_member",
            Self::Forbidden => "forbidden",
            Self::Already => "already",
            Self::NoSuchMember => "no_such_member",
            Self::NoSuchUser => "no_such_user",
            Self::Full => "full",
            Self::NoSuchMessage => "no_such_message",
            Self::NotAuthor => "not_author",
            Self::NotARoot => "not_a_root",
            Self::ThreadFull => "thread_full",
            Self::TooManyEdits => "too_many_edits",
            Self::TooManyReactions => "too_many_reactions",
            Self::TooManyPins => "too_many_pins",
            Self::Invalid => "invalid",
        }
    }
}

/// The effects of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// The decision.
    pub decision: Decision,
    /// The users who receive the event, in order: the members before and after, or the author alone.
    pub recipients: Vec<UserId>,
    /// The recipients, in order, who are notified that a message has changed without its content, because they
    /// joined after it was sent. Since version 2.
    pub blind: Vec<UserId>,
    /// Whether a refusal is stored, so that the author can ask for the outcome of the command: only for current
    /// and former members. Other authors leave no row behind. Since version 2.
    pub kept: bool,
    /// The changes: empty unless accepted; the last one is the event's id.
    pub changes: Vec<Change>,
    /// The number of timeline entries after the event.
    pub slot: u64,
    /// The number of messages after the event.
    pub ordinal: u64,
}

impl Effects {
    /// Whether the conversation's head, and with it its rank in lists, moves to the event.
    #[must_use]
    pub fn raises_head(&self, event: &Event) -> bool {
        self.decision == Decision::Accepted && (event.rules < 2 || event.action.about().audience == Audience::Members)
    }
}

/// Decides what `event`, at its position in the log, means to a conversation in `state`. Both `state` and `facts`
/// must be as of the event before.
///
/// # Errors
/// When the event was made under rules newer than `rules_newest` or than this code's.
pub fn apply(
    state: &ConversationState,
    event: &Event,
    appended: Appended,
    facts: &Facts,
    rules_newest: u32,
) -> Result<Effects, UnknownRules> {
    if event.rules == 0 || event.rules > rules_newest.min(RULES_TRIAL) {
        return Err(UnknownRules(event.rules));
    }
    let hash = event.action.payload_hash();
    let outcome = match &facts.first {
        // The duplicate check comes before every refusal, so that a retry is never both settled and refused.
        Some(first) => Err(duplicate(state, event, hash, first)),
        None if event.id.stamp_ms() > appended.append_time_ms.saturating_add(STAMP_AHEAD_MS_MAX) => {
            Err(Decision::Refused(Refusal::IdFromFuture))
        }
        None => event.action.judge(&Context { state, event, seq: appended.seq, facts }).map_err(Decision::Refused),
    };
    let known = state.members.contains_key(&event.author) || facts.past;
    Ok(match outcome {
        Err(decision) => Effects {
            decision,
            recipients: vec![event.author],
            blind: Vec::new(),
            kept: event.rules >= 2 && known && matches!(decision, Decision::Refused(_)),
            changes: Vec::new(),
            slot: state.slot,
            ordinal: state.ordinal,
        },
        Ok(changes) => accepted(state, event, appended, hash, changes),
    })
}

/// Decides on the second event with one id: a retry is settled with the first outcome; any other command is
/// refused.
fn duplicate(state: &ConversationState, event: &Event, hash: PayloadHash, first: &IdRow) -> Decision {
    let settled = Decision::Settled { first_seq: first.seq, stands: first.stands };
    let own = first.author == event.author;
    if own && event.action.kind() == Kind::Withdraw {
        settled // too late to withdraw: the author learns what was accepted
    } else if own && first.stands == Stands::Withdrawal {
        Decision::Refused(Refusal::Withdrawn)
    } else if own && first.hash == hash {
        settled
    } else if !own && event.rules >= 2 && state.role(event.author).is_none() {
        Decision::Refused(Refusal::NotMember) // a non-member does not learn that the id is taken
    } else {
        Decision::Refused(Refusal::Conflict)
    }
}

fn accepted(
    state: &ConversationState,
    event: &Event,
    appended: Appended,
    hash: PayloadHash,
    mut changes: Vec<Change>,
) -> Effects {
    let entry = changes.iter().find_map(Change::entry);
    let stands = event.action.stands(entry.map_or(state.slot, |(slot, _)| slot));
    let thread = changes.iter().find_map(Change::thread);
    let row = IdRow { author: event.author, seq: appended.seq, hash, stands, thread, deleted: None };
    let recipients = recipients(state, event, &changes);
    let blind = blind(state, event, &recipients, &changes);
    changes.push(Change::Id { id: event.id, row });
    let (slot, ordinal) = entry.map_or((state.slot, state.ordinal), |(slot, ordinal)| (one_more(slot), ordinal));
    Effects { decision: Decision::Accepted, recipients, blind, kept: false, changes, slot, ordinal }
}

/// The recipients who joined after the edited or reacted-to message was sent. The author of the event is never
/// among them.
fn blind(state: &ConversationState, event: &Event, recipients: &[UserId], changes: &[Change]) -> Vec<UserId> {
    let Some(said) = changes.iter().find_map(Change::rewrites).filter(|_| event.rules >= 2) else { return Vec::new() };
    let joined_later = |user: &UserId| state.members.get(user).is_some_and(|member| member.since > said);
    recipients.iter().filter(|user| **user != event.author && joined_later(user)).copied().collect()
}

/// Everybody who was or becomes a member, so a removed member is a recipient, too. Some events concern their
/// author alone.
fn recipients(state: &ConversationState, event: &Event, changes: &[Change]) -> Vec<UserId> {
    match event.action.about().audience {
        Audience::Author => vec![event.author],
        Audience::Members => {
            let mut users: Vec<UserId> = state.members.keys().copied().collect();
            for change in changes {
                if let Change::Member { user, role: Some(_) } = change
                    && let Err(at) = users.binary_search(user)
                {
                    users.insert(at, *user);
                }
            }
            users
        }
    }
}
