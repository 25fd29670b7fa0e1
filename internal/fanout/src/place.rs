//! Reading on: whether the log is still the one that was read before, and a reader.

use domain::Fingerprint;
use eventlog::{LogError, PartitionReader, TopicPartition, stands};
use runtime::insist;
use tokio_util::sync::CancellationToken;

use crate::{Deps, FanoutError};

/// Fails when the record before `next` is gone or not the one of that fingerprint: the topic was re-created, or it was
/// cut short by an unclean failover and has grown again. Looked at whenever reading begins or goes on after an error:
/// the next offset alone would lead into the other log. Without a fingerprint nothing was read yet.
pub(crate) async fn verify(
    deps: &Deps,
    at: &TopicPartition,
    next: u64,
    fingerprint: Option<Fingerprint>,
    stop: &CancellationToken,
) -> Result<(), FanoutError> {
    let (Some(fingerprint), Some(before)) = (fingerprint, next.checked_sub(1)) else { return Ok(()) };
    let stands = || stands(&*deps.log, &at.topic, at.partition, before, fingerprint);
    let stands = insist("read the last record", &deps.entropy, stop, LogError::is_transient, stands).await?;
    if stands { Ok(()) } else { Err(FanoutError::NotTheLog(at.clone(), next)) }
}

/// A reader from `next` on, of the log that was read before.
pub(crate) async fn reader(
    deps: &Deps,
    at: &TopicPartition,
    next: u64,
    fingerprint: Option<Fingerprint>,
    stop: &CancellationToken,
) -> Result<Box<dyn PartitionReader>, FanoutError> {
    verify(deps, at, next, fingerprint, stop).await?;
    open(deps, at, next, stop).await
}

/// A reader from `from` on, whatever log this is.
pub(crate) async fn open(
    deps: &Deps,
    at: &TopicPartition,
    from: u64,
    stop: &CancellationToken,
) -> Result<Box<dyn PartitionReader>, FanoutError> {
    let open = || deps.log.reader(&at.topic, at.partition, from);
    Ok(insist("open the log", &deps.entropy, stop, LogError::is_transient, open).await?)
}
