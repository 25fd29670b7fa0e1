//! Range reads, for devices whose cursor is older than the ring: one pass over the log serves all devices that
//! wait for that partition, so ten thousand of them cost one read per partition.
//!
//! A pass begins at the oldest waiting cursor and ends where the ring does, or at the end that the log had when
//! the pass began. A device that comes meanwhile joins the pass if its cursor is still ahead of it. The pass hands
//! shared chunks to the waiting sockets; each picks its user's records, and changes to the ring as soon as it can.
//! A socket that does not take its chunks in time is left behind by the pass (a *lap*), and may wait for the next
//! one.
//!
//! Sockets that were outrun while they were connected, by more records than a reconnecting device may miss, have a
//! queue and passes of their own (`far`), so that reconnecting devices do not wait for those long reads.

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

/// The most records of a chunk.
const CHUNK_RECORDS_MAX: usize = 128;
/// The most bytes of a chunk, unless a single record has more. With `CHUNKS_AHEAD_MAX`, this bounds the memory
/// that a slow device can hold.
const CHUNK_BYTES_MAX: usize = 128 * 1024;
/// The most chunks that wait for one socket.
const CHUNKS_AHEAD_MAX: usize = 2;
/// How long a pass waits, per chunk, for sockets that have not taken the chunks before.
const GRACE: Duration = Duration::from_millis(250);
/// The most that these waits may add up to in a pass: a device on a slow line must not delay those that wait
/// together with it.
const GRACE_OF_PASS: Duration = Duration::from_secs(2);
/// The most that they may add up to in a pass while many sockets are late: then the node is slow, or all of their
/// lines are, and to read on would only make them come back for the same records. Of the wait for a chunk, only
/// the time after the last socket that took it counts.
const GRACE_OF_MANY: Duration = Duration::from_secs(10);
/// The longest wait for one chunk while many sockets are late.
const GRACE_OF_CHUNK: Duration = Duration::from_secs(2);
/// Sockets that are late count as many when they are at least one in this many of all.
const MANY_ONE_OF: usize = 8;
/// The shortest range of offsets that a pass skips when no waiting socket needs it.
const SKIP_MIN: u64 = 1024;
/// The pause after a pass that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(500);

/// What a pass sends to a waiting socket.
#[derive(Debug, Clone)]
pub(crate) enum Served {
    /// Records in order. The first chunk contains the record before the cursor, so the cursor is valid.
    Chunk(Arc<[Entry]>),
    /// The record before the cursor is gone or is another one.
    Gone,
    /// The log cannot be read at the moment (a transient error): the socket may ask again.
    Stumbled,
    /// The log cannot be read.
    Failed,
}

/// A socket's receiver of chunks. When the channel closes without another message, the pass went on without the
/// socket, or is over.
pub(crate) type Ticket = mpsc::Receiver<Served>;

/// The sockets that wait for range reads of a partition: those of reconnecting devices (`near`), and those that
/// were outrun by far (`far`).
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    near: ReadQueue,
    far: ReadQueue,
}

/// The sockets that share passes.
#[derive(Debug, Default)]
struct ReadQueue {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    waiters: Vec<Waiter>,
    /// Whether a task runs that makes passes.
    running: bool,
}

#[derive(Debug)]
struct Waiter {
    cursor: Cursor,
    out: mpsc::Sender<Served>,
    /// Whether the record before the cursor was found to be the one that the cursor names.
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

/// Asks for the records from `cursor` on; `far` chooses the queue.
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
            // The log was trimmed a moment ago: affected sockets ask again, and then get `Gone`.
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
    /// The time for which it may still wait for late sockets: while few are late, and while many are.
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
                let _ = waiter.out.try_send(Served::Gone); // the channel is new, so it has room
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
            let entries = self.partition.renderer.entries(&records);
            for chunk in parts(entries, CHUNK_BYTES_MAX) {
                at = chunk.last().map_or(at, |entry| entry.end.next);
                self.serve(&chunk.into(), at).await;
            }
        }
        Ok(())
    }

    /// The offset up to which the sockets that still wait need records. A socket whose cursor was passed needs no
    /// more than the ring's end, and behind that there may be nothing to read: another producer's control record
    /// before the log's end is never returned by a reader. For a cursor that lies ahead, there is a record before
    /// it.
    fn goal(&mut self, at: u64, end: u64) -> u64 {
        self.waiters.retain(|waiter| !waiter.out.is_closed());
        let ring = self.partition.hub.end().map_or(end, |ring| ring.next.min(end));
        let reaches = self.waiters.iter().map(|waiter| if waiter.cursor.next > at { waiter.cursor.next } else { ring });
        reaches.max().unwrap_or(at)
    }

    /// The offset at which the next waiting socket's range begins, if no socket needs the records before it and
    /// they are many.
    fn nobody_until(&self, at: u64) -> Option<u64> {
        let next = self.waiters.iter().map(|waiter| waiter.cursor.next - 1).min()?;
        (next > at + SKIP_MIN).then_some(next)
    }

    /// Takes in the sockets that came meanwhile, if this pass can serve all of them. If it cannot serve one, all
    /// wait for the next pass: otherwise that one could wait for ever.
    fn admit(&mut self, at: u64, end: u64) {
        let newcomers = self.read_queue.with(|waiting| {
            let all_ahead = waiting.waiters.iter().all(|waiter| (at + 1..=end).contains(&waiter.cursor.next));
            if all_ahead { std::mem::take(&mut waiting.waiters) } else { Vec::new() }
        });
        self.waiters.extend(newcomers);
    }

    /// Hands the chunk, which ends before offset `end`, to all sockets whose cursor the pass has reached.
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

    /// Waits, within the bounds above, until late sockets have room for the chunk.
    async fn wait_for(&mut self, late: Vec<Waiter>, chunk: &Arc<[Entry]>) {
        // The long wait applies only if no other socket still has to be reached, in this pass or by the next one.
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
    use crate::feed::{Brought, Fed, Feed};
    use crate::tick_log::{AtEnd, TickLog};
    use crate::wire::Blocked;

    #[tokio::test(start_paused = true)]
    async fn a_pass_does_not_wait_for_what_is_nobodys_to_read() {
        // The last offset holds another producer's control record, which readers do not return.
        let log = TickLog::new(400, 401, AtEnd::Waits);
        let (partition, user) = (log.partition(), log.user());
        let first = Feed::new(&partition, user, Brought::Nothing, Blocked::default()).next().await;
        assert!(matches!(first, Fed::Reset(..)), "{first:?}");
        for missed_from in [10, 300, 20, 399] {
            let brought = Brought::Cursor(log.cursor_behind(missed_from));
            let mut device = Feed::new(&partition, user, brought, Blocked::default());
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
