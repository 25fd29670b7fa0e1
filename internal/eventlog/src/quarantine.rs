//! Copies corrupt records to the topic `chat.quarantine`, where operators look.

use std::error::Error;
use std::time::Duration;

use events::topics::QUARANTINE;
use events::{Codec, Quarantined};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{AppendError, EventLog, NewRecord, Record, TopicPartition, append};

/// The timeout of one copy.
const COPY_WAIT: Duration = Duration::from_secs(5);
/// How long copying pauses after a failure, so that many corrupt records in a row do not each wait for the
/// timeout.
const COPY_REST: Duration = Duration::from_secs(60);

/// Copies the corrupt records of one partition.
#[derive(Debug, Default)]
pub struct Quarantine {
    /// The end of the pause after a failed copy.
    not_before: Option<Instant>,
}

impl Quarantine {
    /// Copies a refused record, on a best-effort basis and within a time limit: the record itself stays in its
    /// topic, so an unavailable quarantine must not stop the consumer.
    pub async fn copy(
        &mut self,
        (log, codec): (&dyn EventLog, &Codec),
        at: &TopicPartition,
        record: &Record,
        reason: &str,
        stop: &CancellationToken,
    ) {
        tracing::warn!(partition = %at, offset = record.offset, reason, "corrupt record refused");
        if self.not_before.is_some_and(|before| Instant::now() < before) {
            return;
        }
        let quarantined = codec.quarantined(&Quarantined {
            topic: at.topic.clone(),
            partition: at.partition,
            offset: record.offset,
            reason: reason.to_owned(),
            payload: record.payload.clone(),
        });
        let key = String::from_utf8_lossy(&record.key).into_owned();
        let copy = NewRecord { key, partition: Some(0), headers: quarantined.headers, payload: quarantined.payload };
        let copied = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            copied = timeout(COPY_WAIT, append(log, QUARANTINE, copy)) => copied,
        };
        let (error, of_this_one): (Box<dyn Error + Send + Sync>, bool) = match copied {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => {
                let of_this_one = matches!(error, AppendError::TooLarge);
                (error.into(), of_this_one)
            }
            Err(late) => (late.into(), false),
        };
        if !of_this_one {
            self.not_before = Some(Instant::now() + COPY_REST);
        }
        tracing::warn!(partition = %at, offset = record.offset, %error, "corrupt record not copied");
    }
}
