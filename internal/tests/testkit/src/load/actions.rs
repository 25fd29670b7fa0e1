//! Chooses the next command of a load.

use domain::{CommandId, ConversationId};
use environment::Clock;
use protocol::{CommandFrame, CommandKind, ContentBody, EntryBody, MentionsBody, QuoteBody};
use uuid::Uuid;
use workload::Random;

use super::hostile::hostile;
use super::world::{LoadRoom, World};
use crate::device::{Device, Route};

/// How many of the newest messages may be edited, deleted and reacted to.
const RECENT: usize = 50;
/// Attempts to find a connected device of a member.
const TRIES: usize = 6;
/// The reactions that are used.
const EMOJI: [&str; 4] = ["👍", "❤️", "☕", "🎉"];
/// Ages of ids, in milliseconds, that come from clocks that are wrong.
const BEHIND_MS: [i64; 5] = [20_000, 170_000, 200_000, 86_400_000, 21 * 86_400_000];

/// A command and the device that sends it.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) device: usize,
    pub(super) command: CommandFrame,
    pub(super) route: Route,
    pub(super) is_message: bool,
}

/// A fresh id; with `skewed`, a few have the time stamp of a clock that is wrong.
#[must_use]
pub fn mint(random: &mut Random, skewed: bool) -> CommandId {
    let now = Clock::system().now_ms();
    let stamp = match (skewed, random.below(100)) {
        (true, 0..4) => now - *random.pick(&BEHIND_MS),
        (true, 4) => now + 30_000,
        _ => now,
    };
    let mut bytes = [0; 10];
    // Not from the seed alone: loads with the same seed on the same servers must not use the same ids.
    bytes[..8].copy_from_slice(&Uuid::now_v7().into_bytes()[8..]);
    bytes[8..].copy_from_slice(&random.bits().to_be_bytes()[..2]);
    let stamp = u64::try_from(stamp).unwrap_or(0);
    let uuid = uuid::Builder::from_unix_timestamp_millis(stamp, &bytes).into_uuid();
    CommandId::try_from(uuid).expect("the builder makes a UUIDv7")
}

/// The next command; `None` when the chosen one makes no sense now, or was a read mark.
pub(super) fn choose(world: &World, random: &mut Random) -> Option<Chosen> {
    if !world.config.plain && random.chance(world.config.retry_percent) {
        return repetition(world, random);
    }
    if !world.config.plain && random.chance(world.config.hostile_percent) {
        return hostile(world, random);
    }
    let room = random.pick(&world.rooms);
    let number = speaker(world, room, random);
    let (device, route) = (&world.devices[number], if random.chance(10) { Route::Http } else { Route::Socket });
    let fresh = |random: &mut Random| mint(random, true);
    let conversation = room.id;
    let chosen = |command: CommandFrame| {
        let is_message = matches!(command.what, CommandKind::Send { .. });
        Some(Chosen { device: number, command, route, is_message })
    };
    match if world.config.plain { 99 } else { random.below(100) } {
        0..8 => {
            let target = own(device, conversation, random)?.id;
            let id = fresh(random);
            let (body, mentions) = (format!("edit {id}").into(), mentioned(world, room, random));
            let what = CommandKind::Edit { target, body, mentions, content: None };
            chosen(CommandFrame::new(id, conversation, what))
        }
        8..11 => {
            // Admins delete what others said; for all others that is refused.
            let others = random.chance(10).then(|| recent(device, conversation, random)).flatten();
            let target = others.or_else(|| own(device, conversation, random))?.id;
            chosen(CommandFrame::new(fresh(random), conversation, CommandKind::Delete { target }))
        }
        11..19 => {
            let target = recent(device, conversation, random)?.id;
            let emoji = (*random.pick(&EMOJI)).to_owned();
            chosen(CommandFrame::new(fresh(random), conversation, CommandKind::React { target, emoji }))
        }
        19 => {
            let target = recent(device, conversation, random)?.id;
            let emoji = (*random.pick(&EMOJI)).to_owned();
            chosen(CommandFrame::new(fresh(random), conversation, CommandKind::Unreact { target, emoji }))
        }
        98 => {
            let target = recent(device, conversation, random)?.id;
            let what = if random.chance(60) { CommandKind::Pin { target } } else { CommandKind::Unpin { target } };
            chosen(CommandFrame::new(fresh(random), conversation, what))
        }
        20..26 => {
            let memory = device.memory();
            let last = *memory.kept.rooms.get(&conversation)?.entries.keys().next_back()?;
            drop(memory);
            device.mark(conversation, last);
            None
        }
        26..31 if !room.direct => membership(world, room, random),
        _ => {
            let answers = random.chance(10).then(|| recent(device, conversation, random)).flatten();
            let thread = random.chance(12).then(|| recent(device, conversation, random)).flatten();
            let root = thread.map(|entry| entry.thread.unwrap_or(entry.id));
            let id = fresh(random);
            // The body contains the id, so that a body under another id would be noticed.
            let body = format!("message {id} {}", "x".repeat(usize::try_from(random.below(120)).unwrap_or(0))).into();
            let also_in_conversation = root.is_some() && random.chance(25);
            let reply_to = answers.map(|entry| entry.id);
            let quote = reply_to.filter(|_| random.chance(50)).map(|_| QuoteBody { from: 0, to: 7 });
            let (mentions, data) = (mentioned(world, room, random), "{\"options\":2}".into());
            let content = random.chance(3).then(|| ContentBody { kind: "com.example.poll".into(), data });
            let what =
                CommandKind::Send { body, reply_to, thread: root, also_in_conversation, quote, mentions, content };
            chosen(CommandFrame::new(id, conversation, what))
        }
    }
}

/// Now and then one or two members, rarely everybody, which is refused for who is no admin.
fn mentioned(world: &World, room: &LoadRoom, random: &mut Random) -> Option<MentionsBody> {
    if !random.chance(12) {
        return None;
    }
    let mut users = Vec::new();
    for _ in 0..=random.below(2) {
        users.push(world.accounts[*random.pick(&room.members)].user);
    }
    Some(MentionsBody { users, all: random.chance(10) })
}

/// Mostly a connected device of a member; sometimes any device.
fn speaker(world: &World, room: &LoadRoom, random: &mut Random) -> usize {
    let mut number = 0;
    for _ in 0..TRIES {
        let stranger = random.below(200) == 0;
        let user = if stranger { random.below(world.config.users as u64) } else { *random.pick(&room.members) as u64 };
        number = world.device_of(usize::try_from(user).unwrap_or(0), random);
        let memory = world.devices[number].memory();
        let member = memory.kept.rooms.get(&room.id).is_some_and(crate::device::Room::is_member);
        if stranger || (member && memory.live) {
            break;
        }
    }
    number
}

/// Repeats an earlier command: unchanged, with another text, or as a withdrawal.
fn repetition(world: &World, random: &mut Random) -> Option<Chosen> {
    let number = usize::try_from(random.below(world.devices.len() as u64)).unwrap_or(0);
    let memory = world.devices[number].memory();
    let count = memory.sends.len() as u64;
    // Ids sort by time: half of the repetitions are of a recent command.
    let back = if random.chance(50) { random.below(count.min(10)) } else { random.below(count) };
    let (id, sent) = memory.sends.iter().rev().nth(usize::try_from(back).unwrap_or(0))?;
    sent.at?;
    let (conversation, id) = (sent.conversation, *id);
    let command = match (random.below(20), &sent.command.what) {
        (0, CommandKind::Send { .. }) => {
            CommandFrame::new(id, conversation, CommandKind::send("another text".into(), None))
        }
        (1, _) => CommandFrame::new(id, conversation, CommandKind::Withdraw {}),
        (_, _) => sent.command.clone(),
    };
    let route = if random.chance(20) { Route::Http } else { Route::Socket };
    Some(Chosen { device: number, command, route, is_message: false })
}

fn membership(world: &World, room: &LoadRoom, random: &mut Random) -> Option<Chosen> {
    let by = if random.chance(85) { room.founder } else { *random.pick(&room.members) };
    let mut number = world.device_of(by, random);
    let (id, conversation) = (mint(random, false), room.id);
    let other = *random.pick(&room.members);
    let anyone = usize::try_from(random.below(world.config.users as u64)).unwrap_or(0);
    let user = world.accounts[other].user;
    let command = match random.below(10) {
        // Only the first members leave and return; all other users stay outside, to serve as strangers.
        0..4 => CommandFrame::new(id, conversation, CommandKind::AddMembers { members: vec![user] }),
        4 => CommandFrame::new(
            id,
            conversation,
            CommandKind::AddMembers { members: vec![user, world.accounts[anyone].user] },
        ),
        5..7 => CommandFrame::new(id, conversation, CommandKind::RemoveMember { user }),
        7 if other != room.founder => {
            number = world.device_of(other, random);
            CommandFrame::new(id, conversation, CommandKind::Leave {})
        }
        8 => CommandFrame::new(
            id,
            conversation,
            CommandKind::ChangeRole { user, role: (*random.pick(&["member", "admin"])).into() },
        ),
        _ => CommandFrame::new(
            id,
            conversation,
            CommandKind::ChangeTitle { title: format!("title {}", random.below(10)) },
        ),
    };
    Some(Chosen { device: number, command, route: Route::Socket, is_message: false })
}

/// Breaks a device's connection, resets it to an older stored state, or sets it away or back.
pub(super) fn disturb(world: &World, random: &mut Random) {
    let device = random.pick(&world.devices);
    match random.below(2000) {
        0..10 => device.drop_link(),
        10..14 => device.save(),
        14..17 => device.go_back(),
        17 => device.set_away(true),
        18..30 => device.set_away(false),
        _ => {}
    }
}

/// One of the device's own recent messages, as far as the device shows it.
fn own(device: &Device, conversation: ConversationId, random: &mut Random) -> Option<EntryBody> {
    let me = device.memory().user;
    pick(device, conversation, random, |entry| entry.author == me)
}

/// A recent message of any author.
fn recent(device: &Device, conversation: ConversationId, random: &mut Random) -> Option<EntryBody> {
    pick(device, conversation, random, |_| true)
}

/// A recent message; mostly one that is not deleted, as far as the device knows.
fn pick(
    device: &Device,
    conversation: ConversationId,
    random: &mut Random,
    wanted: impl Fn(&EntryBody) -> bool,
) -> Option<EntryBody> {
    let memory = device.memory();
    let entries = memory.kept.rooms.get(&conversation)?.entries.values().rev().take(RECENT);
    let deleted_too = random.chance(5);
    let found: Vec<&EntryBody> =
        entries.filter(|entry| entry.kind == "message" && (deleted_too || !entry.deleted) && wanted(entry)).collect();
    if found.is_empty() { None } else { Some((*random.pick(&found)).clone()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::{Kind, Seq, UserId};

    use super::*;
    use crate::device::{Account, Endpoints, Stamps};
    use crate::load::LoadConfig;

    fn message(author: UserId, number: u64) -> EntryBody {
        let seq = Seq::new(0, number).unwrap();
        EntryBody {
            seq,
            id: CommandId::first_at(i64::try_from(number).unwrap()),
            author,
            time: 0,
            kind: "message".to_owned(),
            ordinal: number,
            changed: seq,
            body: Some("hello".into()),
            reply_to: None,
            thread: None,
            thread_ordinal: None,
            also_in_conversation: false,
            quote: None,
            mentions: None,
            content: None,
            users: Vec::new(),
            edited: None,
            deleted: false,
            deleted_by: None,
            reactions: Vec::new(),
            replies: None,
            withheld: false,
        }
    }

    /// Four users, three of them in a group where each has sent a message. Nothing is awaited, so no device
    /// connects.
    fn world() -> World {
        let nowhere = "http://127.0.0.1:1".to_owned();
        let endpoints = Endpoints { users: nowhere.clone(), chat: vec![nowhere.clone()], sockets: vec![nowhere] };
        let account = |number: u128| Account {
            name: format!("user-{number}"),
            user: UserId::try_from(Uuid::from_u128(number)).unwrap(),
        };
        let accounts: Vec<Account> = (1..5).map(account).collect();
        let stamps = Stamps::default();
        let start = |account: &Account| Device::start(0, &endpoints, account, &stamps).unwrap();
        let devices: Vec<Device> = accounts.iter().map(start).collect();
        let id = ConversationId::group(accounts[0].user, CommandId::first_at(1));
        for device in &devices[..3] {
            let mut memory = device.memory();
            memory.live = true;
            let room = memory.kept.rooms.entry(id).or_default();
            room.set_membership(Seq::default(), true);
            (1..).zip(&accounts[..3]).for_each(|(number, account)| room.merge(message(account.user, number)));
        }
        // No commands of strangers, which are of every kind by themselves.
        let config = LoadConfig { users: 4, devices: 1, hostile_percent: 0, ..LoadConfig::default() };
        let rooms = vec![LoadRoom { id, founder: 0, members: vec![0, 1, 2], direct: false }];
        World { config, accounts, devices, rooms }
    }

    #[tokio::test]
    async fn a_load_has_commands_of_every_kind() {
        let (world, mut random, mut kinds) = (world(), Random::new(1), BTreeSet::new());
        for _ in 0..20_000 {
            let Some(chosen) = choose(&world, &mut random) else { continue };
            let author = world.devices[chosen.device].memory().user;
            kinds.insert(chosen.command.into_action(author).unwrap().2.kind());
        }
        // Conversations are created before a load; what is withdrawn is a command that was sent, and nothing is here.
        kinds.extend([Kind::Create, Kind::Withdraw]);
        assert_eq!(kinds, BTreeSet::from(Kind::ALL));
    }
}
