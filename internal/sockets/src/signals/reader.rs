//! The reader of one partition of `chat.signals`. It runs while the partition has connected devices that asked for
//! signals.
//!
//! It begins at the log's end, and again there after an error: signals that it misses would be too old anyway. It
//! never waits for a socket.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use domain::SIGNAL_SHOWN;
use eventlog::{LogError, Record};
use events::SignalRecord;
use events::topics::SIGNALS;
use process::{Backoff, FaultLog};
use protocol::SignalFrame;
use tokio::time::sleep;

use super::mailbox::Waiting;
use super::{Signals, rendered};
use crate::metrics::SignalFate;
use crate::position;

/// Records taken from the log at a time.
const BATCH_RECORDS_MAX: usize = 256;
/// How often it checks whether there are still sockets.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Reads until the partition has no socket, or the node ends.
pub(super) async fn run(signals: Arc<Signals>, partition: u32) {
    let mut reader = Reader {
        backoff: Backoff::new(signals.entropy.clone()),
        faults: FaultLog::new("reading signals"),
        signals: &signals,
        partition,
    };
    let mut reading = pin!(reader.read_on_and_on());
    loop {
        tokio::select! {
            biased;
            () = signals.stop.cancelled() => return,
            () = sleep(LOOK_EVERY) => if signals.partitions[partition as usize].leave_if_vacant() {
                return;
            },
            never = &mut reading => match never {},
        }
    }
}

struct Reader<'s> {
    signals: &'s Arc<Signals>,
    partition: u32,
    backoff: Backoff,
    faults: FaultLog,
}

impl Reader<'_> {
    async fn read_on_and_on(&mut self) -> Infallible {
        loop {
            let Err(error) = self.read().await;
            self.signals.metrics.signal_faults.inc();
            self.faults.fault(&error);
            sleep(self.backoff.next_wait()).await;
        }
    }

    /// Reads from the log's end until an error.
    async fn read(&mut self) -> Result<Infallible, LogError> {
        let log = &*self.signals.log.0;
        let end = position::in_time(log.watermarks(SIGNALS, self.partition)).await?.next;
        let mut reader = position::in_time(log.reader(SIGNALS, self.partition, end)).await?;
        loop {
            let records = reader.next(BATCH_RECORDS_MAX).await?;
            self.faults.well();
            self.backoff.reset();
            for record in &records {
                self.take(record);
            }
        }
    }

    fn take(&self, record: &Record) {
        let (signals, append_time_ms) = (self.signals, record.append_time_ms);
        // Records of newer programs and records that are no signals are skipped: a lost signal is harmless.
        let read = match signals.codec.read_signal(&record.headers, &record.payload) {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(partition = self.partition, offset = record.offset, %error, "a signal cannot be read");
                return signals.metrics.signal(SignalFate::Unreadable);
            }
        };
        if signals.age(append_time_ms) > SIGNAL_SHOWN {
            return signals.metrics.signal(SignalFate::TooOld);
        }
        match read {
            SignalRecord::Told { recipients, signal } => {
                let waiting = Waiting { signal, frame: rendered(&SignalFrame::from(signal)), append_time_ms };
                let pushed_out = signals.partitions[self.partition as usize].push(&recipients, &waiting);
                signals.metrics.signals_pushed_out.inc_by(pushed_out);
            }
            SignalRecord::Watch { users, partition } => signals.wanted(&users, partition),
            SignalRecord::Presence { node, states } => signals.said(node, &states),
        }
    }
}
