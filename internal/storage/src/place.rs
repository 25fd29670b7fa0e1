//! Whether the log is still the one that the store has applied.

use eventlog::{LogError, TopicPartition, stands};
use runtime::insist;
use store::Applied;
use tokio_util::sync::CancellationToken;

use crate::{Deps, StorageError};

/// Fails when the record of `applied` is gone or another one: the topic was re-created, or it was cut short by an unclean
/// failover and has grown again. Looked at whenever reading begins or goes on after an error: the next offset alone
/// would lead into the other log.
pub(crate) async fn verify(
    deps: &Deps,
    at: &TopicPartition,
    applied: Applied,
    stop: &CancellationToken,
) -> Result<(), StorageError> {
    let (log, offset) = (&*deps.log, applied.seq.offset());
    let stands = || stands(log, &at.topic, at.partition, offset, applied.fingerprint);
    let stands = insist("read the last applied record", &deps.entropy, stop, LogError::is_transient, stands).await?;
    if stands { Ok(()) } else { Err(StorageError::NotTheLog(at.clone(), offset)) }
}
