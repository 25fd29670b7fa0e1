//! How many sockets are open: in all, and of each user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::UserId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts sockets against their bounds.
#[derive(Debug)]
pub(crate) struct Census {
    places: Arc<Semaphore>,
    per_user_max: usize,
    /// Only ever looked up by user.
    users: Mutex<HashMap<UserId, usize>>,
}

/// One of a user's sockets. Counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    census: Arc<Census>,
    user: UserId,
}

impl Census {
    pub(crate) fn new(sockets_max: usize, per_user_max: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(sockets_max));
        Arc::new(Self { places, per_user_max, users: Mutex::default() })
    }

    /// A place for a socket; `None` at the node's bound.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Counts a socket of `user`; `None` at the user's bound.
    pub(crate) fn count(self: &Arc<Self>, user: UserId) -> Option<Counted> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.entry(user).or_insert(0);
        if *count >= self.per_user_max {
            return None;
        }
        *count += 1;
        Some(Counted { census: Arc::clone(self), user })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut users = self.census.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_sockets_and_no_more() {
        let census = Census::new(3, 2);
        let user = UserId::try_from(uuid::Uuid::from_u128(1)).unwrap();
        let (first, second) = (census.count(user), census.count(user));
        assert!(first.is_some() && second.is_some() && census.count(user).is_none());
        drop(first);
        assert!(census.count(user).is_some());
        let places: Vec<_> = (0..4).map(|_| census.place()).collect();
        assert_eq!(places.iter().flatten().count(), 3);
    }
}
