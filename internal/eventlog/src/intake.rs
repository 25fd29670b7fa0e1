//! The bound on the records that were enqueued and are not durable yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

use crate::AppendError;

/// How long an append waits at the bound before it fails with [`AppendError::Busy`].
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The cost of a record besides its bytes. It also bounds the number of small records: at most `bytes_max /
/// RECORD_COST` are in flight.
const RECORD_COST: usize = 1024;

/// Admits records up to a number of bytes in flight. At the bound, appends wait in order, at most a second.
#[derive(Debug)]
pub struct Intake {
    room: Arc<Semaphore>,
}

/// A permit for one record; dropping it returns the bytes.
#[derive(Debug)]
pub struct Permit {
    _room: OwnedSemaphorePermit,
}

impl Intake {
    /// An intake of `bytes_max` bytes; each record counts a kilobyte more than its bytes.
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

    /// Takes a permit for a record of `bytes`, first come first served: waiting calls are never overtaken.
    ///
    /// # Errors
    /// `Busy` after a second at the bound, `Closed` after [`Intake::close`], `TooLarge` beyond the size of a record.
    pub async fn admit(&self, bytes: usize) -> Result<Permit, AppendError> {
        if bytes > crate::RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let cost = u32::try_from(bytes + RECORD_COST).map_err(|_| AppendError::TooLarge)?;
        // `try_acquire` fails while others wait, so returned bytes go to the waiting calls first.
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

    /// Refuses all further records.
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
