//! `schemas/asyncapi.yaml`, `schemas/PROTOCOL.md` and the code say the same about frames, codes and reasons.

use std::collections::{BTreeMap, BTreeSet};

use domain::{CommandId, ConversationId, Cursor, Fingerprint, MessageText, Seq, Status, UserId};
use protocol::{
    BatchedFrame, ClientFrame, CloseCode, CommandFrame, CommandKind, ContentBody, DoingName, ErrorCode, FeedFrame,
    FeedKind, MentionsBody, OwnStatus, QuoteBody, RESET_REASONS, Received, ServerFrame, SignalFrame, StandsName,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::common::{command_id, conversation, user_of};

const PROTOCOL: &str = include_str!("../../../../schemas/PROTOCOL.md");

fn asyncapi() -> Value {
    serde_yaml_ng::from_str(include_str!("../../../../schemas/asyncapi.yaml")).unwrap()
}

fn openapi() -> Value {
    serde_yaml_ng::from_str(include_str!("../../../../schemas/openapi.yaml")).unwrap()
}

type Names = BTreeSet<String>;

fn names<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Names {
    names.into_iter().map(|name| name.as_ref().to_owned()).collect()
}

/// The variants of an enum, as serde lists them in the error about an unknown one.
fn variants<T: DeserializeOwned>(unknown: Value) -> Names {
    let words = serde_json::from_value::<T>(unknown).err().expect("there is no such variant").to_string();
    let (_, list) = words.split_once("expected").unwrap_or_else(|| panic!("{words}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn commands() -> Names {
    variants::<CommandKind>(json!({ "type": "?" }))
}

fn kinds() -> Names {
    variants::<FeedKind>(json!({ "kind": "?" }))
}

/// Frames of every type and kind: each with all of its fields, and without its optional ones.
fn samples() -> Vec<[Value; 2]> {
    let (id, in_conversation, user) = (command_id(1), conversation(), user_of(0, 0));
    let mut samples = client_samples(id, in_conversation, user);
    samples.extend(server_samples(id, in_conversation, user));
    samples.extend(feed_samples(id, in_conversation, user));
    let typing = |doing, thread| SignalFrame::Typing { conversation: in_conversation, user, doing, thread };
    samples.push(pair(&typing(DoingName::File, Some(id)), &typing(DoingName::Text, None)));
    let present = |since| SignalFrame::Presence { user, status: Status::Dnd.into(), since };
    samples.push(pair(&present(Some(1)), &present(None)));
    samples
}

/// The name of a frame's message in the document: its type, except where a client's and a server's frame share
/// one.
fn message_of(frame: &Value) -> &str {
    match frame["type"].as_str().unwrap() {
        "typing" if frame.get("user").is_some() => "someone_typing",
        "presence" if frame.get("user").is_some() => "someone_present",
        kind => kind,
    }
}

fn pair<T: serde::Serialize>(full: &T, bare: &T) -> [Value; 2] {
    [full, bare].map(|frame| serde_json::to_value(frame).unwrap())
}

fn client_samples(id: CommandId, conversation: ConversationId, user: UserId) -> Vec<[Value; 2]> {
    let (some, body) = (|text: &str| Some(text.to_owned()), "hi".into());
    let (token, cursor) = (Some("token".to_owned().into()), some("0.7.42.9f3c51d2aa10be44"));
    let hello = ClientFrame::Hello { token, cursor, user: Some(user), batch: Some(true), signals: Some(true) };
    let create =
        |title| CommandFrame::new(id, None, CommandKind::Create { kind: "group".into(), title, members: vec![user] });
    let send = |named: Option<CommandId>| {
        let (body, also_in_conversation) = ("hi".into(), named.is_some());
        let (quote, mentions, content) = named
            .map(|_| beside_text(user))
            .map_or((None, None, None), |(quote, mentions, content)| (Some(quote), Some(mentions), Some(content)));
        let what =
            CommandKind::Send { body, reply_to: named, thread: named, also_in_conversation, quote, mentions, content };
        CommandFrame::new(id, conversation, what)
    };
    let mut samples = vec![
        pair(&hello, &ClientFrame::Hello { token: None, cursor: None, user: None, batch: None, signals: None }),
        pair(&create(some("title")), &create(None)),
        pair(&send(Some(id)), &send(None)),
    ];
    let (_, mentions, content) = beside_text(user);
    let edit = CommandKind::Edit { target: id, body, mentions: Some(mentions), content: Some(content) };
    let edits = [edit, CommandKind::edit(id, "hi".into())].map(|what| CommandFrame::new(id, conversation, what));
    samples.push(pair(&edits[0], &edits[1]));
    let renew = ClientFrame::Renew { token: "token".to_owned().into() };
    let typing = |doing, thread| ClientFrame::Typing { conversation, doing, thread };
    samples.push(pair(&typing(Some(DoingName::File), Some(id)), &typing(None, None)));
    let (status, users) = (OwnStatus::Idle, vec![user]);
    let (presence, watch) = (ClientFrame::Presence { status }, ClientFrame::Watch { users });
    let plain = [ClientFrame::Mark { conversation, seq: seq() }, ClientFrame::Pong {}, renew, presence, watch];
    samples.extend(plain.iter().map(|frame| pair(frame, frame)));
    let commands = [
        CommandFrame::new(id, conversation, CommandKind::AddMembers { members: vec![user] }),
        CommandFrame::new(id, conversation, CommandKind::RemoveMember { user }),
        CommandFrame::new(id, conversation, CommandKind::Leave {}),
        CommandFrame::new(id, conversation, CommandKind::ChangeRole { user, role: "admin".into() }),
        CommandFrame::new(id, conversation, CommandKind::ChangeTitle { title: "title".into() }),
        CommandFrame::new(id, conversation, CommandKind::Delete { target: id }),
        CommandFrame::new(id, conversation, CommandKind::React { target: id, emoji: "+1".into() }),
        CommandFrame::new(id, conversation, CommandKind::Unreact { target: id, emoji: "👍".into() }),
        CommandFrame::new(id, conversation, CommandKind::Withdraw {}),
        CommandFrame::new(id, conversation, CommandKind::Pin { target: id }),
        CommandFrame::new(id, conversation, CommandKind::Unpin { target: id }),
    ];
    samples.extend(commands.iter().map(|frame| pair(frame, frame)));
    samples
}

fn server_samples(id: CommandId, conversation: ConversationId, user: UserId) -> Vec<[Value; 2]> {
    let welcome = |reset: Option<String>| ServerFrame::Welcome {
        cursor: cursor(),
        user,
        partition: cursor().partition,
        r#move: reset.is_some().then_some(true),
        reset,
        ping_ms: 1,
    };
    let error = |id, conversation, retry_after| ServerFrame::Error {
        id,
        conversation,
        code: ErrorCode::Unknown,
        message: "a sentence".to_owned(),
        retry_after,
    };
    let plain = [
        ServerFrame::Ack { id, conversation },
        ServerFrame::MarkAck { conversation, seq: seq() },
        ServerFrame::Renewed { until: 1_757_000_000_000 },
        ServerFrame::Ping { cursor: cursor() },
        ServerFrame::Batch {
            cursor: cursor(),
            frames: vec![BatchedFrame(json!({ "type": "account", "event": "signed_in", "time": 1 }))],
        },
    ];
    let mut samples = vec![
        pair(&welcome(Some("gone".to_owned())), &welcome(None)),
        pair(&error(Some(id), Some(conversation), Some(9)), &error(None, None, None)),
    ];
    samples.extend(plain.iter().map(|frame| pair(frame, frame)));
    samples
}

fn feed_samples(id: CommandId, conversation: ConversationId, user: UserId) -> Vec<[Value; 2]> {
    let (seq, members, body) = (seq(), vec![user], "hi".into());
    let event_at = |ordinal, what| Received {
        cursor: cursor(),
        frame: FeedFrame::Event { conversation, seq, id, author: user, time: 1, ordinal, what },
    };
    // Each kind with all of its fields, and without the optional ones.
    let event = |what| event_at(Some(1), what);
    let message = |named: Option<CommandId>| {
        let (thread_ordinal, also_in_conversation) = (named.map(|_| 3), named.is_some());
        let body = "hi".into();
        let (quote, mentions, content) = named
            .map(|_| beside_text(user))
            .map_or((None, None, None), |(quote, mentions, content)| (Some(quote), Some(mentions), Some(content)));
        event(FeedKind::Message {
            body,
            reply_to: named,
            thread: named,
            thread_ordinal,
            also_in_conversation,
            quote,
            mentions,
            content,
        })
    };
    let left = |owner| event(FeedKind::Left { user, owner });
    let edited = |body: Option<MessageText>| {
        let (_, mentions, content) = body
            .as_ref()
            .map(|_| beside_text(user))
            .map_or((None, None, None), |(quote, mentions, content)| (Some(quote), Some(mentions), Some(content)));
        let (mentioned, mentioned_all) = (body.iter().map(|_| user).collect(), body.is_some());
        event(FeedKind::Edited { target: id, body, mentions, content, mentioned, mentioned_all })
    };
    let reacted = |emoji| event(FeedKind::Reacted { target: id, emoji });
    let added = |emoji| event(FeedKind::ReactionAdded { target: id, emoji });
    let removed = |emoji| event(FeedKind::ReactionRemoved { target: id, emoji });
    let withdrawn = |ordinal| event_at(ordinal, FeedKind::Withdrawn {});
    let mut samples = vec![
        pair(&message(Some(id)), &message(None)),
        pair(&left(Some(user)), &left(None)),
        pair(&edited(Some(body)), &edited(None)),
        pair(&reacted(Some(String::new())), &reacted(None)),
        pair(&added(Some("+1".to_owned())), &added(None)),
        pair(&removed(Some("+1".to_owned())), &removed(None)),
        pair(&withdrawn(Some(1)), &withdrawn(None)),
    ];
    let kinds = [
        FeedKind::Created { conversation_kind: "direct".into(), title: String::new(), members: members.clone() },
        FeedKind::Joined { members },
        FeedKind::RoleChanged { user, role: "owner".into() },
        FeedKind::Pinned { target: id },
        FeedKind::Unpinned { target: id },
        FeedKind::TitleChanged { title: "title".into() },
        FeedKind::Deleted { target: id },
    ];
    samples.extend(kinds.map(|kind| pair(&event(kind.clone()), &event(kind))));
    let others = [
        FeedFrame::Settled { conversation, seq, id, first_seq: seq, stands: StandsName::Message },
        FeedFrame::Refused { conversation, seq, id, reason: ErrorCode::NotMember, message: "why".into() },
        FeedFrame::Read { conversation, user, mark: seq, ordinal: 1 },
        FeedFrame::Account { event: "signed_in".into(), time: 1 },
    ];
    let others = others.map(|frame| Received { cursor: cursor(), frame });
    samples.extend(others.iter().map(|frame| pair(frame, frame)));
    samples
}

/// Everything that a message can say besides its text.
fn beside_text(user: UserId) -> (QuoteBody, MentionsBody, ContentBody) {
    let content = ContentBody { kind: "com.example.poll".into(), data: "{}".into() };
    (QuoteBody { from: 0, to: 1 }, MentionsBody { users: vec![user], all: true }, content)
}

fn seq() -> Seq {
    Seq::try_from(118).unwrap()
}

fn cursor() -> Cursor {
    Cursor { generation: 0, partition: 7, next: 42, fingerprint: Fingerprint(1) }
}

#[test]
fn asyncapi_has_every_frame_with_its_fields_and_no_other() {
    let document = asyncapi();
    let mut described = BTreeMap::new();
    for [full, bare] in samples() {
        let kind = full["type"].as_str().unwrap().to_owned();
        let message = message_of(&full).to_owned();
        let reference = document["components"]["messages"][&message]["payload"]["$ref"].as_str();
        let schema = &document["components"]["schemas"]
            [reference.unwrap_or_else(|| panic!("no {kind}")).rsplit('/').next().unwrap()];
        let mut fields = names(schema["properties"].as_object().unwrap().keys());
        let mut required = strings(&schema["required"]);
        assert_eq!(schema["properties"]["type"]["const"], kind);
        if let Some(of) = full.get("kind").filter(|_| kind == "event") {
            let matching = |schema: &&Value| schema["properties"]["kind"]["const"] == *of;
            let schemas = document["components"]["schemas"].as_object().unwrap();
            let schema = schemas.values().find(matching).unwrap_or_else(|| panic!("no event of kind {of}"));
            fields.extend(names(schema["properties"].as_object().unwrap().keys()));
            required.extend(strings(&schema["required"]));
        }
        assert_eq!(names(full.as_object().unwrap().keys()), fields, "fields of {full}");
        assert_eq!(names(bare.as_object().unwrap().keys()), required, "required fields of {bare}");
        described.insert(message, ());
    }
    let messages = names(document["components"]["messages"].as_object().unwrap().keys());
    assert_eq!(messages, described.into_keys().collect::<Names>());
    assert_eq!(messages, names(document["channels"]["socket"]["messages"].as_object().unwrap().keys()));
}

/// Issue 11, line a: a generated client gets what these two lists name.
#[test]
fn asyncapi_lists_every_message_and_every_kind_of_event() {
    let document = asyncapi();
    let last = |reference: &Value| reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let listed = |list: &Value| names(list.as_array().unwrap().iter().map(last));
    let operations = document["operations"].as_object().unwrap();
    let mut all = Names::new();
    operations.values().for_each(|operation| all.extend(listed(&operation["messages"])));
    assert_eq!(all, names(document["components"]["messages"].as_object().unwrap().keys()));
    let asked = listed(&operations["ask"]["messages"]);
    assert!(asked.is_superset(&commands()), "commands that are not asked: {:?}", &commands() - &asked);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let one_of = schemas.values().find(|schema| schema["properties"]["type"]["const"] == "event").unwrap();
    let kind = |name: &String| schemas[name]["properties"]["kind"]["const"].as_str().unwrap().to_owned();
    assert_eq!(names(listed(&one_of["oneOf"]).iter().map(kind)), kinds());
}

/// Fails for a new variant that has no sample here.
#[test]
fn the_samples_are_of_every_type_and_kind() {
    let mut types = commands();
    types.extend(names(["hello", "mark", "pong", "presence", "renew", "typing", "watch"])); // `ClientFrame`'s own
    types.extend(names(SignalFrame::TYPES));
    types.extend(variants::<ServerFrame>(json!({ "type": "?" })));
    types.extend(variants::<FeedFrame>(json!({ "type": "?" })));
    let samples = samples();
    assert_eq!(names(samples.iter().map(|[full, _]| full["type"].as_str().unwrap())), types);
    let events = samples.iter().filter(|[full, _]| full["type"] == "event");
    assert_eq!(names(events.map(|[full, _]| full["kind"].as_str().unwrap())), kinds());
}

/// Issue 10, item 12: the error for a frame names the field that is missing or wrong, whatever the frame.
#[test]
fn every_field_of_every_frame_is_named_when_it_is_wrong() {
    let mut types = commands();
    types.extend(names(["hello", "mark", "presence", "typing", "watch"]));
    for [full, bare] in samples().iter().filter(|[full, _]| types.contains(message_of(full))) {
        let fields = full.as_object().unwrap().keys().filter(|name| *name != "type");
        for name in fields {
            for wrong in [json!(true), json!(-1), json!(1.5), json!({}), json!([{}]), json!(""), Value::Null] {
                let (text, optional) = (full[name].is_string(), bare.get(name).is_none());
                let mut frame = full.clone();
                frame[name] = wrong.clone();
                match sockets::parse_frame(&frame.to_string()) {
                    Err(ServerFrame::Error { message, .. }) => {
                        assert!(message.contains(&format!("'{name}'")), "{frame}: {message}");
                    }
                    // Texts that are no ids may be empty here, mentions may be of nobody, and optional fields may be null.
                    Ok(_) => {
                        let flag = full[name].is_boolean() && wrong.is_boolean();
                        let nobody = name == "mentions" && wrong == json!({});
                        let fine = flag || nobody || wrong == "" && text || wrong.is_null() && optional;
                        assert!(fine, "{frame} is taken");
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        for name in bare.as_object().unwrap().keys().filter(|name| *name != "type") {
            let mut frame = bare.clone();
            frame.as_object_mut().unwrap().remove(name);
            match sockets::parse_frame(&frame.to_string()) {
                Err(ServerFrame::Error { message, .. }) => {
                    assert!(message.contains(&format!("'{name}'")), "{frame}: {message}");
                }
                other => panic!("{frame}: {other:?}"),
            }
        }
    }
}

#[test]
fn asyncapi_has_every_code_and_reason() {
    let document = asyncapi();
    let schemas = &document["components"]["schemas"];
    assert_eq!(strings(named(&schemas["EventKind"])), kinds());
    assert_eq!(strings(named(&schemas["Reset"])), names(RESET_REASONS));
    let codes = ErrorCode::ALL.map(|code| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned());
    assert_eq!(strings(named(&schemas["ErrorCode"])), names(codes));
    let stands = variants::<StandsName>(json!("?"));
    assert_eq!(
        (strings(named(&schemas["Stands"])), strings(named(&openapi()["components"]["schemas"]["Stands"]))),
        (stands.clone(), stands)
    );
    let closes = document["x-close-codes"].as_object().unwrap().keys();
    assert_eq!(names(closes), names(CloseCode::ALL.map(|code| code.number().to_string())));
}

#[test]
fn both_documents_know_the_same_highest_place() {
    for document in [asyncapi(), openapi()] {
        let seq = &document["components"]["schemas"]["Seq"];
        let (lowest, highest) = (seq["minimum"].as_u64().unwrap(), seq["maximum"].as_u64().unwrap());
        assert!(lowest == 0 && Seq::try_from(highest).is_ok() && Seq::try_from(highest + 1).is_err(), "{highest}");
    }
}

#[test]
fn the_protocol_page_has_every_frame_kind_code_and_reason() {
    let mut client = commands();
    client.extend(names(["hello", "mark", "pong", "presence", "renew", "typing", "watch"]));
    assert_eq!(table("What a client sends", 0), client);
    assert_eq!(table("What a server sends", 0), variants::<ServerFrame>(json!({ "type": "?" })));
    assert_eq!(table("What a server sends", 1), variants::<FeedFrame>(json!({ "type": "?" })));
    assert_eq!(table("What a server sends", 2), kinds());
    assert_eq!(table("Signals", 0), names(SignalFrame::TYPES));
    assert_eq!(table("After a reset", 0), names(RESET_REASONS));
    assert_eq!(table("How an event changes what is kept", 0), kinds());
    let closes = rows("How a socket ends", 0).into_iter().map(|row| (row[0].clone(), row[1].clone()));
    let known = CloseCode::ALL.map(|code| (code.number().to_string(), code.reason().to_owned()));
    assert_eq!(closes.collect::<BTreeSet<_>>(), BTreeSet::from(known));
}

#[test]
fn the_protocol_page_names_the_fields_of_every_frame() {
    let tables = [("What a client sends", 0), ("What a server sends", 0), ("What a server sends", 1)];
    let mut fields: BTreeMap<String, Names> = BTreeMap::new();
    for (section, number) in tables {
        fields.extend(
            rows(section, number).into_iter().map(|row| (quoted(&row[0]).pop().unwrap(), names(quoted(&row[1])))),
        );
    }
    for (row, name) in rows("Signals", 0).into_iter().zip(["someone_typing", "someone_present"]) {
        fields.insert(name.to_owned(), names(quoted(&row[1])));
    }
    let kinds = rows("What a server sends", 2).into_iter();
    let kinds: BTreeMap<_, _> = kinds.map(|row| (quoted(&row[0]).pop().unwrap(), names(quoted(&row[1])))).collect();
    for [full, _] in samples() {
        let mut written = fields[message_of(&full)].clone();
        if full["type"] == "event" {
            written.extend(kinds[full["kind"].as_str().unwrap()].clone());
        }
        // The page does not repeat `type`, which every frame has, and `cursor`, which every feed frame has.
        let kind = full["type"].as_str().unwrap();
        let feed = full.get("cursor").is_some() && !ServerFrame::TYPES.contains(&kind) && kind != "hello";
        let common = |field: &&String| *field != "type" && !(feed && *field == "cursor");
        let found = names(full.as_object().unwrap().keys().filter(common));
        assert_eq!(written, found, "{full}");
    }
}

/// The values that the schema of an open enum lists.
fn named(schema: &Value) -> &Value {
    assert_eq!(schema["anyOf"][1], json!({ "type": "string" }), "{schema} is not open");
    &schema["anyOf"][0]["enum"]
}

fn strings(list: &Value) -> Names {
    names(list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()))
}

/// The texts between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The texts between backticks in the first column of a table of the protocol page.
fn table(section: &str, number: usize) -> Names {
    rows(section, number).into_iter().flat_map(|row| quoted(&row[0])).collect()
}

/// The rows of the `number`-th table of a section, without its head.
fn rows(section: &str, number: usize) -> Vec<Vec<String>> {
    let (_, rest) = PROTOCOL.split_once(&format!("# {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let section = rest.split("\n#").next().unwrap();
    let tables: Vec<Vec<&str>> = section
        .split("\n\n")
        .map(|block| block.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>())
        .filter(|lines| !lines.is_empty())
        .collect();
    let cells = |line: &&str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    tables[number].iter().skip(2).map(cells).collect()
}
