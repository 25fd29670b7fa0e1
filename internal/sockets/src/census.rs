//! How many sockets are open: in all, and of each user.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::UserId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Counts sockets against their bounds.
#[derive(Debug)]
pub(crate) struct Census {
    places: Arc<Semaphore>,
    per_user_max: usize,
    /// Only ever looked up by user.
    users: Mutex<HashMap<UserId, Vec<Arc<Presence>>>>,
    /// Counts signs of life, of all sockets together.
    signs: AtomicU64,
}

/// One of a user's sockets, as the others see it.
#[derive(Debug)]
struct Presence {
    /// The number of its last sign of life: the lowest of several is that of the one that was silent for longest.
    heard: AtomicU64,
    /// It has to make room.
    give_way: Notify,
}

/// One of a user's sockets. Counted until it is dropped, or another took its place.
#[derive(Debug)]
pub(crate) struct Counted {
    census: Arc<Census>,
    user: UserId,
    presence: Arc<Presence>,
}

impl Census {
    pub(crate) fn new(sockets_max: usize, per_user_max: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(sockets_max));
        Arc::new(Self { places, per_user_max, users: Mutex::default(), signs: AtomicU64::new(0) })
    }

    /// A place for a socket; `None` at the node's bound.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Counts a socket of `user`. At the user's bound, the one that was silent for longest gives way: a device that lost
    /// its connections unnoticed must not be kept out by what is left of them.
    pub(crate) fn count(self: &Arc<Self>, user: UserId) -> Counted {
        let presence = Arc::new(Presence { heard: AtomicU64::new(self.sign()), give_way: Notify::new() });
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = users.entry(user).or_default();
        while sockets.len() >= self.per_user_max.max(1) {
            let heard = |presence: &Arc<Presence>| presence.heard.load(Ordering::Relaxed);
            let oldest = (0..sockets.len()).min_by_key(|index| heard(&sockets[*index]));
            sockets.swap_remove(oldest.unwrap_or(0)).give_way.notify_one();
        }
        sockets.push(Arc::clone(&presence));
        Counted { census: Arc::clone(self), user, presence }
    }

    fn sign(&self) -> u64 {
        self.signs.fetch_add(1, Ordering::Relaxed)
    }
}

impl Counted {
    /// The device gave a sign of life.
    pub(crate) fn heard(&self) {
        self.presence.heard.store(self.census.sign(), Ordering::Relaxed);
    }

    /// Returns when the socket has to make room for another one of the user. Cancel safe.
    pub(crate) async fn gives_way(&self) {
        self.presence.give_way.notified().await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut users = self.census.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sockets) = users.get_mut(&self.user) {
            sockets.retain(|presence| !Arc::ptr_eq(presence, &self.presence));
            if sockets.is_empty() {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn at_the_bound_of_a_user_the_socket_silent_for_longest_gives_way() {
        let census = Census::new(3, 2);
        let [user, other] = [1, 2].map(|number| UserId::try_from(uuid::Uuid::from_u128(number)).unwrap());
        let (first, second) = (census.count(user), census.count(user));
        let _others = [census.count(other), census.count(other)];
        let gives_way = |counted: &Counted| counted.gives_way().now_or_never().is_some();
        assert!(!gives_way(&first) && !gives_way(&second));
        first.heard();
        let third = census.count(user);
        assert!(gives_way(&second) && !gives_way(&first) && !gives_way(&third));
        drop(second);
        let _fourth = census.count(user);
        assert!(gives_way(&first) && !gives_way(&third), "who went for another is not counted twice");
        let places: Vec<_> = (0..4).map(|_| census.place()).collect();
        assert_eq!(places.iter().flatten().count(), 3);
    }
}
