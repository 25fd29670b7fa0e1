//! Plays a device transcript (`schemas/golden/device`) against a device: a server on the loopback sends what the
//! transcript says, and compares what the device sends, shows and stores. The format is in
//! `schemas/golden/device/README.md`.
#![allow(clippy::unwrap_used, clippy::result_large_err)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::extract::{Path as Segment, Query, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::{CommandId, ConversationId, Cursor, Seq, UserId};
use futures_util::future::join_all;
use protocol::{ClientFrame, EntryBody, HistoryPage};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// The timeout of every wait.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between comparisons of what a device shows: after its answer to a ping it may still be working.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The paths of all transcripts in the folder.
pub(crate) fn all() -> Vec<PathBuf> {
    // Two crates include this file, and their folders are at different depths.
    let mut above =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("schemas/golden/device"));
    let folder = above.find(|folder| folder.is_dir()).expect("the workspace has device transcripts");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    found.sort();
    assert!(found.len() >= 10, "{found:?}");
    found
}

/// The stored state of a device, as it reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// The cursor at which it resumes.
    pub(crate) cursor: Option<Cursor>,
    /// The filter: the highest seq of each conversation.
    pub(crate) highest: BTreeMap<ConversationId, Seq>,
}

/// A conversation as a device shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Picture {
    /// The entries, oldest first.
    pub(crate) entries: Vec<EntryBody>,
    /// The user's own read mark.
    #[serde(default)]
    pub(crate) mark: Option<Seq>,
}

/// The fate of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    Open,
    Stands,
    Withdrawn,
    Refused,
    NotTaken,
}

/// A device under test.
pub(crate) trait Subject {
    /// Performs an action of its user: a command, or a read mark.
    fn act(&mut self, wish: ClientFrame);
    /// The state that it stores now.
    fn kept(&mut self) -> Kept;
    /// The conversation as it shows it now.
    fn picture(&mut self, conversation: ConversationId) -> Picture;
    /// The fate of a command, as far as it knows.
    fn fate(&mut self, id: CommandId) -> Fate;
}

/// A line of a transcript.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    About(String),
    Opens { cursor: Option<Cursor> },
    In(Value),
    Drop(u16),
    Asks(Asked),
    Sync(Value),
    Rows { conversation: ConversationId, head: Seq, entries: Vec<EntryBody> },
    Outcome(Value),
    Do(ClientFrame),
    Out(Value),
    Shows { conversation: ConversationId, picture: Picture },
    Keeps(Kept),
    Fate { id: CommandId, is: Fate },
}

/// The requests over HTTP that a transcript can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    Sync,
    Rows,
    Outcome,
}

/// The answers that a transcript gives to requests. A request without one waits for it.
#[derive(Debug, Clone, Default)]
struct Answers {
    /// All answers to syncs so far. A request gets the first answer that is given after it, so that one which the
    /// device has abandoned takes none away from the next.
    syncs: Vec<Value>,
    rows: HashMap<ConversationId, (Seq, Vec<EntryBody>)>,
    outcomes: HashMap<String, Value>,
}

/// The server of one transcript.
#[derive(Clone)]
struct Server {
    user: UserId,
    answers: watch::Sender<Answers>,
    asked: watch::Sender<BTreeMap<u8, u32>>,
    /// Sockets that were opened.
    sockets: mpsc::UnboundedSender<WebSocket>,
}

/// Plays all transcripts concurrently, because some wait for things that devices do only after seconds.
pub(crate) async fn play_all<S: Subject, F: Future<Output = S>>(begin: impl Fn(String, UserId) -> F + Copy) {
    let paths = all();
    join_all(paths.iter().map(|path| play(path, begin))).await;
}

/// Plays one transcript. `begin` makes the device, for services at that base URL.
async fn play<S: Subject, F: Future<Output = S>>(path: &Path, begin: impl FnOnce(String, UserId) -> F) {
    let text = std::fs::read_to_string(path).unwrap();
    let user: UserId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    let (sockets, opened) = mpsc::unbounded_channel();
    let server = Server {
        user,
        answers: watch::channel(Answers::default()).0,
        asked: watch::channel(BTreeMap::new()).0,
        sockets,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = routes(server.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    let subject = begin(url, user).await;
    let mut player = Player {
        server,
        opened,
        subject,
        socket: None,
        cursor: None,
        sent: Vec::new(),
        about: String::new(),
        taken: BTreeMap::new(),
    };
    for (number, text) in text.lines().enumerate() {
        let line: Line = serde_json::from_str(text).unwrap_or_else(|error| panic!("{path:?}:{}: {error}", number + 1));
        let step = timeout(PATIENCE, player.step(line)).await;
        let failed = match step {
            Ok(Ok(())) => continue,
            Ok(Err(why)) => why,
            Err(_) => format!("nothing of the kind happened; the device has sent {:?}", player.sent),
        };
        panic!("{}:{}: {failed}\n{text}\n({})", path.display(), number + 1, player.about);
    }
    assert!(player.sent.is_empty(), "{}: the device has also sent {:?}", path.display(), player.sent);
    serving.abort();
}

struct Player<S> {
    server: Server,
    opened: mpsc::UnboundedReceiver<WebSocket>,
    subject: S,
    socket: Option<WebSocket>,
    /// The last cursor that was sent, for pings.
    cursor: Option<String>,
    /// Frames from the device that no line has named yet.
    sent: Vec<Value>,
    /// The latest remark of the transcript, for error messages.
    about: String,
    /// The count of requests of each kind that lines have named.
    taken: BTreeMap<u8, u32>,
}

impl<S: Subject> Player<S> {
    async fn step(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::About(remark) => {
                self.about = remark;
                Ok(())
            }
            Line::Opens { cursor } => self.opens(cursor).await,
            Line::In(frame) => self.say(&frame).await,
            Line::Drop(code) => {
                let mut socket = self.socket.take().ok_or("there is no socket")?;
                let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
                socket.send(close).await.map_err(|error| error.to_string())?;
                while let Some(Ok(_)) = socket.recv().await {}
                Ok(())
            }
            Line::Asks(what) => {
                let taken = self.taken.entry(what as u8).or_default();
                *taken += 1;
                let mut asked = self.server.asked.subscribe();
                let wanted = *taken;
                let enough =
                    asked.wait_for(|asked| asked.get(&(what as u8)).is_some_and(|count| *count >= wanted)).await;
                enough.map(drop).map_err(|error| error.to_string())
            }
            Line::Sync(page) => self.answer(|answers| answers.syncs.push(page)),
            Line::Rows { conversation, head, entries } => {
                self.answer(|answers| drop(answers.rows.insert(conversation, (head, entries))))
            }
            Line::Outcome(body) => {
                let id = body["id"].as_str().ok_or("an outcome names its id")?.to_owned();
                self.answer(|answers| drop(answers.outcomes.insert(id, body)))
            }
            Line::Do(wish) => {
                self.subject.act(wish);
                Ok(())
            }
            Line::Out(frame) => {
                let at = loop {
                    if let Some(at) = self.sent.iter().position(|sent| *sent == frame) {
                        break at;
                    }
                    self.hear().await?;
                };
                self.sent.remove(at);
                Ok(())
            }
            Line::Shows { conversation, picture } => self.until(|subject| subject.picture(conversation), picture).await,
            Line::Keeps(kept) => self.until(Subject::kept, kept).await,
            Line::Fate { id, is } => self.until(|subject| subject.fate(id), is).await,
        }
    }

    fn answer(&self, change: impl FnOnce(&mut Answers)) -> Result<(), String> {
        self.server.answers.send_modify(change);
        Ok(())
    }

    /// Waits until the device connects with that cursor in its `hello`.
    async fn opens(&mut self, cursor: Option<Cursor>) -> Result<(), String> {
        self.socket = Some(self.opened.recv().await.ok_or("the server has ended")?);
        let hello = self.receive().await?;
        let said: Option<Cursor> =
            serde_json::from_value(hello["cursor"].clone()).map_err(|error| error.to_string())?;
        if hello["type"] != "hello" || said != cursor {
            return Err(format!("it says {hello}"));
        }
        Ok(())
    }

    async fn say(&mut self, frame: &Value) -> Result<(), String> {
        if let Some(cursor) = frame["cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
        let socket = self.socket.as_mut().ok_or("there is no socket")?;
        socket.send(Message::text(frame.to_string())).await.map_err(|error| error.to_string())
    }

    /// Receives the device's next frame; returns whether it was a pong.
    async fn hear(&mut self) -> Result<bool, String> {
        let frame = self.receive().await?;
        let pong = frame["type"] == "pong";
        if !pong {
            self.sent.push(frame);
        }
        Ok(pong)
    }

    async fn receive(&mut self) -> Result<Value, String> {
        let socket = self.socket.as_mut().ok_or("there is no socket")?;
        loop {
            match socket.recv().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).map_err(|error| error.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return Err(format!("the device has ended the socket: {other:?}")),
            }
        }
    }

    /// Waits until the device has received all that was sent, and then until its state is as expected.
    async fn until<T: PartialEq + std::fmt::Debug>(
        &mut self,
        look: impl Fn(&mut S) -> T,
        wanted: T,
    ) -> Result<(), String> {
        if let (Some(cursor), true) = (self.cursor.clone(), self.socket.is_some()) {
            self.say(&json!({ "type": "ping", "cursor": cursor })).await?;
            while !self.hear().await? {}
        }
        let waiting = async {
            while look(&mut self.subject) != wanted {
                sleep(LOOK_EVERY).await;
            }
        };
        let come = timeout(PATIENCE / 2, waiting).await;
        come.map_err(|_| format!("it comes to\n{:#?}\nand not to\n{wanted:#?}", look(&mut self.subject)))
    }
}

fn routes(server: Server) -> Router {
    Router::new()
        .route("/v1/users", post(account))
        .route("/v1/sessions", post(session))
        .route("/v1/sessions/refresh", post(session))
        .route("/v1/sync", get(sync))
        .route("/v1/conversations/{conversation}/messages", get(history))
        .route("/v1/conversations/{conversation}/outcome/{id}", get(outcome))
        .route("/v1/socket", get(socket))
        .with_state(server)
}

fn me(user: UserId) -> Value {
    json!({ "id": user, "name": "ann", "display_name": "ann", "created": 0 })
}

async fn account(State(server): State<Server>) -> Json<Value> {
    Json(me(server.user))
}

async fn session(State(server): State<Server>) -> Json<Value> {
    let (access, refresh) = ("a.access.token", "a refresh token");
    Json(json!({ "access_token": access, "expires_in": 3600, "refresh_token": refresh, "user": me(server.user) }))
}

impl Server {
    /// Counts the request, and waits for its answer.
    async fn answer<T>(&self, what: Asked, of: impl Fn(&Answers) -> Option<T>) -> Result<T, Response> {
        self.asked.send_modify(|asked| *asked.entry(what as u8).or_default() += 1);
        let mut answers = self.answers.subscribe();
        let there = answers.wait_for(|answers| of(answers).is_some()).await;
        let answer = there.ok().and_then(|answers| of(&answers));
        answer.ok_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
    }
}

async fn sync(State(server): State<Server>) -> Result<Json<Value>, Response> {
    let given = server.answers.borrow().syncs.len();
    server.answer(Asked::Sync, |answers| answers.syncs.get(given).cloned()).await.map(Json)
}

#[derive(Deserialize)]
struct Wanted {
    after: Option<u64>,
    at_least: Option<u64>,
}

async fn history(
    State(server): State<Server>,
    Segment(conversation): Segment<ConversationId>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<HistoryPage>, Response> {
    let there = |answers: &Answers| {
        let (head, entries) = answers.rows.get(&conversation)?;
        (head.get() >= wanted.at_least.unwrap_or_default()).then(|| (*head, entries.clone()))
    };
    let (head, mut entries) = server.answer(Asked::Rows, there).await?;
    entries.retain(|entry| wanted.after.is_none_or(|after| entry.seq.get() > after));
    Ok(Json(HistoryPage { head, entries, more: false }))
}

async fn outcome(
    State(server): State<Server>,
    Segment((_, id)): Segment<(ConversationId, String)>,
) -> Result<Json<Value>, Response> {
    server.answer(Asked::Outcome, |answers| answers.outcomes.get(&id).cloned()).await.map(Json)
}

async fn socket(State(server): State<Server>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|socket| async move { drop(server.sockets.send(socket)) })
}
