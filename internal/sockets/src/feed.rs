//! What one socket gets, from the first decision where its device goes on: from the ring, from a range read, or from
//! the log's end after a reset.
//!
//! The feed owns the device's position. It moves between its sources only at that position, under the hub's lock, so nothing
//! falls between them and nothing comes twice.

use std::sync::Arc;
use std::time::Duration;

use domain::{Cursor, UserId};
use protocol::CloseCode;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::entry::Entry;
use crate::hub::{Attach, Seat, Taken};
use crate::partition::{Partition, Stay};
use crate::range::{self, Served, Ticket};
use crate::wire::Blocked;

/// Frames taken from the ring at a time.
const FRAMES_MAX: usize = 64;
/// Range reads in a row that brought the device no further. Beyond: `reset` with `lapped`.
const LAPS_MAX: u32 = 3;
/// Range reads in a row that failed by what may pass. Beyond: `PositionLost`.
const FAILURES_MAX: u32 = 3;
/// How long a socket waits for the reader to have its position. Beyond: `PositionLost`.
const RUNNING_WAIT: Duration = Duration::from_secs(5);

/// Why a device has to sync from heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// It brought no cursor.
    First,
    /// The record before its cursor is gone or another one, or one that may concern it cannot be read.
    Gone,
    /// Too much of the log lies between its cursor and the end.
    TooFar,
    /// Range reads brought the device no further.
    Lapped,
}

/// What a feed has for its socket.
#[derive(Debug)]
pub(crate) enum Fed {
    /// The device's cursor is good: frames from there on follow.
    Resumed(Cursor),
    /// The device has to sync; frames from this cursor on follow.
    Reset(Reset, Cursor),
    /// The next frames.
    Frames(Vec<Utf8Bytes>),
    /// No more.
    End(CloseCode),
}

/// A socket's feed.
#[derive(Debug)]
pub(crate) struct Feed {
    partition: Arc<Partition>,
    user: UserId,
    /// Where the device stands that has had every frame given out, and those in `frames`.
    cursor: Cursor,
    source: Source,
    /// Frames of a range read that were not returned yet.
    frames: Vec<Utf8Bytes>,
    /// Whether the device's cursor was found good: nobody is told twice.
    resumed: bool,
    /// Whether the device had come as far as the ring. From then on it is the node's to bring it whatever it misses,
    /// however much that is, for as long as the device takes it: the bounds of a range are for those who come back.
    live: bool,
    /// Range reads in a row that brought it no further, and where the last one began.
    laps: u32,
    lap_from: u64,
    /// Range reads in a row that failed.
    failures: u32,
    /// What range reads brought it before it was live.
    brought: Weight,
    /// What they looked through for it.
    scanned: Weight,
    /// Whether the device is to take something first.
    blocked: Blocked,
    /// Keeps the partition read. Behind `source`: the seat goes first.
    _stay: Stay,
}

/// Records and bytes of a part of the log.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    records: u64,
    bytes: usize,
}

impl Weight {
    fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    fn exceeds(self, records_max: u64, bytes_max: usize) -> bool {
        self.records > records_max || self.bytes > bytes_max
    }
}

#[derive(Debug)]
enum Source {
    /// To be decided: from the ring if it has the cursor's position, else by a range read.
    Cursor,
    /// The ring's end, and the device syncs.
    Reset(Reset),
    Range(Ticket),
    Ring(Seat),
}

impl Reset {
    /// Its name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Gone => "gone",
            Self::TooFar => "too_far",
            Self::Lapped => "lapped",
        }
    }
}

impl Feed {
    /// The feed of a device that brings the text of a cursor, or none.
    pub(crate) fn new(partition: &Arc<Partition>, user: UserId, brought: Option<&str>, blocked: Blocked) -> Self {
        let here =
            |cursor: &Cursor| (cursor.generation, cursor.partition) == (partition.topic.generation, partition.number);
        let good = brought.and_then(|text| text.parse().ok()).filter(here);
        let nowhere = Cursor {
            generation: partition.topic.generation,
            partition: partition.number,
            next: 0,
            fingerprint: domain::Fingerprint(0),
        };
        let source = match (brought, good) {
            (_, Some(_)) => Source::Cursor,
            (Some(_), None) => Source::Reset(Reset::Gone),
            (None, None) => Source::Reset(Reset::First),
        };
        Self {
            user,
            cursor: good.unwrap_or(nowhere),
            source,
            frames: Vec::new(),
            resumed: false,
            live: false,
            laps: 0,
            lap_from: 0,
            failures: 0,
            brought: Weight::default(),
            scanned: Weight::default(),
            blocked,
            _stay: partition.enter(),
            partition: Arc::clone(partition),
        }
    }

    /// What comes next. Cancel safe: what is not returned is not lost.
    pub(crate) async fn next(&mut self) -> Fed {
        loop {
            if !self.frames.is_empty() {
                return Fed::Frames(std::mem::take(&mut self.frames));
            }
            let fed = match &mut self.source {
                Source::Cursor => self.choose().await,
                Source::Reset(reason) => {
                    let reason = *reason;
                    self.begin_anew(reason).await
                }
                Source::Range(ticket) => {
                    let served = ticket.recv().await;
                    self.served(served)
                }
                Source::Ring(seat) => match seat.take(FRAMES_MAX) {
                    Taken::Nothing(cursor) => {
                        self.cursor = cursor;
                        seat.woken().await;
                        None
                    }
                    taken => self.taken(taken),
                },
            };
            if let Some(fed) = fed {
                return fed;
            }
        }
    }

    /// Where the device stands, as new as can be; `None` while there is something to give out.
    pub(crate) fn stands(&mut self) -> Option<Cursor> {
        if let Source::Ring(seat) = &self.source {
            self.cursor = seat.stands()?;
        }
        // Before a reset the cursor may be behind frames that were thrown away.
        let stands = self.resumed && self.frames.is_empty() && !matches!(self.source, Source::Reset(_));
        Some(self.cursor).filter(|_| stands)
    }

    /// Nothing more will be asked for: nobody waits for the socket from now on.
    pub(crate) fn leave(&mut self) {
        self.source = Source::Cursor;
    }

    /// A bug on purpose: forgets all that waits, and says where a device would stand that has had it.
    pub(crate) fn forget(&mut self) -> Option<Cursor> {
        while let Source::Ring(seat) = &self.source
            && matches!(seat.take(FRAMES_MAX), Taken::Frames(..))
        {}
        self.stands()
    }

    fn taken(&mut self, taken: Taken) -> Option<Fed> {
        match taken {
            Taken::Frames(frames, cursor) => {
                self.cursor = cursor;
                Some(Fed::Frames(frames))
            }
            Taken::Nothing(cursor) => {
                self.cursor = cursor;
                None
            }
            Taken::Outrun(cursor) => {
                self.partition.metrics.outrun.inc();
                self.cursor = cursor;
                self.source = Source::Cursor;
                None
            }
            Taken::Lost => Some(Fed::End(CloseCode::PositionLost)),
            Taken::Gap => self.reset(Reset::Gone),
        }
    }

    fn reset(&mut self, reason: Reset) -> Option<Fed> {
        self.frames.clear();
        self.source = Source::Reset(reason);
        None
    }

    /// Decides where to go on from the cursor.
    async fn choose(&mut self) -> Option<Fed> {
        if !self.partition.running(RUNNING_WAIT).await {
            return Some(Fed::End(CloseCode::PositionLost));
        }
        let behind = match self.partition.hub.attach(self.user, self.cursor, self.resumed, &self.blocked) {
            Attach::Attached(seat) => {
                self.attached(seat);
                return self.good("ring", self.cursor);
            }
            Attach::Differs => return self.reset(Reset::Gone),
            Attach::NotRunning => return None,
            Attach::Older(behind) => behind,
            Attach::Ahead => 0,
        };
        let config = &self.partition.config;
        let far = behind > config.range_records_max;
        if behind > config.range_scan_records_max && !self.live {
            return self.reset(Reset::TooFar);
        }
        if self.laps > LAPS_MAX {
            return self.reset(Reset::Lapped);
        }
        self.lap_from = self.cursor.next;
        self.source = Source::Range(range::join(&self.partition, self.cursor, far));
        None
    }

    fn attached(&mut self, seat: Seat) {
        self.source = Source::Ring(seat);
        (self.live, self.laps, self.failures) = (true, 0, 0);
        (self.brought, self.scanned) = (Weight::default(), Weight::default());
    }

    /// The cursor was found good.
    fn good(&mut self, how: &'static str, cursor: Cursor) -> Option<Fed> {
        if std::mem::replace(&mut self.resumed, true) {
            return None;
        }
        self.partition.metrics.resumed(how);
        Some(Fed::Resumed(cursor))
    }

    async fn begin_anew(&mut self, reason: Reset) -> Option<Fed> {
        if !self.partition.running(RUNNING_WAIT).await {
            return Some(Fed::End(CloseCode::PositionLost));
        }
        let (seat, cursor) = self.partition.hub.attach_at_end(self.user, &self.blocked)?;
        self.attached(seat);
        (self.cursor, self.resumed) = (cursor, true);
        self.partition.metrics.reset(reason.name());
        Some(Fed::Reset(reason, cursor))
    }

    fn served(&mut self, served: Option<Served>) -> Option<Fed> {
        match served {
            Some(Served::Chunk(chunk)) => self.chunk(&chunk),
            Some(Served::Gone) => self.reset(Reset::Gone),
            Some(Served::Failed) => Some(Fed::End(CloseCode::PositionLost)),
            Some(Served::Stumbled) => {
                self.failures += 1;
                if self.failures > FAILURES_MAX {
                    return Some(Fed::End(CloseCode::PositionLost));
                }
                self.source = Source::Cursor;
                None
            }
            None => {
                self.laps = if self.cursor.next > self.lap_from { 0 } else { self.laps + 1 };
                self.source = Source::Cursor;
                None
            }
        }
    }

    /// Takes from a chunk what concerns the user and lies at or after the cursor; then tries for the ring.
    fn chunk(&mut self, chunk: &[Entry]) -> Option<Fed> {
        let began = self.cursor;
        self.failures = 0;
        let ahead = chunk.last().is_none_or(|last| last.end.next <= self.cursor.next);
        for entry in chunk.iter().filter(|entry| entry.offset() >= self.cursor.next) {
            self.scanned.add(entry.bytes() + entry.list_bytes());
            if entry.hides_from(self.user) {
                return self.reset(Reset::Gone);
            }
            if entry.concerns(self.user) {
                self.brought.add(entry.bytes());
                self.frames.push(entry.frame.clone());
            }
        }
        let config = &self.partition.config;
        let dear = self.brought.exceeds(config.range_records_max, config.range_bytes_max)
            || self.scanned.exceeds(config.range_scan_records_max, config.range_scan_bytes_max);
        if !self.live && dear {
            return self.reset(Reset::TooFar);
        }
        if let Some(last) = chunk.last().filter(|_| !ahead) {
            self.cursor = last.end;
        }
        match self.partition.hub.attach(self.user, self.cursor, true, &self.blocked) {
            Attach::Attached(seat) => self.attached(seat),
            Attach::Differs => return self.reset(Reset::Gone),
            Attach::Older(_) | Attach::Ahead | Attach::NotRunning => {}
        }
        self.good(if ahead { "ahead" } else { "range" }, began)
    }
}
