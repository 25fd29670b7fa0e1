//! Embedded engines in memory.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod fitful;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::kinds::{AddMembers, AddReaction, Create, DeleteMessage, EditMessage, IntoThread, PinMessage, SendMessage};
use domain::{
    Action, CommandId, ConversationId, ConversationKind, CustomContent, Event, Mentions, MessageBody, RULES_NEWEST,
    Seq, UserId,
};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{EventLog, NewRecord, SharedLog, append};
use events::topics::{MESSAGES, RECEIPTS};
use events::{Codec, ReadMark};
use store::SharedStore;
use store::embedded::EmbeddedStore;
use tokio_util::sync::CancellationToken;

/// The time at which a test begins.
pub(crate) const BEGIN_MS: i64 = 1_700_000_000_000;

pub(crate) fn clock() -> Clock {
    Clock::manual(Arc::new(AtomicI64::new(BEGIN_MS)))
}

pub(crate) async fn log() -> SharedLog {
    EmbeddedLog::open(kv::Database::in_memory(), clock()).await.unwrap()
}

pub(crate) async fn ready_log() -> SharedLog {
    let log = log().await;
    ops::topics::apply(&*log, &Codec::compiled_in(), &Entropy::seeded(1), |_| {}).await.unwrap();
    log
}

pub(crate) async fn store() -> Arc<EmbeddedStore> {
    EmbeddedStore::open(kv::Database::in_memory(), clock()).await.unwrap()
}

pub(crate) fn user(n: u8) -> UserId {
    format!("00000000-0000-4000-8000-0000000000{n:02}").parse().unwrap()
}

/// A fresh command id.
pub(crate) fn id() -> CommandId {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    CommandId::first_at(BEGIN_MS + NEXT.fetch_add(1, Ordering::SeqCst) % 1000)
}

pub(crate) async fn say(
    log: &dyn EventLog,
    conversation: ConversationId,
    author: UserId,
    id: CommandId,
    action: Action,
) {
    say_by(RULES_NEWEST, log, conversation, author, id, action).await;
}

/// Says it under that version of the rules.
async fn say_by(
    rules: u32,
    log: &dyn EventLog,
    conversation: ConversationId,
    author: UserId,
    id: CommandId,
    action: Action,
) {
    let event = Event { id, conversation, author, received_ms: BEGIN_MS, rules, key_id: None, looked_up: true, action };
    let encoded = Codec::compiled_in().event(&event);
    let key = conversation.to_string();
    let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
    append(log, MESSAGES, record).await.unwrap();
}

/// Some conversations with messages, edits, reactions and read marks.
pub(crate) async fn traffic(log: &dyn EventLog) -> Vec<ConversationId> {
    let mut conversations = Vec::new();
    for n in 2..8 {
        let (ann, other) = (user(1), user(n));
        let conversation = ConversationId::direct(ann, other);
        let create = Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![other] });
        say(log, conversation, ann, id(), create).await;
        for turn in 0..5 {
            let target = id();
            let send = Action::SendMessage(SendMessage {
                body: format!("message {turn}").into(),
                reply_to: None,
                thread: None,
            });
            say(log, conversation, ann, target, send.clone()).await;
            say(log, conversation, ann, target, send).await;
            // Services of the last release are among them.
            let (rules, reaction) = (RULES_NEWEST - turn % 2, AddReaction { target, emoji: "+1".into() });
            say_by(rules, log, conversation, other, id(), Action::AddReaction(reaction)).await;
            if turn == 1 {
                for also_in_conversation in [false, true] {
                    let thread = Some(IntoThread { root: target, also_in_conversation });
                    let send = SendMessage { body: "below".into(), reply_to: None, thread };
                    say(log, conversation, other, id(), Action::SendMessage(send)).await;
                }
                say(log, conversation, other, id(), Action::PinMessage(PinMessage { target })).await;
            }
            if turn == 2 {
                let custom = Some(CustomContent { kind: "com.example.poll".into(), data: "{}".into() });
                let mentions = Mentions::new(vec![other], true);
                for body in ["edited".into(), MessageBody { text: "more".into(), mentions, custom }, "less".into()] {
                    say(log, conversation, ann, id(), Action::EditMessage(EditMessage { target, body })).await;
                }
            }
            if turn == 3 {
                say(log, conversation, other, id(), Action::DeleteMessage(DeleteMessage { target })).await; // refused, which is kept
                say(log, conversation, ann, id(), Action::DeleteMessage(DeleteMessage { target })).await;
            }
        }
        // Refused: nobody can be added to a direct conversation.
        say(log, conversation, ann, id(), Action::AddMembers(AddMembers { members: vec![user(99)] })).await;
        let mark = ReadMark { user: other, conversation, seq: Seq::try_from(5).unwrap(), ordinal: 2 };
        let encoded = Codec::compiled_in().read_mark(&mark);
        let key = conversation.to_string();
        let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
        append(log, RECEIPTS, record).await.unwrap();
        conversations.push(conversation);
    }
    conversations
}

/// Applies the whole log to the store.
pub(crate) async fn replay_all(log: &SharedLog, store: &SharedStore) {
    let ranges = ops::replay::plan(log, store, ops::replay::Selection::FromStart).await.unwrap();
    let stop = CancellationToken::new();
    let codec = Codec::compiled_in();
    ops::replay::run(log, store, &codec, &Entropy::seeded(1), &ranges, &stop, |_, _| {}).await.unwrap();
}
