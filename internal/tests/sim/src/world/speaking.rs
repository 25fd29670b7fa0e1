//! The commands that devices send, chosen from what they know at that moment.

use domain::kinds::{EditMessage, SendMessage};
use domain::{Action, CommandId, ConversationId, MessageBody, UserId};
use protocol::{CommandFrame, CommandKind, ContentBody, EntryBody, MentionsBody, OwnStatus, QuoteBody};
use testkit::device::{Device, Route};
use workload::Random;

use super::{Room, World};
use crate::plan::{Repeat, Step, Verb, What};

/// The reactions that are used: some more than a message takes.
const EMOJI: [&str; 23] = [
    "👍", "❤️", "☕", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
    "t",
];

/// An id with that time stamp; the rest comes from `salt`.
pub(super) fn mint(stamp_ms: i64, salt: u64) -> CommandId {
    let (mut random, mut bytes) = (Random::new(salt), [0; 10]);
    bytes[2..].copy_from_slice(&random.bits().to_be_bytes());
    bytes[..2].copy_from_slice(&random.bits().to_be_bytes()[..2]);
    let uuid = uuid::Builder::from_unix_timestamp_millis(u64::try_from(stamp_ms).unwrap_or(0), &bytes).into_uuid();
    CommandId::try_from(uuid).expect("the builder makes a UUIDv7")
}

impl World {
    /// A device sends the command of the step, if it makes sense with what the device knows now.
    pub(super) fn speak(&self, step: &Step) {
        let mut random = Random::new(step.salt);
        let (number, command, http) = match step.what {
            What::Say { device, room, verb, http } => {
                let (number, room) = (device % self.people.devices.len(), &self.rooms[room % self.rooms.len()]);
                (number, self.command(number, room, verb, step.salt, &mut random), http)
            }
            What::Repeat { device, how, http } => {
                let number = device % self.people.devices.len();
                (number, repetition(&self.people.devices[number], how, &mut random), http)
            }
            _ => return,
        };
        let Some(command) = command else { return };
        let trace = &self.shared.trace;
        trace.fault("commands sent", &format!("device {number} sends {command:?}"));
        // Strangers' commands about messages are of every kind by themselves: they do not count.
        let strange = matches!(step.what, What::Say { verb: Verb::StrangerTouch, .. });
        let me = self.people.devices[number].memory().user;
        if !strange && let Ok((_, _, action)) = command.clone().into_action(me) {
            trace.count(action.kind().name());
            if matches!(&action, Action::SendMessage(SendMessage { thread: Some(_), .. })) {
                trace.count("send_message into a thread");
            }
            let body = match &action {
                Action::SendMessage(SendMessage { body, .. }) | Action::EditMessage(EditMessage { body, .. }) => body,
                _ => &MessageBody::default(),
            };
            if !body.is_plain() {
                trace.count(if action.target().is_some() {
                    "edit_message with more"
                } else {
                    "send_message with more"
                });
            }
        }
        let route = if http { Route::Http } else { Route::Socket };
        // Devices send no malformed commands, so this cannot fail.
        let _ = self.people.devices[number].send(command, route, None);
    }

    fn command(&self, number: usize, room: &Room, verb: Verb, salt: u64, random: &mut Random) -> Option<CommandFrame> {
        let (device, conversation) = (&self.people.devices[number], room.id);
        let me = self.people.accounts[number / self.setup.devices].user;
        let skew = self.setup.device_skews_ms[number % self.setup.device_skews_ms.len()];
        let id = mint(self.services.wall.now_ms() + skew, salt);
        let text = format!("message {id}");
        let anyone = self.people.accounts[usize::try_from(random.below(self.people.accounts.len() as u64)).ok()?].user;
        let everybody: Vec<UserId> = self.people.accounts.iter().map(|account| account.user).collect();
        let member = self.people.accounts[*random.pick(&room.members)].user;
        Some(match verb {
            Verb::Send => CommandFrame::new(id, conversation, CommandKind::send(text.into(), None)),
            Verb::Long => {
                let more = " more".repeat(400 + usize::try_from(random.below(1_600)).ok()?);
                CommandFrame::new(id, conversation, CommandKind::send((text + &more).into(), None))
            }
            Verb::Reply
            | Verb::Thread
            | Verb::Mention
            | Verb::Edit
            | Verb::Delete
            | Verb::React
            | Verb::Unreact
            | Verb::Pin
            | Verb::Unpin => {
                let users = self.mentioned(room, random);
                CommandFrame::new(id, conversation, about_message(verb, (device, conversation), (id, users), random)?)
            }
            Verb::Mark => {
                let memory = device.memory();
                let last = *memory.kept.rooms.get(&conversation)?.entries.keys().next_back()?;
                drop(memory);
                device.mark(conversation, last);
                return None;
            }
            Verb::Type => {
                device.typing(conversation);
                device.present([OwnStatus::Idle, OwnStatus::Dnd, OwnStatus::Online][salt as usize % 3]);
                device.watch(&everybody);
                return None;
            }
            Verb::Add => CommandFrame::new(id, conversation, CommandKind::AddMembers { members: vec![anyone] }),
            Verb::Remove => CommandFrame::new(id, conversation, CommandKind::RemoveMember { user: member }),
            Verb::Leave => CommandFrame::new(id, conversation, CommandKind::Leave {}),
            Verb::Role => {
                let role = (*random.pick(&["member", "admin", "owner"])).into();
                CommandFrame::new(id, conversation, CommandKind::ChangeRole { user: member, role })
            }
            Verb::Title => CommandFrame::new(
                id,
                conversation,
                CommandKind::ChangeTitle { title: format!("title {}", random.below(5)) },
            ),
            Verb::Create => self.creation(room, me, id)?,
            strange => self.hostile_command((room, number), strange, id, random)?,
        })
    }

    /// Users for a message to mention: mostly members.
    fn mentioned(&self, room: &Room, random: &mut Random) -> Vec<UserId> {
        let mut users = Vec::new();
        for _ in 0..=random.below(2) {
            users.push(self.people.accounts[*random.pick(&room.members)].user);
        }
        users
    }

    /// A creation: a member of a direct conversation creates it under a fresh id; the founder of a group repeats its
    /// creation.
    fn creation(&self, room: &Room, me: domain::UserId, fresh: CommandId) -> Option<CommandFrame> {
        let CommandFrame { id, what: CommandKind::Create { kind, title, members }, .. } = room.create.clone() else {
            return None;
        };
        let founder = self.people.accounts[room.members[0]].user;
        if me == founder {
            return Some(CommandFrame::new(id, None, CommandKind::Create { kind, title, members }));
        }
        let other = (kind == "direct" && members.contains(&me)).then_some(founder)?;
        Some(CommandFrame::new(fresh, None, CommandKind::Create { kind, title, members: vec![other] }))
    }

    /// The founders create the conversations.
    pub(super) fn open_rooms(&self) {
        for room in &self.rooms {
            let number = room.members[0] * self.setup.devices;
            let _ = self.people.devices[number].send(room.create.clone(), Route::Socket, None);
        }
    }
}

/// Repeats an earlier command of the device.
fn repetition(device: &Device, how: Repeat, random: &mut Random) -> Option<CommandFrame> {
    let memory = device.memory();
    let count = memory.sends.len() as u64;
    let back = if random.chance(50) { random.below(count.min(3)) } else { random.below(count) };
    let (id, sent) = memory.sends.iter().rev().nth(usize::try_from(back).ok()?)?;
    sent.at?;
    let (id, conversation) = (*id, sent.conversation);
    Some(match (how, &sent.command.what) {
        (Repeat::Other, CommandKind::Send { .. }) => {
            CommandFrame::new(id, conversation, CommandKind::send("another text".into(), None))
        }
        (Repeat::Withdraw, _) => CommandFrame::new(id, conversation, CommandKind::Withdraw {}),
        (Repeat::Same | Repeat::Other, _) => sent.command.clone(),
    })
}

/// The message that a device reacts to: often the first that it knows, which many do until it takes no more.
fn reacted_to(device: &Device, conversation: ConversationId, random: &mut Random) -> Option<CommandId> {
    if random.below(2) == 0 {
        return recent(device, conversation, random, |_| true).map(|entry| entry.id);
    }
    let memory = device.memory();
    let entries = memory.kept.rooms.get(&conversation)?.entries.values();
    entries.into_iter().find(|entry| entry.kind == "message" && !entry.deleted).map(|entry| entry.id)
}

/// A command about a message that the device shows, if it shows one that suits.
fn about_message(
    verb: Verb,
    (device, conversation): (&Device, ConversationId),
    (id, users): (CommandId, Vec<UserId>),
    random: &mut Random,
) -> Option<CommandKind> {
    let me = device.memory().user;
    // Few messages, so that one which is pinned is taken again.
    let pinnable = |entry: &EntryBody| entry.seq.get().is_multiple_of(4);
    Some(match verb {
        Verb::Thread => {
            // Now and then the root is in a thread itself, which is refused.
            let entry = recent(device, conversation, random, |_| true)?;
            let root = if random.below(8) == 0 { entry.id } else { entry.thread.unwrap_or(entry.id) };
            let (body, also_in_conversation) = (format!("message {id}").into(), random.below(4) == 0);
            let mut into_thread = CommandKind::send_into_thread(body, root, also_in_conversation);
            if let CommandKind::Send { mentions, .. } = &mut into_thread {
                *mentions = Some(MentionsBody { users, all: false }).filter(|_| random.below(3) == 0);
            }
            into_thread
        }
        Verb::Mention => {
            let reply_to = recent(device, conversation, random, |_| true).map(|entry| entry.id);
            let quote = reply_to.filter(|_| random.below(2) == 0).map(|_| QuoteBody { from: 0, to: 5 });
            let data = format!("{{\"of\":\"{id}\"}}").into();
            CommandKind::Send {
                body: format!("message {id}").into(),
                reply_to,
                thread: None,
                also_in_conversation: false,
                quote,
                mentions: Some(MentionsBody { users, all: random.below(6) == 0 }),
                content: Some(ContentBody { kind: "com.example.poll".into(), data }).filter(|_| random.below(4) == 0),
            }
        }
        Verb::Edit => {
            let target = recent(device, conversation, random, |entry| entry.author == me)?.id;
            let (body, all) = (format!("edit {id}").into(), random.below(12) == 0);
            let mentions = Some(MentionsBody { users, all }).filter(|_| random.below(2) == 0);
            CommandKind::Edit { target, body, mentions, content: None }
        }
        Verb::Delete => {
            // Admins delete what others said; for all others that is refused.
            let any = random.below(4) == 0;
            CommandKind::Delete { target: recent(device, conversation, random, |entry| any || entry.author == me)?.id }
        }
        Verb::React => {
            let target = reacted_to(device, conversation, random)?;
            CommandKind::React { target, emoji: (*random.pick(&EMOJI)).into() }
        }
        Verb::Unreact => {
            let target = reacted_to(device, conversation, random)?;
            let own = |entry: &EntryBody| {
                entry.reactions.iter().filter(|reaction| reaction.user == me).map(|own| own.emoji.clone()).collect()
            };
            let known = device.memory().kept.rooms.get(&conversation)?.message(target).map(own);
            let known: Vec<String> = known.filter(|_| random.below(4) > 0).unwrap_or_default();
            let emoji = known.first().cloned().unwrap_or_else(|| (*random.pick(&EMOJI)).to_owned());
            CommandKind::Unreact { target, emoji }
        }
        Verb::Pin => CommandKind::Pin { target: recent(device, conversation, random, pinnable)?.id },
        Verb::Unpin => CommandKind::Unpin { target: recent(device, conversation, random, pinnable)?.id },
        _ => {
            let reply_to = Some(recent(device, conversation, random, |_| true)?.id);
            CommandKind::send(format!("message {id}").into(), reply_to)
        }
    })
}

/// A recent message that the device shows.
fn recent(
    device: &Device,
    conversation: ConversationId,
    random: &mut Random,
    wanted: impl Fn(&EntryBody) -> bool,
) -> Option<EntryBody> {
    let memory = device.memory();
    let entries = memory.kept.rooms.get(&conversation)?.entries.values().rev().take(20);
    let found: Vec<&EntryBody> = entries.filter(|entry| entry.kind == "message" && wanted(entry)).collect();
    if found.is_empty() { None } else { Some((*random.pick(&found)).clone()) }
}
