//! Hostile inputs: records of other producers, commands of strangers, users that do not exist.

use domain::{CommandId, Seq, UserId};
use protocol::{CommandFrame, CommandKind};
use testkit::foreign::{About, Foreign, Stream};
use testkit::load::about_message;
use workload::Random;

use super::{Room, World};
use crate::log::append_as;
use crate::plan::Verb;

/// The name of the other producer in the trace.
const NAME: &str = "another producer";

impl World {
    /// Another producer writes a record about that room or one of the users.
    pub(super) async fn foreign(&self, room: usize, what: Foreign, salt: u64) {
        let (room, mut random) = (&self.rooms[room % self.rooms.len()], Random::new(salt));
        let about = About {
            codec: &self.services.codec,
            conversation: room.id,
            another: random.pick(&self.rooms).id,
            member: self.people.accounts[*random.pick(&room.members)].user,
            user: random.pick(&self.people.accounts).user,
            now_ms: self.services.wall.now_ms(),
        };
        let (topic, record) = (what.stream().topic(), about.record(what, &mut random));
        let (trace, recorder) = (&self.shared.trace, &self.shared.recorder);
        trace.fault(what.counted(), &format!("{NAME} writes to {topic}: {what:?}"));
        trace.count(counted(what.stream()));
        // It does not matter whether the broker accepts it.
        let _ = append_as(&self.services.log, recorder, NAME, topic, &record).await;
    }

    /// A command of a stranger, or one that names users that do not exist. The sender may happen to be a member.
    pub(super) fn hostile_command(
        &self,
        (room, number): (&Room, usize),
        verb: Verb,
        id: CommandId,
        random: &mut Random,
    ) -> Option<CommandFrame> {
        let conversation = room.id;
        let nobody = UserId::try_from(random.uuid()).ok()?;
        Some(match verb {
            Verb::StrangerTouch => {
                let target = self.seen(room, random)?;
                let command = match random.below(4) {
                    3 => CommandKind::send(format!("hi {id}").into(), Some(target)),
                    _ => about_message(id, target),
                };
                CommandFrame::new(id, conversation, command)
            }
            Verb::StrangerWithdraw => {
                let id = if random.chance(50) { id } else { self.seen(room, random)? };
                CommandFrame::new(id, conversation, CommandKind::Withdraw {})
            }
            Verb::StrangerMark => {
                // The mark is at a real entry: the sender may happen to be a member, whose device waits for the
                // acknowledgement.
                self.people.devices[number].mark(conversation, self.seen_at(room, random)?);
                return None;
            }
            Verb::AddNobody => CommandFrame::new(id, conversation, CommandKind::AddMembers { members: vec![nobody] }),
            Verb::CreateNobody => {
                let (kind, title) = if random.chance(30) { ("direct", None) } else { ("group", Some("us".to_owned())) };
                CommandFrame::new(id, None, CommandKind::Create { kind: kind.into(), title, members: vec![nobody] })
            }
            _ => return None,
        })
    }

    /// The seq of the last entry of that room that a random device shows.
    fn seen_at(&self, room: &Room, random: &mut Random) -> Option<Seq> {
        random.pick(&self.people.devices).memory().kept.newest(room.id)
    }

    /// A message of that room that some device shows.
    fn seen(&self, room: &Room, random: &mut Random) -> Option<CommandId> {
        let first = random.below(self.people.devices.len() as u64);
        let devices = self.people.devices.iter().cycle().skip(usize::try_from(first).ok()?);
        devices.take(self.people.devices.len()).find_map(|device| device.memory().kept.recent_message(room.id))
    }
}

/// The name under which a record in that topic is counted.
const fn counted(stream: Stream) -> &'static str {
    match stream {
        Stream::Messages => "foreign records in chat.messages",
        Stream::Receipts => "foreign records in chat.receipts",
        Stream::Deliveries => "foreign records in chat.deliveries",
        Stream::Users => "foreign records in users.events",
    }
}
