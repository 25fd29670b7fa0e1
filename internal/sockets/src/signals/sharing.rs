//! Who may know how present a user is: those who share a conversation with them, looked up in the store.

use std::collections::BTreeSet;

use domain::{ConversationId, UserId};
use futures_util::{StreamExt, TryStreamExt, stream};
use store::{SharedStore, StoreError};

/// The conversations of a user that are looked at. In later ones by id nobody is found.
pub(super) const CONVERSATIONS_MAX: usize = 1_000;
/// The users of one watch that are looked up at the same time.
const LOOK_UPS_AT_ONCE: usize = 8;

/// For each of `others`, whether they are in a conversation that `user` is in, too.
pub(super) async fn with(
    store: &SharedStore,
    user: UserId,
    others: Vec<UserId>,
) -> Result<Vec<(UserId, bool)>, StoreError> {
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
