//! Frames from one device: its commands are appended to the log in the order they came; read marks, renewals and
//! signals are handled; answers go back.

use std::sync::Arc;

use api::{ApiError, Caller};
use auth::{SessionId, SessionWatch};
use commands::Submitted;
use domain::{CommandId, ConversationId, Signal, UserId};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use process::command_seconds::MARK_KIND;
use process::{CommandTimer, TraceParent};
use protocol::{ClientFrame, CloseCode, CommandFrame, ErrorCode, ServerFrame};
use secret::Secret;

use crate::budget::{Budget, SIGNS_BURST, SIGNS_PER_SECOND};
use crate::hello::Guest;
use crate::metrics::{Metrics, SignalFate};
use crate::node::Node;
use crate::parse::parse;
use crate::signals::{SIGNALS_BURST, SIGNALS_PER_SECOND, Subscription};

/// Commands and read marks of one socket that are not answered yet. At the bound the node stops reading from the
/// socket.
pub const IN_FLIGHT_MAX: usize = 64;
/// Malformed or unknown frames of one socket. Beyond, it is closed with `Protocol`.
pub const MALFORMED_MAX: u32 = 10;

/// A device's intake.
pub(crate) struct Intake {
    node: Arc<Node>,
    user: UserId,
    /// The sign-in session of its token.
    session: Option<SessionId>,
    /// The trace of the upgrade request, parent of the commands' traces.
    trace: TraceParent,
    budget: Budget,
    /// The budget of pings and pongs, those of the websocket and those of the protocol.
    signs: Budget,
    /// The budget of signals.
    moments: Budget,
    /// The socket's subscription to signals, if it asked for them.
    signals: Option<Arc<Subscription>>,
    malformed: u32,
    /// The command that is being checked and handed to the log. The next one waits for it, so that commands keep
    /// their order.
    submitting: Option<BoxFuture<'static, Result<(Submitted, CommandTimer), ServerFrame>>>,
    /// The answers that are outstanding.
    flying: FuturesUnordered<BoxFuture<'static, ServerFrame>>,
}

impl Intake {
    pub(crate) fn new(node: Arc<Node>, guest: &Guest, signals: Option<Arc<Subscription>>, trace: TraceParent) -> Self {
        let budget = Budget::new(node.config.burst, node.config.rate);
        Self {
            user: guest.user,
            session: guest.session.as_ref().map(SessionWatch::session),
            node,
            trace,
            budget,
            signs: Budget::new(SIGNS_BURST, SIGNS_PER_SECOND),
            moments: Budget::new(SIGNALS_BURST, SIGNALS_PER_SECOND),
            signals,
            malformed: 0,
            submitting: None,
            flying: FuturesUnordered::new(),
        }
    }

    /// Whether the node may read another frame now.
    pub(crate) fn is_open(&self) -> bool {
        self.submitting.is_none() && self.flying.len() < IN_FLIGHT_MAX
    }

    /// Whether an answer is outstanding.
    pub(crate) fn is_busy(&self) -> bool {
        self.submitting.is_some() || !self.flying.is_empty()
    }

    /// Handles a text from the device. Returns the answer, if there is one at once.
    pub(crate) fn take(&mut self, text: &str) -> Result<Option<ServerFrame>, CloseCode> {
        let frame = match parse(text) {
            Ok(frame) => frame,
            Err(refusal) => return self.count_malformed(refusal).map(Some),
        };
        match frame {
            ClientFrame::Pong {} => self.take_sign()?,
            ClientFrame::Renew { token } => {
                if !self.budget.spend() {
                    return Ok(Some(self.rate_limited(None, None)));
                }
                self.renew(token);
            }
            ClientFrame::Typing { conversation, doing, thread } => {
                if self.moments.spend() {
                    let (user, doing) = (self.user, doing.unwrap_or_default().into());
                    self.node.signals.typing(Signal::Typing { conversation, user, doing, thread });
                } else {
                    self.node.metrics.signal(SignalFate::TooOften);
                }
            }
            ClientFrame::Presence { status } => self.moment(|signals| signals.says(status.into())),
            ClientFrame::Watch { users } => self.moment(|signals| signals.watch(&users)),
            ClientFrame::Hello { .. } => {
                let words = "'hello' is the first frame, and only that";
                let refusal = ApiError::new(ErrorCode::UnknownFrame, words);
                return self.count_malformed(error(None, None, refusal)).map(Some);
            }
            ClientFrame::Mark { conversation, seq } => {
                if !self.budget.spend() {
                    return Ok(Some(self.rate_limited(None, Some(conversation))));
                }
                let (node, user) = (Arc::clone(&self.node), self.user);
                let timer = node.metrics.command_seconds.begin(MARK_KIND);
                self.flying.push(Box::pin(async move {
                    let marked = node.commands.mark(user, conversation, seq).await;
                    timer.answered(marked.as_ref().err().map(|refusal| refusal.code));
                    match marked {
                        Ok(seq) => acknowledged(&node.metrics, ServerFrame::MarkAck { conversation, seq }),
                        Err(refusal) => refused(&node.metrics, None, Some(conversation), refusal),
                    }
                }));
            }
            ClientFrame::Command(command) => {
                if !self.budget.spend() {
                    return Ok(Some(self.rate_limited(Some(command.id), command.conversation)));
                }
                self.submit(command);
            }
        }
        Ok(None)
    }

    /// The next answer; never resolves while none is outstanding. Cancel safe.
    pub(crate) async fn answer(&mut self) -> ServerFrame {
        loop {
            tokio::select! {
                biased;
                Some(answer) = self.flying.next() => return answer,
                submitted = async { self.submitting.as_mut().expect("guarded").await }, if self.submitting.is_some() => {
                    self.submitting = None;
                    match submitted {
                        Ok((submitted, timer)) => self.fly(submitted, timer),
                        Err(refusal) => return refusal,
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Charges a frame about presence, and hands it on if the device has asked for signals.
    fn moment(&mut self, hand_on: impl FnOnce(&Subscription)) {
        match &self.signals {
            _ if !self.moments.spend() => self.node.metrics.signal(SignalFate::TooOften),
            None => self.node.metrics.signal(SignalFate::NotAsked),
            Some(signals) => hand_on(signals),
        }
    }

    /// Charges a ping or pong. A device that floods the node with them is closed with `Protocol`.
    pub(crate) fn take_sign(&mut self) -> Result<(), CloseCode> {
        if self.signs.spend() { Ok(()) } else { Err(CloseCode::Protocol) }
    }

    /// Verifies a new token for this socket. The result is the answer; a renewed expiry takes effect when the
    /// answer is sent.
    fn renew(&mut self, token: Secret) {
        let (node, user, session) = (Arc::clone(&self.node), self.user, self.session);
        self.flying.push(Box::pin(async move {
            match Caller::from_token(&node.verifier, token.expose()).await {
                Ok(caller) if caller.user == user && caller.session == session => {
                    acknowledged(&node.metrics, ServerFrame::Renewed { until: caller.expires_ms })
                }
                Ok(_) => {
                    let words = "the token is of another session: open a socket of its own with it";
                    refused(&node.metrics, None, None, ApiError::new(ErrorCode::Invalid, words))
                }
                Err(refusal) => refused(&node.metrics, None, None, refusal),
            }
        }));
    }

    fn submit(&mut self, command: CommandFrame) {
        let (id, conversation) = (command.id, command.conversation);
        let (node, user) = (Arc::clone(&self.node), self.user);
        let trace = self.trace.child(&node.entropy).to_string();
        let timer = node.metrics.command_seconds.begin(command.what.name());
        self.submitting = Some(Box::pin(async move {
            match node.commands.submit(user, command, Some(&trace)).await {
                Ok(submitted) => Ok((submitted, timer)),
                Err(refusal) => {
                    timer.answered(Some(refusal.code));
                    Err(refused(&node.metrics, Some(id), conversation, refusal))
                }
            }
        }));
    }

    fn fly(&mut self, submitted: Submitted, timer: CommandTimer) {
        let (id, conversation, node) = (submitted.id, submitted.conversation, Arc::clone(&self.node));
        self.flying.push(Box::pin(async move {
            let logged = submitted.logged().await;
            timer.answered(logged.as_ref().err().map(|refusal| refusal.code));
            match logged {
                Ok(_) => acknowledged(&node.metrics, ServerFrame::Ack { id, conversation }),
                Err(refusal) => refused(&node.metrics, Some(id), Some(conversation), refusal),
            }
        }));
    }

    fn rate_limited(&self, id: Option<CommandId>, conversation: Option<ConversationId>) -> ServerFrame {
        self.node.metrics.answered(Some(ErrorCode::RateLimited));
        let words = "too many commands: wait a second, then send it again";
        error(id, conversation, ApiError::new(ErrorCode::RateLimited, words))
    }

    fn count_malformed(&mut self, refusal: ServerFrame) -> Result<ServerFrame, CloseCode> {
        self.malformed += 1;
        if self.malformed > MALFORMED_MAX { Err(CloseCode::Protocol) } else { Ok(refusal) }
    }
}

fn acknowledged(metrics: &Metrics, frame: ServerFrame) -> ServerFrame {
    metrics.answered(None);
    frame
}

/// A refusal as an error frame. Its cause is logged here, once, and is not sent.
fn refused(
    metrics: &Metrics,
    id: Option<CommandId>,
    conversation: Option<ConversationId>,
    refusal: ApiError,
) -> ServerFrame {
    metrics.answered(Some(refusal.code));
    match &refusal.cause {
        Some(cause) if refusal.code.status() >= 500 => {
            tracing::warn!(code = ?refusal.code, error = %cause, "command failed");
        }
        _ => tracing::debug!(code = ?refusal.code, "command refused"),
    }
    error(id, conversation, refusal)
}

fn error(id: Option<CommandId>, conversation: Option<ConversationId>, refusal: ApiError) -> ServerFrame {
    let retry_after = refusal.known_after_s();
    ServerFrame::Error { id, conversation, code: refusal.code, message: refusal.message, retry_after }
}
