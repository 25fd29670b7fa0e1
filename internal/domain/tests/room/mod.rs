//! A conversation that tests of the rules talk in, judged with all facts.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)] // each test uses a part of it

use std::collections::BTreeMap;

use domain::kinds::{
    AddMembers, AddReaction, ChangeRole, ChangeTitle, Create, DeleteMessage, EditMessage, IntoThread, PinMessage,
    RemoveMember, RemoveReaction, SendMessage, UnpinMessage,
};
use domain::{
    Action, Appended, Change, CommandId, Content, ConversationId, ConversationKind, ConversationState, Decision,
    Effects, Event, Facts, IdRow, RULES_NEWEST, Refusal, Role, Seq, Stands, TargetCache, UserId, apply, past_of,
};

pub const NOW_MS: i64 = 1_000_000;
pub const OWNER: u64 = 1;
pub const ADMIN: u64 = 2;
pub const ANN: u64 = 3;
pub const BOB: u64 = 4;
pub const STRANGER: u64 = 9;

pub fn user(n: u64) -> UserId {
    UserId::try_from(uuid::Uuid::from_u64_pair(7, n)).unwrap()
}

pub fn users(of: &[u64]) -> Vec<UserId> {
    of.iter().map(|n| user(*n)).collect()
}

/// The command id with number `n`; its stamp is long ago.
pub fn id(n: i64) -> CommandId {
    CommandId::first_at(n)
}

/// A conversation and every id accepted in it.
#[derive(Clone)]
pub struct Room {
    pub conversation: ConversationId,
    pub state: ConversationState,
    pub ids: BTreeMap<CommandId, IdRow>,
    pub targets: TargetCache,
    /// Every change of a membership.
    pub memberships: BTreeMap<UserId, Vec<(Seq, Option<Role>)>>,
    pub next: u64,
}

impl Room {
    /// An empty room; in `group`, `id(1)` is the owner's creation of the group.
    pub fn empty() -> Self {
        let conversation = ConversationId::group(user(OWNER), id(1));
        let (state, memberships) = (ConversationState::default(), BTreeMap::new());
        Self { conversation, state, ids: BTreeMap::new(), targets: TargetCache::default(), memberships, next: 1 }
    }

    /// A group of an owner, an admin, and Ann and Bob, at seq 3 with no message.
    pub fn group() -> Self {
        let mut room = Self::empty();
        let members = users(&[ADMIN, ANN, BOB]);
        room.accepted(OWNER, 1, Action::Create(Create { kind: ConversationKind::Group, title: None, members }));
        room.accepted(OWNER, 2, Action::ChangeRole(ChangeRole { user: user(ADMIN), role: Role::Admin }));
        room
    }

    pub fn direct() -> Self {
        let mut room = Self { conversation: ConversationId::direct(user(ANN), user(BOB)), ..Self::empty() };
        room.accepted(
            ANN,
            1,
            Action::Create(Create { kind: ConversationKind::Direct, title: None, members: users(&[BOB]) }),
        );
        room
    }

    pub fn judge(&self, author: u64, number: i64, action: Action) -> Effects {
        self.judge_by(RULES_NEWEST, author, number, action)
    }

    pub fn judge_by(&self, rules: u32, author: u64, number: i64, action: Action) -> Effects {
        let (id, seq) = (id(number), Seq::try_from(self.next).unwrap());
        let target = action.target().and_then(|id| self.ids.get(&id).copied());
        let first = self.ids.get(&id).copied();
        let conversation = self.conversation;
        let event = Event {
            id,
            conversation,
            author: user(author),
            received_ms: 0,
            rules,
            key_id: None,
            looked_up: true,
            action,
        };
        let memberships = self.memberships.get(&event.author).cloned().unwrap_or_default();
        let past = past_of(&self.state, &event, first.as_ref(), target.as_ref())
            .is_some_and(|past| past.answer(memberships, seq.before().unwrap()));
        let of_target = self.targets.facts(&event, first.as_ref(), target.as_ref()).unwrap_or_default();
        let facts = Facts { first, target, past, of_target };
        apply(&self.state, &event, Appended { seq, append_time_ms: NOW_MS }, &facts, RULES_NEWEST).unwrap()
    }

    /// Judges the action and applies its changes.
    pub fn says(&mut self, author: u64, number: i64, action: Action) -> Effects {
        let effects = self.judge(author, number, action);
        let seq = Seq::try_from(self.next).unwrap();
        self.next += 1;
        self.state.absorb(seq, &effects.changes);
        self.targets.absorb(&effects.changes);
        for change in &effects.changes {
            match change {
                Change::Id { id, row } => drop(self.ids.insert(*id, *row)),
                Change::Deleted { id, .. } => self.ids.get_mut(id).unwrap().deleted = Some(seq),
                Change::Member { user, role } => self.memberships.entry(*user).or_default().push((seq, *role)),
                _ => {}
            }
        }
        effects
    }

    #[track_caller]
    pub fn accepted(&mut self, author: u64, number: i64, action: Action) -> Effects {
        let effects = self.says(author, number, action);
        assert_eq!(effects.decision, Decision::Accepted);
        effects
    }

    /// Asserts that the action is refused for that reason, changes nothing, and only its author receives the
    /// refusal.
    #[track_caller]
    pub fn refused(&self, author: u64, action: Action, why: Refusal) {
        let effects = self.judge(author, 900, action);
        assert_eq!(effects.decision, Decision::Refused(why));
        assert_eq!((effects.recipients, effects.changes), (users(&[author]), vec![]));
        assert_eq!((effects.slot, effects.ordinal), (self.state.slot, self.state.ordinal));
    }

    pub fn role(&self, of: u64) -> Option<Role> {
        self.state.role(user(of))
    }
}

pub fn message(body: &str) -> Action {
    Action::SendMessage(SendMessage { body: body.into(), reply_to: None, thread: None })
}

/// A message in the thread of that message.
pub fn below(root: i64, also_in_conversation: bool) -> Action {
    let thread = Some(IntoThread { root: id(root), also_in_conversation });
    Action::SendMessage(SendMessage { body: "below".into(), reply_to: None, thread })
}

pub fn add(of: &[u64]) -> Action {
    Action::AddMembers(AddMembers { members: users(of) })
}

pub fn remove(who: u64) -> Action {
    Action::RemoveMember(RemoveMember { user: user(who) })
}

pub fn role(who: u64, role: Role) -> Action {
    Action::ChangeRole(ChangeRole { user: user(who), role })
}

pub fn title(text: &str) -> Action {
    Action::ChangeTitle(ChangeTitle { title: text.into() })
}

pub fn edit(target: i64, body: &str) -> Action {
    Action::EditMessage(EditMessage { target: id(target), body: body.into() })
}

pub fn delete(target: i64) -> Action {
    Action::DeleteMessage(DeleteMessage { target: id(target) })
}

pub fn pin(target: i64) -> Action {
    Action::PinMessage(PinMessage { target: id(target) })
}

pub fn unpin(target: i64) -> Action {
    Action::UnpinMessage(UnpinMessage { target: id(target) })
}

pub fn unreact(target: i64, emoji: &str) -> Action {
    Action::RemoveReaction(RemoveReaction { target: id(target), emoji: Some(emoji.into()) })
}

pub fn react(target: i64, emoji: &str) -> Action {
    Action::AddReaction(AddReaction { target: id(target), emoji: emoji.into() })
}

pub fn create(kind: ConversationKind, title: Option<&str>, members: &[u64]) -> Action {
    Action::Create(Create { kind, title: title.map(Into::into), members: users(members) })
}

/// The timeline entry among the changes.
pub fn entry(effects: &Effects) -> Option<(u64, u64, &Content)> {
    effects.changes.iter().find_map(|change| match change {
        Change::Timeline { slot, ordinal, content } => Some((*slot, *ordinal, content)),
        _ => None,
    })
}

/// What the event's own id stands for, from the last change.
pub fn stands(effects: &Effects) -> (CommandId, Stands) {
    let Some(Change::Id { id, row }) = effects.changes.last() else { panic!("{effects:?}") };
    (*id, row.stands)
}
