//! Records of other producers, which may write to the log: valid ones, odd ones, and ones that cannot be decoded.

use bytes::Bytes;
use domain::kinds::SendMessage;
use domain::{Action, CommandId, ConversationId, Event, RULES_NEWEST, Seq, UserId};
use eventlog::NewRecord;
use events::topics::{DELIVERIES, MESSAGES, RECEIPTS, USERS};
use events::{AccountEvent, Codec, Delivery, Encoded, HEADER_SCHEMA, ReadMark, UserEvent};
use workload::Random;

/// Confluent wire format, with the id of a schema that is not registered.
pub const UNREGISTERED: &[u8] = b"\0\0\0\x27\x0funknown";
/// Confluent wire format, with the id of a known schema, and bytes that do not decode.
const JUNK: &[u8] = b"\0\0\0\0\x01junk";
/// Not in the wire format.
const PLAIN: &[u8] = b"{\"hello\":1}";

/// What another producer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Bytes that do not decode under the schema that the headers name.
    Corrupt(Stream),
    /// Bytes without headers, not in the wire format or not decodable.
    Headerless(Stream),
    /// Bytes without headers, of a schema that is not registered. Another version of the program might know it, so
    /// consumers hold its key; in `chat.deliveries`, the devices of the key's user are reset.
    Unregistered(Stream),
    /// A valid record under another key than its own.
    WrongKey(Stream),
    /// A valid event or read mark of our own format, with the smallest or largest numbers that it can hold.
    Extreme(Stream),
    /// An account event.
    Account,
    /// A delivery of a frame type that no client knows.
    Push,
    /// A delivery of an unknown schema. It may be for any user, so all devices of its partition are reset.
    UnknownDelivery,
}

/// A topic that others may write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `chat.messages`.
    Messages,
    /// `chat.receipts`.
    Receipts,
    /// `chat.deliveries`.
    Deliveries,
    /// `users.events`.
    Users,
}

impl Stream {
    /// All streams.
    pub const ALL: [Self; 4] = [Self::Messages, Self::Receipts, Self::Deliveries, Self::Users];

    /// Its topic.
    #[must_use]
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Messages => MESSAGES,
            Self::Receipts => RECEIPTS,
            Self::Deliveries => DELIVERIES,
            Self::Users => USERS,
        }
    }
}

impl Foreign {
    /// Each kind in each topic, except for an unregistered message: that holds its conversation until an operator
    /// drops it.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let kinds = [Self::Corrupt, Self::Headerless, Self::Unregistered, Self::WrongKey, Self::Extreme];
        let mut all: Vec<Self> = kinds.into_iter().flat_map(|kind| Stream::ALL.map(kind)).collect();
        all.retain(|what| *what != Self::Unregistered(Stream::Messages));
        all.extend([Self::Account, Self::Push, Self::UnknownDelivery]);
        all
    }

    /// A random kind. Never an unregistered message: that holds its conversation until an operator drops it.
    #[must_use]
    pub fn any(random: &mut Random) -> Self {
        let stream = *random.pick(&Stream::ALL);
        match random.below(13) {
            0..3 => Self::Corrupt(stream),
            3..5 => Self::Headerless(stream),
            5 if stream != Stream::Messages => Self::Unregistered(stream),
            5 | 6 => Self::WrongKey(stream),
            7 | 8 => Self::Extreme(stream),
            9 | 10 => Self::Account,
            11 => Self::Push,
            _ => Self::UnknownDelivery,
        }
    }

    /// The stream that it is written to.
    #[must_use]
    pub const fn stream(self) -> Stream {
        match self {
            Self::Corrupt(stream)
            | Self::Headerless(stream)
            | Self::Unregistered(stream)
            | Self::WrongKey(stream)
            | Self::Extreme(stream) => stream,
            Self::Account => Stream::Users,
            Self::Push | Self::UnknownDelivery => Stream::Deliveries,
        }
    }

    /// The name under which it is counted.
    #[must_use]
    pub const fn counted(self) -> &'static str {
        match self {
            Self::Corrupt(_) => "foreign records: corrupt",
            Self::Headerless(_) => "foreign records: headerless",
            Self::Unregistered(_) => "foreign records: headerless, of no registered schema",
            Self::WrongKey(_) => "foreign records: wrong keys",
            Self::Extreme(_) => "foreign records: numbers at their ends",
            Self::Account => "foreign records: account events",
            Self::Push => "foreign records: pushes",
            Self::UnknownDelivery => "foreign records: unknown schema",
        }
    }
}

/// The conversation and users that a record is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'c> {
    /// Encodes the valid parts.
    pub codec: &'c Codec,
    /// The conversation of the record.
    pub conversation: ConversationId,
    /// Another conversation, for [`Foreign::WrongKey`].
    pub another: ConversationId,
    /// A member since the conversation's beginning, for read marks: a device drops marks in conversations that no
    /// sync lists.
    pub member: UserId,
    /// The user of deliveries and account events, and the author of messages.
    pub user: UserId,
    /// The current time, in Unix milliseconds.
    pub now_ms: i64,
}

impl About<'_> {
    /// Makes a record of that kind.
    #[must_use]
    pub fn record(&self, what: Foreign, random: &mut Random) -> NewRecord {
        let stream = what.stream();
        let bare = |payload| Encoded { headers: Vec::new(), payload: Bytes::from_static(payload) };
        let (key, encoded) = match what {
            Foreign::Corrupt(_) => {
                let Encoded { headers, .. } = self.good(stream, false, random);
                (self.key(stream), Encoded { headers, payload: Bytes::from_static(JUNK) })
            }
            Foreign::Headerless(_) => (self.key(stream), bare(if random.chance(50) { PLAIN } else { JUNK })),
            Foreign::Unregistered(_) => (self.key(stream), bare(UNREGISTERED)),
            Foreign::WrongKey(_) => {
                let key = if random.chance(50) { "nobody".to_owned() } else { self.another.to_string() };
                (key, self.good(stream, false, random))
            }
            Foreign::Extreme(_) => (self.key(stream), self.good(stream, true, random)),
            Foreign::Account | Foreign::Push => (self.key(stream), self.good(stream, false, random)),
            Foreign::UnknownDelivery => {
                let mut tick = self.codec.tick();
                let schemas = tick.headers.iter_mut().filter(|(name, _)| name == HEADER_SCHEMA);
                schemas.for_each(|(_, value)| *value = Bytes::from_static(b"0123456789abcdef"));
                (self.key(stream), tick)
            }
        };
        NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload }
    }

    fn key(&self, stream: Stream) -> String {
        match stream {
            Stream::Messages | Stream::Receipts => self.conversation.to_string(),
            Stream::Deliveries | Stream::Users => self.user.to_string(),
        }
    }

    /// A valid record. With `extreme`, its numbers are the smallest or largest that the schema can hold.
    fn good(&self, stream: Stream, extreme: bool, random: &mut Random) -> Encoded {
        let Self { codec, conversation, user, now_ms, .. } = *self;
        match stream {
            Stream::Messages => {
                let stamp_ms = if extreme && random.chance(50) { (1 << 48) - 1 } else { now_ms };
                let received_ms = if extreme { *random.pick(&[i64::MIN, i64::MAX]) } else { now_ms };
                let (id, rules) = (id(stamp_ms, random), RULES_NEWEST);
                let action = Action::SendMessage(SendMessage {
                    body: format!("foreign {id}").into(),
                    reply_to: None,
                    thread: None,
                });
                let (author, key_id, looked_up) = (user, None, false);
                codec.event(&Event { id, conversation, author, received_ms, rules, key_id, looked_up, action })
            }
            Stream::Receipts => {
                let highest = Seq::try_from((1 << 50) - 1).expect("the highest place");
                let first = Seq::try_from(1).expect("a place");
                let (seq, ordinal) = if extreme { (highest, i64::MAX as u64) } else { (first, 0) };
                codec.read_mark(&ReadMark { user: self.member, conversation, seq, ordinal })
            }
            Stream::Deliveries => {
                let more = if extreme { "x".repeat(60_000) } else { String::new() };
                let frame = format!("{{\"type\":\"sticker\",\"more\":\"{more}\"}}");
                let recipients = if random.chance(50) { vec![user] } else { Vec::new() };
                codec.delivery(&Delivery { recipients, event_key: None, frame })
            }
            Stream::Users => {
                let time_ms = if extreme { *random.pick(&[i64::MIN, i64::MAX]) } else { now_ms };
                let id = id(now_ms, random).uuid();
                codec.user_event(&UserEvent { id, user, time_ms, what: AccountEvent::SessionStarted })
            }
        }
    }
}

/// An id with that time stamp.
fn id(stamp_ms: i64, random: &mut Random) -> CommandId {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&random.bits().to_be_bytes());
    let stamp_ms = u64::try_from(stamp_ms).unwrap_or(0);
    let uuid = uuid::Builder::from_unix_timestamp_millis(stamp_ms, &bytes).into_uuid();
    CommandId::try_from(uuid).expect("the builder makes a UUIDv7")
}
