//! The task of a device: connects, resumes or syncs, sends what is due, receives frames, and starts again when the
//! connection ends.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::{CommandId, ConversationId, Cursor};
use protocol::{ClientFrame, ErrorCode, FeedFrame, FeedKind, ServerFrame};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::calls::Done;
use super::fates::is_later;
use super::http::{Failed, Http};
use super::inbound::{Fed, Inbound};
use super::link::{End, Link, Then};
use super::renewal::Renewal;
use super::{Memory, Route, Sent, Shared, Stamps};

/// The longest that the answer to `hello` may take; a node decides about a cursor sooner.
const WELCOME_WITHIN: Duration = Duration::from_secs(30);
/// Time without an answer after which a command is sent again, or its outcome is requested.
const PATIENCE: Duration = Duration::from_secs(6);
/// Pause after an answer that asks to retry later.
const LATER: Duration = Duration::from_millis(800);
/// Outcomes and conversations that are read at the same time, beside a sync. If everything that a reset leaves open
/// were requested at once, most requests would be refused with "later" again and again, and keep a server busy with
/// nothing else.
const READS_AT_ONCE: usize = 4;
/// Pause before a read for which no permit was free is tried again.
const NEXT_READ: Duration = Duration::from_millis(50);
/// Back-off between attempts to connect: the first, and the maximum that doubling leads to.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(1000));
/// How long after its welcome a device moves that was asked to, times a number from 1 to 10.
const MOVE_AFTER: Duration = Duration::from_millis(100);
/// A connection ends after a silence of so many ping intervals.
const SILENT_PINGS_MAX: u32 = 3;

/// A device's task.
pub(super) struct Runner {
    number: usize,
    http: Arc<Http>,
    shared: Arc<Shared>,
    stamps: Stamps,
    calls: JoinSet<Done>,
    reads: Arc<Semaphore>,
    /// Number of connections begun.
    connections: u32,
    /// Number of syncs begun.
    syncs: u32,
    /// Number of attempts to connect since the last success.
    attempts: u32,
    /// When each unacknowledged read mark is sent next.
    marks_due: BTreeMap<ConversationId, Instant>,
    /// When each conversation is read again next; `None` while it is being read.
    rereads_due: BTreeMap<ConversationId, Option<Instant>>,
}

/// A sync in progress: its cursor is stored only when it is complete, and frames wait until then.
struct Syncing {
    cursor: Cursor,
    waiting: Vec<Fed>,
    call: AbortHandle,
}

/// A connection.
struct Session {
    link: Link,
    syncing: Option<Syncing>,
    heard: Instant,
    silence_max: Duration,
    renewal: Renewal,
    /// When the device moves to the node of its partition, once it is in sync.
    move_at: Option<Instant>,
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.call.abort();
    }
}

impl Runner {
    pub(super) fn new(number: usize, http: Arc<Http>, shared: Arc<Shared>, stamps: Stamps) -> Self {
        Self {
            number,
            http,
            shared,
            stamps,
            calls: JoinSet::new(),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            connections: 0,
            syncs: 0,
            attempts: 0,
            marks_due: BTreeMap::new(),
            rereads_due: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let end = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                end = self.life() => end,
            };
            self.ended(&end);
            if end.then == Then::Stop {
                self.shared.memory().journal.stopped = Some(end.why);
                return;
            }
            if end.then == Then::Renew {
                self.http.distrust().await;
            }
            let pause = (BACKOFF.0 * 2_u32.pow(self.attempts.min(6))).min(BACKOFF.1);
            self.attempts += 1;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// One connection from its beginning to its end.
    async fn life(&mut self) -> End {
        while self.shared.wish().away {
            self.shared.wake.notified().await;
        }
        self.shared.wish().drop = false;
        self.connections += 1;
        let mut session = match self.begin().await {
            Ok(session) => session,
            Err(end) => return end,
        };
        loop {
            if let Err(end) = self.step(&mut session).await {
                return end;
            }
        }
    }

    async fn begin(&mut self) -> Result<Session, End> {
        let nodes = &self.http.endpoints().sockets;
        let node = &nodes[(self.number + self.connections as usize) % nodes.len()];
        let cursor = self.shared.memory().kept.cursor;
        let routed = cursor.map(|cursor| cursor.partition);
        let (mut link, token) = Link::open(&self.http, node, routed, self.number.is_multiple_of(2)).await?;
        self.shared.memory().journal.upgraded_at.push(Instant::now());
        let cursor = cursor.map(|cursor| cursor.to_string());
        // Half of the devices ask for batches, so that both forms of the feed are tested.
        let batch = (self.number / 2).is_multiple_of(2).then_some(true);
        let signals = (self.number / 2 + self.connections as usize).is_multiple_of(2);
        self.shared.memory().opens(signals);
        link.send(&ClientFrame::Hello { token, cursor, user: None, batch, signals: signals.then_some(true) }).await?;
        let text = timeout(WELCOME_WITHIN, link.next()).await.map_err(|_| End::again("no welcome in time"))??;
        let welcome = serde_json::from_str(&text).map_err(|_| End::again(format!("not a welcome: {text}")))?;
        let ServerFrame::Welcome { cursor, user, reset, ping_ms, partition, r#move } = welcome else {
            return Err(End::again(format!("not a welcome: {text}")));
        };
        let mut memory = self.shared.memory();
        if user != memory.user {
            return Err(End { why: "welcomed as somebody else".into(), then: Then::Stop });
        }
        memory.journal.connects += 1;
        let moves = r#move == Some(true) && routed != Some(partition);
        memory.journal.moves += u32::from(moves);
        memory.live = reset.is_none();
        drop(memory);
        let syncing = reset.map(|reason| self.begin_sync(cursor, reason));
        self.attempts = 0;
        let silence_max = Duration::from_millis(ping_ms) * SILENT_PINGS_MAX;
        let renewal = Renewal::of(link.renew_at);
        // Not all in the same moment.
        let after = MOVE_AFTER * (u32::try_from(self.number % 10).unwrap_or(0) + 1);
        let move_at = moves.then(|| Instant::now() + after);
        Ok(Session { link, syncing, heard: Instant::now(), silence_max, renewal, move_at })
    }

    /// Begins a sync, because the feed cannot be resumed from the device's cursor.
    fn begin_sync(&mut self, cursor: Cursor, reason: String) -> Syncing {
        let mut memory = self.shared.memory();
        memory.live = false;
        memory.journal.resets.push(reason);
        drop(memory);
        self.syncs += 1;
        let (http, number) = (Arc::clone(&self.http), self.syncs);
        let call = self.calls.spawn(async move {
            let (page, rows) = http.sync().await;
            Done::Synced(number, page, rows)
        });
        Syncing { cursor, waiting: Vec::new(), call }
    }

    async fn step(&mut self, session: &mut Session) -> Result<(), End> {
        self.send_due(session).await?;
        let silent_at = session.heard + session.silence_max;
        if session.move_at.is_some_and(|at| at <= Instant::now()) && session.syncing.is_none() {
            return Err(End::again("moves"));
        }
        let move_at = session.move_at.filter(|_| session.syncing.is_none());
        let due = [self.next_due(), session.renewal.due(), move_at].into_iter().flatten().min();
        let wake_at = due.map_or(silent_at, |due| due.min(silent_at));
        tokio::select! {
            biased;
            Some(done) = self.calls.join_next(), if !self.calls.is_empty() => {
                if let Ok(done) = done {
                    self.done(session, done);
                }
            }
            () = self.shared.wake.notified() => {
                let wish = *self.shared.wish();
                if wish.drop || wish.go_back {
                    return Err(End::again("dropped by the test"));
                }
            }
            text = session.link.next() => {
                session.heard = Instant::now();
                return self.heard(session, &text?).await;
            }
            () = sleep_until(wake_at) => {
                if Instant::now() >= silent_at {
                    return Err(End::again("silence"));
                }
            }
        }
        Ok(())
    }

    /// Sends the frames and begins the calls that are due.
    async fn send_due(&mut self, session: &mut Session) -> Result<(), End> {
        if session.renewal.begins() {
            let http = Arc::clone(&self.http);
            self.calls.spawn(async move { Done::Renewed(http.access().await) });
        }
        let moments = std::mem::take(&mut self.shared.memory().moments);
        for frame in session.renewal.take_frame().into_iter().chain(moments).chain(self.take_due()) {
            session.link.send(&frame).await?;
        }
        Ok(())
    }

    /// Begins the calls that are due, and returns the frames that are.
    fn take_due(&mut self) -> Vec<ClientFrame> {
        let now = Instant::now();
        let (mut frames, shared) = (Vec::new(), Arc::clone(&self.shared));
        let mut memory = shared.memory();
        let Memory { open, sends, kept, .. } = &mut *memory;
        open.retain(|id| match sends.get_mut(id) {
            Some(sent) if sent.due.is_some_and(|due| due <= now) => {
                frames.extend(self.take(*id, sent, now));
                // An outcome for which no permit was free is due again.
                sent.is_open() || sent.due.is_some()
            }
            Some(_) => true,
            None => false,
        });
        for (conversation, seq) in &kept.unacked {
            if self.marks_due.get(conversation).is_none_or(|due| *due <= now) {
                self.marks_due.insert(*conversation, now + PATIENCE);
                frames.push(ClientFrame::Mark { conversation: *conversation, seq: *seq });
            }
        }
        for (conversation, seq) in &kept.rereads {
            let (conversation, seq) = (*conversation, *seq);
            let due = self.rereads_due.entry(conversation).or_insert(Some(now));
            if due.is_some_and(|due| due <= now) {
                let Ok(turn) = Arc::clone(&self.reads).try_acquire_owned() else {
                    *due = Some(now + NEXT_READ);
                    continue;
                };
                *due = None;
                let http = Arc::clone(&self.http);
                self.calls.spawn(async move {
                    let rows = http.history(conversation, Some(seq)).await;
                    drop(turn);
                    Done::Reread(conversation, seq, rows)
                });
            }
        }
        frames
    }

    /// Sends one command that is due, or requests its outcome. Returns the frame if it goes over the socket.
    fn take(&mut self, id: CommandId, sent: &mut Sent, now: Instant) -> Option<ClientFrame> {
        sent.due = None;
        let (http, conversation) = (Arc::clone(&self.http), sent.conversation);
        if sent.ask {
            let Ok(turn) = Arc::clone(&self.reads).try_acquire_owned() else {
                sent.due = Some(now + NEXT_READ);
                return None;
            };
            let open = sent.is_open();
            self.calls.spawn(async move {
                let outcome = http.outcome(conversation, id).await;
                drop(turn);
                Done::Outcome(id, open, outcome)
            });
            return None;
        }
        sent.copies += 1;
        if sent.at.is_none() {
            sent.at = Some(now);
            self.stamps.lock().unwrap_or_else(PoisonError::into_inner).insert(id, now);
        }
        let command = sent.command.clone();
        match sent.route {
            Route::Http => {
                self.calls.spawn(async move { Done::Command(id, http.command(command).await) });
                None
            }
            Route::Socket => {
                sent.due = sent.is_open().then_some(now + PATIENCE);
                Some(ClientFrame::Command(command))
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let memory = self.shared.memory();
        let sends = memory.open.iter().filter_map(|id| memory.sends.get(id)?.due);
        let marks = memory.kept.unacked.keys().filter_map(|conversation| self.marks_due.get(conversation).copied());
        let rereads = memory.kept.rereads.keys().filter_map(|conversation| *self.rereads_due.get(conversation)?);
        sends.chain(marks).chain(rereads).min()
    }

    async fn heard(&mut self, session: &mut Session, text: &str) -> Result<(), End> {
        let inbound = Inbound::parse(text)
            .map_err(|error| End { why: format!("a frame that is none ({error}): {text}"), then: Then::Stop })?;
        match inbound {
            Inbound::Signal(signal) => self.shared.memory().hear_signal(signal, session.heard),
            Inbound::Feed(fed) => match &mut session.syncing {
                Some(syncing) => syncing.waiting.push(fed),
                None => self.receive(&fed),
            },
            Inbound::Server(ServerFrame::Ping { cursor }) => {
                session.link.send(&ClientFrame::Pong {}).await?;
                // During a sync, the cursor is that of the sync, advanced by the frames that wait.
                if session.syncing.is_none() {
                    self.shared.memory().kept.cursor = Some(cursor);
                }
            }
            Inbound::Server(ServerFrame::Ack { id, .. }) => self.acked(id),
            Inbound::Server(ServerFrame::MarkAck { conversation, seq }) => {
                let mut memory = self.shared.memory();
                let acked = memory.journal.marks_acked.entry(conversation).or_insert(seq);
                *acked = (*acked).max(seq);
                if memory.kept.unacked.get(&conversation).is_some_and(|wanted| *wanted <= seq) {
                    memory.kept.unacked.remove(&conversation);
                }
            }
            Inbound::Server(ServerFrame::Error { id: Some(id), code, message, .. }) => self.error(id, code, &message),
            Inbound::Server(ServerFrame::Error { conversation: Some(conversation), code, .. }) => {
                let mut memory = self.shared.memory();
                *memory.journal.errors.entry(format!("mark: {code:?}")).or_default() += 1;
                if is_later(code) || code == ErrorCode::Unknown {
                    self.marks_due.insert(conversation, Instant::now() + LATER);
                } else {
                    memory.kept.unacked.remove(&conversation);
                }
            }
            Inbound::Server(ServerFrame::Renewed { .. }) => {
                session.renewal.confirmed();
                self.shared.memory().journal.renewals += 1;
            }
            // A reset on an open socket: the frames that waited belong to the sync before it.
            Inbound::Server(ServerFrame::Welcome { cursor, reset: Some(reason), .. }) => {
                session.syncing = Some(self.begin_sync(cursor, reason));
            }
            Inbound::Server(other) => {
                let why = format!("unexpected: {other:?}");
                *self.shared.memory().journal.errors.entry(why).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Applies all frames of one text together, so that a stored cursor never runs ahead of the stored frames.
    fn receive(&self, fed: &Fed) {
        let now = Instant::now();
        let mut memory = self.shared.memory();
        for frame in memory.receive(fed, now) {
            if let FeedFrame::Event { id, what: FeedKind::Message { .. }, .. } = frame
                && !memory.sends.contains_key(id)
            {
                let sent = self.stamps.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
                memory.journal.arrival_us.extend(sent.map(|sent| micros(now - sent)));
            }
        }
    }

    fn acked(&self, id: CommandId) {
        let now = Instant::now();
        let mut memory = self.shared.memory();
        let Some(sent) = memory.sends.get_mut(&id) else { return };
        sent.acks += 1;
        sent.permit = None;
        if sent.is_open() {
            // The command is in the log: its effect comes on the feed, or else the outcome is requested.
            (sent.due, sent.ask) = (Some(now + PATIENCE), true);
        }
        let first = (sent.acks == 1 && sent.copies == 1).then_some(sent.at).flatten();
        memory.journal.ack_us.extend(first.map(|at| micros(now - at)));
        memory.note(id, None);
    }

    fn error(&self, id: CommandId, code: ErrorCode, message: &str) {
        let now = Instant::now();
        let mut memory = self.shared.memory();
        let words = if code == ErrorCode::Internal { message } else { "" };
        *memory.journal.errors.entry(format!("{code:?} {words}")).or_default() += 1;
        let Some(sent) = memory.sends.get_mut(&id) else { return };
        sent.permit = None;
        if matches!(code, ErrorCode::Unknown | ErrorCode::Internal) {
            sent.due = sent.is_open().then_some(now + LATER);
        } else if is_later(code) {
            sent.copies = sent.copies.saturating_sub(1);
            (sent.due, sent.ask) = (Some(now + LATER), false);
        } else {
            sent.not_taken(code, now);
        }
        memory.note(id, None);
    }

    fn done(&mut self, session: &mut Session, done: Done) {
        let now = Instant::now();
        match done {
            Done::Synced(number, page, rows) => {
                let Some(mut syncing) = session.syncing.take_if(|_| number == self.syncs) else { return };
                let waiting = std::mem::take(&mut syncing.waiting);
                self.shared.memory().synced(&page, rows, syncing.cursor);
                for fed in waiting {
                    self.receive(&fed);
                }
                self.shared.memory().live = true;
            }
            Done::Outcome(id, open, answer) => {
                let mut memory = self.shared.memory();
                let Some(sent) = memory.sends.get_mut(&id) else { return };
                let contradiction = match answer {
                    Ok(outcome) => sent.outcome(&outcome, open, now),
                    Err(_) => {
                        (sent.due, sent.ask) = (Some(now + LATER), true);
                        None
                    }
                };
                memory.note(id, contradiction);
            }
            Done::Command(id, Ok(_)) => self.acked(id),
            Done::Command(id, Err(Failed::Refused(code, message))) => self.error(id, code, &message),
            Done::Command(id, Err(Failed::Unanswered(message))) => self.error(id, ErrorCode::Unknown, &message),
            Done::Renewed(answer) => session.renewal.answered(answer.ok()),
            Done::Reread(conversation, seq, answer) => {
                self.rereads_due.remove(&conversation);
                let mut memory = self.shared.memory();
                match answer {
                    Ok(rows) => memory.reread(conversation, seq, rows),
                    Err(_) => drop(self.rereads_due.insert(conversation, Some(now + LATER))),
                }
            }
        }
    }

    fn ended(&mut self, end: &End) {
        let now = Instant::now();
        self.marks_due.clear();
        let mut wish = self.shared.wish();
        let go_back = std::mem::take(&mut wish.go_back);
        drop(wish);
        let mut memory = self.shared.memory();
        let memory = &mut *memory;
        memory.live = false;
        *memory.journal.ends.entry(end.why.clone()).or_default() += 1;
        let saved = self.shared.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some(saved)) = (go_back, saved.as_ref()) {
            memory.kept = saved.clone();
        }
        // Commands that were written to the socket and not answered are sent again.
        for id in &memory.open {
            if let Some(sent) = memory.sends.get_mut(id)
                && sent.route == Route::Socket
                && sent.acks == 0
                && sent.due.is_some()
                && !sent.ask
            {
                sent.due = Some(now);
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
