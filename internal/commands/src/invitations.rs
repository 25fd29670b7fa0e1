//! Invitations: groups that a user was taken into and has not accepted. A user accepts a group by sending a
//! message or marking one as read. Invitations are bounded per user. Leaving a group that was not accepted
//! declines it; a user who has declined a group twice is not taken in again (once may have been a mistake).
//!
//! The reducer never looks outside its conversation, so this is checked when the command is received, against rows
//! that may lag a little: commands that several processes receive at once may exceed a bound by a few. A store
//! that does not answer blocks no command here.
//!
//! A user trusts everybody to whom they have written in a direct conversation: neither the bounds nor a declined
//! group keep those from taking the user in. So nobody can use up the bounds to keep a user's friends out.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::ApiError;
use domain::kinds::Create;
use domain::{Action, Content, ConversationId, ConversationKind, Seq, UserId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lru::LruCache;
use protocol::ErrorCode;
use store::{Direction, Page, SharedStore, StoreError};
use tokio::time::{Instant, timeout};

use crate::people::taken_in;

/// Groups that wait for one user to accept them. At the bound, commands that take the user in are answered
/// `too_many_invitations`.
pub const INVITATIONS_MAX: usize = 500;
/// The most of those groups into which the same user has taken the other one.
pub const INVITATIONS_BY_ONE_MAX: usize = 100;
/// How often a user must leave a group without having accepted it, until they are not taken in again: `declined`. That
/// others have removed the user does not count.
pub const LEAVINGS_MAX: usize = 2;
/// The newest ends of a user's memberships in a group that are looked at for that. Whoever removes a user so often between
/// two leavings makes the first one count no longer.
const ENDS_READ_MAX: usize = 100;
/// The longest that a check may take; after that, the command is let through.
const CHECK_WAIT: Duration = Duration::from_secs(1);
/// Users that are checked concurrently.
const AT_ONCE: usize = 16;
/// Rows of a user that are read at once.
const ROWS_AT_ONCE: usize = 1000;
/// Users whose invitations are cached per process; for each of them [`INVITATIONS_MAX`] groups, or a few more.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How long a cache entry is valid below the bounds. Groups that are accepted or declined meanwhile still count.
const REMEMBERED_GOOD: Duration = Duration::from_secs(60);
/// The same at a bound: short, so that a user who accepts some groups can soon be taken in again, but not zero, so
/// that not every command reads the store.
const AT_BOUND_GOOD: Duration = Duration::from_secs(1);
/// How long a reservation of this process counts while the rows do not show the group: by then storage has written
/// it, or the group was never created.
const TAKEN_GOOD: Duration = Duration::from_secs(60);
/// The most users that a refusal names.
const NAMED_MAX: usize = 3;

/// Checks invitations against the store, with a cache. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Invitations {
    store: SharedStore,
    known: Arc<Mutex<LruCache<UserId, Waiting>>>,
}

/// The groups that wait for one user to accept them.
#[derive(Debug, Clone)]
struct Waiting {
    /// By conversation: at most [`INVITATIONS_MAX`] from the rows, and reservations that the rows do not show yet.
    groups: BTreeMap<ConversationId, Invitation>,
    /// The time when the rows were read.
    at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Invitation {
    inviter: UserId,
    /// The time of the reservation, for a group that the rows do not show yet; `None` for groups from the rows.
    taken: Option<Instant>,
}

/// The groups of a user, as the rows say.
#[derive(Debug, Default)]
struct Found {
    /// The groups that wait, with the inviter of each.
    waiting: Vec<(ConversationId, UserId)>,
    /// The ids of all groups and other conversations of the user.
    seen: BTreeSet<ConversationId>,
}

impl Waiting {
    fn is_full_for(&self, inviter: UserId) -> bool {
        let own = self.groups.values().filter(|invitation| invitation.inviter == inviter).count();
        self.groups.len() >= INVITATIONS_MAX || own >= INVITATIONS_BY_ONE_MAX
    }

    /// Reserves room for a group, if there is any. Without reservations before the group is written, concurrent
    /// commands would all find the same room.
    fn reserve(&mut self, conversation: ConversationId, inviter: UserId) -> bool {
        if self.groups.contains_key(&conversation) {
            return true;
        }
        let free = !self.is_full_for(inviter);
        if free {
            self.groups.insert(conversation, Invitation { inviter, taken: Some(Instant::now()) });
        }
        free
    }

    /// A new entry from the rows, with the earlier reservations that the rows do not show yet.
    fn anew(found: Found, before: Option<&Self>) -> Self {
        let Found { waiting, seen } = found;
        let rows = waiting.into_iter().map(|(id, inviter)| (id, Invitation { inviter, taken: None }));
        let is_open = |(id, invitation): &(&ConversationId, &Invitation)| {
            !seen.contains(id) && invitation.taken.is_some_and(|taken| taken.elapsed() < TAKEN_GOOD)
        };
        let open = before.into_iter().flat_map(|before| &before.groups).filter(is_open);
        let open: Vec<_> = open.map(|(id, invitation)| (*id, *invitation)).collect();
        Self { groups: open.into_iter().chain(rows).collect(), at: Instant::now() }
    }
}

/// The reason why a user may not be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    Full,
    Declined,
}

impl Invitations {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, known: Arc::new(Mutex::new(LruCache::new(REMEMBERED_MAX))) }
    }

    /// Checks that the author may take in every user whom the action takes into a group.
    ///
    /// # Errors
    /// `too_many_invitations` or `declined`, naming users.
    pub(crate) async fn check(
        &self,
        author: UserId,
        conversation: ConversationId,
        action: &Action,
    ) -> Result<(), ApiError> {
        let group =
            matches!(action, Action::Create(Create { kind: ConversationKind::Group, .. }) | Action::AddMembers(_));
        let users = if group { taken_in(author, action) } else { BTreeSet::new() };
        if users.is_empty() {
            return Ok(());
        }
        let again = matches!(action, Action::AddMembers(_));
        let asked = stream::iter(users.iter().copied())
            .map(|user| async move {
                let closed = self.closed(author, conversation, user, again).await?;
                Ok::<_, StoreError>(closed.map(|closed| (user, closed)))
            })
            .buffered(AT_ONCE)
            .try_filter_map(|closed| async move { Ok(closed) })
            .try_collect::<Vec<_>>();
        let closed = match timeout(CHECK_WAIT, asked).await {
            Ok(Ok(closed)) => closed,
            Ok(Err(error)) => {
                tracing::debug!(%error, "invitations not checked");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let of =
            |kind: Closed| closed.iter().filter(|(_, why)| *why == kind).map(|(user, _)| *user).collect::<Vec<_>>();
        let (declined, full) = (of(Closed::Declined), of(Closed::Full));
        if !closed.is_empty() {
            self.give_back(conversation, &users);
        }
        if !declined.is_empty() {
            return Err(refusal(ErrorCode::Declined, &declined, DECLINED));
        }
        if !full.is_empty() {
            return Err(refusal(ErrorCode::TooManyInvitations, &full, FULL));
        }
        Ok(())
    }

    /// Why `author` may not take the user in; `None` after a reservation was made. `again` says that the user may
    /// have been in the group before.
    async fn closed(
        &self,
        author: UserId,
        conversation: ConversationId,
        user: UserId,
        again: bool,
    ) -> Result<Option<Closed>, StoreError> {
        let closed = if again && self.has_declined(conversation, user).await? {
            Closed::Declined
        } else if !self.reserve(author, conversation, user).await? {
            Closed::Full
        } else {
            return Ok(None);
        };
        let trusted = self.trusts(user, author).await?;
        Ok(Some(closed).filter(|_| !trusted))
    }

    /// Reserves room for a group in the user's invitations, if there is any.
    async fn reserve(&self, author: UserId, conversation: ConversationId, user: UserId) -> Result<bool, StoreError> {
        let good = |waiting: &&mut Waiting| {
            waiting.at.elapsed() < if waiting.is_full_for(author) { AT_BOUND_GOOD } else { REMEMBERED_GOOD }
        };
        let take = |waiting: &mut Waiting| waiting.reserve(conversation, author);
        let taken = self.with(|known| known.get_mut(&user).filter(good).map(take));
        if let Some(taken) = taken {
            return Ok(taken);
        }
        let found = self.groups_of(user).await?;
        // Other commands may have made reservations during the read.
        Ok(self.with(|known| {
            let mut waiting = Waiting::anew(found, known.peek(&user));
            let taken = take(&mut waiting);
            known.put(user, waiting);
            taken
        }))
    }

    /// Reads the user's groups from the rows.
    async fn groups_of(&self, user: UserId) -> Result<Found, StoreError> {
        let (mut found, mut after) = (Found::default(), None);
        loop {
            let rows = self.store.conversations_of(user, after, ROWS_AT_ONCE).await?;
            let ids: Vec<_> = rows.iter().filter(|row| row.role.is_some()).map(|row| row.conversation).collect();
            let inviters = self.waiting(user, &ids).await?;
            let waiting = ids.into_iter().zip(inviters).filter_map(|(id, inviter)| Some((id, inviter?)));
            found.waiting.extend(waiting);
            found.seen.extend(rows.iter().map(|row| row.conversation));
            after = rows.last().map(|row| row.conversation);
            if rows.len() < ROWS_AT_ONCE || found.waiting.len() >= INVITATIONS_MAX {
                found.waiting.truncate(INVITATIONS_MAX);
                return Ok(found);
            }
        }
    }

    /// The inviter of each group that the user has not accepted; `None` for the others.
    async fn waiting(&self, user: UserId, ids: &[ConversationId]) -> Result<Vec<Option<UserId>>, StoreError> {
        let inviters = self.store.inviters(user, ids).await?;
        if inviters.iter().all(Option::is_none) {
            return Ok(inviters);
        }
        let (marks, sent) = tokio::try_join!(self.store.marks(user, ids), self.store.sent(user, ids))?;
        let accepted = marks.into_iter().zip(sent).map(|(mark, sent)| mark.is_some() || sent.is_some());
        Ok(inviters.into_iter().zip(accepted).map(|(inviter, accepted)| inviter.filter(|_| !accepted)).collect())
    }

    /// Whether the user, without having accepted the group, has left it at least [`LEAVINGS_MAX`] times.
    async fn has_declined(&self, conversation: ConversationId, user: UserId) -> Result<bool, StoreError> {
        let row = self.store.user_conversation(user, conversation).await?;
        if row.is_none_or(|row| row.role.is_some()) || self.waiting(user, &[conversation]).await? == [None] {
            return Ok(false);
        }
        let memberships = self.store.memberships(conversation, user).await?;
        let mut ends: Vec<Seq> =
            memberships.into_iter().filter(|(_, role)| role.is_none()).map(|(seq, _)| seq).collect();
        ends.sort_unstable();
        let mut leavings = 0;
        for (index, end) in ends.iter().rev().take(ENDS_READ_MAX).enumerate() {
            if leavings + ends.len() - index < LEAVINGS_MAX {
                break;
            }
            leavings += usize::from(self.left_themselves(conversation, user, *end).await?);
            if leavings >= LEAVINGS_MAX {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it was the user who ended their membership at `seq`, and not somebody who removed them.
    async fn left_themselves(&self, conversation: ConversationId, user: UserId, seq: Seq) -> Result<bool, StoreError> {
        let page = Page { anchor: Some(seq.next()), direction: Direction::Before, limit: 1 };
        let entry = self.store.timeline(conversation, page).await?.pop();
        Ok(entry.is_some_and(|entry| entry.seq == seq && entry.author == user && entry.content == Content::Left(user)))
    }

    /// Whether the user has written to `other` in their direct conversation.
    async fn trusts(&self, user: UserId, other: UserId) -> Result<bool, StoreError> {
        Ok(self.store.sent(user, &[ConversationId::direct(user, other)]).await?.iter().any(Option::is_some))
    }

    /// Returns the reservations for a group that will not be written.
    fn give_back(&self, conversation: ConversationId, users: &BTreeSet<UserId>) {
        self.with(|known| {
            for user in users {
                if let Some(waiting) = known.peek_mut(user) {
                    waiting.groups.retain(|id, invitation| *id != conversation || invitation.taken.is_none());
                }
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut LruCache<UserId, Waiting>) -> T) -> T {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const DECLINED: &str = "has left the group twice and said or read nothing in it: write to them, and take them in \
                        once they have answered";
const FULL: &str = "is in too many groups already that they have neither said nor read anything in: write to them, and \
                    take them in once they have answered";

fn refusal(code: ErrorCode, users: &[UserId], why: &str) -> ApiError {
    let named: Vec<String> = users.iter().take(NAMED_MAX).map(UserId::to_string).collect();
    let more = match users.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    ApiError::new(code, format!("{}{more} {why}", named.join(", ")))
}
