//! Checking a command and appending it to the log: the library that the HTTP API and the socket service both link.
//!
//! These checks are advisory, for quick answers. A refusal by the store's rows is final only if `applied` has
//! passed a watermark that was read after the request arrived, and the conversation is not held; otherwise the
//! command is appended and the reducer decides. A store that does not answer blocks only commands that take users
//! in: those users' accounts are looked up here, and the event records the result.

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
    WRITTEN_BYTES_AT_ONCE, WRITTEN_BYTES_BURST, WRITTEN_BYTES_PER_HOUR, WRITTEN_BYTES_PER_NAME,
    WRITTEN_BYTES_PER_RECIPIENT, WRITTEN_BYTES_PER_RECORD, WRITTEN_BYTES_PER_SECOND,
};

/// The oldest version of the rules that services can be told to make commands under: that of the last release.
pub const RULES_OLDEST: i64 = 2;

/// Commands of one process that are being checked or wait for the log. At the bound, further ones are answered
/// `busy` at once.
const IN_FLIGHT_MAX: usize = 8192;
/// The timeout of an acknowledgement. It is longer than the engines' own timeouts, so that a fault in one of them
/// cannot keep a permit for ever.
const LOGGED_WAIT: Duration = Duration::from_secs(12);
/// How long a mark waits until storage has applied its entry.
const MARK_APPLIED_WAIT: Duration = Duration::from_millis(200);
/// The most bytes of a trace context that is written into the record; a W3C `traceparent` has 55.
const TRACE_BYTES_MAX: usize = 64;

/// Checks and appends commands. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    log: SharedLog,
    store: SharedStore,
    codec: Codec,
    clock: Clock,
    /// The version of the rules of new events.
    rules: u32,
    barrier: Barrier,
    memberships: Memberships,
    people: People,
    invitations: Invitations,
    quota: Quota,
    marks: MarkQueue,
    /// The permits for commands in flight.
    permits: Arc<Semaphore>,
    allowance: Allowance,
}

/// A command that the log has accepted into its queue.
#[derive(Debug)]
pub struct Submitted {
    /// The command.
    pub id: CommandId,
    /// Its conversation.
    pub conversation: ConversationId,
    receipt: AppendReceipt,
    /// Returned when the command's fate is known.
    _permit: OwnedSemaphorePermit,
}

impl Submitted {
    /// Waits until the command is durable in the log.
    ///
    /// # Errors
    /// `unknown` when the log does not answer in time.
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
    /// Makes the service that checks commands against `store` and appends them to `log` under that version of the
    /// rules, and the writer of its read marks. The caller runs the writer as a task and stops it after its last
    /// use.
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

    /// Applies this allowance to users.
    #[must_use]
    pub fn within(self, allowance: Allowance) -> Self {
        Self { allowance, ..self }
    }

    /// The barrier between the log and the store.
    #[must_use]
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// Checks the command and enqueues it in the log. Of two successive calls for one conversation, the first
    /// one's event comes first. Takes at most half a second, two more where users are taken in, plus the wait
    /// while the log's queue is full.
    ///
    /// `trace` is a W3C `traceparent`; any other text is left out.
    ///
    /// # Errors
    /// Why the command was not appended. Final for this attempt, except that after `unknown` it may have been
    /// appended.
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
        // The quota is charged last, because a refused command writes nothing.
        self.quota.charge(author, conversation, &action).await?;
        let (received_ms, rules, key_id) = (now_ms, self.rules, None);
        let event = Event { id, conversation, author, received_ms, rules, key_id, looked_up, action };
        if seeded(Bug::SendLoggedTwice)
            && let Some(again) = once_more(&event)
        {
            let _ = self.log.enqueue(topics::MESSAGES, self.record(&again, trace)).await;
        }
        let enqueued = self.log.enqueue(topics::MESSAGES, self.record(&event, trace)).await;
        let receipt = enqueued.map_err(faults::of_enqueue)?;
        Ok(Submitted { id, conversation, receipt, _permit: permit })
    }

    /// Raises the user's read mark to the entry at `seq` (or the nearest entry before it) and waits until the mark
    /// is in the log; returns the entry's seq. Marks are coalesced to one per user and conversation in two
    /// seconds, so this may take that long.
    ///
    /// # Errors
    /// `not_member`, `held`, or `retry` when the row does not exist yet; `unknown` when the mark may have been
    /// appended.
    pub async fn mark(&self, user: UserId, conversation: ConversationId, seq: Seq) -> Result<Seq, ApiError> {
        self.allowance.take(user)?;
        // The cache is not used here, because the answer reveals the entry's seq.
        match self.memberships.check_anew(user, conversation).await {
            Answer::Member => {}
            Answer::Former | Answer::Stranger => return Err(faults::not_member()),
            Answer::Unsure if self.barrier.held(conversation).await? => return Err(faults::held()),
            Answer::Unsure => return Err(faults::retry()),
        }
        let mark = self.entry_at(conversation, seq).await?;
        // Check this after the entry was read: a user who left before the entry, or joined after it, must not
        // learn of it.
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
        // The withdrawal of a group's creation: the group has no members yet, and only the creator's own commands
        // have that id there.
        if action.kind() == Kind::Withdraw && conversation == ConversationId::group(author, id) {
            return Ok(());
        }
        match self.memberships.check(author, conversation).await {
            Answer::Member => self.check_target(author, conversation, id, action).await,
            Answer::Unsure => Ok(()),
            // A former member may withdraw a command from the time of their membership.
            Answer::Former if action.kind() == Kind::Withdraw => Ok(()),
            Answer::Former if self.memberships.stands(author, conversation, id).await => Ok(()),
            Answer::Former | Answer::Stranger => Err(faults::not_member()),
        }
    }

    /// Refuses a message that the author may not read in the same way as one that does not exist.
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

    /// Whether all users whom the action takes in have an account. A new conversation with unknown users is
    /// refused here; added members are refused by the reducer, like everything else that a group does not allow. A
    /// command that was accepted before is let through, so that its author learns its outcome: earlier rules did
    /// not require the look-up.
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

    /// Checks that the users may be taken in. A command that was accepted before is let through here, too.
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
        headers.extend(trace.filter(sane).map(|text| (HEADER_TRACE.into(), Bytes::copy_from_slice(text.as_bytes()))));
        NewRecord { key: event.conversation.to_string(), partition: None, headers, payload: encoded.payload }
    }

    /// The entry at `seq`, or the nearest before it. A client may know an entry whose row is not written yet: only
    /// `applied` shows whether the row found is the nearest.
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

    /// The same entry, or the nearest before it within a membership of the user, if there is one.
    async fn entry_before(
        &self,
        user: UserId,
        conversation: ConversationId,
        mark: Mark,
    ) -> Result<Option<Mark>, ApiError> {
        let versions = self.store.memberships(conversation, user).await.map_err(faults::of_store)?;
        match MembershipSpans::of(&versions).newest(mark.seq) {
            Some(seq) if seq == mark.seq => Ok(Some(mark)),
            // A leaving is an entry that the leaving user may read.
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

/// For [`Bug::SendLoggedTwice`]: one message in about eight, under an id that differs in its last digit.
fn once_more(event: &Event) -> Option<Event> {
    let id = event.id.to_string();
    let again = matches!(event.action, Action::SendMessage(_)) && id.ends_with(['0', '1']);
    let other = if id.ends_with('0') { '2' } else { '3' };
    let id: CommandId = format!("{}{other}", id.get(..id.len() - 1)?).parse().ok()?;
    again.then(|| Event { id, ..event.clone() })
}
