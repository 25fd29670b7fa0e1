//! Who may know how present a user is: those who share a conversation with them, looked up in the store.

use std::collections::BTreeSet;

use domain::{ConversationId, UserId};
use futures_util::{StreamExt, TryStreamExt, stream};
use store::{SharedStore, StoreError};

/// The conversations of a user that are looked at. In later ones by id nobody is found.
pub(super) const CONVERSATIONS_MAX: usize = 1_000;
/// The users of one watch that are looked up at the same time.
const LOOK_UPS_AT_ONCE: usize = 8;

/// For each of `others`, whether they are in a conversation that `user` is in, too. Who shows nothing sees nothing.
pub(super) async fn with(
    store: &SharedStore,
    user: UserId,
    others: Vec<UserId>,
) -> Result<Vec<(UserId, bool)>, StoreError> {
    if !store.privacy(user).await?.shows_presence() {
        return Ok(others.into_iter().map(|other| (other, false)).collect());
    }
    let own = &conversations(store, user).await?;
    let look_up = |other: UserId| async move {
        // A direct conversation is left by nobody, and found without a look at the other one's.
        let shares = other == user
            || own.contains(&ConversationId::direct(user, other))
            || !own.is_disjoint(&conversations(store, other).await?);
        Ok((other, shares))
    };
    stream::iter(others).map(look_up).buffered(LOOK_UPS_AT_ONCE).try_collect().await
}

/// The conversations that the user is in.
async fn conversations(store: &SharedStore, user: UserId) -> Result<BTreeSet<ConversationId>, StoreError> {
    let page = store.conversations_of(user, None, CONVERSATIONS_MAX).await?;
    Ok(page.into_iter().filter(|row| row.role.is_some()).map(|row| row.conversation).collect())
}

/// Whether each of these users shows their presence; `None` where that cannot be looked up now. The numbers are handed
/// back.
pub(super) async fn who_shows(store: &SharedStore, users: Vec<(UserId, u64)>) -> Vec<(UserId, u64, Option<bool>)> {
    let look_up = |(user, number)| async move {
        let privacy = store.privacy(user).await;
        if let Err(error) = &privacy {
            tracing::debug!(%error, "who shows their presence is not looked up");
        }
        (user, number, privacy.ok().map(store::Privacy::shows_presence))
    };
    stream::iter(users).map(look_up).buffered(LOOK_UPS_AT_ONCE).collect().await
}
