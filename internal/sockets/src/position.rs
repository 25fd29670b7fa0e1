//! Checks that a position in the log still holds the record that it held before. Every call to the log here has a
//! timeout.

use std::future::Future;
use std::time::Duration;

use domain::Cursor;
use eventlog::{EventLog, LogError, Record};
use tokio::time::timeout;

/// The timeout of a call to the log. Beyond, the log counts as not reachable.
pub(crate) const LOG_WAIT: Duration = Duration::from_secs(5);

/// The result of `call`, or a transient error after [`LOG_WAIT`].
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, LogError>> + Send) -> Result<T, LogError> {
    timeout(LOG_WAIT, call).await.unwrap_or_else(|late| Err(LogError::Transient(Box::new(late))))
}

/// The last record of the partition; `None` when the partition is empty.
pub(crate) async fn last_record(log: &dyn EventLog, topic: &str, partition: u32) -> Result<Option<Record>, LogError> {
    in_time(eventlog::last_record(log, topic, partition)).await
}

/// Whether the record before `cursor` exists and has the fingerprint that the cursor names.
pub(crate) async fn stands(log: &dyn EventLog, topic: &str, cursor: Cursor) -> Result<bool, LogError> {
    in_time(eventlog::stands(log, topic, cursor.partition, cursor.next - 1, cursor.fingerprint)).await
}
