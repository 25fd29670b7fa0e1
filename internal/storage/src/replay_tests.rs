//! Replays of logs that do not answer for a while, or that end with offsets without a record.

use std::sync::Arc;

use consumer::ConsumerError;
use eventlog::SharedLog;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, PARTITION, Silent};
use crate::{Replayed, StorageError, replay, replay_marks};

async fn replayed(fixture: &Fixture, silent: u32, to: u64) -> Result<[Replayed; 2], StorageError> {
    let log: SharedLog = Arc::new(Silent::new(&fixture.log, silent));
    let deps = || fixture.deps_over(log.clone());
    let stop = CancellationToken::new;
    let mut told = None;
    let messages = replay(deps(), PARTITION, 0, to, stop(), |done| told = Some(done)).await?;
    assert_eq!(told, Some(messages), "the last progress is the result");
    Ok([messages, replay_marks(deps(), PARTITION, 0, 1, stop(), |_| {}).await?])
}

#[tokio::test(start_paused = true)]
async fn a_replay_outlasts_a_log_that_is_silent_for_a_while() {
    let fixture = Fixture::new().await;
    let [(_, create)] = fixture.groups(1).try_into().unwrap();
    fixture.append(&create).await;
    let done = replayed(&fixture, 3, 2).await.unwrap();
    assert_eq!(done, [Replayed { records: 2, next: 2 }, Replayed { records: 1, next: 1 }]);
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_a_log_that_stays_silent_ends_and_says_how_to_go_on() {
    let fixture = Fixture::new().await;
    let error = replayed(&fixture, u32::MAX, 1).await.unwrap_err();
    assert!(matches!(error, StorageError::Consumer(ConsumerError::Log(eventlog::LogError::Transient(_)))), "{error:?}");
    assert!(error.to_string().contains("begin again from there"), "{error}");
}

/// The control record of a foreign producer is an offset that no reader returns.
#[tokio::test(start_paused = true)]
async fn an_end_without_a_record_ends_a_replay_as_it_should() {
    let fixture = Fixture::new().await;
    let log: SharedLog = Arc::new(Silent::longer(&fixture.log, 1));
    let deps = fixture.deps_over(log);
    let done = replay(deps, PARTITION, 0, 2, CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!(done, Replayed { records: 1, next: 2 });
}
