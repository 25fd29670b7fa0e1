//! The relay: publishes the outbox to `users.events`, oldest first, and removes each row once the log has its event.
//!
//! It publishes one record at a time, so that a user's events keep the order of their rows; sign-ins are far too
//! expensive to outrun that. Publishing is at least once: a crash, a lost answer or a second process of this service
//! publishes a row again, under the same id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use environment::{Clock, Entropy};
use eventlog::promises::Promises;
use eventlog::{AppendError, LogError, NewRecord, SharedLog, partition_of_id};
use events::topics::{USERS, spec_of};
use events::{Codec, HEADER_ID, HEADER_TRACE};
use process::{Backoff, Condition, FaultLog};
use store::{OutboxRow, StoreError, UserStore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Deps;
use crate::metrics::UsersMetrics;
use crate::outbox::{self, Outbox};

/// Rows read at once. If as many rows could be neither published nor dropped, the relay would stop.
const ROWS_MAX: usize = 256;
/// How often the outbox is read without being woken: for rows of another process, or of one that crashed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// An account that does not exist this long after its outbox row was written will never exist.
const NEVER_MADE_AFTER: Duration = Duration::from_secs(600);
/// How often the topic is checked, so that readiness shows a log that is away while nothing is published.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// How long the last read of the outbox may take when the service stops.
const LAST_LOOK_WITHIN: Duration = Duration::from_secs(2);

/// Publishes the outbox.
pub(crate) struct Relay {
    store: Arc<dyn UserStore>,
    log: SharedLog,
    codec: Codec,
    clock: Clock,
    entropy: Entropy,
    outbox: Outbox,
    metrics: UsersMetrics,
    store_ready: Condition,
    log_ready: Condition,
}

/// The topic, and when it was last found to be in order.
struct Checked {
    topic: Promises,
    at: Option<Instant>,
}

/// Why the relay stopped for now, or for good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("the outbox: {0}")]
    Store(#[from] StoreError),
    #[error("{USERS}: {0}")]
    Append(#[from] AppendError),
    #[error("{USERS}: {0}")]
    Log(#[from] LogError),
    #[error("{0}")]
    Topic(String),
}

/// What to do with a row.
enum Verdict {
    Publish(NewRecord),
    Drop,
    /// Leave it for a later read.
    Leave,
}

impl Relay {
    pub(crate) fn new(deps: &Deps, outbox: Outbox, metrics: UsersMetrics) -> Self {
        Self {
            store: deps.store.clone(),
            log: deps.log.clone(),
            codec: deps.codec.clone(),
            clock: deps.clock.clone(),
            entropy: deps.entropy.clone(),
            outbox,
            metrics,
            store_ready: deps.readiness.condition("user store", "it was not read yet"),
            log_ready: deps.readiness.condition(USERS, "the topic was not looked at yet"),
        }
    }

    /// Runs until `token` is cancelled.
    pub(crate) async fn run(self, token: CancellationToken) -> Result<(), RelayError> {
        let mut checked = Checked { topic: Promises::of(&[USERS]), at: None };
        let (mut backoff, mut faults) = (Backoff::new(self.entropy.clone()), FaultLog::new("relay of users.events"));
        loop {
            let looked = tokio::select! {
                biased;
                () = token.cancelled() => break,
                looked = self.look(&mut checked) => looked,
            };
            self.report(&looked);
            match looked {
                Ok(()) => {
                    faults.well();
                    backoff.reset();
                    tokio::select! {
                        biased;
                        () = token.cancelled() => break,
                        () = self.outbox.woken() => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                }
                Err(error @ RelayError::Append(AppendError::Fatal(_))) => return Err(error),
                Err(error) => {
                    faults.fault(&error);
                    if !backoff.wait(&token).await {
                        break;
                    }
                }
            }
        }
        // The rows are durable either way; what was accepted a moment ago is published by this process if it can.
        if let Ok(Err(error)) = tokio::time::timeout(LAST_LOOK_WITHIN, self.drain()).await {
            tracing::info!(%error, "outbox left to the next start");
        }
        Ok(())
    }

    fn report(&self, looked: &Result<(), RelayError>) {
        match looked {
            Ok(()) => {
                self.store_ready.ready();
                self.log_ready.ready();
            }
            Err(RelayError::Store(error)) => self.store_ready.not_ready(error.to_string()),
            Err(error) => self.log_ready.not_ready(error.to_string()),
        }
    }

    async fn look(&self, checked: &mut Checked) -> Result<(), RelayError> {
        if checked.at.is_none_or(|at| at.elapsed() >= CHECK_EVERY) {
            checked.at = None;
            if let Some(fault) = checked.topic.fault(&*self.log, &self.codec).await? {
                return Err(RelayError::Topic(fault));
            }
            checked.at = Some(Instant::now());
        }
        self.drain().await
    }

    /// Publishes until only rows are left that must stay. A partition that takes nothing keeps back the rows of its own
    /// users, and nobody else's.
    async fn drain(&self) -> Result<(), RelayError> {
        let (partitions, mut sick) = (spec_of(USERS).partitions, BTreeMap::new());
        loop {
            let rows = self.store.outbox(ROWS_MAX).await?;
            let mut done = 0;
            for row in &rows {
                let partition = partition_of_id(row.user.uuid(), partitions);
                if sick.contains_key(&partition) {
                    continue;
                }
                match self.judge(row).await? {
                    Verdict::Publish(record) => match eventlog::append(&*self.log, USERS, record).await {
                        Ok(_) => _ = self.metrics.published.inc(),
                        Err(error @ AppendError::Fatal(_)) => return Err(error.into()),
                        Err(error) => {
                            sick.insert(partition, error);
                            continue;
                        }
                    },
                    Verdict::Drop => {}
                    Verdict::Leave => continue,
                }
                self.store.remove_outbox(&row.id).await?;
                done += 1;
            }
            self.metrics.outbox_waiting.set(i64::try_from(rows.len() - done).unwrap_or(i64::MAX));
            if done == 0 || rows.len() < ROWS_MAX {
                return sick.into_values().next().map_or(Ok(()), |error| Err(error.into()));
            }
        }
    }

    /// Judges a row. Its event is true only if the account has the name: another registration may have been faster, or
    /// this one may have crashed.
    async fn judge(&self, row: &OutboxRow) -> Result<Verdict, RelayError> {
        match self.store.account_by_name(&row.account_name).await? {
            Some(account) if account.id == row.user => {}
            Some(_) => return Ok(Verdict::Drop),
            None if self.age_of(row) > NEVER_MADE_AFTER => return Ok(Verdict::Drop),
            None => return Ok(Verdict::Leave),
        }
        let (event, trace) = match outbox::read(row) {
            Ok(read) => read,
            Err(error) => {
                let id = Uuid::from_bytes(row.id);
                tracing::error!(%id, %error, "outbox row not understood: it waits for a newer program");
                return Ok(Verdict::Leave);
            }
        };
        let encoded = self.codec.user_event(&event);
        let mut headers = encoded.headers;
        headers.push((HEADER_ID.into(), Bytes::from(event.id.as_hyphenated().to_string())));
        headers.push((HEADER_TRACE.into(), Bytes::from(trace)));
        let key = event.user.to_string();
        Ok(Verdict::Publish(NewRecord { key, partition: None, headers, payload: encoded.payload }))
    }

    /// The age of the row, by the timestamp in its id.
    fn age_of(&self, row: &OutboxRow) -> Duration {
        let stamp_ms = row.id[..6].iter().fold(0_i64, |stamp, byte| stamp << 8 | i64::from(*byte));
        Duration::from_millis(u64::try_from(self.clock.now_ms() - stamp_ms).unwrap_or(0))
    }
}
