//! The rules that a device must follow (`schemas/PROTOCOL.md`), without I/O: frames and HTTP answers go in,
//! outputs come out.
//!
//! In each conversation, a frame is processed only if its seq is higher than the highest seen before. A command is
//! sent again, under the same id, until its fate is known. Syncing is in `sync.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use domain::{CommandId, ConversationId, Cursor, Doing, Seq, TYPING_EVERY, UserId, WATCHED_MAX};
use protocol::{
    ClientFrame, CommandFrame, CommandKind, DoingName, ErrorCode, FeedFrame, FeedKind, OutcomeBody, OutcomeState,
    OwnStatus, Received, ServerFrame, StandsName,
};
use tokio::time::Instant;

use crate::error::ClientError;
use crate::state::DeviceState;
use crate::sync::{Resync, Syncing};
use crate::tracked::{AGAIN_AFTER, ASK_AFTER, RESEND_AFTER, Tracked, is_passing};
use crate::wire::Inbound;
use crate::{ClientEvent, Fate};

/// Commands that may be open at once. At the bound new ones are refused with [`ClientError::TooManyOpen`].
pub(crate) const OPEN_COMMANDS_MAX: usize = 1000;
/// Refused commands that are kept, so that their outcome is asked for after a reset. Beyond, the oldest ids are
/// forgotten.
const REFUSED_KEPT_MAX: usize = 100;

/// Work and events that the device gives to its runner, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    Event(ClientEvent),
    Send(ClientFrame),
    /// Ask for the outcome of a command.
    Ask(Asking),
    /// Request the sync list; the answer is passed to [`Device::synced`] with this number.
    Sync(u64),
    /// Close the socket and connect again, for this reason.
    Drop(&'static str),
}

/// A request for a command's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) conversation: ConversationId,
    pub(crate) id: CommandId,
    /// The device's `stretch` when it was asked: an answer from before a reset is ignored after it.
    stretch: u64,
}

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) user: UserId,
    pub(crate) state: DeviceState,
    /// Whether there is a socket that was welcomed.
    pub(crate) connected: bool,
    /// The sync after a reset, while it lasts.
    pub(crate) syncing: Option<Syncing>,
    /// The repeated syncs for conversations that could not be synced.
    pub(crate) resync: Resync,
    /// The number of the latest sync request; answers to earlier ones are ignored as outdated.
    pub(crate) syncs: u64,
    /// How often the feed was interrupted: by a lost socket, or by a reset on an open one.
    stretch: u64,
    /// When it last sent `typing` for a conversation; only times within the last `TYPING_EVERY`.
    typed: BTreeMap<ConversationId, Instant>,
    /// How present the user is here, if the application has said so; said again on each new socket.
    status: Option<OwnStatus>,
    /// Whose presence is shown; asked for again on each new socket.
    watched: Vec<UserId>,
    /// Frames that the filter dropped.
    pub(crate) filtered: u64,
    /// How often a command was refused for now, by code.
    pub(crate) put_off: BTreeMap<ErrorCode, u64>,
    pub(crate) out: VecDeque<Output>,
}

impl Device {
    /// A device of `user` with its saved state. Another user's state is ignored.
    pub(crate) fn new(user: UserId, state: DeviceState) -> Self {
        let state = if state.user.is_some_and(|other| other != user) { DeviceState::default() } else { state };
        let mut device = Self {
            user,
            state: DeviceState { user: Some(user), ..state },
            connected: false,
            syncing: None,
            resync: Resync::default(),
            syncs: 0,
            stretch: 0,
            typed: BTreeMap::new(),
            filtered: 0,
            put_off: BTreeMap::new(),
            status: None,
            watched: Vec::new(),
            out: VecDeque::new(),
        };
        // A copy in memory remembers requests whose answers another device waits for.
        device.forget_asked();
        device
    }

    /// The first frame on a new socket. It has no token, because the upgrade request has it.
    pub(crate) fn hello(&self) -> ClientFrame {
        let cursor = self.state.cursor.map(|cursor| cursor.to_string());
        let user = cursor.is_some().then_some(self.user);
        ClientFrame::Hello { token: None, user, cursor, batch: Some(true), signals: Some(true) }
    }

    /// The user's partition, as the stored cursor names it.
    pub(crate) fn partition(&self) -> Option<u32> {
        Some(self.state.cursor?.partition)
    }

    /// Accepts a command, to be sent until its fate is known. A `Withdraw` replaces the command with its id.
    ///
    /// # Errors
    /// When the command is malformed or too many are open.
    pub(crate) fn submit(&mut self, command: CommandFrame, now: Instant) -> Result<ConversationId, ClientError> {
        let id = command.id;
        let parsed = command.clone().into_action(self.user).map_err(ClientError::Malformed)?;
        let conversation = parsed.1;
        if self.state.open_commands() >= OPEN_COMMANDS_MAX {
            return Err(ClientError::TooManyOpen);
        }
        let (copies, sends) = self.state.commands.get(&id).map_or((0, 0), |earlier| (earlier.copies, earlier.sends));
        let tracked = Tracked { copies, sends, ..Tracked::new(command, conversation) };
        self.state.commands.insert(id, tracked);
        if self.connected {
            self.send_command(id, now);
        }
        Ok(conversation)
    }

    /// The user is typing. Sends `typing` at most as often as the server accepts it, and only while connected.
    pub(crate) fn typing(
        &mut self,
        conversation: ConversationId,
        doing: Doing,
        thread: Option<CommandId>,
        now: Instant,
    ) {
        self.typed.retain(|_, at| *at + TYPING_EVERY > now);
        if self.connected && !self.typed.contains_key(&conversation) {
            self.typed.insert(conversation, now);
            let doing = Some(doing.into()).filter(|doing: &DoingName| !doing.is_text());
            self.out.push_back(Output::Send(ClientFrame::Typing { conversation, doing, thread }));
        }
    }

    /// How present the user is at this device.
    pub(crate) fn present(&mut self, status: OwnStatus) {
        self.status = Some(status);
        if self.connected {
            self.out.push_back(Output::Send(ClientFrame::Presence { status }));
        }
    }

    /// Whose presence is shown from now on; beyond [`WATCHED_MAX`] nobody's.
    pub(crate) fn watch(&mut self, mut users: Vec<UserId>) {
        users.truncate(WATCHED_MAX);
        if users != self.watched && self.connected {
            self.out.push_back(Output::Send(ClientFrame::Watch { users: users.clone() }));
        }
        self.watched = users;
    }

    /// Says on a new socket what the one before was told.
    fn say_presence(&mut self) {
        if let Some(status) = self.status {
            self.out.push_back(Output::Send(ClientFrame::Presence { status }));
        }
        if !self.watched.is_empty() {
            self.out.push_back(Output::Send(ClientFrame::Watch { users: self.watched.clone() }));
        }
    }

    /// The socket was lost.
    pub(crate) fn disconnected(&mut self) {
        self.connected = false;
        self.syncing = None;
        self.resync = Resync::default();
        self.syncs += 1;
        self.state.marks.disconnected();
        self.forget_asked();
    }

    /// Ignores the answers to outstanding requests for outcomes, so that they are asked again.
    pub(crate) fn forget_asked(&mut self) {
        self.stretch += 1;
        self.state.commands.values_mut().for_each(|tracked| tracked.asking = false);
    }

    /// Handles a frame from the server.
    pub(crate) fn receive(&mut self, inbound: Inbound, now: Instant) {
        match inbound {
            Inbound::Server(ServerFrame::Welcome { cursor, reset, partition, .. }) => {
                self.connected = true;
                self.say_presence();
                self.event(ClientEvent::Connected { partition });
                match reset {
                    None => {
                        self.state.cursor = Some(cursor);
                        self.resume(now);
                    }
                    Some(reason) => self.begin_sync(cursor, reason),
                }
            }
            Inbound::Server(ServerFrame::Ack { id, .. }) => {
                if let Some(tracked) = self.state.commands.get_mut(&id) {
                    (tracked.acked, tracked.due) = (true, Some(now + ASK_AFTER));
                }
                self.event(ClientEvent::Logged { id });
            }
            Inbound::Server(ServerFrame::MarkAck { conversation, seq }) => {
                self.state.marks.acked(conversation);
                self.event(ClientEvent::Marked { conversation, seq });
            }
            Inbound::Server(ServerFrame::Error { id: Some(id), code, message, retry_after, .. }) => {
                self.not_taken(id, (code, message), retry_after, now);
            }
            Inbound::Server(ServerFrame::Error { conversation: Some(conversation), code, .. }) => {
                let again = is_passing(code).then(|| now + AGAIN_AFTER);
                self.state.marks.failed(conversation, again);
            }
            Inbound::Server(ServerFrame::Error { code, message, .. }) => {
                tracing::warn!(?code, message, "the server did not understand a frame");
            }
            Inbound::Server(ServerFrame::Ping { cursor }) => {
                self.out.push_back(Output::Send(ClientFrame::Pong {}));
                self.pass(cursor);
            }
            Inbound::Server(ServerFrame::Renewed { until }) => tracing::debug!(until, "token renewed"),
            Inbound::Server(ServerFrame::Batch { .. }) => {} // the parser returns `Inbound::Batch` instead
            // A welcome that was not understood may have had a reset: storing its cursor would leave a gap.
            Inbound::Passed(_) if !self.connected => self.out.push_back(Output::Drop("the first frame was no welcome")),
            Inbound::Passed(cursor) => self.pass(cursor),
            Inbound::Feed(received) => self.take_or_buffer(*received, now),
            Inbound::Batch(cursor, frames) => self.take_batch(cursor, frames, now),
            // A signal changes no stored state, so it need not wait for a sync.
            Inbound::Signal(signal) => self.event(ClientEvent::Signal(signal)),
            Inbound::Unknown => {}
        }
    }

    /// After a welcome without a reset: sends every command again that is not known to be in the log, and asks for
    /// outcomes that an earlier reset made doubtful.
    pub(crate) fn resume(&mut self, now: Instant) {
        for tracked in self.state.commands.values_mut() {
            tracked.due = (tracked.acked && !tracked.doubtful).then(|| now + ASK_AFTER);
        }
        self.on_time(now);
    }

    /// Sends or asks whatever is due.
    pub(crate) fn on_time(&mut self, now: Instant) {
        if !self.connected || self.syncing.is_some() {
            return;
        }
        let due = self.state.commands.iter().filter(|(_, tracked)| tracked.due(now).is_some_and(|due| due <= now));
        let due: Vec<(CommandId, bool)> = due.map(|(id, tracked)| (*id, tracked.is_asked_for())).collect();
        for (id, asked_for) in due {
            if asked_for { self.ask(id) } else { self.send_command(id, now) }
        }
        for (conversation, seq) in self.state.marks.send(now) {
            self.out.push_back(Output::Send(ClientFrame::Mark { conversation, seq }));
        }
        self.resync_if_due(now);
    }

    /// The time at which something is due next.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.connected || self.syncing.is_some() {
            return None;
        }
        let commands = self.state.commands.values().filter_map(|tracked| tracked.due(now)).min();
        [commands, self.state.marks.due(now), self.resync_due(now)].into_iter().flatten().min()
    }

    fn send_command(&mut self, id: CommandId, now: Instant) {
        let Some(tracked) = self.state.commands.get_mut(&id) else { return };
        (tracked.acked, tracked.due) = (false, Some(now + RESEND_AFTER));
        tracked.copies = tracked.copies.saturating_add(1);
        tracked.sends = tracked.sends.saturating_add(1);
        let command = tracked.command.clone();
        self.out.push_back(Output::Send(ClientFrame::Command(command)));
    }

    fn ask(&mut self, id: CommandId) {
        let Some(tracked) = self.state.commands.get_mut(&id) else { return };
        if !tracked.asking {
            tracked.asking = true;
            let asking = Asking { conversation: tracked.conversation, id, stretch: self.stretch };
            self.out.push_back(Output::Ask(asking));
        }
    }

    /// An error answered a copy of the command: it was not appended (with `unknown`, it may have been).
    fn not_taken(
        &mut self,
        id: CommandId,
        (code, message): (ErrorCode, String),
        retry_after_s: Option<u32>,
        now: Instant,
    ) {
        let Some(tracked) = self.state.commands.get_mut(&id) else { return };
        if code != ErrorCode::Unknown {
            tracked.copies = tracked.copies.saturating_sub(1);
        }
        if is_passing(code) {
            *self.put_off.entry(code).or_default() += 1;
            let again = retry_after_s.map_or(AGAIN_AFTER, |seconds| Duration::from_secs(u64::from(seconds)));
            tracked.due = Some(now + again.max(AGAIN_AFTER));
        } else if tracked.copies == 0 || (tracked.is_given_up() && code == ErrorCode::NotMember) {
            // `not_member` for a withdrawal: a user who was never a member cannot have an accepted copy in the
            // log.
            self.rejected(id, code, message);
        } else if tracked.is_given_up() {
            // The withdrawal is refused for now. It is sent again until it is accepted, but after a pause.
            tracked.due = Some(now + ASK_AFTER);
        } else {
            // An earlier copy may have been accepted: only the outcome can tell.
            tracked.rejected = Some((code, message));
            self.ask(id);
        }
    }

    fn rejected(&mut self, id: CommandId, code: ErrorCode, message: String) {
        if let Some(Tracked { conversation, sends, .. }) = self.state.commands.remove(&id) {
            self.event(ClientEvent::Fate { id, conversation, fate: Fate::Rejected { code, message }, sends });
        }
    }

    /// The answer to [`Output::Ask`].
    pub(crate) fn outcome(&mut self, asked: Asking, answer: Result<OutcomeBody, ClientError>, now: Instant) {
        let Some(tracked) = self.state.commands.get_mut(&asked.id) else { return };
        if asked.stretch != self.stretch {
            return;
        }
        let id = asked.id;
        tracked.asking = false;
        match answer {
            Ok(OutcomeBody { outcome: OutcomeState::Settled, seq, stands, .. }) => {
                let (seq, stands) = (seq.unwrap_or_default(), stands.unwrap_or(StandsName::Command));
                self.stands(id, seq, stands);
            }
            Ok(OutcomeBody { outcome: OutcomeState::Refused, seq, code, message, .. })
                if tracked.rejected.is_none() =>
            {
                (tracked.doubtful, tracked.due) = (false, None);
                let reason = code.unwrap_or(ErrorCode::Other);
                self.refused(id, seq.unwrap_or_default(), reason, message.unwrap_or_default());
            }
            Ok(OutcomeBody { outcome: OutcomeState::Absent | OutcomeState::Refused, .. }) => {
                // An earlier copy may still reach the log and be accepted: only a withdrawal makes the rejection
                // of the later copy final.
                if tracked.rejected.is_some() {
                    tracked.command = CommandFrame::new(id, tracked.conversation, CommandKind::Withdraw {});
                }
                // It is sent again under the same id, unless the reducer has refused it: then it stays refused.
                (tracked.acked, tracked.doubtful, tracked.due) = (false, false, None);
            }
            // Whatever the code: that the request was refused says nothing about the command, which may have been
            // accepted.
            Err(error) => {
                tracing::debug!(%error, "outcome not known yet");
                tracked.due = Some(now + error.retry_after().unwrap_or(ASK_AFTER));
            }
        }
    }

    fn pass(&mut self, cursor: Cursor) {
        match &mut self.syncing {
            Some(syncing) => syncing.passed(cursor),
            None => self.state.cursor = Some(cursor),
        }
    }

    /// The whole batch at once: a state with the batch's cursor must have the changes of all its frames.
    fn take_batch(&mut self, cursor: Cursor, frames: Vec<Option<FeedFrame>>, now: Instant) {
        for frame in frames {
            match frame {
                Some(frame) => self.take_or_buffer(Received { cursor, frame }, now),
                None => self.pass(cursor),
            }
        }
    }

    fn take_or_buffer(&mut self, received: Received, now: Instant) {
        match &mut self.syncing {
            None => self.take(received, now),
            Some(syncing) => {
                if !syncing.buffer(received) {
                    self.out.push_back(Output::Drop("too many frames came during the sync"));
                }
            }
        }
    }

    /// Processes a feed frame that is not held back by a sync: filters it, and reports it.
    pub(crate) fn take(&mut self, received: Received, now: Instant) {
        let Received { cursor, frame } = received;
        self.state.cursor = Some(cursor);
        let Some((conversation, seq)) = frame.event_key() else {
            return self.event(ClientEvent::Feed(Box::new(frame)));
        };
        if self.is_unsynced(conversation) {
            if self.state.unsynced.insert(conversation) {
                self.resync.found_another(now);
            }
            self.evidence(&frame);
            return self.resync.keep(conversation, seq, frame);
        }
        if self.state.highest.get(&conversation).is_some_and(|highest| seq <= *highest) {
            self.filtered += 1;
            return;
        }
        self.state.highest.insert(conversation, seq);
        self.evidence(&frame);
        self.event(ClientEvent::Feed(Box::new(frame)));
    }

    /// Updates the device's own commands from what a frame says about them.
    fn evidence(&mut self, frame: &FeedFrame) {
        match frame {
            FeedFrame::Event { id, author, seq, what, .. } if *author == self.user => {
                let stands = match what {
                    FeedKind::Message { .. } => StandsName::Message,
                    FeedKind::Withdrawn {} => StandsName::Withdrawal,
                    _ => StandsName::Command,
                };
                self.stands(*id, *seq, stands);
            }
            FeedFrame::Settled { id, first_seq, stands, .. } => self.stands(*id, *first_seq, *stands),
            FeedFrame::Refused { id, seq, reason, message, .. } => self.refused(*id, *seq, *reason, message.clone()),
            FeedFrame::Event { .. } | FeedFrame::Read { .. } | FeedFrame::Account { .. } => {}
        }
    }

    fn stands(&mut self, id: CommandId, seq: Seq, stands: StandsName) {
        if let Some(Tracked { conversation, rejected, sends, .. }) = self.state.commands.remove(&id) {
            let fate = match rejected {
                // It was withdrawn because of that rejection, which says more than the withdrawal.
                Some((code, message)) if stands == StandsName::Withdrawal => Fate::Rejected { code, message },
                _ => Fate::Stands { seq, stands },
            };
            self.event(ClientEvent::Fate { id, conversation, fate, sends });
        }
    }

    fn refused(&mut self, id: CommandId, seq: Seq, reason: ErrorCode, message: String) {
        let Some(tracked) = self.state.commands.get_mut(&id) else { return };
        if tracked.refused.is_some_and(|(other, _)| seq <= other) {
            return;
        }
        tracked.refused = Some((seq, reason));
        let (conversation, sends) = (tracked.conversation, tracked.sends);
        self.event(ClientEvent::Fate { id, conversation, fate: Fate::Refused { seq, reason, message }, sends });
        let refused = self.state.commands.iter().filter(|(_, tracked)| !tracked.is_open());
        let refused: Vec<CommandId> = refused.map(|(id, _)| *id).collect();
        for oldest in refused.iter().take(refused.len().saturating_sub(REFUSED_KEPT_MAX)) {
            self.state.commands.remove(oldest);
        }
    }

    pub(crate) fn event(&mut self, event: ClientEvent) {
        self.out.push_back(Output::Event(event));
    }
}
