//! The quota of bytes that a user may cause to be written. Each command is charged for its record, its rows, and
//! what the fan-out writes for its recipients: one letter in a large group is written for every member.
//!
//! There are two buckets: whoever has an hour's quota left must not spend it in a few seconds, at the cost of everybody
//! else's latency.
//!
//! Buckets are per user and process: a user who is served by three processes has three buckets. The quota bounds
//! the cost of one account; it does not distribute capacity between accounts. The size of a conversation is read
//! from the store and cached for a while; a store that does not answer blocks no command.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::ApiError;
use domain::kinds::Audience;
use domain::{Action, ConversationId, Kind, UserId};
use environment::Buckets;
use events::topics;
use lru::LruCache;
use protocol::ErrorCode;
use store::{SharedStore, StoreError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::Barrier;

/// Bytes that a user may cause to be written per hour in the long run, per process: about 1,500 short messages to
/// a group of 10,000 members, or 40,000 to one of ten. Beyond that, the answer is `rate_limited`, with the time
/// after which there is enough again.
pub const WRITTEN_BYTES_PER_HOUR: u64 = 256 << 20;
/// Bytes that a user may cause to be written in a row, after a pause: one hour's quota.
pub const WRITTEN_BYTES_BURST: u64 = WRITTEN_BYTES_PER_HOUR;
/// Bytes that a user may cause to be written per second, per process: six short messages to a group of 10,000 members,
/// fifty to one of 1,000. Beyond that, the answer is `rate_limited`. (At four times that, compactions of the embedded
/// engine were felt in everybody's messages.)
pub const WRITTEN_BYTES_PER_SECOND: u64 = SECOND_KIB as u64 * 1024;
/// Bytes that a user may cause to be written at once, after a pause of a few seconds. A command that takes more than is
/// left is written, and the next one waits for as much longer.
pub const WRITTEN_BYTES_AT_ONCE: u64 = AT_ONCE_KIB as u64 * 1024;
/// The charge for a record or a row, in addition to its text.
pub const WRITTEN_BYTES_PER_RECORD: u64 = 300;
/// The charge for each recipient of an event: an entry in a list of recipients.
pub const WRITTEN_BYTES_PER_RECIPIENT: u64 = 16;
/// The charge for each user that a command names, in every record that names them.
pub const WRITTEN_BYTES_PER_NAME: u64 = 40;
/// Records and rows of a command that do not depend on its recipients: the event, and its timeline, id and head
/// rows.
const RECORDS: u64 = 4;
/// Rows for each user whom a command takes in: the membership, and the user's own row.
const ROWS_PER_MEMBER: u64 = 2;
/// [`WRITTEN_BYTES_PER_SECOND`] in KiB.
const SECOND_KIB: u32 = 1 << 10;
/// [`WRITTEN_BYTES_AT_ONCE`] in KiB.
const AT_ONCE_KIB: u32 = 4 * SECOND_KIB;
/// Users whose buckets are kept. At the bound the least recently used bucket is dropped, and so counts as full.
const USERS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// Conversations whose size is cached. At the bound the least recently used is dropped.
const SIZES_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// How long a cached size is valid: it is an estimate, and a new one reads every member.
const SIZE_GOOD: Duration = Duration::from_secs(600);
/// How long the size is not read again after a read that failed.
const SIZE_UNKNOWN: Duration = Duration::from_secs(10);
/// How long a command waits for the size. After that, the last known size counts, or 1 when there is none.
const SIZE_WAIT: Duration = Duration::from_millis(200);
/// Concurrent reads of sizes. At the bound, the last known size counts.
const QUESTIONS_MAX: usize = 16;

/// The buckets of all users. Cheap to clone; clones share the buckets.
#[derive(Clone)]
pub(crate) struct Quota {
    store: SharedStore,
    /// The buckets of the bound per second, in KiB.
    of_second: Arc<Buckets<UserId>>,
    /// The buckets of the bound per hour.
    of_hour: Arc<Mutex<LruCache<UserId, Bucket>>>,
    sizes: Arc<Mutex<LruCache<ConversationId, Size>>>,
    /// The permits to read a size.
    questions: Arc<Semaphore>,
}

struct Bucket {
    bytes: f64,
    /// The time at which `bytes` was computed.
    at: Instant,
}

#[derive(Clone, Copy)]
struct Size {
    members: u64,
    good_until: Instant,
}

impl Quota {
    pub(crate) fn new(store: SharedStore) -> Self {
        let of_second = Arc::new(Buckets::new(AT_ONCE_KIB, Duration::from_secs(1) / SECOND_KIB, USERS_MAX));
        let of_hour = Arc::new(Mutex::new(LruCache::new(USERS_MAX)));
        let sizes = Arc::new(Mutex::new(LruCache::new(SIZES_MAX)));
        Self { store, of_second, of_hour, sizes, questions: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }

    /// Charges the author's bucket for the command.
    ///
    /// # Errors
    /// `rate_limited`, with the time after which the bucket holds enough.
    pub(crate) async fn charge(
        &self,
        author: UserId,
        conversation: ConversationId,
        action: &Action,
    ) -> Result<(), ApiError> {
        let about = action.about();
        let recipients = match about.audience {
            Audience::Author => 1,
            // A new conversation has no rows yet.
            Audience::Members if action.kind() == Kind::Create => about.taken_in.len() as u64 + 1,
            Audience::Members => self.members(conversation).await + about.taken_in.len() as u64,
        };
        self.take(author, cost(action, recipients))?;
        if !about.taken_in.is_empty() {
            self.has_grown(conversation, recipients);
        }
        Ok(())
    }

    /// Caches the size that the conversation has once all named users have joined: the rows show it only later,
    /// and are not read while a cached size is valid.
    fn has_grown(&self, conversation: ConversationId, members: u64) {
        let good_until = Instant::now() + SIZE_GOOD;
        self.sizes().put(conversation, Size { members, good_until });
    }

    /// Takes from both buckets, or from none.
    fn take(&self, user: UserId, cost: u64) -> Result<(), ApiError> {
        let words = "what you have just sent takes too much room, in groups once more for every member: wait a moment, \
                     then send it again";
        let too_fast = |wait| ApiError::new(ErrorCode::RateLimited, words).after(wait);
        self.of_second.look(&user).map_err(too_fast)?;
        self.take_of_hour(user, cost)?;
        let kib = u32::try_from(cost.div_ceil(1024)).unwrap_or(u32::MAX);
        self.of_second.take_many(&user, kib).map_err(too_fast)
    }

    fn take_of_hour(&self, user: UserId, cost: u64) -> Result<(), ApiError> {
        let (now, cost, burst) = (Instant::now(), cost as f64, WRITTEN_BYTES_BURST as f64);
        let per_second = WRITTEN_BYTES_PER_HOUR as f64 / 3600.0;
        let mut buckets = self.of_hour.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get_or_insert_mut(user, || Bucket { bytes: burst, at: now });
        let gained = now.duration_since(bucket.at).as_secs_f64() * per_second;
        *bucket = Bucket { bytes: (bucket.bytes + gained).min(burst), at: now };
        if bucket.bytes < cost {
            // Rounded up, so that a retry after exactly this time succeeds.
            let wait = Duration::from_secs_f64((cost - bucket.bytes) / per_second) + Duration::from_millis(1);
            let seconds = wait.as_millis().div_ceil(1000);
            let words = format!(
                "what you have sent takes more room than an hour's share, in groups once more for every member: \
                 send it again in {seconds} s"
            );
            return Err(ApiError::new(ErrorCode::RateLimited, words).after(wait));
        }
        bucket.bytes -= cost;
        Ok(())
    }

    /// The approximate number of members of the conversation.
    async fn members(&self, conversation: ConversationId) -> u64 {
        let now = Instant::now();
        let known = self.sizes().get(&conversation).copied();
        if let Some(size) = known.filter(|size| now < size.good_until) {
            return size.members;
        }
        // Cache the last known size before the read: other commands use it meanwhile, and only this one reads.
        let members = known.map_or(1, |size| size.members);
        self.sizes().put(conversation, Size { members, good_until: now + SIZE_UNKNOWN });
        let Ok(turn) = Arc::clone(&self.questions).try_acquire_owned() else { return members };
        // The read has a task of its own: the rows of a large conversation take longer than a command may wait,
        // and the size matters most for large ones.
        let quota = self.clone();
        let question = tokio::spawn(async move {
            let _turn = turn;
            let members = quota.ask(conversation).await.ok()?;
            quota.sizes().put(conversation, Size { members, good_until: Instant::now() + SIZE_GOOD });
            Some(members)
        });
        match timeout(SIZE_WAIT, question).await {
            Ok(Ok(Some(members))) => members,
            Ok(_) | Err(_) => members,
        }
    }

    fn sizes(&self) -> MutexGuard<'_, LruCache<ConversationId, Size>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, conversation: ConversationId) -> Result<u64, StoreError> {
        let Some(applied) = self.store.applied(Barrier::source_of(conversation)).await? else { return Ok(1) };
        Ok(self.store.conversation(conversation, applied.seq).await?.members.len() as u64)
    }
}

/// The bytes that are written for a command with that many recipients.
fn cost(action: &Action, recipients: u64) -> u64 {
    let about = action.about();
    let (text, joining) = (about.text_bytes as u64, about.taken_in.len() as u64);
    let record = WRITTEN_BYTES_PER_RECORD + text + joining * WRITTEN_BYTES_PER_NAME;
    let deliveries = recipients.min(u64::from(topics::spec_of(topics::DELIVERIES).partitions));
    (RECORDS + deliveries) * record
        + joining * ROWS_PER_MEMBER * WRITTEN_BYTES_PER_RECORD
        + recipients * WRITTEN_BYTES_PER_RECIPIENT
}

#[cfg(test)]
mod tests {
    use domain::kinds::{AddMembers, SendMessage};
    use domain::limits::{BODY_BYTES_MAX, MEMBERS_MAX, MEMBERS_PER_EVENT_MAX};
    use environment::Clock;
    use store::embedded::EmbeddedStore;
    use uuid::Uuid;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(Uuid::from_u128(number)).unwrap()
    }

    fn message(bytes: usize) -> Action {
        Action::SendMessage(SendMessage { body: "x".repeat(bytes).into(), reply_to: None, thread: None })
    }

    /// Issue 10, item 4: 48 MB that were sent became 6.2 GB that were written.
    #[tokio::test(start_paused = true)]
    async fn a_user_is_charged_for_what_is_written_and_told_when_to_come_again() {
        let store = EmbeddedStore::open(kv::Database::in_memory(), Clock::from_fn(|| 0)).await.unwrap();
        let quota = Quota::new(store);
        let (alone, crowd) = (cost(&message(1), 2), cost(&message(1), 9_990));
        assert!(crowd > 9_990 * WRITTEN_BYTES_PER_RECIPIENT && crowd > 50 * alone, "{alone} {crowd}");
        let mut sent = 0;
        let refused = loop {
            match quota.take_of_hour(user(1), crowd) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(sent, WRITTEN_BYTES_BURST / crowd);
        assert_eq!(refused.code, ErrorCode::RateLimited);
        quota.take_of_hour(user(2), crowd).unwrap();
        let wait = refused.retry_after.unwrap();
        tokio::time::advance(wait.mul_f64(0.9)).await;
        assert!(quota.take_of_hour(user(1), crowd).is_err());
        tokio::time::advance(wait.mul_f64(0.1) + Duration::from_millis(1)).await;
        quota.take_of_hour(user(1), crowd).unwrap();
    }

    /// Issue 10, item 4: an hour's quota that was spent in seconds, in a group of 10,000, was felt by everybody.
    #[tokio::test(start_paused = true)]
    async fn nobody_spends_an_hours_quota_in_a_few_seconds() {
        let store = EmbeddedStore::open(kv::Database::in_memory(), Clock::from_fn(|| 0)).await.unwrap();
        let quota = Quota::new(store);
        let (crowd, hundred) = (cost(&message(1), 9_990), cost(&message(100), 100));
        let sent = || (0..1_000).take_while(|_| quota.take(user(1), crowd).is_ok()).count() as u64;
        assert_eq!(sent(), WRITTEN_BYTES_AT_ONCE / crowd + 1, "the last one overdraws");
        for second in 0..3 {
            tokio::time::advance(Duration::from_secs(1)).await;
            let sent = sent();
            assert!(sent.abs_diff(WRITTEN_BYTES_PER_SECOND / crowd) <= 1, "{sent} in second {second}");
        }
        let refused = quota.take(user(1), crowd).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        tokio::time::advance(refused.retry_after.unwrap()).await;
        quota.take(user(1), crowd).unwrap();
        assert!(hundred * u64::from(crate::COMMANDS_PER_SECOND) < WRITTEN_BYTES_PER_SECOND, "{hundred}");
    }

    /// Who has used up the hour may still send what there is room for: what is refused is not charged.
    #[tokio::test(start_paused = true)]
    async fn a_command_that_the_hour_refuses_takes_nothing_of_the_second() {
        let store = EmbeddedStore::open(kv::Database::in_memory(), Clock::from_fn(|| 0)).await.unwrap();
        let quota = Quota::new(store);
        quota.take_of_hour(user(1), WRITTEN_BYTES_BURST - 1_000).unwrap();
        for _ in 0..1_000 {
            quota.take(user(1), 100_000).unwrap_err();
        }
        quota.take(user(1), 1_000).unwrap();
    }

    /// A group that has just grown is charged with its new size, although the old size was cached.
    #[tokio::test(start_paused = true)]
    async fn a_conversation_counts_with_all_who_are_taken_in() {
        let store = EmbeddedStore::open(kv::Database::in_memory(), Clock::from_fn(|| 0)).await.unwrap();
        let (quota, group) = (Quota::new(store), ConversationId::group(user(1), domain::CommandId::first_at(1)));
        assert_eq!(quota.members(group).await, 1);
        for hundred in 0..3 {
            let members = (0..100).map(|number| user(1_000 + hundred * 100 + number)).collect();
            quota.charge(user(1), group, &Action::AddMembers(AddMembers { members })).await.unwrap();
        }
        assert_eq!(quota.members(group).await, 301);
    }

    #[test]
    fn nothing_that_fits_otherwise_costs_more_than_a_full_bucket() {
        let many: Vec<UserId> = (0..MEMBERS_PER_EVENT_MAX as u128).map(user).collect();
        for action in [message(BODY_BYTES_MAX), Action::AddMembers(AddMembers { members: many })] {
            assert!(cost(&action, MEMBERS_MAX as u64) * 100 < WRITTEN_BYTES_BURST, "{action:?}");
        }
    }
}
