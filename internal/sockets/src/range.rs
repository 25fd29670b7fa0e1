//! Range reads for devices that come back with a cursor that is not in the ring: one pass over the log serves all who
//! wait for that partition, so ten thousand of them cost one read per partition.
//!
//! A pass begins at the oldest waiting cursor and ends where the ring does, or at the log's end as it was; who comes
//! meanwhile joins it if its position is still ahead of the pass. It hands shared chunks to the waiting sockets, which
//! pick what concerns them and leave for the ring as soon as they can. A socket that does not take its chunks in time
//! is left behind by the pass: a lap, and it may wait for the next one.
//!
//! Sockets that stand here already and were outrun by more than a device that comes back may miss have passes of their
//! own, so that nobody who comes back waits for those.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Cursor;
use eventlog::LogError;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use crate::entry::{Entry, parts};
use crate::partition::Partition;
use crate::position;

/// Records of a chunk.
const CHUNK_RECORDS_MAX: usize = 128;
/// Bytes of a chunk, unless a single record has more: what a slow device can hold in memory is so much a chunk.
const CHUNK_BYTES_MAX: usize = 128 * 1024;
/// Chunks that wait for one socket.
const CHUNKS_AHEAD_MAX: usize = 2;
/// How long a pass waits, per chunk, for sockets that have not taken the ones before.
const GRACE: Duration = Duration::from_millis(250);
/// And in all: a device on a slow line must not slow those down who come back with it.
const GRACE_OF_PASS: Duration = Duration::from_secs(2);
/// And in all where many are late: then it is the node that is slow, or all of their lines, and reading on would only
/// make them come back to the same. Counted from the last one that took its chunk.
const GRACE_OF_MANY: Duration = Duration::from_secs(10);
/// And for one chunk, then.
const GRACE_OF_CHUNK: Duration = Duration::from_secs(2);
/// One waiter in so many, or more, are many.
const MANY_ONE_OF: usize = 8;
/// Offsets that are not read for nobody: beyond, a pass goes on where the next waiter stands.
const SKIP_MIN: u64 = 1024;
/// After a pass that failed, before the next.
const FAILED_PAUSE: Duration = Duration::from_millis(500);

/// What a pass tells a waiting socket.
#[derive(Debug, Clone)]
pub(crate) enum Served {
    /// Records in order. The first chunk holds the record before the cursor, or begins behind it: the cursor is good.
    Chunk(Arc<[Entry]>),
    /// The record before the cursor is gone or another one.
    Gone,
    /// The log cannot be read at the moment: ask again.
    Stumbled,
    /// The log cannot be read.
    Failed,
}

/// A socket's part in range reads. When it ends without a word, the pass went on without the socket.
pub(crate) type Ticket = mpsc::Receiver<Served>;

/// Who waits for range reads of a partition: those who come back, and those who were outrun by far.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    near: ReadQueue,
    far: ReadQueue,
}

/// Waiters who share passes.
#[derive(Debug, Default)]
struct ReadQueue {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    waiters: Vec<Waiter>,
    /// Whether a task makes passes.
    running: bool,
}

#[derive(Debug)]
struct Waiter {
    cursor: Cursor,
    out: mpsc::Sender<Served>,
    /// The record before the cursor was seen, and is the one.
    good: bool,
}

impl Ranges {
    fn read_queue(&self, far: bool) -> &ReadQueue {
        if far { &self.far } else { &self.near }
    }
}

impl ReadQueue {
    fn with<T>(&self, act: impl FnOnce(&mut Waiting) -> T) -> T {
        act(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks for the records from `cursor` on, which is `far` behind or not.
pub(crate) fn join(partition: &Arc<Partition>, cursor: Cursor, far: bool) -> Ticket {
    let (out, ticket) = mpsc::channel(CHUNKS_AHEAD_MAX);
    let start = partition.ranges.read_queue(far).with(|waiting| {
        waiting.waiters.push(Waiter { cursor, out, good: false });
        !std::mem::replace(&mut waiting.running, true)
    });
    if start {
        partition.tasks.spawn(make_passes(Arc::clone(partition), far));
    }
    ticket
}

async fn make_passes(partition: Arc<Partition>, far: bool) {
    let read_queue = partition.ranges.read_queue(far);
    loop {
        let grace = (GRACE_OF_PASS, GRACE_OF_MANY);
        let mut pass = Pass { partition: &partition, read_queue, waiters: Vec::new(), grace };
        let outcome = tokio::select! {
            biased;
            () = partition.stop.cancelled() => Err(LogError::Closed),
            outcome = pass.run() => outcome,
        };
        let failed = match outcome {
            // Trimmed just now: those concerned ask again, and are told.
            Ok(()) | Err(LogError::OutOfRange { .. }) => None,
            Err(error) if error.is_transient() => Some((error, Served::Stumbled)),
            Err(error) => Some((error, Served::Failed)),
        };
        if let Some((error, word)) = failed {
            tracing::warn!(partition = partition.number, %error, "range read failed");
            pass.waiters.drain(..).for_each(|waiter| drop(waiter.out.try_send(word.clone())));
            partition.stop.run_until_cancelled(sleep(FAILED_PAUSE)).await;
        }
        drop(pass);
        let done = read_queue.with(|waiting| {
            waiting.running = !waiting.waiters.is_empty() && !partition.stop.is_cancelled();
            !waiting.running
        });
        if done {
            return;
        }
    }
}

struct Pass<'p> {
    partition: &'p Partition,
    read_queue: &'p ReadQueue,
    waiters: Vec<Waiter>,
    /// How long it may still wait for sockets that are late: for few, and for many.
    grace: (Duration, Duration),
}

impl Pass<'_> {
    async fn run(&mut self) -> Result<(), LogError> {
        let (log, topic, number) = (&*self.partition.log.0, &self.partition.topic.name, self.partition.number);
        self.waiters = self.read_queue.with(|waiting| std::mem::take(&mut waiting.waiters));
        let marks = position::in_time(log.watermarks(topic, number)).await?;
        self.waiters.retain(|waiter| {
            let there = waiter.cursor.next > marks.low && waiter.cursor.next <= marks.next;
            if !there {
                let _ = waiter.out.try_send(Served::Gone); // to a fresh ticket: full it is not
            }
            there
        });
        let Some(mut at) = self.waiters.iter().map(|waiter| waiter.cursor.next - 1).min() else { return Ok(()) };
        self.partition.metrics.range_reads.inc();
        let mut reader = position::in_time(log.reader(topic, number, at)).await?;
        while at < self.goal(at, marks.next) {
            self.admit(at, marks.next);
            if let Some(next) = self.nobody_until(at) {
                reader = position::in_time(log.reader(topic, number, next)).await?;
                at = next;
            }
            let records = position::in_time(reader.next(CHUNK_RECORDS_MAX)).await?;
            self.partition.metrics.range_records.inc_by(records.len() as u64);
            let entries = records.iter().map(|record| self.partition.renderer.entry(record)).collect();
            for chunk in parts(entries, CHUNK_BYTES_MAX) {
                at = chunk.last().map_or(at, |entry| entry.end.next);
                self.serve(&chunk.into(), at).await;
            }
        }
        Ok(())
    }

    /// How far there is something to read for those who wait and are still there. Who has come to the ring's end needs
    /// no more, and behind it there may be nothing: a foreign producer's control record before the log's end is never
    /// given out. Where a cursor points, there is a record before it.
    fn goal(&mut self, at: u64, end: u64) -> u64 {
        self.waiters.retain(|waiter| !waiter.out.is_closed());
        let ring = self.partition.hub.end().map_or(end, |ring| ring.next.min(end));
        let reaches = self.waiters.iter().map(|waiter| if waiter.cursor.next > at { waiter.cursor.next } else { ring });
        reaches.max().unwrap_or(at)
    }

    /// Where the next waiter's range begins, when nobody needs what lies before and that is much.
    fn nobody_until(&self, at: u64) -> Option<u64> {
        let next = self.waiters.iter().map(|waiter| waiter.cursor.next - 1).min()?;
        (next > at + SKIP_MIN).then_some(next)
    }

    /// Takes in who came meanwhile, unless one of them would be left behind: that one's pass would never begin.
    fn admit(&mut self, at: u64, end: u64) {
        let newcomers = self.read_queue.with(|waiting| {
            let all_ahead = waiting.waiters.iter().all(|waiter| (at + 1..=end).contains(&waiter.cursor.next));
            if all_ahead { std::mem::take(&mut waiting.waiters) } else { Vec::new() }
        });
        self.waiters.extend(newcomers);
    }

    /// Hands the chunk, which ends before offset `end`, to all whose position it has reached.
    async fn serve(&mut self, chunk: &Arc<[Entry]>, end: u64) {
        let mut late = Vec::new();
        self.waiters.retain_mut(|waiter| {
            if waiter.cursor.next > end {
                return true;
            }
            if !waiter.good {
                waiter.good = chunk.iter().any(|entry| entry.end == waiter.cursor);
                if !waiter.good {
                    let _ = waiter.out.try_send(Served::Gone);
                    return false;
                }
            }
            match waiter.out.try_send(Served::Chunk(Arc::clone(chunk))) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    late.push(Waiter { cursor: waiter.cursor, out: waiter.out.clone(), good: true });
                    false
                }
            }
        });
        if !late.is_empty() {
            self.wait_for(late, chunk).await;
        }
    }

    /// Waits, within the graces, until those who are late have room for the chunk.
    async fn wait_for(&mut self, late: Vec<Waiter>, chunk: &Arc<[Entry]>) {
        // Nobody who is to be reached yet, here or by the next pass, waits for others to take what they have.
        let reached =
            self.waiters.iter().all(|waiter| waiter.good) && self.read_queue.with(|next| next.waiters.is_empty());
        let many = reached && late.len() * MANY_ONE_OF >= late.len() + self.waiters.len();
        let grace = if many { &mut self.grace.1 } else { &mut self.grace.0 };
        let begun = Instant::now();
        let mut sending: FuturesUnordered<_> = late
            .into_iter()
            .map(|waiter| async {
                let sent = waiter.out.send(Served::Chunk(Arc::clone(chunk))).await;
                (waiter, sent)
            })
            .collect();
        let (mut quiet_since, mut until) = (begun, begun + GRACE.min(*grace));
        while let Ok(Some((waiter, sent))) = timeout_at(until, sending.next()).await {
            if sent.is_ok() {
                self.waiters.push(waiter);
            }
            if many {
                quiet_since = Instant::now();
                until = (quiet_since + GRACE.min(*grace)).min(begun + GRACE_OF_CHUNK);
            }
        }
        *grace = grace.saturating_sub(quiet_since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::feed::{Fed, Feed};
    use crate::tick_log::{AtEnd, TickLog};
    use crate::wire::Blocked;

    #[tokio::test(start_paused = true)]
    async fn a_pass_does_not_wait_for_what_is_nobodys_to_read() {
        // The last offset holds another producer's control record.
        let log = TickLog::new(400, 401, AtEnd::Waits);
        let (partition, user) = (log.partition(), log.user());
        let first = Feed::new(&partition, user, None, Blocked::default()).next().await;
        assert!(matches!(first, Fed::Reset(..)), "{first:?}");
        for missed_from in [10, 300, 20, 399] {
            let cursor = log.cursor_behind(missed_from).to_string();
            let mut device = Feed::new(&partition, user, Some(&cursor), Blocked::default());
            let begun = Instant::now();
            let fed = timeout(Duration::from_secs(60), device.next()).await.unwrap();
            assert!(matches!(fed, Fed::Resumed(cursor) if cursor.next == missed_from + 1), "{fed:?}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            let at_end = timeout(Duration::from_secs(1), device.next()).await;
            assert!(at_end.is_err(), "{at_end:?}");
            assert_eq!(device.stands(), Some(log.cursor_behind(399)));
        }
    }
}
