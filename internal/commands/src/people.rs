//! Looks up the users that a command names, when it is received; the event records the result.
//!
//! The reducer never looks outside its conversation, so the event must record what the reducer needs from the user
//! tables: that all named users have an account. When the store does not answer, the command is refused with a
//! code that says to retry.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::ApiError;
use domain::{Action, UserId};
use lru::LruCache;
use protocol::ErrorCode;
use store::SharedStore;
use tokio::time::timeout;

use crate::faults;

/// The longest that the look-up of all users of a command may take; after that, the answer is `unavailable`.
const LOOK_UP_WAIT: Duration = Duration::from_secs(1);
/// Users that are looked up at once.
const READ_AT_ONCE: usize = 64;
/// Users cached per process, about 5 MiB. At the bound the least recently used is dropped.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// The most missing users that a refusal names.
const NAMED_MAX: usize = 3;

/// Looks up users, and caches those that have an account, because accounts are never removed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct People {
    store: SharedStore,
    known: Arc<Mutex<LruCache<UserId, ()>>>,
}

impl People {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, known: Arc::new(Mutex::new(LruCache::new(REMEMBERED_MAX))) }
    }

    /// The users without an account, in order.
    ///
    /// # Errors
    /// When the store does not answer in time.
    pub(crate) async fn missing(&self, users: &BTreeSet<UserId>) -> Result<Vec<UserId>, ApiError> {
        match timeout(LOOK_UP_WAIT, self.ask(users)).await {
            Ok(missing) => missing,
            Err(late) => Err(ApiError::unavailable(late)),
        }
    }

    async fn ask(&self, users: &BTreeSet<UserId>) -> Result<Vec<UserId>, ApiError> {
        let asked: Vec<UserId> = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            users.iter().copied().filter(|user| known.get(user).is_none()).collect()
        };
        let mut missing = Vec::new();
        for some in asked.chunks(READ_AT_ONCE) {
            let accounts = self.store.accounts(some).await.map_err(faults::of_store)?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for (user, account) in some.iter().zip(accounts) {
                match account {
                    Some(_) => _ = known.put(*user, ()),
                    None => missing.push(*user),
                }
            }
        }
        Ok(missing)
    }
}

/// The users whom the action takes in, without the author, who has an account.
pub(crate) fn taken_in(author: UserId, action: &Action) -> BTreeSet<UserId> {
    action.about().taken_in.iter().copied().filter(|user| *user != author).collect()
}

/// The refusal of a command that names users without an account.
pub(crate) fn no_such(missing: &[UserId]) -> ApiError {
    let named: Vec<String> = missing.iter().take(NAMED_MAX).map(UserId::to_string).collect();
    let more = match missing.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("there is no user {}{more}: check the ids", named.join(", "));
    ApiError::new(ErrorCode::NoSuchUser, message)
}
