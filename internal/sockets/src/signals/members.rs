//! The recipients of a signal: the members of its conversation, looked up in the background and cached for a
//! moment.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::ApiError;
use commands::{Barrier, faults};
use domain::{ConversationId, Signal, TYPING_MEMBERS_MAX, UserId};
use environment::seeded_bugs::{Bug, seeded};
use lru::LruCache;
use protocol::FeedFrame;
use store::SharedStore;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How long the members of a conversation are used after they were looked up.
pub const MEMBERS_KEPT: Duration = Duration::from_secs(10);
/// Conversations whose members are cached, 6 MiB at most.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Look-ups that may run at the same time.
const LOOK_UPS_MAX: usize = 32;
/// The timeout of a look-up: the signals that wait for it are too old then.
const LOOK_UP_WAIT: Duration = Duration::from_secs(2);
/// The part of it for which a look-up waits for storage to pass the barrier.
const APPLIED_WAIT: Duration = Duration::from_millis(1_500);
/// The most signals that wait for one look-up.
const WAITING_MAX: usize = 16;
/// The account event after which privacy settings are looked up again.
const PRIVACY_CHANGED: &str = "privacy_changed";

/// Looks up the members of conversations.
pub(super) struct Members {
    store: SharedStore,
    barrier: Barrier,
    cache: MembersCache,
    permits: Arc<Semaphore>,
}

/// The members that were looked up. Cheap to clone; clones share the cache. The readers of the feed invalidate its
/// entries when members change.
#[derive(Debug, Clone)]
pub(crate) struct MembersCache(Arc<Mutex<Known>>, Arc<PrivacyChanges>);

/// The users whose feed shows that they have changed their privacy settings, until the node's signals take them.
#[derive(Debug, Default)]
pub(super) struct PrivacyChanges {
    users: Mutex<BTreeSet<UserId>>,
    wake: Notify,
}

#[derive(Debug)]
struct Known {
    conversations: LruCache<ConversationId, Entry>,
    /// The count of look-ups that were begun, from which each gets its number.
    look_ups: u64,
}

#[derive(Debug)]
enum Entry {
    /// The members, valid until that time.
    Members(Arc<[UserId]>, Instant),
    /// The number of a running look-up, and the signals that wait for it.
    LookUp(u64, Vec<Signal>),
}

/// A look-up that was registered, and is to be run with [`Members::look_up`].
#[derive(Debug)]
pub(super) struct LookUp {
    conversation: ConversationId,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

/// The result of asking for the members.
#[derive(Debug)]
pub(super) enum Asked {
    Known(Arc<[UserId]>),
    /// The signal waits for a look-up that is under way.
    Waits,
    /// Too many look-ups are under way, or too many signals wait for this one.
    Busy,
    /// The caller must run this look-up; the signal waits for it.
    LookUp(LookUp),
}

impl Members {
    pub(super) fn new(store: SharedStore, barrier: Barrier, cache: MembersCache) -> Self {
        Self { store, barrier, cache, permits: Arc::new(Semaphore::new(LOOK_UPS_MAX)) }
    }

    /// The members of the signal's conversation, if they are cached; else the signal waits for a look-up, or is
    /// refused.
    pub(super) fn of(&self, conversation: ConversationId, signal: Signal) -> Asked {
        let mut known = self.cache.known();
        match known.conversations.get_mut(&conversation) {
            Some(Entry::Members(members, until)) if *until > Instant::now() || seeded(Bug::SignalToWhoWasRemoved) => {
                return Asked::Known(Arc::clone(members));
            }
            Some(Entry::LookUp(_, waiting)) if waiting.len() < WAITING_MAX => {
                waiting.push(signal);
                return Asked::Waits;
            }
            Some(Entry::LookUp(..)) => return Asked::Busy,
            Some(Entry::Members(..)) | None => {}
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Asked::Busy };
        known.look_ups += 1;
        let number = known.look_ups;
        known.conversations.put(conversation, Entry::LookUp(number, vec![signal]));
        Asked::LookUp(LookUp { conversation, number, _permit: permit })
    }

    /// Looks up the members. Returns them, and the signals that wait for them; no members when they could not be
    /// looked up in time, or have changed meanwhile.
    pub(super) async fn look_up(&self, look_up: &LookUp) -> (Option<Arc<[UserId]>>, Vec<Signal>) {
        let asked = timeout(LOOK_UP_WAIT, self.ask(look_up.conversation)).await;
        let members: Option<Arc<[UserId]>> = match asked {
            Ok(Ok(members)) => members.map(Into::into),
            Ok(Err(error)) => {
                tracing::debug!(code = ?error.code, error = ?error.cause, "members not looked up");
                None
            }
            Err(_) => None,
        };
        let mut known = self.cache.known();
        let mine = |entry: &Entry| matches!(entry, Entry::LookUp(number, _) if *number == look_up.number);
        if !known.conversations.peek(&look_up.conversation).is_some_and(mine) {
            return (None, Vec::new()); // the entry and its waiting signals were removed meanwhile
        }
        let Some(Entry::LookUp(_, waiting)) = known.conversations.pop(&look_up.conversation) else {
            return (None, Vec::new());
        };
        if let Some(members) = &members {
            let entry = Entry::Members(Arc::clone(members), Instant::now() + MEMBERS_KEPT);
            known.conversations.put(look_up.conversation, entry);
        }
        (members, waiting)
    }

    /// The members as of everything that is in the log now; an empty list where there are too many; `None` when
    /// the store cannot answer at the moment.
    async fn ask(&self, conversation: ConversationId) -> Result<Option<Vec<UserId>>, ApiError> {
        let source = Barrier::source_of(conversation);
        // Every read uses this order: first `applied`, then the hold, then the rows.
        if !self.barrier.passed(source, APPLIED_WAIT).await? {
            return Ok(None);
        }
        let applied = self.store.applied(source).await.map_err(faults::of_store)?;
        let Some(applied) = applied else { return Ok(None) };
        if self.barrier.held(conversation).await? {
            return Ok(None);
        }
        let page = self.store.members(conversation, applied.seq, None, TYPING_MEMBERS_MAX + 1).await;
        let page = page.map_err(faults::of_store)?;
        if page.len() > TYPING_MEMBERS_MAX {
            return Ok(Some(Vec::new()));
        }
        Ok(Some(page.into_iter().map(|(user, _)| user).collect()))
    }
}

impl MembersCache {
    pub(crate) fn new() -> Self {
        let known = Known { conversations: LruCache::new(REMEMBERED_MAX), look_ups: 0 };
        Self(Arc::new(Mutex::new(known)), Arc::default())
    }

    /// Called for each frame of the feed that is about no conversation.
    pub(crate) fn fed_account(&self, recipients: &[UserId], frame: &str) {
        // Most such frames are read marks: only a few are parsed.
        if frame.contains(PRIVACY_CHANGED)
            && let Ok(FeedFrame::Account { event, .. }) = serde_json::from_str(frame)
            && event == PRIVACY_CHANGED
        {
            self.1.users().extend(recipients);
            self.1.wake.notify_one();
        }
    }

    /// Where those changes are taken.
    pub(super) fn privacy_changes(&self) -> Arc<PrivacyChanges> {
        Arc::clone(&self.1)
    }

    /// Called for each frame of the feed of that conversation: if it changes the members, the cached ones are
    /// dropped.
    pub(crate) fn fed(&self, conversation: ConversationId, frame: &str) {
        let known = self.known().conversations.contains(&conversation);
        if known && changes_members(frame) && !seeded(Bug::SignalToWhoWasRemoved) {
            self.known().conversations.pop(&conversation);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PrivacyChanges {
    /// Waits until users have changed their settings. Cancel safe.
    pub(super) async fn next(&self) -> BTreeSet<UserId> {
        loop {
            let users = std::mem::take(&mut *self.users());
            if !users.is_empty() {
                return users;
            }
            self.wake.notified().await;
        }
    }

    fn users(&self) -> MutexGuard<'_, BTreeSet<UserId>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a rendered frame of the feed changes the members of its conversation.
fn changes_members(frame: &str) -> bool {
    match serde_json::from_str(frame) {
        Ok(FeedFrame::Event { what, .. }) => what.changes_members(),
        Ok(
            FeedFrame::Settled { .. } | FeedFrame::Refused { .. } | FeedFrame::Read { .. } | FeedFrame::Account { .. },
        ) => false,
        // A frame of a newer program may change them.
        Err(_) => true,
    }
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("cache", &self.cache).finish_non_exhaustive()
    }
}
