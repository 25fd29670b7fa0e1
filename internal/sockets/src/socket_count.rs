//! Counts the open sockets of the node and of each user, and enforces their bounds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::UserId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The counts and their bounds.
#[derive(Debug)]
pub(crate) struct SocketCount {
    permits: Arc<Semaphore>,
    per_user_max: usize,
    /// Accessed by user only, so its random order does not matter.
    users: Mutex<HashMap<UserId, Vec<Arc<Presence>>>>,
    /// A logical clock: the count of frames that all sockets received.
    signs: AtomicU64,
}

/// One of a user's sockets, as the others see it.
#[derive(Debug)]
struct Presence {
    /// The value of that clock when the socket last received a frame. The lowest of several belongs to the socket
    /// that was silent for longest.
    heard: AtomicU64,
    /// Notified when the socket must close to make room for another one.
    give_way: Notify,
}

/// One of a user's sockets. It counts until it is dropped, or must close for another one.
#[derive(Debug)]
pub(crate) struct CountedSocket {
    socket_count: Arc<SocketCount>,
    user: UserId,
    presence: Arc<Presence>,
}

impl SocketCount {
    pub(crate) fn new(sockets_max: usize, per_user_max: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(sockets_max));
        Arc::new(Self { permits, per_user_max, users: Mutex::default(), signs: AtomicU64::new(0) })
    }

    /// A permit for a socket; `None` at the node's bound.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Counts a socket of `user`. At the user's bound, the one that was silent for longest must close: a device
    /// that lost its connections unnoticed must not be kept out by their dead sockets.
    pub(crate) fn count(self: &Arc<Self>, user: UserId) -> CountedSocket {
        let presence = Arc::new(Presence { heard: AtomicU64::new(self.sign()), give_way: Notify::new() });
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = users.entry(user).or_default();
        while sockets.len() >= self.per_user_max.max(1) {
            let heard = |presence: &Arc<Presence>| presence.heard.load(Ordering::Relaxed);
            let oldest = (0..sockets.len()).min_by_key(|index| heard(&sockets[*index]));
            sockets.swap_remove(oldest.unwrap_or(0)).give_way.notify_one();
        }
        sockets.push(Arc::clone(&presence));
        CountedSocket { socket_count: Arc::clone(self), user, presence }
    }

    fn sign(&self) -> u64 {
        self.signs.fetch_add(1, Ordering::Relaxed)
    }
}

impl CountedSocket {
    /// Notes that a frame was received from the device.
    pub(crate) fn heard(&self) {
        self.presence.heard.store(self.socket_count.sign(), Ordering::Relaxed);
    }

    /// Waits until the socket must close to make room for another one of the user. Cancel safe.
    pub(crate) async fn gives_way(&self) {
        self.presence.give_way.notified().await;
    }
}

impl Drop for CountedSocket {
    fn drop(&mut self) {
        let mut users = self.socket_count.users.lock().unwrap_or_else(PoisonError::into_inner);
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
        let socket_count = SocketCount::new(3, 2);
        let [user, other] = [1, 2].map(|number| UserId::try_from(uuid::Uuid::from_u128(number)).unwrap());
        let (first, second) = (socket_count.count(user), socket_count.count(user));
        let _others = [socket_count.count(other), socket_count.count(other)];
        let gives_way = |counted: &CountedSocket| counted.gives_way().now_or_never().is_some();
        assert!(!gives_way(&first) && !gives_way(&second));
        first.heard();
        let third = socket_count.count(user);
        assert!(gives_way(&second) && !gives_way(&first) && !gives_way(&third));
        drop(second);
        let _fourth = socket_count.count(user);
        assert!(gives_way(&first) && !gives_way(&third), "who went for another is not counted twice");
        let permits: Vec<_> = (0..4).map(|_| socket_count.permit()).collect();
        assert_eq!(permits.iter().flatten().count(), 3);
    }
}
