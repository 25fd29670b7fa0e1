//! Message text stays out of debug output, and few files read it (issue 11, item 6): a value of every public type
//! that holds a message's text is printed, and the files that read the text are listed, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use client::{ClientEvent, DeviceState, Tracked, View};
use domain::kinds::{Create, EditMessage, SendMessage};
use domain::{
    Action, Appended, Change, CommandId, Content, ConversationId, ConversationKind, ConversationState, Cursor,
    CustomContent, Effects, Event, Facts, Fingerprint, MessageBody, MessageText, RULES_NEWEST, Seq, UserId,
};
use eventlog::{DecodedRecord, NewRecord, Record, partition_of};
use events::{Codec, Delivery, Quarantined};
use protocol::{
    BatchedFrame, ClientFrame, CommandFrame, CommandKind, ContentBody, EditBody, EntryBody, FeedFrame, FeedKind,
    HistoryPage, Received, SendBody, ServerFrame, VersionBody, VersionPage,
};
use store::tables::Column;
use store::{Entry, ExtrasRow, MessageVersion, Row, RowValues, Value, rows_of};

/// The message text of every value below.
const WRITTEN: &str = "what nobody else may read";

/// Files that read message text, other than tests, and why. `internal/README.md` has the same list for readers: a
/// new entry is a decision, and goes into both.
const READERS: [(&str, &str); 11] = [
    ("internal/chat/src/list.rs", "how large a page of conversations is"),
    ("internal/chat/src/paging.rs", "how large a page of history is"),
    ("internal/client/examples/echo.rs", "a bot that answers"),
    ("internal/domain/src/kinds/context.rs", "the reducer's judgement"),
    ("internal/domain/src/kinds/hash.rs", "the payload hash"),
    ("internal/domain/src/kinds/input.rs", "the check of a command"),
    ("internal/load/src/ledger.rs", "the number in a load's text"),
    ("internal/ops/src/audit/frame.rs", "the audit's own frames"),
    ("internal/protocol/src/text.rs", "JSON of frames and bodies"),
    ("internal/terminal/src/typed.rs", "names with an @ in what is typed"),
    ("internal/tests/testkit/src/oracle/devices.rs", "the id in a test's text"),
];
/// One more file, which shows the text to a user.
const SCREENS: [(&str, &str); 1] = [("internal/terminal/src/render.rs", "the terminal")];
/// Files that convert the text to and from the form that the log or the rows store.
const RECORDERS: [(&str, &str); 4] = [
    ("internal/events/src/records.rs", "Avro"),
    ("internal/ops/src/audit/expected.rs", "the audit's own rows"),
    ("internal/store/src/decode.rs", "from columns"),
    ("internal/store/src/content_cells.rs", "to columns"),
];

/// What a message becomes on its way through the system.
struct Way {
    event: Event,
    appended: Appended,
    effects: Effects,
}

fn user(number: u8) -> Result<UserId> {
    Ok(format!("00000000-0000-4000-8000-0000000000{number:02}").parse()?)
}

/// A message in a new group, and an edit of it.
fn ways() -> Result<[Way; 2]> {
    let (author, other, first) = (user(1)?, user(2)?, CommandId::first_at(1_000));
    let conversation = ConversationId::group(author, first);
    let target = CommandId::first_at(1_001);
    let mut state = ConversationState::default();
    let create = Create { kind: ConversationKind::Group, title: None, members: vec![other] };
    let mut ways = Vec::new();
    let mut said = None;
    for (number, id, action) in [
        (1, first, Action::Create(create)),
        (2, target, Action::SendMessage(SendMessage { body: WRITTEN.into(), reply_to: None, thread: None })),
        (3, CommandId::first_at(1_002), Action::EditMessage(EditMessage { target, body: WRITTEN.into() })),
    ] {
        let (received_ms, rules, key_id) = (1_000, RULES_NEWEST, None);
        let event = Event { id, conversation, author, received_ms, rules, key_id, looked_up: true, action };
        let appended = Appended { seq: Seq::new(0, number)?, append_time_ms: 2_000 };
        let facts = Facts { target: said, ..Facts::default() };
        let effects = domain::apply(&state, &event, appended, &facts, RULES_NEWEST).context("unknown rules")?;
        state.absorb(appended.seq, &effects.changes);
        said = effects.changes.iter().find_map(|change| match change {
            Change::Id { row, .. } => Some(*row),
            _ => None,
        });
        ways.push(Way { event, appended, effects });
    }
    ways.remove(0);
    ways.try_into().map_err(|_| anyhow::anyhow!("two are left"))
}

/// Every public type that has a field with such a text, as `folder::Type`, and types that contain one of those: each
/// with its two debug outputs.
fn printed() -> Result<Vec<(&'static str, String)>> {
    let mut printed = vec![("domain::MessageText", both(&MessageText::from(WRITTEN)))];
    for way in ways()? {
        printed.extend(on_the_way_in(&way)?);
        printed.extend(on_the_way_out(&way)?);
    }
    let (id, body) = (CommandId::first_at(5), || MessageText::from(WRITTEN));
    let custom = || Some(CustomContent { kind: "a.b".to_owned(), data: body() });
    let said = || MessageBody { custom: custom(), ..MessageBody::from(WRITTEN) };
    let content = || custom().map(ContentBody::from);
    let version = || VersionBody { seq: Seq::default(), time: 1, body: body(), mentions: None, content: content() };
    printed.extend([
        ("domain::MessageBody", both(&said())),
        ("domain::CustomContent", both(&said().custom)),
        ("domain::SendMessage", both(&SendMessage { body: said(), reply_to: None, thread: None })),
        ("domain::EditMessage", both(&EditMessage { target: id, body: said() })),
        ("domain::Content", both(&Content::Message { body: said(), reply_to: None, thread: None })),
        ("protocol::CommandKind", both(&CommandKind::send(body(), None))),
        ("protocol::CommandKind", both(&CommandKind::edit(id, body()))),
        (
            "protocol::SendBody",
            both(&SendBody {
                id,
                body: body(),
                reply_to: None,
                thread: None,
                also_in_conversation: false,
                quote: None,
                mentions: None,
                content: content(),
            }),
        ),
        ("protocol::ContentBody", both(&content())),
        ("protocol::EditBody", both(&EditBody { id, body: body(), mentions: None, content: content() })),
        ("store::MessageVersion", both(&MessageVersion { changed: Seq::default(), time_ms: 1, body: said() })),
        ("protocol::VersionBody", both(&version())),
        ("protocol::VersionPage", both(&VersionPage { versions: vec![version()], more: false })),
        ("protocol::FeedKind", both(&FeedKind::message(body(), None))),
        ("protocol::FeedKind", both(&FeedKind::edited(id, body()))),
    ]);
    Ok(printed)
}

/// The command, the event, and its record.
fn on_the_way_in(Way { event, appended, effects }: &Way) -> Result<Vec<(&'static str, String)>> {
    let codec = Codec::compiled_in();
    let command = CommandFrame::new(event.id, event.conversation, CommandKind::of(event.action.clone()));
    let tracked: Tracked = serde_json::from_value(serde_json::json!({
        "command": command, "conversation": event.conversation, "copies": 1, "acked": false, "refused": null,
        "rejected": null,
    }))?;
    let mut state = DeviceState::default();
    state.commands.insert(event.id, tracked.clone());
    let encoded = codec.event(event);
    let key = event.conversation.to_string();
    let new = NewRecord {
        key: key.clone(),
        partition: None,
        headers: encoded.headers.clone(),
        payload: encoded.payload.clone(),
    };
    let record = Record {
        offset: appended.seq.offset(),
        append_time_ms: appended.append_time_ms,
        key: key.clone().into(),
        headers: encoded.headers.clone(),
        payload: encoded.payload.clone(),
    };
    let message = DecodedRecord::read(&codec, 0, partition_of(key.as_bytes(), 64), 64, &record)?;
    let payload = encoded.payload.clone();
    let lost = Quarantined { topic: "t".into(), partition: 0, offset: 0, reason: "r".into(), payload };
    Ok(vec![
        ("protocol::CommandFrame", both(&command)),
        ("protocol::ClientFrame", both(&ClientFrame::Command(command))),
        ("client::Tracked", both(&tracked)),
        ("client::DeviceState", both(&state)),
        ("domain::Event", both(event)),
        ("domain::Effects", both(effects)),
        ("domain::Change", both(&effects.changes)),
        ("events::Encoded", both(&encoded)),
        ("events::MessageRecord", both(&codec.read_message(&encoded.headers, &encoded.payload)?)),
        ("events::Quarantined", both(&lost)),
        ("eventlog::NewRecord", both(&new)),
        ("eventlog::Record", both(&record)),
        ("eventlog::Message", both(&message)),
    ])
}

/// The rows and what is decoded from them; the frame and what a client makes of it.
fn on_the_way_out(Way { event, appended, effects }: &Way) -> Result<Vec<(&'static str, String)>> {
    let (conversation, seq, id, author) = (event.conversation, appended.seq, event.id, event.author);
    let frame = FeedFrame::of(event, *appended, effects);
    let cursor = Cursor { generation: 0, partition: 1, next: 2, fingerprint: Fingerprint(3) };
    let received = Received { cursor, frame: frame.clone() };
    let (text, frames) = (serde_json::to_string(&frame)?, vec![BatchedFrame(serde_json::to_value(&frame)?)]);
    let batch = ServerFrame::Batch { cursor, frames };
    let delivery = Delivery { recipients: vec![author], event_key: frame.event_key(), frame: text };
    let feed = ClientEvent::Feed(Box::new(frame.clone()));
    let (slot, ordinal, time_ms, body) = (0, 1, 2_000, MessageText::from(WRITTEN));
    let content = Content::Message { body: body.clone().into(), reply_to: None, thread: None };
    let entry = Entry {
        seq,
        slot,
        ordinal,
        id,
        author,
        time_ms,
        content: content.clone(),
        changed: seq,
        edited_ms: None,
        deleted: false,
        deleted_by: None,
        reactions: Vec::new(),
        replies: None,
        original: None,
    };
    let shown: EntryBody = serde_json::from_value(serde_json::json!({
        "seq": seq, "id": id, "author": author, "time": time_ms, "kind": "message", "ordinal": ordinal, "changed": seq,
        "body": WRITTEN,
    }))?;
    let page = HistoryPage { head: seq, entries: vec![shown.clone()], more: false };
    let mut view = View::new(conversation, author);
    let first = Seq::new(0, 2)?;
    let edited = EntryBody { id: CommandId::first_at(1_001), seq: first, changed: first, ..shown.clone() };
    view.read([edited].into_iter().filter(|_| event.action.target().is_some()));
    let applied = view.apply(&frame);
    let rows = rows_of(event, *appended, effects);
    let values = rows.iter().map(|row| {
        let written: BTreeMap<&str, Value> =
            row.key().chain(row.cells().map(|(_, column, value)| (column, value))).filter_map(decoded).collect();
        let of = |column: &Column| written.get(column.name).cloned();
        RowValues::new(row.table(), row.table().columns().map(of).collect())
    });
    let version = ExtrasRow::Version { message: seq, changed: seq, time_ms, body: body.clone().into() };
    let mut printed = vec![
        ("protocol::FeedFrame", both(&frame)),
        ("protocol::Received", both(&received)),
        ("protocol::BatchedFrame", both(&batch)),
        ("events::Delivery", both(&delivery)),
        ("store::Row", both(&Row::Entry { seq, slot, ordinal, id, author, time_ms, content })),
        ("store::Row", both(&Row::Edit { seq, slot, body: body.into(), whole: false, changed: seq, time_ms })),
        ("store::ExtrasRow", both(&version)),
        ("store::CellWrites", both(&rows)),
        ("store::RowValues", both(&values.collect::<Vec<_>>())),
        ("store::Entry", both(&entry)),
        ("protocol::EntryBody", both(&shown)),
        ("protocol::HistoryPage", both(&page)),
        ("client::ClientEvent", both(&feed)),
        ("client::View", both(&view)),
        ("client::Change", both(&applied.changes)),
        ("client::Applied", both(&applied)),
    ];
    printed.extend(feed.message().map(|message| ("client::Message", both(&message))));
    Ok(printed)
}

fn decoded((column, value): (&'static Column, &[u8])) -> Option<(&'static str, Value)> {
    Some((column.name, Value::decode(column.kind, value)?))
}

fn both(value: &impl Debug) -> String {
    format!("{value:?} {value:#?}")
}

#[test]
fn no_value_of_a_public_type_shows_what_somebody_wrote() -> Result<()> {
    let printed = printed()?;
    for (name, text) in &printed {
        ensure!(!text.contains(WRITTEN), "{name} shows what was written: {text}");
        ensure!(!text.contains(&WRITTEN[5..11]), "{name} shows a part of what was written: {text}");
        let length = format!("{} bytes", WRITTEN.len());
        let longer = ["Encoded", "Quarantined", "NewRecord", "eventlog::Record", "Delivery", "BatchedFrame"]
            .iter()
            .any(|kind| name.ends_with(kind));
        ensure!(text.contains(&length) || longer, "{name} holds no text, so this proves nothing: {text}");
    }
    let printed: BTreeSet<&str> = printed.iter().map(|(name, _)| *name).collect();
    let mut holders = BTreeSet::new();
    for (file, text) in all_sources()? {
        let folder = file.split('/').nth(1).unwrap_or_default().to_owned();
        for kind in ["MessageText", "MessageBody"] {
            let held = holders_of(kind, &text).into_iter().map(|name| format!("{folder}::{name}"));
            holders.extend(held.filter(|name| !name.starts_with("tests::")));
        }
    }
    ensure!(holders.len() > 10, "only these were found: {holders:?}");
    let missing: Vec<_> = holders.iter().filter(|holder| !printed.contains(holder.as_str())).collect();
    ensure!(missing.is_empty(), "print these, too: {missing:#?}");
    Ok(())
}

#[test]
fn what_people_wrote_is_read_in_the_files_of_the_list_alone() -> Result<()> {
    let sources = all_sources()?;
    ensure!(sources.len() > 300, "only {} files were read", sources.len());
    let that = |words: &[&str]| {
        let has = |text: &str| code(text).lines().any(|line| words.iter().any(|word| line.contains(word)));
        let found = sources.iter().filter(|(_, text)| has(text)).map(|(name, _)| name.as_str());
        found.filter(|name| *name != "internal/domain/src/message_text.rs").collect::<BTreeSet<_>>()
    };
    let names = |list: &[(&'static str, &str)]| list.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let readers: BTreeSet<&str> = names(&READERS).into_iter().chain(names(&SCREENS)).collect();
    ensure!(that(&["reveal"]) == readers, "a new reader is a decision: {:#?}", that(&["reveal"]));
    let recorders: BTreeSet<&str> = names(&RECORDERS).into_iter().collect();
    let found = that(&["into_record", "MessageText::recorded"]);
    ensure!(found == recorders, "the log and the rows have one edge each: {found:#?}");
    let map = fs::read_to_string(root().join("internal/README.md"))?;
    for name in readers.iter().chain(&recorders) {
        let named = name.trim_start_matches("internal/");
        ensure!(map.contains(named), "internal/README.md does not say why {name} reads what people wrote");
    }
    Ok(())
}

/// The code of a file, without comments and tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The names of the public types in a file that have a field of the type `kind`.
fn holders_of(kind: &str, text: &str) -> Vec<String> {
    let (mut found, mut inside) = (Vec::<String>::new(), None);
    for line in code(text).lines() {
        let item = ["pub struct ", "pub enum "].iter().find_map(|word| line.strip_prefix(word));
        if let Some(name) = item.filter(|_| line.ends_with('{')) {
            inside = name.split(|c: char| !c.is_alphanumeric()).next();
        } else if line.starts_with('}') {
            inside = None;
        }
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        if let Some(name) = inside.filter(|_| words.any(|word| word == kind))
            && found.last().is_none_or(|last| last != name)
        {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn a_holder_and_a_reader_are_found() {
    let text = "#[derive(Debug)]\npub enum A {\n    B {\n        body: MessageText,\n    },\n}\nstruct C {\n    body: MessageText,\n}\n";
    assert_eq!(holders_of("MessageText", text), ["A"]);
    let text = "fn f() {} // .reveal()\n/// x.reveal()\n#[cfg(test)]\nmod tests {\n    x.reveal()\n}\n";
    assert!(!code(text).contains("reveal"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// Every source file of the workspace except tests: its path and its content.
fn all_sources() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for path in [sources(&root().join("internal"))?, sources(&root().join("cmd"))?].concat() {
        found.push((path.strip_prefix(root())?.to_string_lossy().into_owned(), fs::read_to_string(&path)?));
    }
    Ok(found)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The `tests` folder of a crate, but not `internal/tests`, whose crates are read.
        let of_tests = name == "tests" && folder.join("Cargo.toml").exists();
        if path.is_dir() && !of_tests && name != "target" && name != "corpus" {
            found.extend(sources(&path)?);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "samples.rs" {
            found.push(path);
        }
    }
    Ok(found)
}
