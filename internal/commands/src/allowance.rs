//! The rate limit of a user's commands and marks, over all of the user's sockets and HTTP calls.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use api::ApiError;
use domain::UserId;
use environment::Buckets;
use protocol::ErrorCode;

/// The commands and marks that a user may send to one process at once, after a pause.
pub const COMMANDS_BURST: u32 = 120;
/// The commands and marks that a user may send per second in the long run; beyond that, the answer is
/// `rate_limited`.
pub const COMMANDS_PER_SECOND: u32 = 60;
/// The number of named users that count as one more command, because each of them is looked up.
pub const NAMES_PER_COMMAND: usize = 16;
/// Users whose buckets are kept. At the bound the least recently used bucket is dropped, and so counts as full.
const USERS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// The token buckets of users. Clones share them: a process that serves HTTP and sockets gives both the same.
#[derive(Debug, Clone)]
pub struct Allowance(Arc<Buckets<UserId>>);

impl Allowance {
    /// Buckets with this burst and this rate per second.
    #[must_use]
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self(Arc::new(Buckets::new(burst, Duration::from_secs(1) / per_second.max(1), USERS_MAX)))
    }

    pub(crate) fn take(&self, user: UserId) -> Result<(), ApiError> {
        self.take_many(user, 1)
    }

    /// Takes tokens for the users that a command names: each of them is looked up before the command is decided or
    /// charged.
    ///
    /// # Errors
    /// As for a command: `rate_limited`.
    pub(crate) fn take_for_names(&self, user: UserId, names: usize) -> Result<(), ApiError> {
        match u32::try_from(names / NAMES_PER_COMMAND).unwrap_or(u32::MAX) {
            0 => Ok(()),
            commands => self.take_many(user, commands),
        }
    }

    fn take_many(&self, user: UserId, commands: u32) -> Result<(), ApiError> {
        let words = "too many commands from all of your devices: wait a moment, then send it again";
        self.0.take_many(&user, commands).map_err(|wait| ApiError::new(ErrorCode::RateLimited, words).after(wait))
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new(COMMANDS_BURST, COMMANDS_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Each named user costs a read or more, whether the command is refused or not.
    #[tokio::test(start_paused = true)]
    async fn who_names_many_users_sends_fewer_commands() {
        let (allowance, user) = (Allowance::default(), UserId::try_from(Uuid::nil()).unwrap());
        let sent = (0..COMMANDS_BURST).take_while(|_| {
            allowance.take(user).is_ok() && allowance.take_for_names(user, 16 * NAMES_PER_COMMAND).is_ok()
        });
        assert_eq!(sent.count(), 7);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(allowance.take(user).is_ok() && allowance.take_for_names(user, NAMES_PER_COMMAND - 1).is_ok());
    }
}
