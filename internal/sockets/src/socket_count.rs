//! Counts the open sockets of the node, of each address and of each user, and enforces their bounds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::UserId;
use process::serve::PerAddress;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The counts and their bounds.
#[derive(Debug)]
pub(crate) struct SocketCount {
    permits: Arc<Semaphore>,
    per_address: PerAddress,
    /// Open sockets by the address of their client, or its network. Addresses without a bound are not in it.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    per_user_max: usize,
    /// Accessed by user only, so its random order does not matter.
    users: Mutex<HashMap<UserId, Vec<Arc<Presence>>>>,
    /// A logical clock: the count of frames that all sockets received.
    signs: AtomicU64,
}

/// The right to an open socket of the node, from one address. It counts until it is dropped.
#[derive(Debug)]
pub(crate) struct SocketPermit {
    _node: OwnedSemaphorePermit,
    /// The address that it counts for, if that has a bound.
    counted: Option<(Arc<SocketCount>, IpAddr)>,
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
    pub(crate) fn new(sockets_max: usize, per_address: PerAddress, per_user_max: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(sockets_max));
        let (addresses, users) = (Mutex::default(), Mutex::default());
        Arc::new(Self { permits, per_address, addresses, per_user_max, users, signs: AtomicU64::new(0) })
    }

    /// A permit for a socket from `address`; `None` at the bound of the node or of the address.
    pub(crate) fn permit(self: &Arc<Self>, address: IpAddr) -> Option<SocketPermit> {
        let node = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let Some(max) = self.per_address.max_of(address) else {
            return Some(SocketPermit { _node: node, counted: None });
        };
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.get(&address).copied().unwrap_or(0);
        (count < max).then(|| {
            addresses.insert(address, count + 1);
            SocketPermit { _node: node, counted: Some((Arc::clone(self), address)) }
        })
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

impl Drop for SocketPermit {
    fn drop(&mut self) {
        let Some((socket_count, address)) = &self.counted else { return };
        let mut addresses = socket_count.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        match addresses.get_mut(address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(addresses.remove(address)),
        }
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
    fn an_address_has_a_bound_of_its_own() {
        let socket_count = SocketCount::new(5, PerAddress::MaxUnlessLoopback(2), 20);
        let from = |address: &str| socket_count.permit(address.parse().unwrap());
        let (first, second) = (from("10.0.0.1"), from("10.0.0.1"));
        assert!(first.is_some() && second.is_some() && from("10.0.0.1").is_none());
        let _other = from("10.0.0.2").unwrap();
        drop(first);
        let third = from("10.0.0.1");
        assert!(third.is_some() && from("10.0.0.1").is_none(), "there is room for as many as have gone");
        let _local = [from("127.0.0.1").unwrap(), from("127.0.0.1").unwrap()];
        assert!(from("127.0.0.1").is_none(), "the node is full");
        drop((second, third));
        assert_eq!(socket_count.addresses.lock().unwrap().len(), 1, "who has gone is forgotten");
    }

    #[test]
    fn at_the_bound_of_a_user_the_socket_silent_for_longest_gives_way() {
        let socket_count = SocketCount::new(3, PerAddress::Unbounded, 2);
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
        let permits: Vec<_> = (0..4).map(|_| socket_count.permit([10, 0, 0, 1].into())).collect();
        assert_eq!(permits.iter().flatten().count(), 3);
    }
}
