//! Checks that a position in the log still has the record that it had. Every call to the log here is bounded in time.

use std::future::Future;
use std::time::Duration;

use domain::Cursor;
use eventlog::{EventLog, LogError, Record};
use tokio::time::timeout;

/// The longest that the log may take to answer. Beyond, it counts as not reachable.
pub(crate) const LOG_WAIT: Duration = Duration::from_secs(5);

/// The call, or a transient error when the log does not answer in time.
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, LogError>> + Send) -> Result<T, LogError> {
    timeout(LOG_WAIT, call).await.unwrap_or_else(|late| Err(LogError::Transient(Box::new(late))))
}

/// The last record of the partition; `None` when the partition is empty.
pub(crate) async fn last_record(log: &dyn EventLog, topic: &str, partition: u32) -> Result<Option<Record>, LogError> {
    in_time(eventlog::last_record(log, topic, partition)).await
}

/// Whether the record before `cursor` is there and is the one that the cursor names.
pub(crate) async fn stands(log: &dyn EventLog, topic: &str, cursor: Cursor) -> Result<bool, LogError> {
    in_time(eventlog::stands(log, topic, cursor.partition, cursor.next - 1, cursor.fingerprint)).await
}
