//! The task of one socket: `hello`, `welcome`, then frames both ways until one side closes it.

use std::convert::Infallible;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use api::{Authenticated, Caller};
use domain::{Cursor, Status, UserId};
use environment::seeded_bugs::{Bug, seeded};
use futures_util::FutureExt;
use hyper::upgrade::OnUpgrade;
use process::TraceParent;
use protocol::{CloseCode, ServerFrame};
use secret::Secret;
use tokio::time::{Instant, Sleep, sleep};

use crate::admission::ADMISSION_WAIT;
use crate::batch::batched;
use crate::feed::{Fed, Feed, Reset};
use crate::handshake;
use crate::heartbeat::Heartbeat;
use crate::hello::{self, Guest};
use crate::intake::Intake;
use crate::metrics::TurnedAway;
use crate::node::Node;
use crate::signals::Subscription;
use crate::socket_count::{CountedSocket, SocketPermit};
use crate::text_frame::TextFrame;
use crate::wire::{Ending, Heard, Wire};

/// How long the answers in flight may take when the node ends a socket.
pub(crate) const FINISH_WAIT: Duration = Duration::from_secs(2);
/// How long it may take to decide about a device's cursor, before the welcome. Beyond: `PositionLost`.
const WELCOME_WAIT: Duration = Duration::from_secs(20);
/// How long after its token's expiry a socket is closed, so that frames which the device sent before are still
/// read.
const EXPIRY_GRACE: Duration = Duration::from_millis(500);

/// The results of the upgrade request.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The user and session of the request's token, if it had one.
    pub(crate) caller: Option<Caller>,
    /// That token.
    pub(crate) token: Option<Secret>,
    pub(crate) trace: TraceParent,
    /// The socket's permit; `None` when the node, or the address that it comes from, has too many sockets.
    pub(crate) permit: Option<SocketPermit>,
    /// The partition that its URL names, by which a balancer may have chosen this node.
    pub(crate) routed: Option<u32>,
    /// Set once the socket has a user. Until then the listener counts the connection as a stranger, and may close
    /// it for others.
    pub(crate) authenticated: Authenticated,
}

/// Serves a socket until it is closed, once `connection` is one.
///
/// What is kept of each idle socket is mostly this future; so what a socket does only once is in boxes.
#[expect(clippy::manual_async_fn, reason = "an async function would keep its arguments twice")]
pub(crate) fn run(node: Arc<Node>, connection: OnUpgrade, opening: Opening) -> impl Future<Output = ()> {
    async move {
        let Some(socket) = Box::pin(handshake::socket(connection)).await else { return };
        let _tracked = node.sockets.token();
        node.metrics.open.inc();
        let mut wire = Wire::new(socket, Arc::clone(&node.node_clock), node.config.write_wait);
        let Err(ending) = serve(&node, &mut wire, &opening).await;
        let code = match ending {
            Ending::Close(code) => Some(code),
            Ending::Crowded => Some(CloseCode::TooMany),
            Ending::Left | Ending::Gone => None,
        };
        node.metrics.closed(code);
        node.metrics.open.dec();
        tracing::debug!(code = code.map(CloseCode::number), "socket ends");
        // The permit is held until the end of the close: a socket that closes slowly still counts against the node's
        // bound.
        Box::pin(wire.end(ending)).await;
    }
}

async fn serve(node: &Arc<Node>, wire: &mut Wire, opening: &Opening) -> Result<Infallible, Ending> {
    if opening.permit.is_none() {
        node.metrics.turned_away(TurnedAway::Full);
        return Err(Ending::Close(CloseCode::TooMany));
    }
    let greeting = hello::greet(node, wire, opening.caller.as_ref(), opening.token.as_ref());
    let guest = unless_draining(node, Box::pin(greeting)).await?;
    opening.authenticated.set();
    let counted = node.socket_count.count(guest.user);
    // The guest is kept to the end: without its watch on the session, nobody would hear that the user has signed out.
    let ended = guest.session.as_ref().map(|session| session.ended().clone()).unwrap_or_default();
    tokio::select! {
        biased;
        // Polled first: the session may be waiting for a device that is gone.
        () = counted.gives_way() => Err(Ending::Close(CloseCode::TooMany)),
        // A user who has signed out gets no more frames.
        () = ended.cancelled() => Err(Ending::Close(CloseCode::Unauthorized)),
        served = async {
            let mut session = Box::pin(welcomed(node, wire, &guest, &counted, opening)).await?;
            session.go_on().await
        } => served,
    }
}

/// Lets the device in, and welcomes it.
async fn welcomed<'w>(
    node: &Arc<Node>,
    wire: &'w mut Wire,
    guest: &Guest,
    counted: &'w CountedSocket,
    opening: &Opening,
) -> Result<Session<'w>, Ending> {
    unless_draining(node, admitted(node, wire, guest)).await?;
    let mut session = Session::new(node, wire, guest, counted, opening);
    unless_draining(node, session.begin()).await?;
    Ok(session)
}

/// The outcome of `phase`; `Draining` when the node begins to drain before.
async fn unless_draining<T>(node: &Node, phase: impl Future<Output = Result<T, Ending>>) -> Result<T, Ending> {
    let outcome = node.draining.run_until_cancelled(phase).await;
    outcome.unwrap_or(Err(Ending::Close(CloseCode::Draining)))
}

/// Waits until the device may be welcomed. One that leaves meanwhile waits no longer: it must not take the turn of one
/// that is there.
async fn admitted(node: &Node, wire: &mut Wire, guest: &Guest) -> Result<(), Ending> {
    let returning = guest.brought.may_resume(node.partition(guest.user));
    let turn = async {
        tokio::select! {
            biased;
            admitted = node.admission.admitted(returning, &node.metrics) => Ok(admitted),
            ending = wire.ended_while_waiting() => Err(ending),
        }
    };
    match node.node_clock.within(ADMISSION_WAIT, turn).await.transpose()? {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) | None => {
            node.metrics.turned_away(TurnedAway::Crowded);
            Err(Ending::Crowded)
        }
    }
}

/// The next signals for a device; never resolves for one that did not ask for signals. Cancel safe.
async fn next_signals(subscription: Option<&Subscription>) -> Vec<TextFrame> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => pending().await,
    }
}

/// When a socket that is opened now is closed so that the balancer chooses its node anew. Random, so that devices which
/// came together, because another node went, go back one after another.
fn rerouted_at(node: &Node) -> Duration {
    let mean_ms = u64::try_from(node.config.rerouted_after.as_millis()).unwrap_or(u64::MAX);
    node.node_clock.now() + Duration::from_millis(mean_ms / 2 + node.entropy.below(mean_ms))
}

/// A socket after an accepted `hello`.
struct Session<'w> {
    node: Arc<Node>,
    wire: &'w mut Wire,
    counted: &'w CountedSocket,
    user: UserId,
    feed: Feed,
    /// Its subscription to signals, if the device asked for them.
    signals: Option<Arc<Subscription>>,
    /// Whether the device accepts several frames in one websocket message.
    batches: bool,
    intake: Intake,
    heartbeat: Heartbeat,
    /// When the token expires.
    expires: Instant,
    /// When the socket is closed because of that: a moment of the node's clock, set once the token has expired.
    expired: Option<Duration>,
    /// When the socket is closed because the node drains: a moment of the node's clock.
    leave: Option<Duration>,
    /// When the socket is closed so that the balancer chooses its node anew: a moment of the node's clock.
    rerouted: Option<Duration>,
    /// The partition that the socket's URL names.
    routed: Option<u32>,
    /// Whether the device was welcomed.
    welcomed: bool,
    /// When the device was welcomed, milliseconds since the Unix epoch. For the metrics.
    online_since_ms: i64,
}

/// The reasons for which the session wakes up.
enum Event {
    Draining,
    Time,
    Answer(ServerFrame),
    Heard(Result<Heard, Ending>),
    Fed(Fed),
    Signals(Vec<TextFrame>),
}

impl<'w> Session<'w> {
    fn new(node: &Arc<Node>, wire: &'w mut Wire, guest: &Guest, counted: &'w CountedSocket, opening: &Opening) -> Self {
        let partition = node.partition(guest.user);
        let signals = guest.signals.then(|| Arc::new(node.signals.subscribe(guest.user)));
        Self {
            feed: Feed::new(partition, guest.user, guest.brought, wire.blocked()),
            wire,
            counted,
            user: guest.user,
            batches: guest.batches,
            intake: Intake::new(Arc::clone(node), guest, signals.clone(), opening.trace),
            signals,
            heartbeat: Heartbeat::new(node.config.ping, node.node_clock.now()),
            expires: guest.expires,
            expired: None,
            leave: None,
            rerouted: node.config.routed_by_partition.then(|| rerouted_at(node)),
            routed: opening.routed,
            welcomed: false,
            online_since_ms: i64::MAX,
            node: Arc::clone(node),
        }
    }

    /// Decides where the device resumes, and sends the welcome.
    async fn begin(&mut self) -> Result<(), Ending> {
        let fed = self.node.node_clock.within(WELCOME_WAIT, self.feed.next()).await;
        self.fed(fed.ok_or(Ending::Close(CloseCode::PositionLost))?).await
    }

    async fn go_on(&mut self) -> Result<Infallible, Ending> {
        let mut timer = pin!(sleep(self.due_in()));
        loop {
            match self.event(timer.as_mut()).await {
                Event::Draining => {
                    if seeded(Bug::DrainForgets)
                        && let Some(cursor) = self.feed.forget()
                    {
                        self.wire.feed_frame(&ServerFrame::Ping { cursor });
                    }
                    let after = self.node.departures.next(self.node.config.drain_window, &self.node.entropy);
                    self.leave = Some(self.node.node_clock.now() + after);
                    timer.as_mut().reset(Instant::now() + self.due_in());
                }
                Event::Time => {
                    self.time().await?;
                    timer.as_mut().reset(Instant::now() + self.due_in());
                }
                Event::Answer(answer) => self.answer(&answer).await?,
                Event::Heard(heard) => self.heard(heard?).await?,
                Event::Fed(fed) => self.fed(fed).await?,
                Event::Signals(frames) => self.signal(frames).await?,
            }
        }
    }

    async fn event(&mut self, timer: Pin<&mut Sleep>) -> Event {
        let open = self.intake.is_open();
        // Polled in this order: rare events first; then the device's own frames before the feed, since a device
        // that floods the node delays only its own feed. Signals come last: they wait while there is anything else
        // to do, and are then replaced by newer ones.
        let event = tokio::select! {
            biased;
            () = self.node.draining.cancelled(), if self.leave.is_none() => Event::Draining,
            () = timer => Event::Time,
            answer = self.intake.answer() => Event::Answer(answer),
            heard = self.wire.hear(), if open => Event::Heard(heard),
            fed = self.feed.next() => Event::Fed(fed),
            frames = next_signals(self.signals.as_deref()) => Event::Signals(frames),
        };
        if !open {
            self.heartbeat.heard(self.node.node_clock.now()); // the node did not read: this is no silence of the device
        }
        event
    }

    /// The shortest time until a deadline can have come. Most deadlines move on meanwhile: then the timer only
    /// computes the next one.
    fn due_in(&self) -> Duration {
        let (ping, idle) = (self.heartbeat.ping_at(), self.heartbeat.idle_at());
        let node_clock = [Some(ping), Some(idle), self.expired, self.leave, self.rerouted];
        let node_clock =
            node_clock.into_iter().flatten().min().and_then(|due| self.node.node_clock.left(due)).unwrap_or_default();
        if self.expired.is_some() {
            node_clock
        } else {
            node_clock.min(self.expires.saturating_duration_since(Instant::now()))
        }
    }

    async fn time(&mut self) -> Result<(), Ending> {
        let now = self.node.node_clock.now();
        if self.leave.into_iter().chain(self.rerouted).any(|moment| moment <= now) {
            return self.finish(CloseCode::Draining).await;
        }
        if self.expires <= Instant::now() {
            // A node that was stopped when the token expired first reads the frames that the device sent before.
            if *self.expired.get_or_insert(now + EXPIRY_GRACE) <= now {
                return self.finish(CloseCode::TokenExpired).await;
            }
        } else {
            self.expired = None;
        }
        if self.heartbeat.idle_at() <= now {
            return Err(Ending::Close(CloseCode::Idle));
        }
        if self.heartbeat.ping_at() <= now {
            self.heartbeat.pinged(now);
            // While frames wait to be sent, they do the work of the ping.
            if let Some(cursor) = self.feed.stands() {
                self.wire.feed_frame(&ServerFrame::Ping { cursor });
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn heard(&mut self, heard: Heard) -> Result<(), Ending> {
        self.heartbeat.heard(self.node.node_clock.now());
        self.counted.heard();
        let Heard::Text(text) = heard else { return self.intake.take_sign().map_err(Ending::Close) };
        if let Some(answer) = self.intake.take(&text).map_err(Ending::Close)? {
            self.answer(&answer).await?;
        }
        Ok(())
    }

    /// Sends an answer, and any others that are ready, in one flush.
    async fn answer(&mut self, answer: &ServerFrame) -> Result<(), Ending> {
        self.say(answer);
        while let Some(answer) = self.intake.answer().now_or_never() {
            self.say(&answer);
        }
        self.flush().await
    }

    fn say(&mut self, answer: &ServerFrame) {
        if let ServerFrame::Renewed { until } = answer {
            self.expires = hello::end_of(&self.node, *until);
        }
        self.wire.feed_frame(answer);
    }

    async fn fed(&mut self, fed: Fed) -> Result<(), Ending> {
        match fed {
            Fed::Frames(frames) => return self.frames(frames).await,
            Fed::Resumed(cursor) => self.welcome(cursor, None),
            Fed::Reset(reason, cursor) => self.welcome(cursor, Some(reason)),
            Fed::End(code) => return Err(Ending::Close(code)),
        }
        self.flush().await
    }

    fn welcome(&mut self, cursor: Cursor, reset: Option<Reset>) {
        self.online_since_ms = self.node.metrics.now_ms();
        // Once for each socket, and never where the balancer was told the right partition: nothing would change.
        let misrouted = !self.welcomed && self.routed != Some(cursor.partition);
        if let Some(signals) = self.signals.as_ref().filter(|_| !self.welcomed) {
            signals.says(Status::Online);
        }
        self.welcomed = true;
        let moves = self.node.config.routed_by_partition && misrouted;
        if moves {
            self.node.metrics.moves.inc();
        }
        let welcome = ServerFrame::Welcome {
            cursor,
            user: self.user,
            partition: cursor.partition,
            reset: reset.map(|reason| reason.name().to_owned()),
            ping_ms: u64::try_from(self.node.config.ping.as_millis()).unwrap_or(u64::MAX),
            r#move: moves.then_some(true),
        };
        self.wire.feed_frame(&welcome);
    }

    async fn frames(&mut self, mut frames: Vec<TextFrame>) -> Result<(), Ending> {
        if seeded(Bug::FeedDropsFrame) && self.node.entropy.below(50) == 0 {
            frames.pop();
        }
        if seeded(Bug::FeedReversesFrames) {
            // While it waits, more frames come that are then sent together.
            sleep(Duration::from_millis(100)).await;
            frames.reverse();
        }
        self.node.metrics.frames.inc_by(frames.len() as u64);
        let appended_ms = frames.first().and_then(|first| protocol::appended_ms(first.text()));
        let texts = if self.batches { batched(frames) } else { frames };
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        self.node.metrics.frame_bytes.inc_by(bytes as u64);
        for text in texts {
            self.wire.feed(text);
        }
        self.flush().await?;
        self.node.metrics.written(appended_ms, self.online_since_ms);
        Ok(())
    }

    /// Sends signals. They do not count as sent for the heartbeat: pings must still move the cursor of a quiet
    /// feed.
    async fn signal(&mut self, frames: Vec<TextFrame>) -> Result<(), Ending> {
        for frame in frames {
            let frame = match self.node.partition(self.user).hub.end().filter(|_| seeded(Bug::SignalMovesCursor)) {
                Some(end) => TextFrame::new(&protocol::with_cursor(&end, frame.text())),
                None => frame,
            };
            self.wire.feed(frame);
        }
        self.wire.flush().await
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        self.wire.flush().await?;
        self.heartbeat.sent(self.node.node_clock.now());
        Ok(())
    }

    /// Closes the socket once its outstanding answers were sent, or after [`FINISH_WAIT`]. No new frames are read.
    async fn finish(&mut self, code: CloseCode) -> Result<(), Ending> {
        self.feed.leave();
        let deadline = self.node.node_clock.now() + FINISH_WAIT;
        while self.intake.is_busy() {
            let left = deadline.saturating_sub(self.node.node_clock.now());
            match self.node.node_clock.within(left, self.intake.answer()).await {
                Some(answer) => self.answer(&answer).await?,
                None => break,
            }
        }
        Err(Ending::Close(code))
    }
}
