//! One sample of every record type, for the tests of encoding and decoding.

use bytes::Bytes;
use domain::kinds::{AddMembers, Create, EditMessage, IntoThread, RemoveReaction, SendMessage};
use domain::{
    Action, CommandId, ConversationId, ConversationKind, Doing, Event, Kind, Mentions, MessageBody, Presence, Seq,
    Signal, Status, UserId,
};
use uuid::Uuid;

use crate::{AccountEvent, Codec, Delivery, Encoded, Quarantined, ReadMark, SchemaKind, SignalRecord, UserEvent};

fn user(n: u8) -> UserId {
    UserId::try_from(Uuid::from_bytes([n; 16])).expect("any UUID is a user id")
}

fn command(n: u8) -> CommandId {
    CommandId::first_at(1_700_000_000_000 + i64::from(n))
}

/// Events of every kind, under each version of the rules where those differ.
pub(crate) fn events() -> Vec<Event> {
    // Version 1 of the rules has no threads, no pins, and bodies of text alone, and its records name no emoji there.
    let first = |action| match action {
        Action::RemoveReaction(removal) => Some(Action::RemoveReaction(RemoveReaction { emoji: None, ..removal })),
        Action::SendMessage(SendMessage { thread: Some(_), .. }) => None,
        Action::SendMessage(SendMessage { body, .. }) | Action::EditMessage(EditMessage { body, .. })
            if !body.is_plain() =>
        {
            None
        }
        Action::PinMessage(_) | Action::UnpinMessage(_) => None,
        other => Some(other),
    };
    let numbered = Action::samples().into_iter().filter_map(first).zip(10_u8..);
    let event = |(action, n): (Action, u8)| Event {
        id: command(n),
        conversation: ConversationId::direct(user(1), user(2)),
        author: user(1),
        received_ms: 1_700_000_000_123,
        rules: 1,
        key_id: (n % 2 == 0).then(|| "key-7".to_owned()),
        looked_up: false,
        action,
    };
    let mut events: Vec<Event> = numbered.map(&event).collect();
    let members = vec![user(2), user(3)];
    let create = Action::Create(Create { kind: ConversationKind::Group, title: None, members: members.clone() });
    for (looked_up, action) in
        [(true, create), (true, Action::AddMembers(AddMembers { members })), (false, events[2].action.clone())]
    {
        events.push(Event { rules: 2, looked_up, ..event((action, 31)) });
    }
    let removal = RemoveReaction { target: command(1), emoji: Some("👍".into()) };
    events.push(Event { rules: 3, ..event((Action::RemoveReaction(removal), 33)) });
    for (action, n) in [Kind::PinMessage, Kind::UnpinMessage].into_iter().flat_map(Kind::samples).zip(36..) {
        events.push(Event { rules: 3, ..event((action, n)) });
    }
    for (also_in_conversation, n) in [(false, 34), (true, 35)] {
        let thread = Some(IntoThread { root: command(1), also_in_conversation });
        let reply_to = Some(command(2).into()).filter(|_| n == 35);
        let reply = SendMessage { body: "below".into(), reply_to, thread };
        events.push(Event { rules: 3, ..event((Action::SendMessage(reply), n)) });
    }
    let says_more = |action: &Action| match action {
        Action::SendMessage(SendMessage { body, .. }) | Action::EditMessage(EditMessage { body, .. }) => {
            !body.is_plain()
        }
        _ => false,
    };
    for (action, n) in Action::samples().into_iter().filter(says_more).zip(40..) {
        events.push(Event { rules: 3, ..event((action, n)) });
    }
    let everybody = MessageBody { mentions: Mentions::new(Vec::new(), true), ..MessageBody::from("all of you") };
    let message = SendMessage { body: everybody, reply_to: None, thread: None };
    events.push(Event { rules: 3, ..event((Action::SendMessage(message), 45)) });
    events
}

/// A record of every type, encoded, with the decoded value as text.
pub(crate) fn records(codec: &Codec) -> Vec<(Encoded, String)> {
    let mut out: Vec<(Encoded, String)> =
        events().into_iter().map(|event| (codec.event(&event), format!("Event({})", in_full(&event)))).collect();
    let conversation = ConversationId::direct(user(1), user(2));
    let seq = Seq::try_from((3 << 42) | 77).expect("50 bits");
    let mark = ReadMark { user: user(1), conversation, seq, ordinal: 12 };
    out.push((codec.read_mark(&mark), format!("Some({mark:?})")));
    for event_key in [Some((conversation, seq)), None] {
        let delivery = Delivery { recipients: vec![user(1), user(2)], event_key, frame: r#"{"type":"x"}"#.into() };
        out.push((codec.delivery(&delivery), format!("Some({})", delivery_in_full(&delivery))));
    }
    let accounts = [
        AccountEvent::Registered { name: "ann".into(), display_name: "Ann".into() },
        AccountEvent::SessionStarted,
        AccountEvent::SessionEnded,
        AccountEvent::PrivacyChanged,
    ];
    for what in accounts {
        let event = UserEvent { id: Uuid::from_bytes([7; 16]), user: user(1), time_ms: 1_700_000_000_000, what };
        out.push((codec.user_event(&event), format!("Some({event:?})")));
    }
    let doings = [(Doing::Text, None), (Doing::File, None), (Doing::Assistant, Some(command(9)))];
    for (doing, thread) in doings {
        let typing = Signal::Typing { conversation, user: user(1), doing, thread };
        let signal = SignalRecord::Told { recipients: vec![user(2), user(3)], signal: typing };
        out.push((codec.signal(&signal), format!("Some({signal:?})")));
    }
    let watch = SignalRecord::Watch { users: vec![user(2), user(3)], partition: 7 };
    out.push((codec.signal(&watch), format!("Some({watch:?})")));
    let online = Presence { user: user(1), status: Status::Online, since_ms: Some(1_700_000_000_000) };
    let offline = Presence { user: user(2), status: Status::Offline, since_ms: None };
    let presence = SignalRecord::Presence { node: Uuid::from_bytes([7; 16]), states: vec![online, offline] };
    out.push((codec.signal(&presence), format!("Some({presence:?})")));
    let payload = Bytes::from_static(&[1, 2, 3]);
    let lost = Quarantined { topic: "t".into(), partition: 1, offset: 2, reason: "r".into(), payload };
    out.push((codec.quarantined(&lost), String::new()));
    out.push((codec.genesis([9; 16], 3), "Marker".into()));
    out.push((codec.tick(), "Marker".into()));
    out
}

/// An event as text, including what its debug output hides: golden records list the full content.
pub(crate) fn in_full(event: &Event) -> String {
    let body = match &event.action {
        Action::SendMessage(SendMessage { body, .. }) | Action::EditMessage(EditMessage { body, .. }) => body,
        _ => return format!("{event:?}"),
    };
    let texts = std::iter::once(&body.text).chain(body.custom.as_ref().map(|custom| &custom.data));
    texts.fold(format!("{event:?}"), |event, text| {
        event.replacen(&format!("{text:?}"), &format!("{:?}", text.reveal()), 1)
    })
}

/// A delivery as text, including its frame.
pub(crate) fn delivery_in_full(delivery: &Delivery) -> String {
    let hidden = format!("[frame of {} bytes]", delivery.frame.len());
    format!("{delivery:?}").replace(&hidden, &format!("{:?}", delivery.frame))
}

/// The kind that the record's headers name.
pub(crate) fn kind_of(encoded: &Encoded) -> SchemaKind {
    let (event, version) = (&encoded.headers[0].1, &encoded.headers[1].1);
    let is = |kind: &&SchemaKind| kind.event_name().as_bytes() == event && kind.version().as_bytes() == version;
    let named = SchemaKind::ALL.iter().find(is);
    *named.expect("the header names a kind")
}
