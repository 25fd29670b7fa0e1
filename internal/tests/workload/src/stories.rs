//! Random commands, as clients might send them.

use domain::kinds::{
    AddMembers, AddReaction, ChangeRole, ChangeTitle, Create, DeleteMessage, EditMessage, IntoThread, Leave,
    PinMessage, RemoveMember, RemoveReaction, SendMessage, UnpinMessage, Withdraw,
};
use domain::{
    Action, CommandId, ConversationId, ConversationKind, CustomContent, Event, Mentions, MessageBody, RULES_NEWEST,
    Reply, Role, UserId,
};

use crate::{Random, Reference};

/// The reactions that are used.
const EMOJI: [&str; 3] = ["👍", "❤️", "☕"];

/// The number of users and conversations, and the behaviour of clients.
#[derive(Debug, Clone, Copy)]
pub struct StoryConfig {
    /// Number of users, at least 3.
    pub users: usize,
    /// Number of direct conversations.
    pub directs: usize,
    /// Number of groups.
    pub groups: usize,
    /// The percentage of commands that are retries of earlier ones.
    pub retry_percent: u64,
    /// Whether the time stamps of ids come from clocks that are wrong.
    pub skewed: bool,
}

impl Default for StoryConfig {
    fn default() -> Self {
        Self { users: 6, directs: 2, groups: 4, retry_percent: 25, skewed: true }
    }
}

/// The events of one conversation.
#[derive(Debug)]
struct Story {
    id: ConversationId,
    /// The command that creates it.
    creation: Event,
    /// All events so far, accepted or not.
    said: Vec<Event>,
}

/// Generates the commands of many clients.
#[derive(Debug)]
pub struct Stories {
    random: Random,
    config: StoryConfig,
    users: Vec<UserId>,
    stories: Vec<Story>,
    /// A counter that makes texts and ids distinct.
    counter: u64,
}

/// Offsets of a client's clock from the log's, in milliseconds: mostly none, then minutes, days and weeks, and close
/// to every bound of the rules.
const SKEWS_MS: [i64; 18] = [
    0,
    0,
    0,
    -1,
    -5,
    -900,
    -100_000,
    -170_000,
    -181_000,
    -190_000,
    -400_000,
    30_000,
    59_999,
    60_000,
    60_001,
    100_000,
    -9_000_000,
    -1_814_400_000,
];

impl Stories {
    /// The users and conversations of that seed, beginning at `now_ms` (milliseconds since the Unix epoch).
    #[must_use]
    pub fn new(seed: u64, config: StoryConfig, now_ms: i64) -> Self {
        let mut random = Random::new(seed);
        let user = |_| UserId::try_from(random.uuid()).expect("any UUID is a user id");
        let users: Vec<UserId> = (0..config.users.max(3)).map(user).collect();
        let mut stories = Self { random, config, users, stories: Vec::new(), counter: 0 };
        for n in 0..config.directs + config.groups {
            stories.open(n < config.directs, now_ms);
        }
        stories
    }

    /// All users.
    #[must_use]
    pub fn users(&self) -> &[UserId] {
        &self.users
    }

    /// All conversations, created or not.
    pub fn conversations(&self) -> impl Iterator<Item = ConversationId> + '_ {
        self.stories.iter().map(|story| story.id)
    }

    fn open(&mut self, direct: bool, now_ms: i64) {
        let author = *self.random.pick(&self.users);
        let id = self.mint(now_ms);
        let others: Vec<UserId> = self.users.iter().copied().filter(|user| *user != author).collect();
        let (kind, conversation, members) = if direct {
            let other = *self.random.pick(&others);
            (ConversationKind::Direct, ConversationId::direct(author, other), vec![other])
        } else {
            let members = others.into_iter().filter(|_| self.random.chance(60)).collect();
            (ConversationKind::Group, ConversationId::group(author, id), members)
        };
        let title = (kind == ConversationKind::Group).then(|| "a group".to_owned());
        let action = Action::Create(Create { kind, title, members });
        let creation = event(id, conversation, author, now_ms, action);
        self.stories.push(Story { id: conversation, creation, said: Vec::new() });
    }

    /// A fresh id, as a client generates it when the log's time is `now_ms`.
    fn mint(&mut self, now_ms: i64) -> CommandId {
        let skew = if self.config.skewed { *self.random.pick(&SKEWS_MS) } else { 0 };
        self.counter += 1;
        let stamp = u64::try_from(now_ms.saturating_add(skew)).unwrap_or(0);
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&self.random.bits().to_be_bytes());
        CommandId::try_from(uuid::Builder::from_unix_timestamp_millis(stamp, &bytes).into_uuid())
            .expect("the builder makes a UUIDv7")
    }

    /// The next command, sent while the log's time is `now_ms`. `reference` has judged the log so far.
    pub fn next(&mut self, now_ms: i64, reference: &Reference) -> Event {
        let at = usize::try_from(self.random.below(self.stories.len() as u64)).expect("an index fits");
        let said = self.stories[at].said.len();
        let event = if said == 0 && self.random.chance(85) {
            self.stories[at].creation.clone()
        } else if said > 0 && self.random.chance(self.config.retry_percent) {
            self.retry(at)
        } else {
            self.fresh(at, now_ms, reference)
        };
        self.stories[at].said.push(event.clone());
        event
    }

    /// Repeats an earlier command, unchanged or altered in one way.
    fn retry(&mut self, at: usize) -> Event {
        let said = &self.stories[at].said;
        let recent = if self.random.chance(40) { &said[said.len().saturating_sub(4)..] } else { &said[..] };
        let mut event = self.random.pick(recent).clone();
        match self.random.below(10) {
            0 => event.author = *self.random.pick(&self.users),
            1 => {
                event.action =
                    Action::SendMessage(SendMessage { body: "another payload".into(), reply_to: None, thread: None })
            }
            2 => event.action = Action::Withdraw(Withdraw),
            _ => {}
        }
        event
    }

    fn fresh(&mut self, at: usize, now_ms: i64, reference: &Reference) -> Event {
        let conversation = self.stories[at].id;
        let state = reference.state(conversation);
        let members: Vec<UserId> = state.members.keys().copied().collect();
        let stranger = members.is_empty() || self.random.chance(8);
        let mut author = *self.random.pick(if stranger { &self.users } else { &members });
        let id = self.mint(now_ms);
        let user = *self.random.pick(&self.users);
        let owner = state.members.iter().find(|(_, membership)| membership.role == Role::Owner);
        let target = self.target(at);
        let action = match (self.random.below(30), target) {
            (0..5, _) => send(&format!("message {}", self.counter), None, None),
            (5..8, _) => Action::SendMessage(SendMessage { body: self.body("message"), reply_to: None, thread: None }),
            (8, target) => send(&format!("answer {}", self.counter), target.map(|(id, _)| id), None),
            (24..27, Some((root, _))) => {
                let thread = IntoThread { root, also_in_conversation: self.random.chance(30) };
                send(&format!("below {}", self.counter), None, Some(thread))
            }
            (27..29, Some((target, _))) => {
                author = owner.map_or(author, |(owner, _)| *owner);
                Action::PinMessage(PinMessage { target })
            }
            (29, target) => {
                author = owner.map_or(author, |(owner, _)| *owner);
                let pinned = state.pins.first().map(|pin| pin.id).filter(|_| self.random.chance(80));
                match pinned.or(target.map(|(target, _)| target)) {
                    Some(target) => Action::UnpinMessage(UnpinMessage { target }),
                    None => Action::Leave(Leave),
                }
            }
            (9..12, Some((target, theirs))) => {
                author = if self.random.chance(70) { theirs } else { author };
                Action::EditMessage(EditMessage { target, body: self.body("edit") })
            }
            (12..14, Some((target, theirs))) => {
                author = if self.random.chance(70) { theirs } else { author };
                Action::DeleteMessage(DeleteMessage { target })
            }
            (14..16, Some((target, _))) => {
                Action::AddReaction(AddReaction { target, emoji: (*self.random.pick(&EMOJI)).to_owned() })
            }
            (16, Some((target, _))) => {
                let emoji = Some((*self.random.pick(&EMOJI)).to_owned());
                Action::RemoveReaction(RemoveReaction { target, emoji })
            }
            (17..19, _) => {
                author = owner.map_or(author, |(owner, _)| *owner);
                Action::AddMembers(AddMembers { members: vec![user] })
            }
            (19, _) => {
                author = owner.map_or(author, |(owner, _)| *owner);
                Action::RemoveMember(RemoveMember { user })
            }
            (20, _) => Action::Leave(Leave),
            (21, _) => {
                author = owner.map_or(author, |(owner, _)| *owner);
                Action::ChangeRole(ChangeRole {
                    user,
                    role: *self.random.pick(&[Role::Member, Role::Admin, Role::Owner]),
                })
            }
            (22, _) => Action::ChangeTitle(ChangeTitle { title: format!("title {}", self.counter % 5) }),
            (23, _) => Action::Withdraw(Withdraw),
            _ => send(if self.random.chance(5) { " " } else { "again" }, None, None),
        };
        event(id, conversation, author, now_ms, action)
    }

    /// A text, mostly with mentions; some are of strangers, and some of everybody by who may not.
    fn body(&mut self, what: &str) -> MessageBody {
        let users = (0..self.random.below(3)).map(|_| *self.random.pick(&self.users)).collect();
        let custom = CustomContent { kind: "com.example.poll".into(), data: "{}".into() };
        MessageBody {
            text: format!("{what} {}", self.counter).into(),
            mentions: Mentions::new(users, self.random.chance(15)),
            custom: Some(custom).filter(|_| self.random.chance(20)),
        }
    }

    /// A message that was sent before, with its author.
    fn target(&mut self, at: usize) -> Option<(CommandId, UserId)> {
        let said = &self.stories[at].said;
        let sent: Vec<&Event> = said.iter().filter(|event| matches!(event.action, Action::SendMessage(_))).collect();
        let recent = if self.random.chance(50) { &sent[sent.len().saturating_sub(3)..] } else { &sent[..] };
        if recent.is_empty() {
            return None;
        }
        let event = self.random.pick(recent);
        Some((event.id, event.author))
    }
}

fn send(body: &str, reply_to: Option<CommandId>, thread: Option<IntoThread>) -> Action {
    Action::SendMessage(SendMessage { body: body.into(), reply_to: reply_to.map(Reply::from), thread })
}

fn event(id: CommandId, conversation: ConversationId, author: UserId, received_ms: i64, action: Action) -> Event {
    // Some add members without a look-up of their accounts, as `looked_up` tells.
    let looked_up = !matches!(action, Action::AddMembers(_)) || !id.as_bytes()[15].is_multiple_of(8);
    Event { id, conversation, author, received_ms, rules: RULES_NEWEST, key_id: None, looked_up, action }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::{Appended, Decision, Kind, Seq};

    use super::*;

    /// A kind that is never accepted in any story would not be covered by the tests that use stories.
    #[test]
    fn stories_have_accepted_events_of_every_kind() {
        let mut accepted = BTreeSet::new();
        for seed in 0..20 {
            let now_ms = 1_700_000_000_000;
            let (mut stories, mut reference) =
                (Stories::new(seed, StoryConfig::default(), now_ms), Reference::default());
            for offset in 1..200 {
                let event = stories.next(now_ms, &reference);
                let appended = Appended { seq: Seq::new(0, offset).expect("small"), append_time_ms: now_ms };
                if reference.judge(&event, appended).decision == Decision::Accepted {
                    accepted.insert(event.action.kind());
                }
            }
        }
        assert_eq!(accepted, BTreeSet::from(Kind::ALL));
    }
}
