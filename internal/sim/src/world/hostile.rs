//! What nobody asked for: records of other producers, strangers' commands, users that do not exist.

use api::CommandFrame;
use bytes::Bytes;
use domain::{Action, CommandId, Event, RULES_NEWEST, Seq, UserId};
use eventlog::NewRecord;
use events::{AccountEvent, Delivery, Encoded, HEADER_SCHEMA, ReadMark, UserEvent};
use workload::Random;

use super::{Room, World, speaking};
use crate::log::append_as;
use crate::plan::{Foreign, Stream, Verb};

/// Somebody else's name in the trace.
const NAME: &str = "another producer";

impl World {
    /// Another producer writes a record that concerns that room, or one of the users.
    pub(super) async fn foreign(&self, room: usize, what: Foreign, salt: u64) {
        let (room, mut random) = (&self.rooms[room % self.rooms.len()], Random::new(salt));
        let (topic, record) = self.record(room, what, salt, &mut random);
        let (name, shared) = (counted(what), &self.shared);
        shared.trace.fault(name, &format!("{NAME} writes to {topic}: {what:?}"));
        // A broker without room for it is no concern of ours.
        let _ = append_as(&self.services.log, &shared.recorder, NAME, topic, &record).await;
    }

    fn record(&self, room: &Room, what: Foreign, salt: u64, random: &mut Random) -> (&'static str, NewRecord) {
        let user = random.pick(&self.people.accounts).user;
        let key = |stream| match stream {
            Stream::Messages | Stream::Receipts => room.id.to_string(),
            Stream::Deliveries | Stream::Users => user.to_string(),
        };
        let good = |stream, random: &mut Random, extreme| self.good(stream, room, user, (salt, extreme), random);
        let new = |key, Encoded { headers, payload }| NewRecord { key, partition: None, headers, payload };
        let junk = || Bytes::from_static(b"\0\0\0\0\x01junk");
        match what {
            Foreign::Corrupt(stream) => {
                let Encoded { headers, .. } = good(stream, random, false);
                (stream.topic(), new(key(stream), Encoded { headers, payload: junk() }))
            }
            Foreign::Headerless(stream) => {
                let payload = match (random.chance(50), stream) {
                    (true, _) => Bytes::from_static(b"{\"hello\":1}"),
                    // Of an unknown schema it would hold the room, for ever.
                    (false, Stream::Messages) => junk(),
                    (false, Stream::Receipts | Stream::Deliveries | Stream::Users) => {
                        Bytes::from_static(b"\0\0\0\x27\x0funknown")
                    }
                };
                (stream.topic(), new(key(stream), Encoded { headers: Vec::new(), payload }))
            }
            Foreign::WrongKey(stream) => {
                let another = random.pick(&self.rooms).id.to_string();
                let key = if random.chance(50) { "nobody".to_owned() } else { another };
                (stream.topic(), new(key, good(stream, random, false)))
            }
            Foreign::Extreme(stream) => (stream.topic(), new(key(stream), good(stream, random, true))),
            Foreign::Account => (Stream::Users.topic(), new(key(Stream::Users), good(Stream::Users, random, false))),
            Foreign::Push => {
                (Stream::Deliveries.topic(), new(key(Stream::Deliveries), good(Stream::Deliveries, random, false)))
            }
            Foreign::UnknownDelivery => {
                let mut tick = self.services.codec.tick();
                let schemas = tick.headers.iter_mut().filter(|(name, _)| name == HEADER_SCHEMA);
                schemas.for_each(|(_, value)| *value = Bytes::from_static(b"0123456789abcdef"));
                (Stream::Deliveries.topic(), new(key(Stream::Deliveries), tick))
            }
        }
    }

    /// A record as it should be; `extreme`: with numbers at the ends of what the schema can hold.
    fn good(
        &self,
        stream: Stream,
        room: &Room,
        user: UserId,
        (salt, extreme): (u64, bool),
        random: &mut Random,
    ) -> Encoded {
        let (codec, conversation, now_ms) = (&self.services.codec, room.id, self.services.wall.now_ms());
        match stream {
            Stream::Messages => {
                let stamp_ms = if extreme && random.chance(50) { (1 << 48) - 1 } else { now_ms };
                let received_ms = if extreme { *random.pick(&[i64::MIN, i64::MAX]) } else { now_ms };
                let (id, body) = (speaking::mint(stamp_ms, salt), format!("foreign {salt:016x}"));
                let (rules, action) = (RULES_NEWEST, Action::SendMessage { body, reply_to: None });
                codec.event(&Event {
                    id,
                    conversation,
                    author: user,
                    received_ms,
                    rules,
                    key_id: None,
                    looked_up: false,
                    action,
                })
            }
            Stream::Receipts => {
                let highest = Seq::try_from((1 << 50) - 1).expect("the highest place");
                let first = Seq::try_from(1).expect("a place");
                // Of somebody who was there: what a sync does not name has no mark after it.
                let user = self.people.accounts[*random.pick(&room.members)].user;
                let (seq, ordinal) = if extreme { (highest, i64::MAX as u64) } else { (first, 0) };
                codec.read_mark(&ReadMark { user, conversation, seq, ordinal })
            }
            Stream::Deliveries => {
                let more = if extreme { "x".repeat(60_000) } else { String::new() };
                let frame = format!("{{\"type\":\"sticker\",\"more\":\"{more}\"}}");
                let recipients = if random.chance(50) { vec![user] } else { Vec::new() };
                codec.delivery(&Delivery { recipients, place: None, frame })
            }
            Stream::Users => {
                let time_ms = if extreme { *random.pick(&[i64::MIN, i64::MAX]) } else { now_ms };
                let id = speaking::mint(now_ms, salt).uuid();
                codec.user_event(&UserEvent { id, user, time_ms, what: AccountEvent::SessionStarted })
            }
        }
    }

    /// A stranger's command, or one that names users that do not exist. Who sends it may be a member by chance.
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
                match random.below(4) {
                    0 => CommandFrame::Edit { id, conversation, target, body: "a stranger's".into() },
                    1 => CommandFrame::Delete { id, conversation, target },
                    2 => CommandFrame::React { id, conversation, target, emoji: "👀".into() },
                    _ => CommandFrame::Send { id, conversation, body: format!("hi {id}"), reply_to: Some(target) },
                }
            }
            Verb::StrangerWithdraw => {
                let id = if random.chance(50) { id } else { self.seen(room, random)? };
                CommandFrame::Withdraw { id, conversation }
            }
            Verb::StrangerMark => {
                let seq = Seq::try_from(random.below(200)).ok()?;
                self.people.devices[number].mark(conversation, seq);
                return None;
            }
            Verb::AddNobody => CommandFrame::AddMembers { id, conversation, members: vec![nobody] },
            Verb::CreateNobody => {
                let (kind, title) = if random.chance(30) { ("direct", None) } else { ("group", Some("us".to_owned())) };
                CommandFrame::Create { id, kind: kind.into(), title, members: vec![nobody] }
            }
            _ => return None,
        })
    }

    /// A message of that room that some device shows.
    fn seen(&self, room: &Room, random: &mut Random) -> Option<CommandId> {
        let first = random.below(self.people.devices.len() as u64);
        let devices = self.people.devices.iter().cycle().skip(usize::try_from(first).ok()?);
        devices.take(self.people.devices.len()).find_map(|device| {
            let memory = device.memory();
            let entries = memory.kept.rooms.get(&room.id)?.entries.values().rev();
            entries.take(20).find(|entry| entry.kind == "message").map(|entry| entry.id)
        })
    }
}

/// What it is counted as.
const fn counted(what: Foreign) -> &'static str {
    match what {
        Foreign::Corrupt(_) => "foreign records: corrupt",
        Foreign::Headerless(_) => "foreign records: headerless",
        Foreign::WrongKey(_) => "foreign records: wrong keys",
        Foreign::Extreme(_) => "foreign records: numbers at their ends",
        Foreign::Account => "foreign records: account events",
        Foreign::Push => "foreign records: pushes",
        Foreign::UnknownDelivery => "foreign records: unknown schema",
    }
}
