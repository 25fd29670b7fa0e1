//! What the outside world is told when the log or the store fails or is behind: the one place where that becomes codes.

use api::ApiError;
use environment::ErrorKind;
use eventlog::{AppendError, LogError};
use protocol::ErrorCode;
use store::StoreError;

/// Not a member, or there is no such conversation: nobody is told which.
#[must_use]
pub fn not_member() -> ApiError {
    ApiError::new(ErrorCode::NotMember, "there is no such conversation, or you are not a member of it")
}

/// Storage holds the conversation: its rows may lack what was skipped.
#[must_use]
pub fn held() -> ApiError {
    ApiError::new(ErrorCode::Held, "the conversation waits for an upgrade of the server: ask again later")
}

/// Storage has not come so far in time.
#[must_use]
pub fn retry() -> ApiError {
    ApiError::new(ErrorCode::Retry, "the server has not caught up with the log yet: ask again")
}

/// The store did not answer, or not with what was asked for.
#[must_use]
pub fn of_store(error: StoreError) -> ApiError {
    if may_pass(error.kind()) { ApiError::unavailable(error) } else { ApiError::internal(error) }
}

/// The log could not be read.
#[must_use]
pub fn of_log(error: LogError) -> ApiError {
    if may_pass(error.kind()) { ApiError::unavailable(error) } else { ApiError::internal(error) }
}

/// Whether the same request may be answered later, without anybody mending this program or its data.
fn may_pass(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Transient | ErrorKind::Superseded | ErrorKind::Missing | ErrorKind::Closed => true,
        ErrorKind::OutOfRange | ErrorKind::Poison | ErrorKind::Misconfigured | ErrorKind::Broken => false,
    }
}

/// The log did not take the record: nothing was appended, except where the code says `unknown`.
#[must_use]
pub fn of_enqueue(error: AppendError) -> ApiError {
    match error {
        AppendError::Closed => ApiError::unavailable(error),
        other => of_append(other),
    }
}

/// The log had taken the record and did not acknowledge it. Where it cannot be told whether the record is there, or
/// may yet get there, the answer is `unknown`, never a failure.
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
