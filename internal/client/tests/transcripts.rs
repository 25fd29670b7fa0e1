//! The device transcripts of `schemas/golden/device`, played against this client.
#![allow(clippy::unwrap_used)]

#[path = "support/transcript.rs"]
mod transcript;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Client, ClientEvent, ClientOptions, DeviceState, Endpoints, HistoryQuery, Http, Identity, View};
use domain::{CommandId, ConversationId, Seq, UserId};
use environment::{Clock, Entropy};
use protocol::{ClientFrame, FeedFrame, FeedKind, HistoryPage, SignalFrame, StandsName};
use secret::Secret;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use transcript::{Fate, Kept, Picture, Subject, all, play_all};

/// How often the client's state is copied.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The device's shown and stored state, which the player compares.
#[derive(Default)]
struct Shown {
    views: BTreeMap<ConversationId, View>,
    marks: BTreeMap<ConversationId, Seq>,
    fates: BTreeMap<CommandId, Fate>,
    kept: Kept,
}

/// The client as an application with a screen uses it.
struct Screen {
    shown: Arc<Mutex<Shown>>,
    wishes: mpsc::UnboundedSender<ClientFrame>,
}

/// The result of a request for rows, as of at least that seq.
type Rows = (ConversationId, Seq, Result<HistoryPage, client::ClientError>);

struct Application {
    client: Client,
    shown: Arc<Mutex<Shown>>,
    /// The seq as of which the rows have to be read.
    wanted: BTreeMap<ConversationId, Seq>,
    reads: JoinSet<Rows>,
}

impl Application {
    async fn run(mut self, mut wishes: mpsc::UnboundedReceiver<ClientFrame>) {
        loop {
            tokio::select! {
                biased;
                Some(read) = self.reads.join_next() => self.read(read.unwrap()),
                wish = wishes.recv() => match wish {
                    Some(ClientFrame::Command(command)) => {
                        let id = self.client.submit(command).unwrap();
                        self.shown.lock().unwrap().fates.insert(id, Fate::Open);
                    }
                    Some(ClientFrame::Mark { conversation, seq }) => self.client.mark(conversation, seq),
                    Some(other) => panic!("{other:?}"),
                    None => return,
                },
                event = self.client.next() => self.happened(event),
                // Some frames change the state without an event (the cursor of a frame that the filter drops):
                // this copies it.
                () = sleep(LOOK_EVERY) => {}
            }
            if let Some(state) = self.client.checkpoint() {
                let kept = Kept { cursor: state.cursor, highest: state.highest.clone() };
                self.shown.lock().unwrap().kept = kept;
            }
        }
    }

    fn happened(&mut self, event: ClientEvent) {
        let me = self.client.identity().user;
        let mut shown = self.shown.lock().unwrap();
        let mut wants = Vec::new();
        match event {
            ClientEvent::Reset { .. } => {
                (shown.views, shown.marks) = (BTreeMap::new(), BTreeMap::new());
                self.wanted.clear();
            }
            ClientEvent::Synced { conversations } => {
                for synced in conversations {
                    shown.views.insert(synced.id, View::new(synced.id, me));
                    if let Some(mark) = synced.mark {
                        shown.marks.insert(synced.id, mark.seq);
                    }
                    wants.push((synced.id, synced.head));
                }
            }
            ClientEvent::Feed(frame) => match &*frame {
                FeedFrame::Read { conversation, user, mark, .. } if *user == me => {
                    let known = shown.marks.entry(*conversation).or_insert(*mark);
                    *known = (*known).max(*mark);
                }
                frame => {
                    if let Some((conversation, _)) = frame.event_key() {
                        let view = shown.views.entry(conversation).or_insert_with(|| View::new(conversation, me));
                        wants.extend(view.apply(frame).reread.map(|seq| (conversation, seq)));
                    }
                }
            },
            ClientEvent::Fate { id, fate, .. } => {
                let fate = match fate {
                    client::Fate::Stands { stands: StandsName::Withdrawal, .. } => Fate::Withdrawn,
                    client::Fate::Stands { .. } => Fate::Stands,
                    client::Fate::Refused { .. } => Fate::Refused,
                    client::Fate::Rejected { .. } => Fate::NotTaken,
                };
                shown.fates.insert(id, fate);
            }
            _ => {}
        }
        drop(shown);
        for (conversation, at_least) in wants {
            self.ask(conversation, at_least);
        }
    }

    fn ask(&mut self, conversation: ConversationId, at_least: Seq) {
        let wanted = self.wanted.entry(conversation).or_default();
        *wanted = (*wanted).max(at_least);
        let (http, at_least) = (Arc::clone(self.client.http()), *wanted);
        self.reads.spawn(async move {
            let query = HistoryQuery { limit: Some(200), at_least: Some(at_least), ..HistoryQuery::default() };
            (conversation, at_least, http.history(conversation, query).await)
        });
    }

    fn read(&mut self, (conversation, at_least, answer): Rows) {
        // These rows are older than the latest frame requires, and would be shown as newer than they are: another
        // request is running.
        if self.wanted.get(&conversation) != Some(&at_least) {
            return;
        }
        self.wanted.remove(&conversation);
        let mut shown = self.shown.lock().unwrap();
        shown.views.get_mut(&conversation).unwrap().read(answer.unwrap().entries);
    }
}

impl Subject for Screen {
    fn act(&mut self, wish: ClientFrame) {
        self.wishes.send(wish).unwrap();
    }

    fn kept(&mut self) -> Kept {
        self.shown.lock().unwrap().kept.clone()
    }

    fn picture(&mut self, conversation: ConversationId) -> Picture {
        let shown = self.shown.lock().unwrap();
        let entries = shown.views.get(&conversation).map(|view| view.entries().cloned().collect());
        Picture { entries: entries.unwrap_or_default(), mark: shown.marks.get(&conversation).copied() }
    }

    fn fate(&mut self, id: CommandId) -> Fate {
        self.shown.lock().unwrap().fates.get(&id).copied().unwrap_or(Fate::Open)
    }
}

async fn begin(url: String, user: UserId) -> Screen {
    let http = Http::new(Endpoints::new(&url, None, None).unwrap()).unwrap();
    http.sign_in("ann", &Secret::new("a password")).await.unwrap();
    let (identity, state) = (Identity { user, name: "ann".into() }, DeviceState::default());
    let (clock, entropy) = (Clock::system(), Entropy::seeded(7));
    let client = Client::new(ClientOptions { http: Arc::new(http), identity, state, clock, entropy });
    let (shown, (wishes, wanted)) = (Arc::<Mutex<Shown>>::default(), mpsc::unbounded_channel());
    let application = Application { client, shown: Arc::clone(&shown), wanted: BTreeMap::new(), reads: JoinSet::new() };
    tokio::spawn(application.run(wanted));
    Screen { shown, wishes }
}

#[tokio::test]
async fn every_device_transcript_is_followed() {
    play_all(begin).await;
}

/// A feed frame that is in no transcript would never be tested with clients in other languages.
#[test]
fn every_frame_of_the_feed_is_in_a_transcript() {
    let (mut types, mut kinds, mut signals, mut batches) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
    for path in all() {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            batches += usize::from(line["in"]["type"] == "batch");
            if serde_json::from_value::<SignalFrame>(line["in"].clone()).is_ok() {
                signals.insert(line["in"]["type"].as_str().unwrap().to_owned());
            }
            let Ok(frame) = serde_json::from_value::<FeedFrame>(line["in"].clone()) else { continue };
            types.insert(line["in"]["type"].as_str().unwrap().to_owned());
            if matches!(frame, FeedFrame::Event { .. }) {
                kinds.insert(line["in"]["kind"].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(types, variants::<FeedFrame>(json!({ "type": "?" })));
    assert_eq!(kinds, variants::<FeedKind>(json!({ "kind": "?" })));
    assert_eq!(signals, variants::<SignalFrame>(json!({ "type": "?" })));
    assert!(batches > 0, "no frame comes in a batch");
}

/// The variants of an enum, as serde lists them in the error about an unknown one.
fn variants<T: DeserializeOwned>(unknown: Value) -> BTreeSet<String> {
    let words = serde_json::from_value::<T>(unknown).err().expect("there is no such variant").to_string();
    let (_, list) = words.split_once("expected").unwrap_or_else(|| panic!("{words}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
