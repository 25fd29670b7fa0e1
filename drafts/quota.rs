//! What one user may cause to be written, in bytes: every command is charged for its record, its rows, and what the
//! fan-out writes for everybody who hears of it. A small text in a large group is written many times over.
//!
//! The bucket is per user and per process: a user who is served by three nodes has three. It bounds what one account
//! costs; it is no fair share between accounts.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{ApiError, ErrorCode};
use domain::{Action, ConversationId, UserId};
use events::topics;
use lru::LruCache;
use store::{SharedStore, StoreError};
use tokio::time::{Instant, timeout};

use crate::Barrier;

/// Bytes that a user may cause to be written in the long run, per hour and process: some 1,500 short messages to a group
/// of 10,000 members, 50,000 to one of ten. Beyond: `rate_limited`.
pub const WRITTEN_BYTES_PER_HOUR: u64 = 256 << 20;
/// Bytes that a user may cause to be written at once, after a pause.
pub const WRITTEN_BYTES_BURST: u64 = 256 << 20;
/// What a record or a row is charged beside its text.
const RECORD_BYTES: u64 = 300;
/// Records and rows of a command that do not depend on who hears of it: the event, and its timeline, id and head rows.
const RECORDS: u64 = 4;
/// A recipient in the list of a delivery record.
const RECIPIENT_BYTES: u64 = 16;
/// A user in a frame, as text.
const NAMED_BYTES: u64 = 40;
/// Users remembered. At the bound the least recent one's bucket counts as full again.
const USERS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// Conversations whose size is remembered. At the bound the least recently used is asked for again.
const SIZES_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// How long a conversation's size counts as known: it is an estimate.
const SIZE_GOOD: Duration = Duration::from_secs(600);
/// How long the size of a conversation is waited for. Beyond, it counts as small: a slow store stops no command.
const SIZE_WAIT: Duration = Duration::from_millis(200);

/// Buckets of bytes. Cheap to clone; clones share the buckets.
#[derive(Clone)]
pub(crate) struct Quota {
    store: SharedStore,
    buckets: Arc<Mutex<LruCache<UserId, Bucket>>>,
    sizes: Arc<Mutex<LruCache<ConversationId, Size>>>,
}

struct Bucket {
    bytes: f64,
    /// When `bytes` was right.
    at: Instant,
}

#[derive(Clone, Copy)]
struct Size {
    members: u64,
    at: Instant,
}

impl Quota {
    pub(crate) fn new(store: SharedStore) -> Self {
        let buckets = Arc::new(Mutex::new(LruCache::new(USERS_MAX)));
        Self { store, buckets, sizes: Arc::new(Mutex::new(LruCache::new(SIZES_MAX))) }
    }

    /// Takes what the command costs from its author's bucket.
    ///
    /// # Errors
    /// `rate_limited`, with the time after which the bucket holds enough.
    pub(crate) async fn charge(
        &self,
        author: UserId,
        conversation: ConversationId,
        action: &Action,
    ) -> Result<(), ApiError> {
        let members = match action {
            Action::Create { members, .. } => members.len() as u64 + 1,
            _ => self.members(conversation).await,
        };
        self.take(author, cost(action, members))
    }

    fn take(&self, user: UserId, cost: u64) -> Result<(), ApiError> {
        let (now, cost, per_second) = (Instant::now(), cost as f64, WRITTEN_BYTES_PER_HOUR as f64 / 3600.0);
        let burst = WRITTEN_BYTES_BURST as f64;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get_or_insert_mut(user, || Bucket { bytes: burst, at: now });
        let gained = now.duration_since(bucket.at).as_secs_f64() * per_second;
        *bucket = Bucket { bytes: (bucket.bytes + gained).min(burst), at: now };
        if bucket.bytes < cost {
            let wait = Duration::from_secs_f64((cost - bucket.bytes) / per_second);
            let seconds = wait.as_millis().div_ceil(1000);
            let message = format!("you have had more written than an hour's share: send it again in {seconds} s");
            return Err(ApiError::new(ErrorCode::RateLimited, message).after(wait));
        }
        bucket.bytes -= cost;
        Ok(())
    }

    /// How many hear of what is said in the conversation, about.
    async fn members(&self, conversation: ConversationId) -> u64 {
        let now = Instant::now();
        let known = self.sizes.lock().unwrap_or_else(PoisonError::into_inner).get(&conversation).copied();
        if let Some(size) = known.filter(|size| now.duration_since(size.at) < SIZE_GOOD) {
            return size.members;
        }
        let Ok(Ok(members)) = timeout(SIZE_WAIT, self.ask(conversation)).await else {
            return known.map_or(1, |size| size.members);
        };
        let size = Size { members, at: now };
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).put(conversation, size);
        members
    }

    async fn ask(&self, conversation: ConversationId) -> Result<u64, StoreError> {
        let Some(applied) = self.store.applied(Barrier::source_of(conversation)).await? else { return Ok(1) };
        Ok(self.store.conversation(conversation, applied.seq).await?.members.len() as u64)
    }
}

/// The bytes that a command of which so many hear has written.
fn cost(action: &Action, members: u64) -> u64 {
    let text = RECORD_BYTES + text_bytes(action);
    let deliveries = members.min(u64::from(topics::spec_of(topics::DELIVERIES).partitions));
    (RECORDS + deliveries) * text + members * RECIPIENT_BYTES
}

fn text_bytes(action: &Action) -> u64 {
    let bytes = match action {
        Action::Create { title, members, .. } => {
            return title.as_ref().map_or(0, String::len) as u64 + members.len() as u64 * NAMED_BYTES;
        }
        Action::AddMembers { members } => return members.len() as u64 * NAMED_BYTES,
        Action::SendMessage { body, .. } | Action::EditMessage { body, .. } => body.len(),
        Action::ChangeTitle { title } => title.len(),
        Action::AddReaction { emoji, .. } => emoji.len(),
        _ => 0,
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use host::Clock;
    use store::embedded::EmbeddedStore;
    use uuid::Uuid;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(Uuid::from_u128(number)).unwrap()
    }

    /// Issue 10, item 4: 48 MB sent became 6.2 GB written.
    #[tokio::test(start_paused = true)]
    async fn a_user_is_charged_for_what_is_written_and_told_when_to_come_again() {
        let store = EmbeddedStore::open(kv::Database::in_memory(), Clock::from_fn(|| 0)).await.unwrap();
        let quota = Quota::new(store);
        let hi = Action::SendMessage { body: "x".into(), reply_to: None };
        let (alone, crowd) = (cost(&hi, 2), cost(&hi, 9_990));
        assert!(crowd > 9_990 * RECIPIENT_BYTES && crowd > 50 * alone, "{alone} {crowd}");
        let mut sent = 0;
        let refused = loop {
            match quota.take(user(1), crowd) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(sent, WRITTEN_BYTES_BURST / crowd);
        assert_eq!(refused.code, ErrorCode::RateLimited);
        quota.take(user(2), crowd).unwrap();
        let wait = refused.retry_after.unwrap();
        tokio::time::advance(wait.mul_f64(0.9)).await;
        assert!(quota.take(user(1), crowd).is_err());
        tokio::time::advance(wait.mul_f64(0.1) + Duration::from_millis(1)).await;
        quota.take(user(1), crowd).unwrap();
    }
}
