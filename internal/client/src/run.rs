//! Runs the device with its socket, its HTTP calls and its timers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::{CommandId, ConversationId, Seq};
use environment::{Clock, Entropy};
use protocol::{ClientFrame, CommandFrame, ErrorCode, OutcomeBody, ServerFrame, SyncPage};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::device::{Asking, Device, Output};
use crate::error::ClientError;
use crate::http::{Access, Http};
use crate::link::{self, After, FromSocket, Link, NoLink};
use crate::renewal::Renewal;
use crate::state::DeviceState;
use crate::wire;
use crate::{ClientEvent, Identity};

/// The longest wait before the first reconnect.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// The longest wait before any reconnect.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The number of an attempt whose back-off is up to 3.2 s: a tenth of a second, doubled this many times. A connection
/// that breaks counts as so many: its node may have crashed, and then all its clients come at once. Those that would come
/// in the same tenth of a second take both processors from everybody else for as long.
const ATTEMPT_WHEN_BROKEN: u32 = 5;
/// The number of an attempt whose back-off is seconds: a tenth of a second, doubled this many times.
const ATTEMPT_OF_SECONDS: u32 = 7;
/// The longest wait beyond that which a server asks for.
const BEYOND_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest time after which a client follows the server's hint to move to another node.
const MOVE_WITHIN: Duration = Duration::from_secs(5);
/// How long a move is put off while the client syncs.
const MOVE_AGAIN: Duration = Duration::from_secs(1);
/// Requests for outcomes that may run at the same time.
const ASKS_AT_ONCE: usize = 8;
/// A server that names no ping interval is given up after this much silence.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How many ping intervals may pass in silence.
const PINGS_MISSED_MAX: u32 = 3;

/// The reason of a [`ClientEvent::Disconnected`] by which the client goes to another node, because the server has asked
/// for it.
pub const MOVES: &str = "moves to the node of its partition";

/// The parts that a client is made from.
#[derive(Clone)]
pub struct ClientOptions {
    /// The HTTP client, signed in.
    pub http: Arc<Http>,
    /// The user who is signed in.
    pub identity: Identity,
    /// The saved state of the device, or the default for a new one.
    pub state: DeviceState,
    /// The clock for the timestamps in command ids.
    pub clock: Clock,
    /// Source of ids and jitter.
    pub entropy: Entropy,
}

/// A device that is connected to the public API.
pub struct Client {
    http: Arc<Http>,
    identity: Identity,
    clock: Clock,
    entropy: Entropy,
    pub(crate) device: Device,
    socket: SocketState,
    /// The base URLs of the websocket service; at least one. Each lost connection moves on to the next one.
    nodes: Vec<String>,
    /// The index of the one that is used, beyond the end of the list from its beginning.
    node: usize,
    /// The renewal of the socket's token.
    renewal: Renewal,
    /// The user's partition, as the last welcome named it.
    partition: Option<u32>,
    /// The partition that the socket's URL named.
    routed: Option<u32>,
    /// When the client moves to the node of its partition, if the server has asked for it.
    move_at: Option<Instant>,
    /// Connection attempts since the last welcome.
    attempts: u32,
    /// When something was last received from the server.
    heard: Instant,
    /// The longest silence before the socket is given up.
    silence_max: Duration,
    events: VecDeque<ClientEvent>,
    outbox: VecDeque<ClientFrame>,
    asks: VecDeque<Asking>,
    asks_running: usize,
    /// The number of a sync that is to be requested again, and when.
    sync_again: Option<(u64, Instant)>,
    jobs: JoinSet<Done>,
}

enum SocketState {
    Down { until: Instant },
    Connecting,
    Up(Link),
    Stopped,
}

/// The result of a background call.
enum Done {
    Connected(Result<Link, NoLink>),
    /// A newer token, for the open socket.
    Renewed(Result<Access, ClientError>),
    Synced(u64, Result<SyncPage, ClientError>),
    Outcome(Asking, Result<OutcomeBody, ClientError>),
}

enum Happening {
    Socket(Option<FromSocket>),
    Sent,
    Done(Done),
    Time,
}

impl Client {
    /// A device that connects with the first [`Self::next`].
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        let ClientOptions { http, identity, state, clock, entropy } = options;
        let now = Instant::now();
        Self {
            device: Device::new(identity.user, state),
            nodes: vec![http.endpoints().socket.clone()],
            node: 0,
            http,
            identity,
            clock,
            entropy,
            socket: SocketState::Down { until: now },
            renewal: Renewal::default(),
            partition: None,
            routed: None,
            move_at: None,
            attempts: 0,
            heard: now,
            silence_max: SILENCE_MAX,
            events: VecDeque::new(),
            outbox: VecDeque::new(),
            asks: VecDeque::new(),
            asks_running: 0,
            sync_again: None,
            jobs: JoinSet::new(),
        }
    }

    /// Connects to these nodes of the websocket service, beginning with number `first` (modulo their number), and to the
    /// next one after each lost connection, as behind a balancer. An empty list changes nothing.
    #[must_use]
    pub fn over(self, nodes: Vec<String>, first: usize) -> Self {
        if nodes.is_empty() { self } else { Self { nodes, node: first, ..self } }
    }

    /// The base URL of the node that it is connected to, or connects to next.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.nodes[self.node % self.nodes.len()]
    }

    /// Calls over HTTP, as the same user.
    #[must_use]
    pub fn http(&self) -> &Arc<Http> {
        &self.http
    }

    /// The user of this client.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A new id for a command.
    ///
    /// # Panics
    /// Never: a minted id is a UUIDv7.
    #[must_use]
    pub fn mint(&self) -> CommandId {
        CommandId::try_from(self.entropy.uuid_v7(&self.clock)).expect("a minted id is a UUIDv7")
    }

    /// Accepts a command. It is sent until its fate is known, whatever happens to sockets and servers meanwhile. A
    /// `withdraw` with the id of an open command replaces that command.
    ///
    /// # Errors
    /// When it is malformed, or too many commands are open.
    pub fn submit(&mut self, command: CommandFrame) -> Result<CommandId, ClientError> {
        let id = command.id;
        self.device.submit(command, Instant::now())?;
        self.carry_out();
        Ok(id)
    }

    /// Marks the conversation as read up to `seq`.
    pub fn mark(&mut self, conversation: ConversationId, seq: Seq) {
        self.device.state.marks.want(conversation, seq);
    }

    /// The state to store, with which a later run resumes after exactly the events that [`Self::next`] has
    /// returned; `None` while there are events that it has not returned.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&DeviceState> {
        self.events.is_empty().then_some(&self.device.state)
    }

    /// The present state, which includes events that [`Self::next`] has not returned yet.
    #[must_use]
    pub fn state(&self) -> &DeviceState {
        &self.device.state
    }

    /// Whether the socket is open and welcomed, no sync is under way, and all events were returned.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.device.connected && self.device.syncing.is_none() && self.events.is_empty()
    }

    /// The count of feed frames that the filter dropped as duplicates.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        self.device.filtered
    }

    /// How often a command was put off, by code: the server refused it for now (`rate_limited`, `busy`, ...), and it was
    /// or will be sent again.
    #[must_use]
    pub fn put_off(&self) -> &BTreeMap<ErrorCode, u64> {
        &self.device.put_off
    }

    /// Closes the socket and opens another one, as a network interruption would.
    pub fn reconnect(&mut self) {
        if let SocketState::Up(_) = self.socket {
            self.lost(None, "asked to reconnect".into(), After::Soon);
        }
    }

    /// Waits for the next event. Cancel safe. After [`ClientEvent::Stopped`] it never returns.
    pub async fn next(&mut self) -> ClientEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.begin_calls();
            match self.happens().await {
                Happening::Socket(Some(FromSocket::Text(text))) => self.heard_of(&text),
                Happening::Socket(Some(FromSocket::Closed { code, reason })) => {
                    self.lost(code, reason, link::after(code));
                }
                Happening::Socket(None) => self.lost(None, "the socket's task ended".into(), After::Later),
                Happening::Sent => {}
                Happening::Done(done) => self.called(done),
                Happening::Time => self.on_time(),
            }
            self.carry_out();
        }
    }

    /// Sends what is queued and closes the socket, within a bound.
    pub async fn close(mut self) {
        if let SocketState::Up(link) = std::mem::replace(&mut self.socket, SocketState::Stopped) {
            for frame in self.outbox.drain(..) {
                if let Ok(text) = link::text_of(&frame) {
                    // When the channel is full, the rest is dropped: these frames were not promised to be sent.
                    let _ = link.out.try_send(text);
                }
            }
            link.close().await;
        }
    }

    /// Waits for the next thing to handle. Cancel safe.
    async fn happens(&mut self) -> Happening {
        let wake = self.wake_at();
        let (link, outbox, jobs) = (&mut self.socket, &mut self.outbox, &mut self.jobs);
        let socket = async {
            let SocketState::Up(link) = link else { return std::future::pending().await };
            tokio::select! {
                biased;
                frame = link.inbound.recv() => Happening::Socket(frame),
                room = link.out.reserve(), if !outbox.is_empty() => {
                    if let (Ok(room), Some(frame)) = (room, outbox.pop_front())
                        && let Ok(text) = link::text_of(&frame)
                    {
                        room.send(text);
                    }
                    Happening::Sent
                }
            }
        };
        tokio::select! {
            biased;
            Some(done) = jobs.join_next() => match done {
                Ok(done) => Happening::Done(done),
                Err(error) => {
                    tracing::error!(%error, "a call was lost");
                    Happening::Sent
                }
            },
            happening = socket => happening,
            () = sleep_until(wake) => Happening::Time,
        }
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let socket = match self.socket {
            SocketState::Down { until } => Some(until),
            SocketState::Up(_) => Some(self.heard + self.silence_max),
            SocketState::Connecting | SocketState::Stopped => None,
        };
        let sync = self.sync_again.map(|(_, at)| at);
        let wake = [socket, sync, self.move_at, self.renewal.due(), self.device.due(now)].into_iter().flatten().min();
        wake.unwrap_or(now + SILENCE_MAX)
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        match self.socket {
            SocketState::Down { until } if until <= now => {
                self.socket = SocketState::Connecting;
                let (http, node) = (Arc::clone(&self.http), self.node().to_owned());
                let partition = self.partition.or(self.device.partition());
                self.routed = partition;
                self.jobs.spawn(async move { Done::Connected(link::connect(&http, &node, partition).await) });
            }
            SocketState::Up(_) if self.heard + self.silence_max <= now => {
                self.lost(None, "nothing was heard from the server for too long".into(), After::Later);
            }
            SocketState::Up(_) if self.move_at.is_some_and(|at| at <= now) => {
                if self.device.syncing.is_some() {
                    self.move_at = Some(now + MOVE_AGAIN);
                } else {
                    self.lost(None, MOVES.into(), After::Soon);
                }
            }
            _ => {}
        }
        if self.renewal.begins(now) {
            let http = Arc::clone(&self.http);
            self.jobs.spawn(async move { Done::Renewed(http.fresh().await) });
        }
        if let Some((number, _)) = self.sync_again.take_if(|(_, at)| *at <= now) {
            self.sync(number);
        }
        self.device.on_time(now);
    }

    fn heard_of(&mut self, text: &str) {
        self.heard = Instant::now();
        match wire::parse(text) {
            Ok(inbound) => {
                match &inbound {
                    wire::Inbound::Server(ServerFrame::Welcome { ping_ms, partition, r#move, .. }) => {
                        self.attempts = 0;
                        self.partition = Some(*partition);
                        // The hint of a server that does not see the URL would come again and again.
                        if *r#move == Some(true) && self.routed != Some(*partition) {
                            let wait = self.entropy.backoff(0, MOVE_WITHIN, MOVE_WITHIN);
                            self.move_at = Some(self.heard + wait);
                        }
                        self.silence_max = (Duration::from_millis(*ping_ms) * PINGS_MISSED_MAX).min(SILENCE_MAX);
                    }
                    wire::Inbound::Server(ServerFrame::Renewed { .. }) => self.renewal.confirmed(),
                    _ => {}
                }
                self.device.receive(inbound, self.heard);
            }
            Err(error) => self.lost(None, format!("a frame does not parse: {error}"), After::Later),
        }
    }

    fn called(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Connected(Ok(link)) => {
                self.renewal.connected(link.renew_at);
                self.socket = SocketState::Up(link);
                (self.heard, self.silence_max) = (now, SILENCE_MAX);
                self.outbox.clear();
                self.outbox.push_back(self.device.hello());
            }
            Done::Connected(Err(NoLink::Later(reason, wait))) => {
                self.lost(None, reason, wait.map_or(After::Later, After::In));
            }
            Done::Connected(Err(NoLink::Never(reason))) => self.lost(None, reason, After::Stop),
            Done::Renewed(answer) => self.renew(answer, now),
            Done::Synced(number, answer) => {
                if let Some(wait) = self.device.synced(number, answer, now) {
                    self.sync_again = Some((number, now + wait));
                }
            }
            Done::Outcome(asked, answer) => {
                self.asks_running = self.asks_running.saturating_sub(1);
                self.device.outcome(asked, answer, now);
            }
        }
    }

    /// Sends a newer token to the server, if the socket is still open.
    fn renew(&mut self, answer: Result<Access, ClientError>, now: Instant) {
        if !matches!(self.socket, SocketState::Up(_)) {
            return;
        }
        match answer {
            Ok(Access { token, renew_at }) => {
                self.renewal.sent(renew_at, now);
                self.outbox.push_back(ClientFrame::Renew { token });
            }
            Err(error) => {
                tracing::debug!(%error, "no newer token");
                self.renewal.failed(now);
            }
        }
    }

    /// The socket was lost, or could not be opened.
    fn lost(&mut self, code: Option<u16>, reason: String, after: After) {
        self.device.disconnected();
        self.renewal.lost();
        (self.sync_again, self.move_at, self.outbox) = (None, None, VecDeque::new());
        self.node = self.node.wrapping_add(1);
        self.asks.clear();
        if after == After::Stop {
            self.socket = SocketState::Stopped;
            return self.events.push_back(ClientEvent::Stopped { code, reason });
        }
        // Jitter: the clients of a node that drains must not all reconnect in the same moment.
        let attempt = match after {
            After::Soon => 0,
            After::Broken => self.attempts.saturating_add(ATTEMPT_WHEN_BROKEN),
            After::MuchLater => self.attempts.max(ATTEMPT_OF_SECONDS),
            After::Later | After::In(_) | After::Stop => self.attempts,
        };
        let wait = match after {
            // Clients that were told the same whole second must not all come in its first moment.
            After::In(wait) => wait + self.entropy.backoff(0, BEYOND_RETRY_AFTER, BEYOND_RETRY_AFTER),
            _ => self.entropy.backoff(attempt, BACKOFF_BASE, BACKOFF_MAX),
        };
        self.attempts = self.attempts.saturating_add(1);
        self.socket = SocketState::Down { until: Instant::now() + wait };
        self.events.push_back(ClientEvent::Disconnected { code, reason });
    }

    /// Carries out the outputs of the device.
    pub(crate) fn carry_out(&mut self) {
        while let Some(output) = self.device.out.pop_front() {
            match output {
                Output::Event(event) => self.events.push_back(event),
                Output::Send(frame) => self.outbox.push_back(frame),
                Output::Ask(asking) => self.asks.push_back(asking),
                Output::Sync(number) => {
                    if self.device.syncing.is_some() {
                        // After a reset, answers from before it would be ignored.
                        self.asks.clear();
                    }
                    self.sync(number);
                }
                Output::Drop(reason) => self.lost(None, reason.into(), After::Later),
            }
        }
        self.begin_calls();
    }

    fn sync(&mut self, number: u64) {
        let http = Arc::clone(&self.http);
        self.jobs.spawn(async move { Done::Synced(number, http.sync().await) });
    }

    fn begin_calls(&mut self) {
        while self.asks_running < ASKS_AT_ONCE {
            let Some(asking) = self.asks.pop_front() else { return };
            self.asks_running += 1;
            let http = Arc::clone(&self.http);
            self.jobs.spawn(async move {
                let answer = http.outcome(asking.conversation, asking.id).await;
                Done::Outcome(asking, answer)
            });
        }
    }
}
