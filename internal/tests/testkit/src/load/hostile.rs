//! Commands that no client should send: in conversations that the user is not in, or with users that do not exist.

use domain::{CommandId, Seq, UserId};
use protocol::{CommandFrame, CommandKind};
use uuid::Uuid;
use workload::Random;

use super::actions::{Chosen, mint};
use super::world::{Meeting, World};
use crate::device::Route;

/// A hostile command; `None` when the chosen one makes no sense now, or was a read mark.
pub(super) fn hostile(world: &World, random: &mut Random) -> Option<Chosen> {
    let room = random.pick(&world.rooms);
    let stranger = stranger(world, room, random)?;
    let device = world.device_of(stranger, random);
    let (id, conversation, nobody) = (mint(random, true), room.id, UserId::try_from(Uuid::now_v7()).ok()?);
    let command = match random.below(10) {
        0 => CommandFrame::new(id, conversation, CommandKind::Withdraw {}),
        1 => CommandFrame::new(seen(world, room, random)?, conversation, CommandKind::Withdraw {}),
        2 => {
            let (target, emoji) = (seen(world, room, random)?, "👀".into());
            CommandFrame::new(id, conversation, CommandKind::React { target, emoji })
        }
        3 => CommandFrame::new(
            id,
            conversation,
            CommandKind::Edit { target: seen(world, room, random)?, body: "a stranger's".into() },
        ),
        4 => CommandFrame::new(id, conversation, CommandKind::Delete { target: seen(world, room, random)? }),
        5 => {
            let reply_to = Some(seen(world, room, random)?);
            CommandFrame::new(id, conversation, CommandKind::Send { body: format!("message {id}").into(), reply_to })
        }
        6 => {
            // The mark is at a real entry: a user who was added meanwhile is no stranger, and their device waits for
            // its acknowledgement.
            world.devices[device].mark(conversation, seen_at(world, room, random)?);
            return None;
        }
        7..9 => {
            let device = world.device_of(room.founder, random);
            let command = CommandFrame::new(id, conversation, CommandKind::AddMembers { members: vec![nobody] });
            return Some(Chosen { device, command, route: Route::Socket, is_message: false });
        }
        _ => {
            let (kind, title) = if random.chance(50) { ("direct", None) } else { ("group", Some("us".to_owned())) };
            CommandFrame::new(id, None, CommandKind::Create { kind: kind.into(), title, members: vec![nobody] })
        }
    };
    let route = if random.chance(50) { Route::Http } else { Route::Socket };
    Some(Chosen { device, command, route, is_message: false })
}

/// The number of a user who was not a member of the conversation at first.
fn stranger(world: &World, room: &Meeting, random: &mut Random) -> Option<usize> {
    let outside: Vec<usize> = (0..world.config.users).filter(|user| !room.members.contains(user)).collect();
    if outside.is_empty() { None } else { Some(*random.pick(&outside)) }
}

/// The seq of an entry of that conversation, taken from a device of its founder.
fn seen_at(world: &World, room: &Meeting, random: &mut Random) -> Option<Seq> {
    world.devices[world.device_of(room.founder, random)].memory().kept.newest(room.id)
}

/// A message of that conversation, taken from a device of its founder.
fn seen(world: &World, room: &Meeting, random: &mut Random) -> Option<CommandId> {
    world.devices[world.device_of(room.founder, random)].memory().kept.recent_message(room.id)
}
