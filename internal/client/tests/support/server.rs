//! A scripted server: the public API for one conversation, in memory, with faults on demand. It gives the
//! guarantees that a client may rely on (one id, one message; frames in order behind a cursor) and no others.
#![allow(dead_code, clippy::unwrap_used, clippy::result_large_err)]

#[path = "faults.rs"]
mod faults;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::extract::{Path, Query, RawQuery, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use client::View;
use domain::{CommandId, ConversationId, Cursor, Fingerprint, Seq, UserId};
use protocol::{
    Accepted, ClientFrame, CommandFrame, CommandKind, ConversationBody, Credentials, EntryBody, ErrorBody, ErrorCode,
    FeedFrame, FeedKind, HistoryPage, OutcomeBody, OutcomeState, Received, RefreshBody, Registration, ServerFrame,
    SessionBody, SignalFrame, StandsName, SyncConversation, SyncPage, SyncState, UserBody,
};
use secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

pub(crate) use faults::Fault;

/// What devices did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Did {
    /// Read rows up to that seq.
    Read(Seq),
    /// Marked messages as read up to that seq.
    Mark(Seq),
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) accounts: BTreeMap<String, (UserId, Secret)>,
    /// Every judged command, in order: the seq is the index plus one.
    pub(crate) log: Vec<FeedFrame>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) hellos: usize,
    /// The queries of upgrade requests.
    pub(crate) queries: Vec<Option<String>>,
    /// Further conversations, without events, which the sync names, too.
    pub(crate) others: Vec<ConversationId>,
    /// Commands of other users that are judged while the next sync is answered, so that their frames come before
    /// the answer.
    pub(crate) meanwhile: Vec<(UserId, CommandFrame)>,
    /// Whether members may leave the conversation, as they may leave a group but not a direct conversation.
    pub(crate) may_be_left: bool,
    /// Whether the next page of a sync cannot be answered yet.
    pub(crate) unready: bool,
    /// Indexes in `log` of frames that are sent to nobody, as if the user was no member then.
    pub(crate) untold: BTreeSet<usize>,
    pub(crate) did: Vec<Did>,
    /// Tokens that sockets were renewed with.
    pub(crate) renewals: Vec<String>,
    /// The life of tokens issued from now on, in seconds, if a test has set it.
    pub(crate) tokens_last: Option<u64>,
    /// Tokens numbered below this have expired.
    tokens_from: u64,
    /// The key of tokens numbered below this is not known.
    known_from: u64,
    tokens: u64,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) world: Arc<Mutex<World>>,
    grown: watch::Sender<usize>,
    /// How many frames a device is known to have received: it has answered the ping behind them.
    taken: watch::Sender<usize>,
    /// How often sockets were renewed.
    renewed: watch::Sender<usize>,
    /// The highest seq that was marked as read.
    marked: watch::Sender<Seq>,
    /// For the sockets that are open.
    pub(crate) signals: broadcast::Sender<SignalFrame>,
    /// How many `typing` frames came.
    pub(crate) typed: watch::Sender<usize>,
    pub(crate) address: SocketAddr,
}

type Answer<T> = Result<Json<T>, Response>;

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (grown, taken, marked) = (watch::channel(0).0, watch::channel(0).0, watch::channel(Seq::default()).0);
        let (renewed, typed, signals) = (watch::channel(0).0, watch::channel(0).0, broadcast::channel(10).0);
        let server = Self { world: Arc::default(), grown, taken, renewed, marked, signals, typed, address };
        let routes = Router::new()
            .route("/v1/users", post(register))
            .route("/v1/users/{id}", get(by_id))
            .route("/v1/users/by-name/{name}", get(by_name))
            .route("/v1/sessions", post(sign_in))
            .route("/v1/sessions/refresh", post(refresh))
            .route("/v1/conversations", post(create))
            .route("/v1/conversations/{conversation}", get(show))
            .route("/v1/conversations/{conversation}/messages", get(history))
            .route("/v1/conversations/{conversation}/outcome/{id}", get(outcome))
            .route("/v1/sync", get(sync))
            .route("/v1/socket", get(socket))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn fail_with(&self, fault: Fault) {
        let mut world = self.world.lock().unwrap();
        match fault {
            Fault::ExpireTokens => world.tokens_from = world.tokens + 1,
            Fault::ForgetKey => world.known_from = world.tokens + 1,
            fault => world.faults.push(fault),
        }
    }

    fn takes(&self, fault: Fault) -> bool {
        let mut world = self.world.lock().unwrap();
        let at = world.faults.iter().position(|other| *other == fault);
        at.map(|at| world.faults.remove(at)).is_some()
    }

    /// Judges a command: one id is one event.
    pub(crate) fn judge(&self, author: UserId, command: CommandFrame) -> (CommandId, ConversationId) {
        let mut world = self.world.lock().unwrap();
        let what = match &command.what {
            CommandKind::Create { members, .. } => FeedKind::Created {
                conversation_kind: "direct".into(),
                title: String::new(),
                members: members.iter().copied().chain([author]).collect(),
            },
            CommandKind::Send { body, reply_to, .. } => FeedKind::message(body.clone(), *reply_to),
            CommandKind::Edit { target, body, .. } => FeedKind::edited(*target, body.clone()),
            CommandKind::Delete { target, .. } => FeedKind::Deleted { target: *target },
            CommandKind::React { target, emoji, .. } => {
                FeedKind::Reacted { target: *target, emoji: Some(emoji.clone()) }
            }
            CommandKind::AddMembers { members, .. } => FeedKind::Joined { members: members.clone() },
            CommandKind::Leave { .. } => FeedKind::Left { user: author, owner: None },
            other => panic!("not scripted: {other:?}"),
        };
        let refused = matches!(what, FeedKind::Left { .. }) && !world.may_be_left;
        let (id, conversation, _) = command.into_action(author).unwrap();
        let seq = Seq::try_from(world.log.len() as u64 + 1).unwrap();
        let ordinal = 1 + world.log.iter().filter(|frame| is_message(frame)).count() as u64;
        let ordinal = if matches!(what, FeedKind::Message { .. }) { ordinal } else { ordinal - 1 };
        let first = world.log.iter().find_map(|frame| match frame {
            FeedFrame::Event { id: other, seq, .. } if *other == id => Some(*seq),
            _ => None,
        });
        let (reason, message) = (ErrorCode::Forbidden, "scripted".to_owned());
        let frame = match first {
            _ if refused => FeedFrame::Refused { conversation, seq, id, reason, message },
            Some(first_seq) => FeedFrame::Settled { conversation, seq, id, first_seq, stands: StandsName::Message },
            None => FeedFrame::Event { conversation, seq, id, author, time: 1000, ordinal: Some(ordinal), what },
        };
        world.log.push(frame);
        let length = world.log.len();
        drop(world);
        self.grown.send_replace(length);
        (id, conversation)
    }

    /// Waits until a user has marked that seq as read.
    pub(crate) async fn is_marked(&self, seq: Seq) {
        self.marked.subscribe().wait_for(|marked| *marked >= seq).await.unwrap();
    }

    /// The answer to a `renew` with that token.
    fn renew(&self, token: &Secret) -> ServerFrame {
        if self.takes(Fault::NoRenewal) {
            let (code, message) = (ErrorCode::Unauthorized, "scripted".to_owned());
            return ServerFrame::Error { id: None, conversation: None, code, message, retry_after: None };
        }
        let mut world = self.world.lock().unwrap();
        world.renewals.push(token.expose().to_owned());
        self.renewed.send_replace(world.renewals.len());
        ServerFrame::Renewed { until: 0 }
    }

    /// Waits until sockets were renewed that many times.
    pub(crate) async fn is_renewed(&self, times: usize) {
        self.renewed.subscribe().wait_for(|renewed| *renewed >= times).await.unwrap();
    }

    fn caller(&self, headers: &HeaderMap) -> Result<UserId, Response> {
        let world = self.world.lock().unwrap();
        let token = headers[header::AUTHORIZATION].to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let (name, number) = token.split_once('.').unwrap();
        if number.parse::<u64>().unwrap() < world.known_from {
            return Err(refuse(ErrorCode::Unauthorized));
        }
        if number.parse::<u64>().unwrap() < world.tokens_from {
            return Err(refuse(ErrorCode::TokenExpired));
        }
        Ok(world.accounts[name].0)
    }

    fn session(&self, name: &str) -> SessionBody {
        let mut world = self.world.lock().unwrap();
        world.tokens += 1;
        let token = format!("{name}.{}", world.tokens);
        let (access_token, refresh_token) = (Secret::new(token.clone()), Secret::new(token));
        let user = user(name, world.accounts[name].0);
        let expires_in = world.tokens_last.unwrap_or(900);
        SessionBody { access_token, expires_in, refresh_token, device_token: None, user }
    }
}

pub(crate) fn is_message(frame: &FeedFrame) -> bool {
    matches!(frame, FeedFrame::Event { what: FeedKind::Message { .. }, .. })
}

fn user(name: &str, id: UserId) -> UserBody {
    UserBody { id, name: name.to_owned(), display_name: name.to_owned(), created: 0 }
}

fn refuse(code: ErrorCode) -> Response {
    let body = ErrorBody { code, message: format!("{code:?}"), request_id: "r".into() };
    (StatusCode::from_u16(code.status()).unwrap(), Json(body)).into_response()
}

async fn register(State(server): State<Server>, Json(wish): Json<Registration>) -> Answer<UserBody> {
    let mut world = server.world.lock().unwrap();
    if world.accounts.contains_key(&wish.name) {
        return Err(refuse(ErrorCode::NameTaken));
    }
    let id: UserId = format!("00000000-0000-4000-8000-{:012}", world.accounts.len() + 1).parse().unwrap();
    world.accounts.insert(wish.name.clone(), (id, wish.password));
    Ok(Json(user(&wish.name, id)))
}

async fn sign_in(State(server): State<Server>, Json(credentials): Json<Credentials>) -> Answer<SessionBody> {
    let known = server.world.lock().unwrap().accounts.get(&credentials.name).cloned();
    if known.is_none_or(|(_, password)| password != credentials.password) {
        return Err(refuse(ErrorCode::WrongCredentials));
    }
    Ok(Json(server.session(&credentials.name)))
}

async fn refresh(State(server): State<Server>, Json(body): Json<RefreshBody>) -> Json<SessionBody> {
    let name = body.refresh_token.expose().split('.').next().unwrap().to_owned();
    Json(server.session(&name))
}

async fn by_name(State(server): State<Server>, Path(name): Path<String>) -> Answer<UserBody> {
    let known = server.world.lock().unwrap().accounts.get(&name).cloned();
    known.map(|(id, _)| Json(user(&name, id))).ok_or_else(|| refuse(ErrorCode::NotFound))
}

async fn by_id(State(server): State<Server>, Path(id): Path<UserId>) -> Answer<UserBody> {
    let world = server.world.lock().unwrap();
    let known = world.accounts.iter().find(|(_, (other, _))| *other == id);
    known.map(|(name, _)| Json(user(name, id))).ok_or_else(|| refuse(ErrorCode::NotFound))
}

async fn create(
    State(server): State<Server>,
    headers: HeaderMap,
    Json(body): Json<protocol::CreateBody>,
) -> Result<(StatusCode, Json<Accepted>), Response> {
    let author = server.caller(&headers)?;
    let command = CommandFrame::new(
        body.id,
        None,
        CommandKind::Create { kind: body.kind, title: body.title, members: body.members },
    );
    let (id, conversation) = server.judge(author, command);
    Ok((StatusCode::ACCEPTED, Json(Accepted { id, conversation })))
}

async fn show(State(server): State<Server>, Path(id): Path<ConversationId>) -> Answer<ConversationBody> {
    let head = Seq::try_from(server.world.lock().unwrap().log.len() as u64).unwrap();
    if head == Seq::default() {
        return Err(refuse(ErrorCode::NotMember));
    }
    Ok(Json(ConversationBody {
        id,
        kind: "direct".into(),
        title: String::new(),
        peer: None,
        role: Some("member".into()),
        invited_by: None,
        head,
        time: 1000,
        unread: 0,
        mentions: 0,
        mark: None,
        last_message: None,
        held: false,
    }))
}

#[derive(Deserialize)]
struct HistoryQuery {
    before: Option<u64>,
    limit: usize,
}

async fn history(
    State(server): State<Server>,
    headers: HeaderMap,
    Path(conversation): Path<ConversationId>,
    Query(query): Query<HistoryQuery>,
) -> Answer<HistoryPage> {
    server.caller(&headers)?;
    if query.before.is_none() && server.takes(Fault::NoRows) {
        return Err(refuse(ErrorCode::Retry));
    }
    let mut world = server.world.lock().unwrap();
    // The rows as a user sees them who was a member all the time.
    let mut view = View::new(conversation, "00000000-0000-4000-8000-000000000000".parse().unwrap());
    world.log.iter().for_each(|frame| drop(view.apply(frame)));
    let before = |entry: &&EntryBody| query.before.is_none_or(|before| entry.seq.get() < before);
    let mut entries: Vec<EntryBody> = view.entries().filter(before).cloned().collect();
    let more = entries.len() > query.limit;
    entries.drain(..entries.len().saturating_sub(query.limit));
    world.did.extend(entries.last().map(|last| Did::Read(last.seq)));
    Ok(Json(HistoryPage { head: Seq::try_from(world.log.len() as u64).unwrap(), entries, more }))
}

async fn outcome(State(server): State<Server>, Path((_, id)): Path<(ConversationId, CommandId)>) -> Json<OutcomeBody> {
    let world = server.world.lock().unwrap();
    let stands = world.log.iter().find_map(|frame| match frame {
        FeedFrame::Event { id: other, seq, .. } if *other == id => Some(*seq),
        _ => None,
    });
    let outcome = if stands.is_some() { OutcomeState::Settled } else { OutcomeState::Absent };
    Json(OutcomeBody {
        id,
        outcome,
        seq: stands,
        stands: stands.map(|_| StandsName::Message),
        code: None,
        message: None,
    })
}

#[derive(Deserialize)]
struct SyncQuery {
    after: Option<ConversationId>,
}

/// Two conversations per page.
async fn sync(State(server): State<Server>, headers: HeaderMap, Query(query): Query<SyncQuery>) -> Answer<SyncPage> {
    server.caller(&headers)?;
    let page = sync_page(&server, &query);
    let meanwhile = std::mem::take(&mut server.world.lock().unwrap().meanwhile);
    for (author, command) in meanwhile {
        server.judge(author, command);
        let length = server.world.lock().unwrap().log.len();
        server.taken.subscribe().wait_for(|taken| *taken >= length).await.unwrap();
    }
    Ok(Json(page))
}

fn sync_page(server: &Server, query: &SyncQuery) -> SyncPage {
    let mut world = server.world.lock().unwrap();
    let head = Seq::try_from(world.log.len() as u64).unwrap();
    let state = if std::mem::take(&mut world.unready) { SyncState::Retry } else { SyncState::Ready };
    let of = |id: ConversationId| SyncConversation {
        id,
        state,
        member: true,
        changed: Seq::try_from(1).unwrap(),
        head,
        mark: None,
    };
    let mut ids: Vec<_> = world.log.first().and_then(FeedFrame::event_key).map(|(id, _)| id).into_iter().collect();
    ids.extend(&world.others);
    ids.retain(|id| query.after.is_none_or(|after| *id > after));
    ids.sort_unstable();
    let next = ids.get(1).filter(|_| ids.len() > 2).map(ToString::to_string);
    ids.truncate(2);
    SyncPage { conversations: ids.into_iter().map(of).collect(), complete: next.is_none(), next }
}

async fn socket(
    State(server): State<Server>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    {
        let mut world = server.world.lock().unwrap();
        world.queries.push(query);
        let at = world.faults.iter().position(|fault| matches!(fault, Fault::TurnAway(_)));
        if let Some(Fault::TurnAway(seconds)) = at.map(|at| world.faults.remove(at)) {
            let after = [(header::RETRY_AFTER, seconds.to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, after).into_response();
        }
    }
    match server.caller(&headers) {
        Ok(user) => upgrade.on_upgrade(move |socket| serve(server, socket, user)),
        Err(refusal) => refusal,
    }
}

fn cursor(next: usize) -> Cursor {
    let fingerprint = Fingerprint(next as u64);
    Cursor { generation: 0, partition: 0, next: next as u64 + 1, fingerprint }
}

fn welcome(server: &Server, user: UserId, next: usize, fresh: bool) -> ServerFrame {
    let reset = fresh.then(|| "first".to_owned());
    let r#move = server.takes(Fault::Move).then_some(true);
    ServerFrame::Welcome { cursor: cursor(next), user, partition: 0, reset, ping_ms: 5000, r#move }
}

async fn serve(server: Server, mut socket: WebSocket, user: UserId) {
    let hello = socket.recv().await.unwrap().unwrap();
    let hello: ClientFrame = serde_json::from_str(hello.to_text().unwrap()).unwrap();
    let ClientFrame::Hello { cursor: brought, .. } = hello else { panic!("{hello:?} is no hello") };
    let close = {
        let mut world = server.world.lock().unwrap();
        world.hellos += 1;
        let at = world.faults.iter().position(|fault| matches!(fault, Fault::Close(_)));
        at.map(|at| world.faults.remove(at))
    };
    if let Some(Fault::Close(code)) = close {
        let frame = CloseFrame { code, reason: "scripted".into() };
        return drop(socket.send(Message::Close(Some(frame))).await);
    }
    let brought: Option<Cursor> = brought.map(|text| text.parse().unwrap());
    let fresh = server.takes(Fault::Reset) || brought.is_none();
    let (mut grown, mut signals) = (server.grown.subscribe(), server.signals.subscribe());
    let mut next = if fresh { *grown.borrow() } else { usize::try_from(brought.unwrap().next).unwrap() - 1 };
    say(&mut socket, &welcome(&server, user, next, fresh)).await;
    let mut pinged = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            frame = socket.recv() => {
                let Some(Ok(Message::Text(text))) = frame else { return };
                match serde_json::from_str(&text).unwrap() {
                    ClientFrame::Pong {} => drop(server.taken.send_replace(pinged.pop_front().unwrap())),
                    ClientFrame::Renew { token } => say(&mut socket, &server.renew(&token)).await,
                    ClientFrame::Mark { conversation, seq } => {
                        server.world.lock().unwrap().did.push(Did::Mark(seq));
                        server.marked.send_replace(seq);
                        say(&mut socket, &ServerFrame::MarkAck { conversation, seq }).await;
                    }
                    ClientFrame::Typing { .. } => server.typed.send_modify(|typed| *typed += 1),
                    ClientFrame::Command(command) => {
                        if server.takes(Fault::LoseCommand) {
                            return;
                        }
                        let (id, conversation) = server.judge(user, command);
                        if server.takes(Fault::LoseAck) {
                            return;
                        }
                        say(&mut socket, &ServerFrame::Ack { id, conversation }).await;
                    }
                    _ => {}
                }
            }
            Ok(signal) = signals.recv() => say(&mut socket, &signal).await,
            () = longer(&mut grown, next) => {
                let (frame, untold) = {
                    let world = server.world.lock().unwrap();
                    (world.log[next].clone(), world.untold.contains(&next))
                };
                next += 1;
                if untold {
                    continue;
                }
                let received = Received { cursor: cursor(next), frame };
                let text = serde_json::to_string(&received).unwrap();
                if socket.send(Message::Text(text.into())).await.is_err() {
                    return;
                }
                pinged.push_back(next);
                say(&mut socket, &ServerFrame::Ping { cursor: cursor(next) }).await;
            }
        }
    }
}

/// Waits until the log has an entry at `next`.
async fn longer(grown: &mut watch::Receiver<usize>, next: usize) {
    if grown.wait_for(|length| *length > next).await.is_err() {
        std::future::pending().await
    }
}

async fn say(socket: &mut WebSocket, frame: &(impl Serialize + Sync)) {
    // A closed connection is noticed at the next read.
    let _ = socket.send(Message::Text(serde_json::to_string(frame).unwrap().into())).await;
}
