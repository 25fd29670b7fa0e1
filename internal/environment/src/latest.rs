//! A value that changes, and waits for its changes.
//!
//! As tokio's `watch`, but waiting tasks are woken in the order in which they began to wait: `watch` distributes
//! them over eight lists at random, so a simulation that is repeated with its seed would run differently.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::consume_budget;

/// The writing end. Dropping it tells the readers that the value will not change any more.
#[derive(Debug)]
pub struct Latest<T> {
    shared: Arc<Shared<T>>,
}

/// A reading end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    value: Mutex<(T, bool)>,
    changed: Notify,
}

/// The value will not change any more, because the writing end was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled;

impl<T: Copy> Latest<T> {
    /// A value without readers.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { shared: Arc::new(Shared { value: Mutex::new((value, false)), changed: Notify::new() }) }
    }

    /// A reading end.
    #[must_use]
    pub fn seen(&self) -> Seen<T> {
        Seen { shared: Arc::clone(&self.shared) }
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> T {
        self.shared.lock().0
    }

    /// Changes the value and wakes the waiting tasks.
    pub fn set(&self, value: T) {
        self.shared.lock().0 = value;
        self.shared.changed.notify_waiters();
    }
}

impl<T> Drop for Latest<T> {
    fn drop(&mut self) {
        self.shared.lock().1 = true;
        self.shared.changed.notify_waiters();
    }
}

impl<T: Copy> Seen<T> {
    /// The current value.
    #[must_use]
    pub fn get(&self) -> T {
        self.shared.lock().0
    }

    /// Waits until the value is as `wanted`. Cancel safe.
    ///
    /// # Errors
    /// [`Settled`] when the value is not as wanted and will not change any more.
    pub async fn wait_for(&self, wanted: impl Fn(T) -> bool) -> Result<T, Settled> {
        consume_budget().await; // a caller whose condition always holds must yield at times
        let mut changed = std::pin::pin!(self.shared.changed.notified());
        loop {
            changed.as_mut().enable();
            let (value, settled) = *self.shared.lock();
            if wanted(value) {
                return Ok(value);
            }
            if settled {
                return Err(Settled);
            }
            changed.as_mut().await;
            changed.set(self.shared.changed.notified());
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, (T, bool)> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_in_order_and_told_of_the_end() {
        let (latest, order) = (Latest::new(0), Arc::new(Mutex::new(Vec::new())));
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let (seen, order) = (latest.seen(), Arc::clone(&order));
                tokio::spawn(async move {
                    assert_eq!(seen.wait_for(|value| value > 0).await, Ok(1));
                    order.lock().unwrap().push(number);
                    seen.wait_for(|value| value > 1).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        latest.set(1);
        while order.lock().unwrap().len() < 20 {
            tokio::task::yield_now().await;
        }
        assert!(order.lock().unwrap().is_sorted());
        drop(latest);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Err(Settled));
        }
    }
}
