//! The node's only reader of a partition of `chat.deliveries`.
//!
//! It begins at the log's end, with the last records before it already in the ring. Whenever it resumes after an error,
//! and periodically while it runs, it verifies that the record before its position is still the same one. If it is not,
//! because the topic was re-created or trimmed past that record, the position is lost: every socket of the partition is
//! closed with `PositionLost`, and the reader begins again at the log's end.
//!
//! A burst can be read faster than it is written to sockets. Before the ring drops an entry that a socket has not
//! taken, the reader waits: for as long as the node itself has not served that socket, and otherwise within
//! bounds, so that a slow line delays other sockets only a little. A socket that the ring outruns nevertheless is
//! not closed, but reads on from the log. Only a device that reads nothing at all for `write_wait` is closed, by
//! its own socket (`wire`).
//!
//! | the reader waits for | at most |
//! |---|---|
//! | sockets that the node has not served yet | [`NODE_PAUSES_MAX`] pauses in a row |
//! | devices, while many are behind and some read | [`PAUSES_MAX`] pauses per quarter of the ring |
//! | devices, while few are behind | [`PATIENCE_MAX`] in a row, 1 in [`PATIENCE_SHARE`] of the time in the long run |

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use domain::Cursor;
use environment::seeded_bugs::{Bug, seeded};
use eventlog::{LogError, Record};
use process::{Backoff, FaultLog};
use protocol::CloseCode;
use tokio::time::{Instant, sleep, timeout};

use crate::entry::{Entry, parts};
use crate::partition::Partition;
use crate::position;
use crate::ring::Ring;

/// Records taken from the log at a time.
const BATCH_RECORDS_MAX: usize = 256;
/// A reader whose records are older than this is behind. It takes [`BATCH_BEHIND_MAX`] records at a time and pauses
/// after each batch: so sockets get many frames at once, which costs the node a third of what single ones do. If the
/// log's clock is behind by as much, live frames come up to [`PAUSE`] later.
const BEHIND: Duration = Duration::from_secs(1);
/// Records taken at a time by a reader that is behind, and at most one of the [`RING_PARTS`] of the ring.
const BATCH_BEHIND_MAX: usize = 4096;
/// At most one part in this many of the ring is filled at a time.
const RING_PARTS: usize = 4;
/// The length of a pause: how long the reader lets sockets take their frames before it looks again.
const PAUSE: Duration = Duration::from_millis(5);
/// The most pauses in a row for devices, while many are behind.
const PAUSES_MAX: u32 = 100;
/// The most pauses in a row in which no socket took frames, when only devices are waited for: long enough for a
/// busy node to notice that a device has read something.
const STILL_PAUSES_MAX: u32 = 20;
/// The most pauses in a row for the node itself, each of which gives it time to serve all its sockets.
const NODE_PAUSES_MAX: u32 = 4_000;
/// The longest wait in a row for a few devices.
const PATIENCE_MAX: Duration = Duration::from_millis(500);
/// One part in this many of the reader's time, at most, is spent waiting for a few devices in the long run.
const PATIENCE_SHARE: u32 = 10;

/// The longest time for which the sockets of a partition wait until its ring has the last records.
const WARM_WAIT: Duration = Duration::from_secs(1);

/// The partition has no record, and a cursor needs one for its fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("{topic}/{partition} is empty: it has neither genesis record nor tick; run 'klatschctl topics apply'")]
struct Empty {
    topic: &'static str,
    partition: u32,
}

/// Why a reader cannot go on from where it was.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the record before this position is gone or is another one: the topic was trimmed or re-created")]
    Differs,
    #[error(transparent)]
    Log(LogError),
}

/// Reads until the partition had no socket for a while, or the node ends.
pub(crate) async fn run(partition: Arc<Partition>) {
    tracing::debug!(partition = partition.number, "reader starts");
    let mut reader = Reader {
        backoff: Backoff::new(partition.entropy.clone()),
        faults: FaultLog::new("reading deliveries"),
        patience: Patience::new(),
        partition: &partition,
    };
    // One future for all iterations of the loop: if a socket comes just as the last one leaves, the reader
    // continues at its position. A new one would begin at the log's end and skip the records between, unnoticed.
    let mut reading = pin!(reader.read_on_and_on());
    loop {
        tokio::select! {
            biased;
            () = partition.stop.cancelled() => {
                partition.hub.close();
                break;
            }
            () = partition.vacated(partition.config.reader_idle) => if partition.leave_if_vacant() {
                break;
            },
            never = &mut reading => match never {},
        }
    }
    partition.metrics.ring(partition.number, (0, 0));
    tracing::debug!(partition = partition.number, "reader ends");
}

struct Reader<'p> {
    partition: &'p Arc<Partition>,
    backoff: Backoff,
    faults: FaultLog,
    patience: Patience,
}

/// The budget of time for which the reader may wait for a few slow sockets. It begins with enough for a burst, and
/// is refilled at one part in [`PATIENCE_SHARE`] of the time, so that sockets that are slow again and again do not
/// delay others.
struct Patience {
    left: Duration,
    counted: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { left: PATIENCE_MAX, counted: Instant::now() }
    }

    /// Takes a pause from the budget; returns whether there was enough.
    fn take(&mut self) -> bool {
        let now = Instant::now();
        self.left = PATIENCE_MAX.min(self.left + (now - self.counted) / PATIENCE_SHARE);
        self.counted = now;
        let enough = self.left >= PAUSE;
        if enough {
            self.left -= PAUSE;
        }
        enough
    }
}

impl Reader<'_> {
    async fn read_on_and_on(&mut self) -> Infallible {
        loop {
            self.read().await;
        }
    }

    /// Reads from the log's end until the position is lost. Cancel safe.
    async fn read(&mut self) {
        let start = self.begin().await;
        let ring = self.recent(start).await.unwrap_or_else(|| self.partition.ring(start));
        self.partition.hub.open(ring);
        let lost = self.follow(start).await;
        let (partition, code) = (self.partition.number, CloseCode::PositionLost.number());
        tracing::warn!(partition, code, error = %lost, "reader lost its position: its sockets are closed");
        self.partition.metrics.positions_lost.inc();
        self.partition.hub.close();
        self.pause().await;
    }

    /// The position to begin at: the log's end. Retries until there is one.
    async fn begin(&mut self) -> Cursor {
        let (topic, partition) = (self.partition.topic.name.as_str(), self.partition.number);
        loop {
            match position::last_record(&*self.partition.log.0, topic, partition).await {
                Ok(Some(last)) => return self.partition.renderer.cursor_behind(&last),
                Ok(None) => self.faults.fault(&Empty { topic, partition }),
                Err(error) => self.faults.fault(&error),
            };
            self.pause().await;
        }
    }

    /// A ring with the last records before `end`. After a node has crashed, another one begins to read its partitions, and
    /// all their devices come with cursors from before that: from the ring they go on without a read of the log for each
    /// of them. `None` where it cannot be read at once: then they are served by range reads.
    async fn recent(&self, end: Cursor) -> Option<Ring> {
        let records_max = self.partition.config.ring_warm_records as u64;
        if records_max == 0 {
            return None;
        }
        match timeout(WARM_WAIT, self.read_recent(end, records_max)).await {
            Ok(Ok(ring)) => ring,
            Ok(Err(error)) => {
                tracing::debug!(partition = self.partition.number, %error, "the ring begins empty");
                None
            }
            Err(_) => None,
        }
    }

    /// `None` when the log has other records by now.
    async fn read_recent(&self, end: Cursor, records_max: u64) -> Result<Option<Ring>, LogError> {
        let partition = self.partition;
        let (log, topic) = (&*partition.log.0, partition.topic.name.as_str());
        let low = log.watermarks(topic, partition.number).await?.low;
        // One more than that: a ring begins behind a record, because its cursor names that record's fingerprint.
        let from = end.next.saturating_sub(records_max + 1).max(low);
        let mut reader = log.reader(topic, partition.number, from).await?;
        let mut ring: Option<Ring> = None;
        loop {
            for entry in partition.renderer.entries(&reader.next(BATCH_BEHIND_MAX).await?) {
                let at = entry.end;
                match &mut ring {
                    None => ring = Some(partition.ring(at)),
                    Some(ring) => drop(ring.push(entry)),
                }
                if at.next >= end.next {
                    return Ok(ring.filter(|_| at == end));
                }
            }
        }
    }

    /// Reads on from `at`, across transient errors, until the position is lost.
    async fn follow(&mut self, mut at: Cursor) -> Lost {
        let (log, topic) = (&*self.partition.log.0, self.partition.topic.name.as_str());
        loop {
            match self.read_on(&mut at).await {
                Lost::Log(error) if error.is_transient() => self.faults.fault(&error),
                lost => return lost,
            };
            loop {
                self.pause().await;
                match position::stands(log, topic, at).await {
                    Ok(stands) if stands || seeded(Bug::ReaderGoesOnBlindly) => break,
                    Ok(_) => return Lost::Differs,
                    Err(error) if error.is_transient() => self.faults.fault(&error),
                    Err(error) => return Lost::Log(error),
                };
            }
        }
    }

    /// Reads on from `at` until an error or a failed check.
    async fn read_on(&mut self, at: &mut Cursor) -> Lost {
        let partition = self.partition;
        let opened = position::in_time(partition.log.0.reader(&partition.topic.name, partition.number, at.next)).await;
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => return Lost::Log(error),
        };
        let mut check = Box::pin(stands_later(partition, *at));
        let mut behind = false;
        loop {
            tokio::select! {
                biased;
                stands = &mut check => match stands {
                    Ok(true) => {
                        self.well();
                        check.set(stands_later(partition, *at));
                    }
                    Ok(false) => return Lost::Differs,
                    Err(error) => return Lost::Log(error),
                },
                read = reader.next(batch_max(partition, behind)) => match read {
                    Ok(records) => {
                        self.well();
                        partition.metrics.records.inc_by(records.len() as u64);
                        let entries = partition.renderer.entries(&records);
                        for part in parts(entries, partition.config.ring_bytes_max / RING_PARTS) {
                            self.give_room(&part).await;
                            *at = part.last().map_or(*at, |entry| entry.end);
                            partition.metrics.ring(partition.number, partition.hub.push(part));
                        }
                        behind = records.last().is_some_and(|last| is_behind(partition, last));
                        if behind {
                            sleep(PAUSE).await;
                        }
                    }
                    Err(error) => return Lost::Log(error),
                },
            }
        }
    }

    /// Waits while adding `entries` would make the ring drop entries that sockets have not taken, within the
    /// bounds above.
    async fn give_room(&mut self, entries: &[Entry]) {
        let (mut seen, mut still, mut pauses, mut node_pauses) = (None, 0, 0, 0);
        while let Some(crowd) = self.partition.hub.crowded(entries) {
            still = if seen == Some(crowd.takes) { still + 1 } else { 0 };
            seen = Some(crowd.takes);
            let waits = if crowd.unserved {
                node_pauses += 1;
                node_pauses <= NODE_PAUSES_MAX
            } else {
                pauses += 1;
                pauses <= PAUSES_MAX && still < STILL_PAUSES_MAX && (crowd.many || self.patience.take())
            };
            if !waits {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn pause(&mut self) {
        sleep(self.backoff.next_wait()).await;
    }

    /// Resets the back-off, because reading works: records came, or nothing failed for a while. A look-up of a
    /// single record that works proves nothing about reading on.
    fn well(&mut self) {
        self.faults.well();
        self.backoff.reset();
    }
}

/// The records to take next.
fn batch_max(partition: &Partition, behind: bool) -> usize {
    let of_ring = partition.config.ring_records_max / RING_PARTS;
    if behind { BATCH_BEHIND_MAX.min(of_ring).max(BATCH_RECORDS_MAX) } else { BATCH_RECORDS_MAX }
}

fn is_behind(partition: &Partition, last: &Record) -> bool {
    let age_ms = partition.clock.now_ms().saturating_sub(last.append_time_ms);
    u64::try_from(age_ms).is_ok_and(|age_ms| Duration::from_millis(age_ms) > BEHIND)
}

/// After the check interval: whether the record before `at` is still the same one. It runs concurrently with
/// reading, so that frames are not delayed.
async fn stands_later(partition: &Partition, at: Cursor) -> Result<bool, LogError> {
    sleep(partition.config.position_check).await;
    position::stands(&*partition.log.0, &partition.topic.name, at).await
}

#[cfg(test)]
mod tests {
    use domain::UserId;
    use events::{Codec, Delivery, Encoded};

    use super::*;
    use crate::mailbox::Taken;
    use crate::ring::Bounds;
    use crate::tick_log::{AtEnd, TickLog};
    use crate::wire::Blocked;

    #[tokio::test(start_paused = true)]
    async fn where_records_can_be_looked_up_and_not_read_on_the_reader_backs_off() {
        for at_end in [AtEnd::Transient, AtEnd::Broken] {
            let log = TickLog::new(3, 3, at_end);
            let partition = log.partition();
            let stay = partition.enter();
            sleep(Duration::from_secs(60)).await;
            let opened = log.opened_at_end();
            assert!((10..60).contains(&opened), "{opened} readers in a minute");
            drop(stay);
            partition.stop.cancel();
        }
    }

    /// Pushes a long burst for twenty sockets. With `node` unset, each socket waits for its device and takes so
    /// many frames a millisecond; with `node` set, the node serves them only after that time. Returns the sockets
    /// that the ring has outrun, and how long the burst took.
    async fn burst(frames_per_ms: [usize; 20], node: Option<Duration>) -> (Vec<usize>, Duration) {
        let log = TickLog::new(1, 1, AtEnd::Waits);
        let partition = log.partition();
        let users: Vec<UserId> =
            (1..=20_u128).map(|number| UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()).collect();
        let bounds = Bounds { records_max: 200, bytes_max: 1 << 20, list_bytes_max: 1 << 20 };
        partition.hub.open(Ring::new(log.cursor_behind(0), bounds));
        let mut takers = tokio::task::JoinSet::new();
        for (index, user) in users.iter().enumerate() {
            let (blocked, frames) = (Blocked::default(), frames_per_ms[index]);
            let (registration, _) = partition.hub.attach_at_end(*user, &blocked).unwrap();
            takers.spawn(async move {
                if let Some(later) = node {
                    sleep(later).await;
                }
                blocked.set(node.is_none());
                loop {
                    match registration.take(frames) {
                        Taken::Frames(..) => sleep(Duration::from_millis(1)).await,
                        Taken::Nothing(_) => registration.woken().await,
                        Taken::Outrun(_) => return Some(index),
                        Taken::Gap | Taken::Lost => return None,
                    }
                }
            });
        }
        let Encoded { headers, payload } = Codec::compiled_in().delivery(&Delivery {
            recipients: users,
            event_key: None,
            frame: r#"{"type":"x"}"#.into(),
        });
        let entry = |offset| {
            let (key, headers, payload) = ("key".into(), headers.clone(), payload.clone());
            partition.renderer.entries(&[Record { offset, append_time_ms: 0, key, headers, payload }]).remove(0)
        };
        let mut reader = Reader {
            backoff: Backoff::new(partition.entropy.clone()),
            faults: FaultLog::new("a burst"),
            patience: Patience::new(),
            partition: &partition,
        };
        let begun = Instant::now();
        for batch in 0..100 {
            let entries: Vec<Entry> = (1 + batch * 256..257 + batch * 256).map(entry).collect();
            let bytes = entries.iter().map(|entry| entry.bytes() + entry.list_bytes()).sum::<usize>();
            for part in parts(entries, bytes / 2) {
                reader.give_room(&part).await;
                partition.hub.push(part);
            }
        }
        let took = begun.elapsed();
        partition.hub.close();
        let mut slow: Vec<usize> = takers.join_all().await.into_iter().flatten().collect();
        slow.sort_unstable();
        (slow, took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_outruns_nobody_where_all_need_their_time() {
        let (slow, took) = burst([16; 20], None).await;
        assert!(slow.is_empty() && took > Duration::from_secs(1), "{slow:?} in {took:?}");
    }

    /// Issue 10, item 7: sockets that the node has not served yet are not outrun.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_outrun_before_the_node_has_got_round_to_them() {
        let (outrun, took) = burst([16; 20], Some(Duration::from_secs(3))).await;
        assert!(outrun.is_empty() && took > Duration::from_secs(4), "{outrun:?} in {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_socket_does_not_hold_up_nineteen() {
        let mut frames_per_ms = [16; 20];
        frames_per_ms[7] = 1;
        let (slow, took) = burst(frames_per_ms, None).await;
        assert!(slow == [7] && took < Duration::from_secs(4), "{slow:?} in {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_take_a_tenth_of_the_time_in_the_long_run() {
        let (mut patience, mut pauses, begun) = (Patience::new(), 0, Instant::now());
        while patience.take() {
            sleep(PAUSE).await;
            pauses += 1;
        }
        assert!((100..115).contains(&pauses), "a burst gets {pauses} pauses");
        while begun.elapsed() < Duration::from_secs(60) {
            pauses += u32::from(patience.take());
            sleep(PAUSE).await;
        }
        let share = f64::from(pauses) * PAUSE.as_secs_f64() / 60.0;
        assert!((0.08..0.12).contains(&share), "{share} of the time");
    }
}
