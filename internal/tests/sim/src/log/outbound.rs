//! The producer of a process: it appends records in order, some time after they were enqueued, and may report a
//! wrong result.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventlog::{AppendError, AppendReceipt, NewRecord, Position, SharedLog};
use events::topics::DELIVERIES;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Made, Recorder};
use crate::life::Life;
use crate::plan::Kind;

/// How long a producer that may give up waits for the broker.
const GIVES_UP: Duration = Duration::from_secs(10);
/// How much later a record may be appended after its producer has given up on it, in milliseconds.
const LATE_MS: u64 = 60_000;

/// The producer.
pub(super) struct Outbound {
    life: Arc<Life>,
    /// `None` once it is closed.
    queue: Mutex<Option<mpsc::UnboundedSender<Leaving>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

/// State that the producer and its task share.
struct Shared {
    /// Whether the producer has failed for good, and how often that happened.
    fatal: Mutex<(bool, u64)>,
    /// A clone is held by each receipt that was neither read nor dropped.
    unread: Arc<dyn Any + Send + Sync>,
}

/// A record that was enqueued and is not appended yet.
struct Leaving {
    topic: String,
    record: NewRecord,
    report: oneshot::Sender<Result<Position, AppendError>>,
    at: Instant,
    /// How often the producer had failed when the record was enqueued: the queue of a failed producer is never sent.
    epoch: u64,
}

/// What happens to a record.
enum Fate {
    Appended,
    /// Reported as unknown; the flag tells whether it is in the log.
    Unknown(bool),
    Late,
    /// The producer fails for good; the flag tells whether the record is in the log.
    Fatal(bool),
}

impl Outbound {
    /// Starts the producer of that process.
    pub(super) fn begin(log: SharedLog, life: Arc<Life>) -> Self {
        let (queue, leaving) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { fatal: Mutex::new((false, 0)), unread: Arc::new(()) });
        let task = tokio::spawn(run(log, Arc::clone(&life), Arc::clone(&shared), leaving));
        Self { life, queue: Mutex::new(Some(queue)), task: Mutex::new(Some(task)), shared }
    }

    pub(super) fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        if self.shared.is_fatal() {
            return Err(fatal());
        }
        if self.life.chance(self.life.weather.rates().busy) {
            self.life.fault("producers with a full queue");
            return Err(AppendError::Busy);
        }
        let (report, receipt) = AppendReceipt::holding(Arc::clone(&self.shared.unread));
        let epoch = self.shared.epoch();
        let leaving = Leaving { topic: topic.to_owned(), record, report, at: Instant::now(), epoch };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().and_then(|queue| queue.send(leaving).ok()).ok_or(AppendError::Closed)?;
        Ok(receipt)
    }

    /// Accepts no more records, and waits until those in the queue are appended.
    pub(super) async fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Shared {
    /// Whether the producer has failed for good. A new producer starts once all receipts of the failed one are read
    /// or dropped.
    fn is_fatal(&self) -> bool {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        fatal.0 = fatal.0 && Arc::strong_count(&self.unread) > 1;
        fatal.0
    }

    fn epoch(&self) -> u64 {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn fail(&self) {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        *fatal = (true, fatal.1 + 1);
    }
}

fn fatal() -> AppendError {
    AppendError::Fatal(Box::new(Made("fatal")))
}

async fn run(log: SharedLog, life: Arc<Life>, shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<Leaving>) {
    let recorder = Arc::clone(&life.recorder);
    let (mut batch, mut waiting) = (Vec::new(), Vec::new());
    while more(&mut queue, &mut batch, &mut waiting, &life).await {
        let travel = async {
            life.delay(Duration::from_millis(life.weather.rates().log_ms)).await;
            if !gives_up(life.kind) {
                return life.weather.broker_up().await;
            }
            let _ = tokio::time::timeout(GIVES_UP, life.weather.broker_up()).await;
        };
        tokio::select! {
            biased;
            () = life.died() => {}
            () = travel => {}
        }
        // Records that were enqueued meanwhile go into the same request.
        while let Ok(more) = queue.try_recv() {
            batch.push(more);
        }
        if life.is_dead() {
            batch.retain(|leaving| !waits_for_leader(leaving, &waiting, &life));
            // The records that had left the process are appended, the others are lost.
            let lands = usize::try_from(life.below(batch.len() as u64 + 1)).unwrap_or(0);
            life.trace.add("records of the dead that landed", lands as u64);
            batch.truncate(lands);
            for leaving in batch {
                let _ = append(&log, &recorder, &life.name, &leaving).await;
            }
            return;
        }
        for leaving in batch.drain(..) {
            if waits_for_leader(&leaving, &waiting, &life) {
                waiting.push(leaving);
                continue;
            }
            one(&log, &life, &shared, &recorder, leaving).await;
        }
        // A producer that fails gives up what waits, at once.
        for leaving in waiting.extract_if(.., |leaving| leaving.epoch < shared.epoch()) {
            let _ = leaving.report.send(Err(fatal()));
        }
    }
}

/// Waits for records to send: new ones, or those that waited for a leader. There are no more once it is closed.
async fn more(
    queue: &mut mpsc::UnboundedReceiver<Leaving>,
    batch: &mut Vec<Leaving>,
    waiting: &mut Vec<Leaving>,
    life: &Life,
) -> bool {
    tokio::select! {
        biased;
        () = life.weather.leader_elected(), if !waiting.is_empty() => {
            batch.append(waiting);
            // What a dead producer had not sent is gone.
            !life.is_dead()
        }
        taken = queue.recv_many(batch, usize::MAX) => taken > 0,
    }
}

/// A record waits behind those of its partition that wait already.
fn waits_for_leader(leaving: &Leaving, waiting: &[Leaving], life: &Life) -> bool {
    let Some(partition) = leaving.record.partition.filter(|_| leaving.topic == DELIVERIES) else { return false };
    life.weather.leaderless() == Some(partition)
        || waiting.iter().any(|other| other.record.partition == Some(partition))
}

/// Whether the producer may give up on a record. The fan-out's never does.
fn gives_up(kind: Kind) -> bool {
    kind != Kind::Fanout
}

async fn one(log: &SharedLog, life: &Arc<Life>, shared: &Shared, recorder: &Arc<Recorder>, leaving: Leaving) {
    if leaving.epoch < shared.epoch() {
        drop(leaving.report.send(Err(fatal())));
        return;
    }
    let outcome = match fate(life, &leaving) {
        Fate::Appended => append(log, recorder, &life.name, &leaving).await,
        Fate::Unknown(effect) => {
            life.fault(if effect { "appends unknown and done" } else { "appends unknown and not done" });
            if effect {
                let _ = append(log, recorder, &life.name, &leaving).await;
            }
            Err(AppendError::Unknown)
        }
        Fate::Late => {
            life.fault("appends unknown and done later");
            land_later(log, life, recorder, leaving);
            return;
        }
        Fate::Fatal(effect) => {
            life.fault("producers failed for good");
            shared.fail();
            if effect {
                let _ = append(log, recorder, &life.name, &leaving).await;
            }
            Err(fatal())
        }
    };
    let _ = leaving.report.send(outcome);
}

fn fate(life: &Life, leaving: &Leaving) -> Fate {
    let rates = life.weather.rates();
    let late = leaving.at.elapsed() >= GIVES_UP && life.weather.broker_is_down();
    if late && gives_up(life.kind) {
        return Fate::Unknown(false);
    }
    if life.chance(rates.fatal) {
        return Fate::Fatal(life.below(2) == 0);
    }
    if gives_up(life.kind) && life.chance(rates.unknown) {
        return Fate::Unknown(life.below(2) == 0);
    }
    if gives_up(life.kind) && life.chance(rates.late) {
        return Fate::Late;
    }
    Fate::Appended
}

/// The producer gives up on a record that is already sent: it is appended later, after records that were sent since.
fn land_later(log: &SharedLog, life: &Arc<Life>, recorder: &Arc<Recorder>, leaving: Leaving) {
    let Leaving { topic, record, report, at, epoch } = leaving;
    let _ = report.send(Err(AppendError::Unknown));
    let (log, life, recorder) = (Arc::clone(log), Arc::clone(life), Arc::clone(recorder));
    let later = Duration::from_millis(life.below(LATE_MS));
    life.weather.begin_late();
    tokio::spawn(async move {
        sleep(later).await;
        let leaving = Leaving { topic, record, report: oneshot::channel().0, at, epoch };
        let _ = append(&log, &recorder, &life.name, &leaving).await;
        life.weather.end_late();
    });
}

async fn append(log: &SharedLog, recorder: &Recorder, who: &str, leaving: &Leaving) -> Result<Position, AppendError> {
    append_as(log, recorder, who, &leaving.topic, &leaving.record).await
}

/// Appends a record, and notes it in the recorder.
pub(crate) async fn append_as(
    log: &SharedLog,
    recorder: &Recorder,
    who: &str,
    topic: &str,
    record: &NewRecord,
) -> Result<Position, AppendError> {
    let epoch = recorder.epoch();
    let position = eventlog::append(&**log, topic, record.clone()).await?;
    recorder.appended(who, topic, record, (epoch, position));
    Ok(position)
}
