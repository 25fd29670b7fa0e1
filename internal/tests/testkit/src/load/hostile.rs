//! Commands that no client should send: in conversations that the user is not in, or with users that do not exist.

use domain::{Action, CommandId, Seq, UserId};
use protocol::{CommandFrame, CommandKind};
use uuid::Uuid;
use workload::Random;

use super::actions::{Chosen, mint};
use super::world::{LoadRoom, World};
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
        2..5 => CommandFrame::new(id, conversation, about_message(id, seen(world, room, random)?)),
        5 => {
            let reply_to = Some(seen(world, room, random)?);
            CommandFrame::new(id, conversation, CommandKind::send(format!("message {id}").into(), reply_to))
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

/// A command about the message `target`, of any kind that is about one: the kinds say so themselves, so a new one is
/// among them. The command's id selects it, so that a new kind does not change the course of a random world.
///
/// # Panics
/// When a command about a message has neither `target` nor `thread`.
#[must_use]
pub fn about_message(id: CommandId, target: CommandId) -> CommandKind {
    let about: Vec<Action> = Action::samples().into_iter().filter(|action| action.target().is_some()).collect();
    let number = id.uuid().as_u128() % about.len() as u128;
    let action = about[usize::try_from(number).expect("a remainder is smaller")].clone();
    let mut command = serde_json::to_value(CommandKind::of(action)).expect("a command is JSON");
    let named = if command.get("target").is_some() { "target" } else { "thread" };
    *command.get_mut(named).expect("a command about a message names it") = serde_json::json!(target);
    serde_json::from_value(command).expect("a command about another message is one")
}

/// The number of a user who was not a member of the conversation at first.
fn stranger(world: &World, room: &LoadRoom, random: &mut Random) -> Option<usize> {
    let outside: Vec<usize> = (0..world.config.users).filter(|user| !room.members.contains(user)).collect();
    if outside.is_empty() { None } else { Some(*random.pick(&outside)) }
}

/// The seq of an entry of that conversation, taken from a device of its founder.
fn seen_at(world: &World, room: &LoadRoom, random: &mut Random) -> Option<Seq> {
    world.devices[world.device_of(room.founder, random)].memory().kept.newest(room.id)
}

/// A message of that conversation, taken from a device of its founder.
fn seen(world: &World, room: &LoadRoom, random: &mut Random) -> Option<CommandId> {
    world.devices[world.device_of(room.founder, random)].memory().kept.recent_message(room.id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::Kind;

    use super::*;

    #[test]
    fn strangers_send_commands_of_every_kind_that_is_about_a_message() {
        let (mut random, target, mut kinds) = (Random::new(1), CommandId::first_at(7), BTreeSet::new());
        let stranger = UserId::try_from(Uuid::from_u128(1)).unwrap();
        for _ in 0..200 {
            let conversation = domain::ConversationId::group(stranger, target);
            let id = mint(&mut random, true);
            let command = CommandFrame::new(id, conversation, about_message(id, target));
            let (_, _, action) = command.into_action(stranger).unwrap();
            assert_eq!(action.target(), Some(target));
            kinds.insert(action.kind());
        }
        let about = Action::samples().into_iter().filter(|action| action.target().is_some());
        assert_eq!(kinds, about.map(|action| action.kind()).collect());
        let known = [Kind::EditMessage, Kind::DeleteMessage, Kind::AddReaction, Kind::RemoveReaction];
        assert!(kinds.is_superset(&known.into()), "{kinds:?}");
    }
}
