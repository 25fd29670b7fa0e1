//! Checking a command and appending it to the log: the library that the HTTP API and the socket service both link.
//!
//! Checks here are advisory, for quick answers: a "no" from the store is final only once `applied` has passed a
//! watermark taken since the request came, and the conversation is not held; otherwise the command is appended and the
//! reducer decides at log order. A store that does not answer stops no command but those that take users in: whether
//! they have an account is looked up here, and written into the event.

mod allowance;
mod barrier;
mod checks;
mod invitations;
mod marks;
mod membership;
mod people;
mod quota;
mod watermark;

pub mod faults;

use std::sync::Arc;
use std::time::Duration;

use api::ApiError;
use bytes::Bytes;
use domain::{Action, CommandId, ConversationId, Event, Kind, MembershipSpans, Refusal, Seq, UserId};
use environment::Clock;
use environment::seeded_bugs::{Bug, seeded};
use eventlog::{AppendError, AppendReceipt, NewRecord, SharedLog};
use events::{Codec, HEADER_TRACE, topics};
use protocol::{Accepted, CommandFrame, ErrorCode};
use store::{Direction, Mark, Page, SharedStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use allowance::{Allowance, COMMANDS_BURST, COMMANDS_PER_SECOND, NAMES_PER_COMMAND};
pub use barrier::Barrier;
use invitations::Invitations;
pub use invitations::{INVITATIONS_BY_ONE_MAX, INVITATIONS_MAX, LEAVINGS_MAX};
use marks::MarkQueue;
pub use marks::{MARK_WINDOW, MarkWriter};
use membership::{Answer, Memberships};
use people::People;
use quota::Quota;
pub use quota::{
    WRITTEN_BYTES_BURST, WRITTEN_BYTES_PER_HOUR, WRITTEN_BYTES_PER_NAME, WRITTEN_BYTES_PER_RECIPIENT,
    WRITTEN_BYTES_PER_RECORD,
};

/// Commands of one process that are being checked or wait for the log. At the bound the answer is `busy`, at once.
const IN_FLIGHT_MAX: usize = 8192;
/// The longest that an acknowledgement is waited for: beyond what the engines wait themselves, so that a fault in one
/// cannot hold a permit for ever.
const LOGGED_WAIT: Duration = Duration::from_secs(12);
/// How long a mark waits for storage to pass its entry.
const MARK_APPLIED_WAIT: Duration = Duration::from_millis(200);
/// Bytes of a trace context that travels along; a W3C `traceparent` has 55.
const TRACE_BYTES_MAX: usize = 64;

/// Checks and appends commands. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    log: SharedLog,
    store: SharedStore,
    codec: Codec,
    clock: Clock,
    /// The version of the rules that events are made under.
    rules: u32,
    barrier: Barrier,
    memberships: Memberships,
    people: People,
    invitations: Invitations,
    quota: Quota,
    marks: MarkQueue,
    /// Places of commands in flight.
    permits: Arc<Semaphore>,
    allowance: Allowance,
}

/// A command that the log has taken into its queue.
#[derive(Debug)]
pub struct Submitted {
    /// The command.
    pub id: CommandId,
    /// Its conversation.
    pub conversation: ConversationId,
    receipt: AppendReceipt,
    /// Given back when the command's fate is known.
    _permit: OwnedSemaphorePermit,
}

impl Submitted {
    /// Waits until the command is durable in the log.
    ///
    /// # Errors
    /// `unknown` when that cannot be told in time.
    pub async fn logged(self) -> Result<Accepted, ApiError> {
        if seeded(Bug::AckBeforeLog) {
            return Ok(Accepted { id: self.id, conversation: self.conversation });
        }
        let fate = timeout(LOGGED_WAIT, self.receipt).await.unwrap_or(Err(AppendError::Unknown));
        fate.map_err(faults::of_append)?;
        Ok(Accepted { id: self.id, conversation: self.conversation })
    }
}

impl Commands {
    /// Commands that are appended to `log` under the `rules` of that version and checked against `store`; and the writer
    /// of their read marks, which the service runs as a task of its own and stops after its last caller.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore, codec: Codec, clock: Clock, rules: u32) -> (Self, MarkWriter) {
        let (marks, writer) = MarkWriter::new(SharedLog::clone(&log), codec.clone());
        let barrier = Barrier::new(SharedLog::clone(&log), SharedStore::clone(&store));
        let memberships = Memberships::new(SharedStore::clone(&store), barrier.clone());
        let people = People::new(SharedStore::clone(&store));
        let invitations = Invitations::new(SharedStore::clone(&store));
        let quota = Quota::new(SharedStore::clone(&store));
        let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let allowance = Allowance::default();
        let commands = Self {
            log,
            store,
            codec,
            clock,
            rules,
            barrier,
            memberships,
            people,
            invitations,
            quota,
            marks,
            permits,
            allowance,
        };
        (commands, writer)
    }

    /// Holds users to that allowance.
    #[must_use]
    pub fn within(self, allowance: Allowance) -> Self {
        Self { allowance, ..self }
    }

    /// The barrier between that log and that store.
    #[must_use]
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// Checks the command and hands it to the log. Of two calls that follow one another, the first one's event stands
    /// first, if both are of one conversation. Takes half a second at most, two more
    /// where users are taken in, and as long as the log's queue is full.
    ///
    /// `trace` is a W3C `traceparent`; another text is left out.
    ///
    /// # Errors
    /// Why the command was not appended: final for this copy (`unknown`: it may have been).
    pub async fn submit(
        &self,
        author: UserId,
        command: CommandFrame,
        trace: Option<&str>,
    ) -> Result<Submitted, ApiError> {
        self.allowance.take(author)?;
        let busy = |_| ApiError::new(ErrorCode::Busy, "too many commands are under way: try again");
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(busy)?;
        let parsed = command.into_action(author);
        let (id, conversation, action) = parsed.map_err(|message| ApiError::new(ErrorCode::Invalid, message))?;
        let now_ms = self.clock.now_ms();
        checks::check(id, author, &action, now_ms)?;
        self.allowance.take_for_names(author, action.about().taken_in.len())?;
        self.check_member(author, conversation, id, &action).await?;
        let looked_up = self.look_up(author, conversation, id, &action).await?;
        self.check_invited(author, conversation, id, &action).await?;
        // Last: what is refused is not written.
        self.quota.charge(author, conversation, &action).await?;
        let (received_ms, rules, key_id) = (now_ms, self.rules, None);
        let event = Event { id, conversation, author, received_ms, rules, key_id, looked_up, action };
        let enqueued = self.log.enqueue(topics::MESSAGES, self.record(&event, trace)).await;
        let receipt = enqueued.map_err(faults::of_enqueue)?;
        Ok(Submitted { id, conversation, receipt, _permit: permit })
    }

    /// Raises the user's read mark to the entry at `seq` (or the nearest entry before it) and waits until that is in
    /// the log; returns the entry's seq. Marks are coalesced to one per user and conversation in two seconds, so this
    /// may take that long.
    ///
    /// # Errors
    /// `not_member`, `held`, or `retry` when there is no such row yet; in doubt whether it was appended, `unknown`.
    pub async fn mark(&self, user: UserId, conversation: ConversationId, seq: Seq) -> Result<Seq, ApiError> {
        self.allowance.take(user)?;
        // Not by what is remembered: the answer tells what stands there.
        match self.memberships.check_anew(user, conversation).await {
            Answer::Member => {}
            Answer::Former | Answer::Stranger => return Err(faults::not_member()),
            Answer::Unsure if self.barrier.held(conversation).await? => return Err(faults::held()),
            Answer::Unsure => return Err(faults::retry()),
        }
        let mark = self.entry_at(conversation, seq).await?;
        // After the entry: whose membership ended before it is not told of it, nor is who joined after it.
        let row = self.store.user_conversation(user, conversation).await.map_err(faults::of_store)?;
        let row = row.filter(|row| row.role.is_some()).ok_or_else(faults::not_member)?;
        let mark = if mark.seq < row.joined { self.entry_before(user, conversation, mark).await? } else { Some(mark) };
        let mark = mark.ok_or_else(|| no_entry(seq))?;
        self.marks.put((user, conversation), mark).await?;
        Ok(mark.seq)
    }

    async fn check_member(
        &self,
        author: UserId,
        conversation: ConversationId,
        id: CommandId,
        action: &Action,
    ) -> Result<(), ApiError> {
        if action.kind() == Kind::Create {
            return Ok(());
        }
        // Of a group's creation: there is nothing yet to be a member of, and nobody else's command has that id there.
        if action.kind() == Kind::Withdraw && conversation == ConversationId::group(author, id) {
            return Ok(());
        }
        match self.memberships.check(author, conversation).await {
            Answer::Member => self.check_target(author, conversation, id, action).await,
            Answer::Unsure => Ok(()),
            // Of a command from the time of membership, whose fate is open.
            Answer::Former if action.kind() == Kind::Withdraw => Ok(()),
            Answer::Former if self.memberships.stands(author, conversation, id).await => Ok(()),
            Answer::Former | Answer::Stranger => Err(faults::not_member()),
        }
    }

    /// A message that one may not read answers like one that is not there.
    async fn check_target(
        &self,
        author: UserId,
        conversation: ConversationId,
        id: CommandId,
        action: &Action,
    ) -> Result<(), ApiError> {
        let Some(target) = action.target_to_read() else { return Ok(()) };
        match self.memberships.reads(author, conversation, (id, target)).await {
            Some(false) => Err(ApiError::new(ErrorCode::NoSuchMessage, protocol::sentence(Refusal::NoSuchMessage))),
            Some(true) | None => Ok(()),
        }
    }

    /// Whether everybody whom the action takes in has an account. A conversation with nobody is not begun. Members to
    /// add are refused in the log, like everything that a group does not take. A command that stands already is let
    /// through, so that its author hears where: it was taken under rules that did not ask.
    async fn look_up(
        &self,
        author: UserId,
        conversation: ConversationId,
        id: CommandId,
        action: &Action,
    ) -> Result<bool, ApiError> {
        let missing = self.people.missing(&people::taken_in(author, action)).await?;
        if missing.is_empty() {
            return Ok(true);
        }
        let adds = action.kind() == Kind::AddMembers;
        if adds || self.memberships.stands(author, conversation, id).await {
            return Ok(false);
        }
        Err(people::no_such(&missing))
    }

    /// Whether everybody whom the action takes in may be taken in. A command that stands already is let through, too.
    async fn check_invited(
        &self,
        author: UserId,
        conversation: ConversationId,
        id: CommandId,
        action: &Action,
    ) -> Result<(), ApiError> {
        match self.invitations.check(author, conversation, action).await {
            Err(_) if self.memberships.stands(author, conversation, id).await => Ok(()),
            checked => checked,
        }
    }

    fn record(&self, event: &Event, trace: Option<&str>) -> NewRecord {
        let encoded = self.codec.event(event);
        let mut headers = encoded.headers;
        let sane = |text: &&str| text.len() <= TRACE_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        headers
            .extend(trace.filter(sane).map(|text| (HEADER_TRACE.to_owned(), Bytes::copy_from_slice(text.as_bytes()))));
        NewRecord { key: event.conversation.to_string(), partition: None, headers, payload: encoded.payload }
    }

    /// The entry at `seq` or the nearest before it. A client may know an entry before its row is there: then only
    /// `applied` tells whether the row found is the nearest.
    async fn entry_at(&self, conversation: ConversationId, seq: Seq) -> Result<Mark, ApiError> {
        if let Some(mark) = self.newest_entry(conversation, seq).await?.filter(|mark| mark.seq == seq) {
            return Ok(mark);
        }
        let source = Barrier::source_of(conversation);
        let none = || no_entry(seq);
        if self.barrier.watermark(source).await?.is_none_or(|end| seq > end) {
            return Err(none());
        }
        if !self.barrier.applied(source, seq, MARK_APPLIED_WAIT).await? {
            return Err(faults::retry());
        }
        if self.barrier.held(conversation).await? {
            return Err(faults::held());
        }
        self.newest_entry(conversation, seq).await?.ok_or_else(none)
    }

    /// The same entry or the nearest before it that belongs to a membership of the user's, if there is one.
    async fn entry_before(
        &self,
        user: UserId,
        conversation: ConversationId,
        mark: Mark,
    ) -> Result<Option<Mark>, ApiError> {
        let versions = self.store.memberships(conversation, user).await.map_err(faults::of_store)?;
        match MembershipSpans::of(&versions).newest(mark.seq) {
            Some(seq) if seq == mark.seq => Ok(Some(mark)),
            // Who left saw themselves leave: there is an entry.
            Some(left) => Ok(self.newest_entry(conversation, left).await?.filter(|entry| entry.seq == left)),
            None => Ok(None),
        }
    }

    async fn newest_entry(&self, conversation: ConversationId, upto: Seq) -> Result<Option<Mark>, ApiError> {
        let page = Page { anchor: Some(upto.next()), direction: Direction::Before, limit: 1 };
        let entries = self.store.timeline(conversation, page).await.map_err(faults::of_store)?;
        Ok(entries.first().map(|entry| Mark { seq: entry.seq, ordinal: entry.ordinal }))
    }
}

fn no_entry(upto: Seq) -> ApiError {
    ApiError::new(ErrorCode::Invalid, format!("the conversation has no entry up to {upto} that you may read"))
}
