//! The limits on reads: their rate, the concurrent reads of one user, and those of all users.
//!
//! | bound | at the bound |
//! |---|---|
//! | reads of a user, over all devices, and of an address | `rate_limited` |
//! | [`READS_AT_ONCE`] reads of a user in progress | further ones wait |
//! | [`READS_WAITING_MAX`] waiting reads of a user | `busy`, at once |
//! | [`READ_TURN_WAIT`] in the user's queue | `busy` |
//! | [`Config::reads_at_work`] reads of all users that work on rows at the same time | they take turns, portion by portion |
//!
//! A read in progress may wait for storage, so only its work on rows is bounded over all users: a waiting read blocks
//! no other. Commands need no permit, so no send is ever behind reads.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::ApiError;
use domain::UserId;
use environment::Buckets;
use protocol::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::Config;

/// Reads that a user may make at once, after a pause, of one process, over all devices: a device that comes back reads
/// each of its conversations.
pub const READS_BURST: u32 = 1_200;
/// Reads that a user may make per second in the long run.
pub const READS_PER_SECOND: u32 = 100;
/// Reads of one address at once, after a pause, by all its users. Loopback addresses have no bound of their own.
pub const ADDRESS_READS_BURST: u32 = 24_000;
/// Reads of one address per second in the long run.
pub const ADDRESS_READS_PER_SECOND: u32 = 2_000;
/// Reads of a user that are in progress.
pub const READS_AT_ONCE: usize = 8;
/// Reads of a user that wait for their turn. Few: memory is reserved for the answer of each, which others may need.
pub const READS_WAITING_MAX: usize = 16;
/// The longest that a read waits for its turn.
pub const READ_TURN_WAIT: Duration = Duration::from_secs(3);
/// Users, and addresses, whose reads are counted. Beyond that, the least recent one is forgotten, and starts anew.
const COUNTED_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// The state of the limits. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ReadLimits {
    users: Arc<Buckets<UserId>>,
    addresses: Arc<Buckets<IpAddr>>,
    lines: Arc<UserQueues>,
    work: Arc<Semaphore>,
}

/// The queues of the users with reads in progress.
#[derive(Debug, Default)]
struct UserQueues(Mutex<HashMap<UserId, UserQueue>>);

/// The reads of one user.
#[derive(Debug)]
struct UserQueue {
    /// The number of reads in progress and waiting.
    all: usize,
    turns: Arc<Semaphore>,
}

/// A read's position in its user's queue, given up when it is dropped.
#[derive(Debug)]
struct QueuePosition {
    lines: Arc<UserQueues>,
    user: UserId,
}

/// The permit of a read in progress, returned when it is dropped.
#[derive(Debug)]
pub(crate) struct ReadPermit {
    /// Returned before the queue position is given up.
    _turn: OwnedSemaphorePermit,
    _position: QueuePosition,
}

impl ReadLimits {
    pub(crate) fn new(config: &Config) -> Self {
        let per = |rate: u32| Duration::from_secs(1) / rate.max(1);
        Self {
            users: Arc::new(Buckets::new(config.read_burst, per(config.read_rate), COUNTED_MAX)),
            addresses: Arc::new(Buckets::new(ADDRESS_READS_BURST, per(ADDRESS_READS_PER_SECOND), COUNTED_MAX)),
            lines: Arc::default(),
            work: Arc::new(Semaphore::new(config.reads_at_work.max(1))),
        }
    }

    /// Waits for the permit of a read by that user at that address.
    ///
    /// # Errors
    /// `rate_limited`, or `busy`.
    pub(crate) async fn turn(&self, user: UserId, address: IpAddr) -> Result<ReadPermit, ApiError> {
        let limited = |wait| {
            let words = "too many reads: wait a moment, then ask again";
            ApiError::new(ErrorCode::RateLimited, words).after(wait)
        };
        self.users.take(&user).map_err(limited)?;
        if !address.is_loopback() {
            self.addresses.take(&address).map_err(limited)?;
        }
        let (position, turns) = self.lines.enter(user).ok_or_else(busy)?;
        match timeout(READ_TURN_WAIT, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(ReadPermit { _turn: turn, _position: position }),
            _ => Err(busy()),
        }
    }

    /// The permit to work on rows, returned when it is dropped. Must not be held while waiting for something else.
    pub(crate) async fn work(&self) -> SemaphorePermit<'_> {
        self.work.acquire().await.expect("it is never closed")
    }
}

fn busy() -> ApiError {
    let words = "too many of your reads are under way: wait for some of them";
    ApiError::new(ErrorCode::Busy, words).after(Duration::from_secs(1))
}

impl UserQueues {
    /// A position in the user's queue, and the semaphore of its turn; `None` when the queue is too long.
    fn enter(self: &Arc<Self>, user: UserId) -> Option<(QueuePosition, Arc<Semaphore>)> {
        let mut lines = self.lock();
        let line =
            lines.entry(user).or_insert_with(|| UserQueue { all: 0, turns: Arc::new(Semaphore::new(READS_AT_ONCE)) });
        if line.all >= READS_AT_ONCE + READS_WAITING_MAX {
            return None;
        }
        line.all += 1;
        Some((QueuePosition { lines: Arc::clone(self), user }, Arc::clone(&line.turns)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, UserQueue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QueuePosition {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get_mut(&self.user) {
            line.all -= 1;
            if line.all == 0 {
                lines.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Issue 10, item 1.
    #[tokio::test(start_paused = true)]
    async fn a_users_reads_take_turns_and_what_is_too_much_is_refused() {
        let reads = ReadLimits::new(&Config::default());
        let mut turns = Vec::new();
        for _ in 0..READS_AT_ONCE {
            turns.push(reads.turn(user(1), HERE).await.unwrap());
        }
        let mut waiting = JoinSet::new();
        for _ in 0..READS_WAITING_MAX {
            let reads = reads.clone();
            waiting.spawn(async move { reads.turn(user(1), HERE).await });
        }
        tokio::task::yield_now().await;
        assert_eq!(reads.turn(user(1), HERE).await.unwrap_err().code, ErrorCode::Busy, "the line is full");
        let other = reads.turn(user(2), HERE).await.unwrap();
        turns.pop();
        let next = waiting.join_next().await.unwrap().unwrap();
        assert!(next.is_ok(), "a turn that ends is another's");
        drop(next);
        while let Some(next) = waiting.join_next().await {
            // Each is dropped at once, so all of them get their turn.
            next.unwrap().unwrap();
        }
        drop((turns, other));
        assert!(reads.lines.lock().is_empty(), "nobody reads any more");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_turn_for_ever() {
        let reads = ReadLimits::new(&Config::default());
        let mut turns = Vec::new();
        for _ in 0..READS_AT_ONCE {
            turns.push(reads.turn(user(1), HERE).await.unwrap());
        }
        let begun = tokio::time::Instant::now();
        assert_eq!(reads.turn(user(1), HERE).await.unwrap_err().code, ErrorCode::Busy);
        assert_eq!(begun.elapsed(), READ_TURN_WAIT);
        assert_eq!(reads.lines.lock()[&user(1)].all, READS_AT_ONCE, "who gave up does not count");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_bound_whoever_asks() {
        let reads = ReadLimits::new(&Config::default());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for number in 0..ADDRESS_READS_BURST {
            reads.turn(user(u128::from(number / READS_BURST)), address).await.unwrap();
        }
        let error = reads.turn(user(1_000), address).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::RateLimited);
        reads.turn(user(1_000), "192.0.2.2".parse().unwrap()).await.unwrap();
    }
}
