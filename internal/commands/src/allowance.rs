//! How often a user may send commands and marks: over all of the user's sockets and HTTP calls.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use api::ApiError;
use domain::UserId;
use environment::Buckets;
use protocol::ErrorCode;

/// Commands and marks that a user may send at once, after a pause, to one process.
pub const COMMANDS_BURST: u32 = 120;
/// Commands and marks that a user may send per second in the long run. Beyond: `rate_limited`.
pub const COMMANDS_PER_SECOND: u32 = 60;
/// Users remembered. At the bound the least recent one may begin anew.
const USERS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// What users may send. Clones share it: a process that serves HTTP and sockets gives both the same.
#[derive(Debug, Clone)]
pub struct Allowance(Arc<Buckets<UserId>>);

impl Allowance {
    /// So many at once, and so many per second in the long run.
    #[must_use]
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self(Arc::new(Buckets::new(burst, Duration::from_secs(1) / per_second.max(1), USERS_MAX)))
    }

    pub(crate) fn take(&self, user: UserId) -> Result<(), ApiError> {
        let words = "too many commands from all of your devices: wait a moment, then send it again";
        self.0.take(&user).map_err(|wait| ApiError::new(ErrorCode::RateLimited, words).after(wait))
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new(COMMANDS_BURST, COMMANDS_PER_SECOND)
    }
}
