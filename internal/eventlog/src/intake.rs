//! The bound on what has been handed to a log and is not yet durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

use crate::AppendError;

/// How long a writer waits at the bound before it is told to come back later.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// What a record costs besides its bytes. It bounds the number of small records too: at most
/// `bytes_max / RECORD_COST` are in flight.
const RECORD_COST: usize = 1024;

/// Admits records up to a number of bytes in flight; at the bound writers wait in line, at most a second.
#[derive(Debug)]
pub struct Intake {
    room: Arc<Semaphore>,
}

/// Room for one record; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _room: OwnedSemaphorePermit,
}

impl Intake {
    /// Room for `bytes_max` bytes, each record counted with a kilobyte on top.
    ///
    /// # Panics
    /// When one record of the largest size does not fit.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        assert!(bytes_max >= crate::RECORD_BYTES_MAX + RECORD_COST, "the largest record fits into the intake");
        Self { room: Arc::new(Semaphore::new(bytes_max)) }
    }

    /// The most records that can be in flight at once.
    #[must_use]
    pub fn records_max(bytes_max: usize) -> usize {
        bytes_max / RECORD_COST
    }

    /// Takes room for a record of `bytes`, first come first served: who waits is not overtaken.
    ///
    /// # Errors
    /// `Busy` after a second at the bound, `Closed` after [`Intake::close`], `TooLarge` beyond the size of a record.
    pub async fn admit(&self, bytes: usize) -> Result<Permit, AppendError> {
        if bytes > crate::RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let cost = u32::try_from(bytes + RECORD_COST).map_err(|_| AppendError::TooLarge)?;
        // The quick way takes only what nobody waits for: freed room goes to those in line first.
        match Arc::clone(&self.room).try_acquire_many_owned(cost) {
            Ok(room) => return Ok(Permit { _room: room }),
            Err(TryAcquireError::Closed) => return Err(AppendError::Closed),
            Err(TryAcquireError::NoPermits) => {}
        }
        match timeout(WAIT_MAX, Arc::clone(&self.room).acquire_many_owned(cost)).await {
            Ok(Ok(room)) => Ok(Permit { _room: room }),
            Ok(Err(_closed)) => Err(AppendError::Closed),
            Err(_elapsed) => Err(AppendError::Busy),
        }
    }

    /// Admits nothing more.
    pub fn close(&self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RECORD_BYTES_MAX;

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_a_writer_waits_a_second_and_is_told_to_come_back() {
        let intake = Intake::new(RECORD_BYTES_MAX + RECORD_COST);
        let held = intake.admit(RECORD_BYTES_MAX).await.unwrap();
        assert!(matches!(intake.admit(1).await, Err(AppendError::Busy)));
        let (waiting, ()) = tokio::join!(intake.admit(1), async {
            tokio::task::yield_now().await;
            drop(held);
        });
        waiting.unwrap();
        assert!(matches!(intake.admit(RECORD_BYTES_MAX + 1).await, Err(AppendError::TooLarge)));
        intake.close();
        assert!(matches!(intake.admit(1).await, Err(AppendError::Closed)));
    }
}
