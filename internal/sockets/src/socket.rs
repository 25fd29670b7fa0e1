//! One socket, one task: hello, welcome, then frames both ways until one side ends it.

use std::convert::Infallible;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use api::{Authenticated, Caller};
use domain::{Cursor, UserId};
use environment::seeded_bugs::{Bug, seeded};
use futures_util::FutureExt;
use process::TraceParent;
use protocol::{CloseCode, ServerFrame};
use secret::Secret;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::batch::batched;
use crate::feed::{Fed, Feed, Reset};
use crate::handshake::Socket;
use crate::heartbeat::Heartbeat;
use crate::hello::{self, Guest};
use crate::intake::Intake;
use crate::node::Node;
use crate::signals::Seat;
use crate::socket_count::CountedSocket;
use crate::wire::{Ending, Heard, Wire};

/// How long the answers in flight may take when the node ends a socket.
pub(crate) const FINISH_WAIT: Duration = Duration::from_secs(2);
/// How long the first decision about a device's cursor may take. Beyond: `PositionLost`.
const WELCOME_WAIT: Duration = Duration::from_secs(20);
/// How long after its token's end a socket ends, so that what the device has sent before is read before.
const EXPIRY_GRACE: Duration = Duration::from_millis(500);

/// What an upgrade found out.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Who the upgrade's token named, if it brought one.
    pub(crate) caller: Option<Caller>,
    /// That token.
    pub(crate) token: Option<Secret>,
    pub(crate) trace: TraceParent,
    /// `None`: the node is full.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// Told once the socket is somebody's: the listener then keeps it before strangers.
    pub(crate) authenticated: Authenticated,
}

/// Serves a socket to its end.
pub(crate) async fn run(node: Arc<Node>, socket: Socket, opening: Opening) {
    let _tracked = node.sockets.token();
    node.metrics.open.inc();
    let mut wire = Wire::new(socket, Arc::clone(&node.node_clock), node.config.write_wait);
    let Err(ending) = serve(&node, &mut wire, &opening).await;
    let code = match ending {
        Ending::Close(code) => Some(code),
        Ending::Left | Ending::Gone => None,
    };
    node.metrics.closed(code);
    node.metrics.open.dec();
    tracing::debug!(code = code.map(CloseCode::number), "socket ends");
    // With its permit under the node's bound: what takes its time to end is there still.
    wire.end(ending).await;
}

async fn serve(node: &Arc<Node>, wire: &mut Wire, opening: &Opening) -> Result<Infallible, Ending> {
    if opening.permit.is_none() {
        return Err(Ending::Close(CloseCode::TooMany));
    }
    let greeting = hello::greet(node, wire, opening.caller.as_ref(), opening.token.as_ref());
    let guest = unless_draining(node, Box::pin(greeting)).await?;
    opening.authenticated.set();
    let counted = node.socket_count.count(guest.user);
    let mut session = Session::new(node, wire, &guest, &counted, opening.trace);
    let ended = guest.session.as_ref().map(|session| session.ended().clone()).unwrap_or_default();
    tokio::select! {
        biased;
        // Whatever it is doing: it may be waiting for a device that is gone.
        () = counted.gives_way() => Err(Ending::Close(CloseCode::TooMany)),
        // Who signed out gets nothing more.
        () = ended.cancelled() => Err(Ending::Close(CloseCode::Unauthorized)),
        served = async {
            unless_draining(node, Box::pin(session.begin())).await?;
            session.go_on().await
        } => served,
    }
}

/// The outcome of `phase`, unless the node has to go before.
async fn unless_draining<T>(node: &Node, phase: impl Future<Output = Result<T, Ending>>) -> Result<T, Ending> {
    let outcome = node.draining.run_until_cancelled(phase).await;
    outcome.unwrap_or(Err(Ending::Close(CloseCode::Draining)))
}

/// The next signals for a device, which may have asked for none. Cancel safe.
async fn next_signals(seat: Option<&Seat>) -> Vec<Utf8Bytes> {
    match seat {
        Some(seat) => seat.next().await,
        None => pending().await,
    }
}

/// A socket that has said hello.
struct Session<'w> {
    node: Arc<Node>,
    wire: &'w mut Wire,
    counted: &'w CountedSocket,
    user: UserId,
    feed: Feed,
    /// Signals, for a device that asked for them.
    signals: Option<Seat>,
    /// Whether the device takes several frames in one text.
    batches: bool,
    intake: Intake,
    heartbeat: Heartbeat,
    /// When the token ends.
    expires: Instant,
    /// When the socket ends with it: a moment of the node's time awake, set once the token has ended.
    expired: Option<Duration>,
    /// When to go, once the node is draining: a moment of its time awake.
    leave: Option<Duration>,
}

/// What the session wakes up for.
enum Event {
    Draining,
    Time,
    Answer(ServerFrame),
    Heard(Result<Heard, Ending>),
    Fed(Fed),
    Signals(Vec<Utf8Bytes>),
}

impl<'w> Session<'w> {
    fn new(
        node: &Arc<Node>,
        wire: &'w mut Wire,
        guest: &Guest,
        counted: &'w CountedSocket,
        trace: TraceParent,
    ) -> Self {
        let partition = node.partition(guest.user);
        Self {
            feed: Feed::new(partition, guest.user, guest.cursor.as_deref(), wire.blocked()),
            wire,
            counted,
            user: guest.user,
            signals: guest.signals.then(|| node.signals.enter(guest.user)),
            batches: guest.batches,
            intake: Intake::new(Arc::clone(node), guest, trace),
            heartbeat: Heartbeat::new(node.config.ping, node.node_clock.now()),
            expires: guest.expires,
            expired: None,
            leave: None,
            node: Arc::clone(node),
        }
    }

    /// Decides where the device goes on, and welcomes it.
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
                        self.wire.feed_frame(&ServerFrame::Ping { cursor }).await?;
                    }
                    self.leave = Some(self.node.node_clock.now() + self.jitter());
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
        // In this order: what is rare first, and what the device can flood only itself with before the feed. Signals come
        // last: while anything else is to be done, they wait, and then give way to newer ones.
        let event = tokio::select! {
            biased;
            () = self.node.draining.cancelled(), if self.leave.is_none() => Event::Draining,
            () = timer => Event::Time,
            answer = self.intake.answer() => Event::Answer(answer),
            heard = self.wire.hear(), if open => Event::Heard(heard),
            fed = self.feed.next() => Event::Fed(fed),
            frames = next_signals(self.signals.as_ref()) => Event::Signals(frames),
        };
        if !open {
            self.heartbeat.heard(self.node.node_clock.now()); // nobody listened
        }
        event
    }

    /// How long it is, at least, until something is due. Most moves on meanwhile: the timer only looks again then.
    fn due_in(&self) -> Duration {
        let node_clock = [Some(self.heartbeat.ping_at()), Some(self.heartbeat.idle_at()), self.expired, self.leave];
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
        if self.leave.is_some_and(|leave| leave <= now) {
            return self.finish(CloseCode::Draining).await;
        }
        if self.expires <= Instant::now() {
            // A node that was stopped past the end reads first what was sent before.
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
            // While frames wait for the socket, they are as good a sign of life.
            if let Some(cursor) = self.feed.stands() {
                self.wire.feed_frame(&ServerFrame::Ping { cursor }).await?;
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

    /// Sends an answer, and those that are there already, in one flush.
    async fn answer(&mut self, answer: &ServerFrame) -> Result<(), Ending> {
        self.say(answer).await?;
        while let Some(answer) = self.intake.answer().now_or_never() {
            self.say(&answer).await?;
        }
        self.flush().await
    }

    async fn say(&mut self, answer: &ServerFrame) -> Result<(), Ending> {
        if let ServerFrame::Renewed { until } = answer {
            self.expires = hello::end_of(&self.node, *until);
        }
        self.wire.feed_frame(answer).await
    }

    async fn fed(&mut self, fed: Fed) -> Result<(), Ending> {
        match fed {
            Fed::Frames(frames) => return self.frames(frames).await,
            Fed::Resumed(cursor) => self.welcome(cursor, None).await?,
            Fed::Reset(reason, cursor) => self.welcome(cursor, Some(reason)).await?,
            Fed::End(code) => return Err(Ending::Close(code)),
        }
        self.flush().await
    }

    async fn welcome(&mut self, cursor: Cursor, reset: Option<Reset>) -> Result<(), Ending> {
        let welcome = ServerFrame::Welcome {
            cursor,
            user: self.user,
            partition: cursor.partition,
            reset: reset.map(|reason| reason.name().to_owned()),
            ping_ms: u64::try_from(self.node.config.ping.as_millis()).unwrap_or(u64::MAX),
        };
        self.wire.feed_frame(&welcome).await
    }

    async fn frames(&mut self, frames: Vec<Utf8Bytes>) -> Result<(), Ending> {
        self.node.metrics.frames.inc_by(frames.len() as u64);
        let texts = if self.batches { batched(frames) } else { frames };
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        self.node.metrics.frame_bytes.inc_by(bytes as u64);
        for text in texts {
            self.wire.feed(text).await?;
        }
        self.flush().await
    }

    /// Sends signals. They count as no sign of life: a quiet feed's cursor is to move on by pings all the same.
    async fn signal(&mut self, frames: Vec<Utf8Bytes>) -> Result<(), Ending> {
        for frame in frames {
            let frame = match self.node.partition(self.user).hub.end().filter(|_| seeded(Bug::SignalMovesCursor)) {
                Some(end) => protocol::with_cursor(&end, &frame).into(),
                None => frame,
            };
            self.wire.feed(frame).await?;
        }
        self.wire.flush().await
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        self.wire.flush().await?;
        self.heartbeat.sent(self.node.node_clock.now());
        Ok(())
    }

    /// Ends the socket when what it has asked for is answered, or after a while. Nothing new is taken.
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

    /// A moment within the drain window.
    fn jitter(&self) -> Duration {
        let window_ms = u64::try_from(self.node.config.drain_window.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.node.entropy.below(window_ms))
    }
}
