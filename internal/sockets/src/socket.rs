//! One socket, one task: hello, welcome, then frames both ways until one side ends it.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use api::{Caller, CloseCode, ServerFrame};
use axum::extract::ws::{Utf8Bytes, WebSocket};
use domain::{Cursor, UserId};
use futures_util::FutureExt;
use runtime::TraceParent;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use crate::beat::Beat;
use crate::feed::{Fed, Feed, Reset};
use crate::hello::{self, Guest};
use crate::intake::Intake;
use crate::node::Node;
use crate::wire::{Ending, Heard, Wire};

/// How long the answers in flight may take when the node ends a socket.
const FINISH_WAIT: Duration = Duration::from_secs(2);
/// How long the first decision about a device's cursor may take. Beyond: `LostPlace`.
const WELCOME_WAIT: Duration = Duration::from_secs(20);

/// What an upgrade found out.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Who the upgrade's token named, if it brought one.
    pub(crate) caller: Option<Caller>,
    pub(crate) trace: TraceParent,
    /// `None`: the node is full.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// Serves a socket to its end.
pub(crate) async fn run(node: Arc<Node>, socket: WebSocket, opening: Opening) {
    let _tracked = node.sockets.token();
    node.metrics.open.inc();
    let mut wire = Wire::new(socket, node.config.write_wait);
    let Err(ending) = serve(&node, &mut wire, opening).await;
    let code = match ending {
        Ending::Close(code) => Some(code),
        Ending::Gone => None,
    };
    node.metrics.closed(code);
    node.metrics.open.dec();
    tracing::debug!(code = code.map(CloseCode::number), "socket ends");
    if let Some(code) = code {
        wire.close(code).await;
    }
}

async fn serve(node: &Arc<Node>, wire: &mut Wire, opening: Opening) -> Result<Infallible, Ending> {
    let Some(_place) = opening.place else { return Err(Ending::Close(CloseCode::TooMany)) };
    let guest = unless_draining(node, Box::pin(hello::greet(node, wire, opening.caller))).await?;
    let Some(_counted) = node.census.count(guest.user) else { return Err(Ending::Close(CloseCode::TooMany)) };
    let mut session = Session::new(node, wire, &guest, opening.trace);
    drop(guest);
    unless_draining(node, Box::pin(session.begin())).await?;
    session.go_on().await
}

/// The outcome of `phase`, unless the node has to go before.
async fn unless_draining<T>(node: &Node, phase: impl Future<Output = Result<T, Ending>>) -> Result<T, Ending> {
    let outcome = node.draining.run_until_cancelled(phase).await;
    outcome.unwrap_or(Err(Ending::Close(CloseCode::Draining)))
}

/// A socket that has said hello.
struct Session<'w> {
    node: Arc<Node>,
    wire: &'w mut Wire,
    user: UserId,
    feed: Feed,
    intake: Intake,
    beat: Beat,
    /// When the token ends.
    expires: Instant,
    /// When to go, once the node is draining.
    leave: Option<Instant>,
}

/// What the session wakes up for.
enum Event {
    Draining,
    Time,
    Answer(ServerFrame),
    Heard(Result<Heard, Ending>),
    Fed(Fed),
}

impl<'w> Session<'w> {
    fn new(node: &Arc<Node>, wire: &'w mut Wire, guest: &Guest, trace: TraceParent) -> Self {
        Self {
            wire,
            user: guest.user,
            feed: Feed::new(node.partition(guest.user), guest.user, guest.cursor.as_deref()),
            intake: Intake::new(Arc::clone(node), guest.user, trace),
            beat: Beat::new(node.config.ping),
            expires: guest.expires,
            leave: None,
            node: Arc::clone(node),
        }
    }

    /// Decides where the device goes on, and welcomes it.
    async fn begin(&mut self) -> Result<(), Ending> {
        let fed = timeout(WELCOME_WAIT, self.feed.next()).await;
        self.fed(fed.map_err(|_| Ending::Close(CloseCode::LostPlace))?).await
    }

    async fn go_on(&mut self) -> Result<Infallible, Ending> {
        let mut timer = pin!(sleep_until(self.deadline()));
        loop {
            match self.event(timer.as_mut()).await {
                Event::Draining => {
                    if host::teeth::bites(host::teeth::Bug::DrainForgets)
                        && let Some(cursor) = self.feed.forget()
                    {
                        self.wire.feed_frame(&ServerFrame::Ping { cursor }).await?;
                    }
                    self.leave = Some(Instant::now() + self.jitter());
                    timer.as_mut().reset(self.deadline());
                }
                Event::Time => {
                    self.time().await?;
                    timer.as_mut().reset(self.deadline());
                }
                Event::Answer(answer) => self.answer(&answer).await?,
                Event::Heard(heard) => self.heard(heard?).await?,
                Event::Fed(fed) => self.fed(fed).await?,
            }
        }
    }

    async fn event(&mut self, timer: Pin<&mut Sleep>) -> Event {
        let open = self.intake.is_open();
        // In this order: what is rare first, and what the device can flood only itself with before the feed.
        tokio::select! {
            biased;
            () = self.node.draining.cancelled(), if self.leave.is_none() => Event::Draining,
            () = timer => Event::Time,
            answer = self.intake.answer() => Event::Answer(answer),
            heard = self.wire.hear(), if open => Event::Heard(heard),
            fed = self.feed.next() => Event::Fed(fed),
        }
    }

    /// The next moment at which something is due. Most move on meanwhile: the timer only looks again then.
    fn deadline(&self) -> Instant {
        let due = self.beat.ping_at().min(self.beat.idle_at()).min(self.expires);
        self.leave.map_or(due, |leave| due.min(leave))
    }

    async fn time(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        if self.leave.is_some_and(|leave| leave <= now) {
            return self.finish(CloseCode::Draining).await;
        }
        if self.expires <= now {
            return self.finish(CloseCode::TokenExpired).await;
        }
        if self.beat.idle_at() <= now {
            return Err(Ending::Close(CloseCode::Idle));
        }
        if self.beat.ping_at() <= now {
            self.beat.pinged();
            // While frames wait for the socket, they are as good a sign of life.
            if let Some(cursor) = self.feed.stands() {
                self.wire.feed_frame(&ServerFrame::Ping { cursor }).await?;
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn heard(&mut self, heard: Heard) -> Result<(), Ending> {
        self.beat.heard();
        let Heard::Text(text) = heard else { return Ok(()) };
        if let Some(answer) = self.intake.take(&text).map_err(Ending::Close)? {
            self.answer(&answer).await?;
        }
        Ok(())
    }

    /// Sends an answer, and those that are there already, in one flush.
    async fn answer(&mut self, answer: &ServerFrame) -> Result<(), Ending> {
        self.wire.feed_frame(answer).await?;
        while let Some(answer) = self.intake.answer().now_or_never() {
            self.wire.feed_frame(&answer).await?;
        }
        self.flush().await
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
        let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
        self.node.metrics.frames.inc_by(frames.len() as u64);
        self.node.metrics.frame_bytes.inc_by(bytes as u64);
        for frame in frames {
            self.wire.feed(frame).await?;
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        self.wire.flush().await?;
        self.beat.sent();
        Ok(())
    }

    /// Ends the socket when what it has asked for is answered, or after a while. Nothing new is taken.
    async fn finish(&mut self, code: CloseCode) -> Result<(), Ending> {
        let deadline = Instant::now() + FINISH_WAIT;
        while self.intake.is_busy() {
            match timeout_at(deadline, self.intake.answer()).await {
                Ok(answer) => self.answer(&answer).await?,
                Err(_) => break,
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
