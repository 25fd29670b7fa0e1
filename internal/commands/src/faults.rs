//! Maps failures and delays of the log and the store to the error codes that clients see; no other module does.

use api::ApiError;
use environment::ErrorKind;
use eventlog::{AppendError, LogError};
use protocol::ErrorCode;
use store::StoreError;

/// The user is not a member, or the conversation does not exist: clients do not learn which.
#[must_use]
pub fn not_member() -> ApiError {
    ApiError::new(ErrorCode::NotMember, "there is no such conversation, or you are not a member of it")
}

/// Storage holds the conversation: its rows may lack skipped events.
#[must_use]
pub fn held() -> ApiError {
    ApiError::new(ErrorCode::Held, "the conversation waits for an upgrade of the server: ask again later")
}

/// Storage has not come far enough in time.
#[must_use]
pub fn retry() -> ApiError {
    ApiError::new(ErrorCode::Retry, "the server has not caught up with the log yet: ask again")
}

/// The store did not answer, or failed.
#[must_use]
pub fn of_store(error: StoreError) -> ApiError {
    if may_pass(error.kind()) { ApiError::unavailable(error) } else { ApiError::internal(error) }
}

/// The log could not be read.
#[must_use]
pub fn of_log(error: LogError) -> ApiError {
    if may_pass(error.kind()) { ApiError::unavailable(error) } else { ApiError::internal(error) }
}

/// Whether a retry of the request may succeed without a change of this program or its data.
fn may_pass(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Transient | ErrorKind::Superseded | ErrorKind::Missing | ErrorKind::Closed => true,
        ErrorKind::OutOfRange | ErrorKind::Poison | ErrorKind::Misconfigured | ErrorKind::Broken => false,
    }
}

/// The log did not accept the record: nothing was appended, except where the code is `unknown`.
#[must_use]
pub fn of_enqueue(error: AppendError) -> ApiError {
    match error {
        AppendError::Closed => ApiError::unavailable(error),
        other => of_append(other),
    }
}

/// The log accepted the record and did not acknowledge it. Where the record may be in the log, or may still be
/// appended, the code is `unknown`, never a failure.
#[must_use]
pub fn of_append(error: AppendError) -> ApiError {
    match error {
        AppendError::Busy => ApiError::caused(ErrorCode::Busy, "the log's queue is full: try again", error),
        AppendError::TooLarge => {
            ApiError::caused(ErrorCode::TooLarge, "the command is larger than the log takes: make it smaller", error)
        }
        AppendError::NoTopic(_) => ApiError::unavailable(error),
        AppendError::Unknown | AppendError::Fatal(_) | AppendError::Closed => ApiError::caused(
            ErrorCode::Unknown,
            "not acknowledged in time: it may or may not be in the log; send it again with the same id",
            error,
        ),
    }
}
