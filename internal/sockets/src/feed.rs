//! The source of one socket's frames: the ring, a range read of the log, or the log's end after a reset.
//!
//! The feed owns the device's cursor. It changes between its sources only at that cursor, under the hub's lock, so
//! no record is skipped and none is sent twice.

use std::sync::Arc;
use std::time::Duration;

use domain::{Cursor, UserId};
use protocol::CloseCode;

use crate::entry::Entry;
use crate::hub::{Attach, Registration};
use crate::mailbox::Taken;
use crate::partition::{Partition, Stay};
use crate::range::{self, Served, Ticket};
use crate::text_frame::TextFrame;
use crate::wire::Blocked;

/// Frames taken from the ring at a time.
const FRAMES_MAX: usize = 64;
/// Range reads in a row that did not move the cursor. Beyond: `reset` with `lapped`.
const LAPS_MAX: u32 = 3;
/// Range reads in a row that failed with a transient error. Beyond: `PositionLost`.
const FAILURES_MAX: u32 = 3;
/// How long a socket waits until the partition's reader has a position and the ring exists. Beyond:
/// `PositionLost`.
const RUNNING_WAIT: Duration = Duration::from_secs(5);

/// Why a device has to sync from heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// It sent no cursor.
    First,
    /// The record before its cursor is gone or is another one, or a record that may be for it cannot be read.
    Gone,
    /// Too much of the log lies between its cursor and the end.
    TooFar,
    /// Range reads did not move its cursor.
    Lapped,
}

/// Where a device asks to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brought {
    /// It sent no cursor, or another user's.
    Nothing,
    /// What it sent is no cursor, or one of another partition or generation.
    Unusable,
    /// A cursor of its user's partition. Whether its position is still valid is decided by [`Feed::next`].
    Cursor(Cursor),
}

/// The next thing that a feed gives its socket.
#[derive(Debug)]
pub(crate) enum Fed {
    /// The device's cursor is valid: frames from there on follow.
    Resumed(Cursor),
    /// The device has to sync; frames from this cursor on follow.
    Reset(Reset, Cursor),
    /// The next frames.
    Frames(Vec<TextFrame>),
    /// The feed ends: the socket is to be closed with this code.
    End(CloseCode),
}

/// A socket's feed.
#[derive(Debug)]
pub(crate) struct Feed {
    partition: Arc<Partition>,
    user: UserId,
    /// The cursor behind every frame that was returned, and behind those in `frames`.
    cursor: Cursor,
    source: Source,
    /// Frames of range reads that were not returned yet.
    frames: Vec<TextFrame>,
    /// Whether the device's cursor was found valid and `Resumed` was returned, which happens once.
    resumed: bool,
    /// Whether the device has reached the ring once. From then on the node sends it every record that it misses,
    /// however many, for as long as the device reads them: the bounds on ranges are only for devices that
    /// reconnect.
    live: bool,
    /// Range reads in a row that did not move the cursor.
    laps: u32,
    /// The offset at which the last range read began.
    lap_from: u64,
    /// Range reads in a row that failed with a transient error.
    failures: u32,
    /// Records for this user that range reads brought before it was live.
    brought: Weight,
    /// Records for any user that they scanned meanwhile.
    scanned: Weight,
    /// Whether the socket's write waits for the device to read.
    blocked: Blocked,
    /// Keeps the partition's reader running. Declared after `source`, because the registration must be dropped first.
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
    /// Not decided yet: the ring if it has the cursor's position, else a range read.
    Cursor,
    /// A reset: the feed is to begin at the ring's end, and the device syncs.
    Reset(Reset),
    Range(Ticket),
    Ring(Registration),
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

impl Brought {
    /// Reads the text of a cursor that a user of that partition has sent.
    pub(crate) fn read(text: Option<&str>, partition: &Partition) -> Self {
        let Some(text) = text else { return Self::Nothing };
        let here =
            |cursor: &Cursor| (cursor.generation, cursor.partition) == (partition.topic.generation, partition.number);
        text.parse().ok().filter(here).map_or(Self::Unusable, Self::Cursor)
    }

    /// Whether the device will probably go on from there, and need no sync. Known from memory only: while the node does not
    /// read the partition, every cursor of it counts; and of a record that is not in the ring neither the fingerprint is
    /// checked, nor whether the log still has it.
    pub(crate) fn may_resume(self, partition: &Partition) -> bool {
        match self {
            Self::Nothing | Self::Unusable => false,
            Self::Cursor(cursor) => partition.hub.may_resume(cursor, partition.config.range_scan_records_max),
        }
    }
}

impl Feed {
    /// The feed of a device that brought this.
    pub(crate) fn new(partition: &Arc<Partition>, user: UserId, brought: Brought, blocked: Blocked) -> Self {
        let nowhere = Cursor {
            generation: partition.topic.generation,
            partition: partition.number,
            next: 0,
            fingerprint: domain::Fingerprint(0),
        };
        let (source, cursor) = match brought {
            Brought::Cursor(cursor) => (Source::Cursor, cursor),
            Brought::Unusable => (Source::Reset(Reset::Gone), nowhere),
            Brought::Nothing => (Source::Reset(Reset::First), nowhere),
        };
        Self {
            user,
            cursor,
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

    /// The next thing for the socket. Cancel safe: what is not returned is not lost.
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
                Source::Ring(registration) => match registration.take(FRAMES_MAX) {
                    Taken::Nothing(cursor) => {
                        self.cursor = cursor;
                        registration.woken().await;
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

    /// The newest cursor of the device; `None` while there are frames to be sent.
    pub(crate) fn stands(&mut self) -> Option<Cursor> {
        if let Source::Ring(registration) = &self.source {
            self.cursor = registration.stands()?;
        }
        // Before a reset the cursor may be past frames that were thrown away.
        let stands = self.resumed && self.frames.is_empty() && !matches!(self.source, Source::Reset(_));
        Some(self.cursor).filter(|_| stands)
    }

    /// Detaches the feed: no frames will be taken any more, so neither the reader nor a pass waits for this
    /// socket.
    pub(crate) fn leave(&mut self) {
        self.source = Source::Cursor;
    }

    /// A seeded bug (`Bug::DrainForgets`): throws the waiting frames away, and returns the cursor behind them.
    pub(crate) fn forget(&mut self) -> Option<Cursor> {
        while let Source::Ring(registration) = &self.source
            && matches!(registration.take(FRAMES_MAX), Taken::Frames(..))
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

    /// Decides which source continues from the cursor.
    async fn choose(&mut self) -> Option<Fed> {
        if !self.partition.running(RUNNING_WAIT).await {
            return Some(Fed::End(CloseCode::PositionLost));
        }
        let behind = match self.partition.hub.attach(self.user, self.cursor, self.resumed, &self.blocked) {
            Attach::Attached(registration) => {
                self.attached(registration);
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

    fn attached(&mut self, registration: Registration) {
        self.source = Source::Ring(registration);
        (self.live, self.laps, self.failures) = (true, 0, 0);
        (self.brought, self.scanned) = (Weight::default(), Weight::default());
    }

    /// Notes that the cursor is valid; returns `Resumed` the first time.
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
        let (registration, cursor) = self.partition.hub.attach_at_end(self.user, &self.blocked)?;
        self.attached(registration);
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

    /// Takes from a chunk the frames for the user at or after the cursor; then tries to attach to the ring.
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
            Attach::Attached(registration) => self.attached(registration),
            Attach::Differs => return self.reset(Reset::Gone),
            Attach::Older(_) | Attach::Ahead | Attach::NotRunning => {}
        }
        self.good(if ahead { "ahead" } else { "range" }, began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick_log::{AtEnd, TickLog};

    /// Only who really goes on from a cursor is welcomed before those who have to sync.
    #[tokio::test(start_paused = true)]
    async fn a_cursor_that_leads_nowhere_does_not_count_as_one() {
        let log = TickLog::new(400, 400, AtEnd::Waits);
        let partition = log.partition();
        let may_resume = |text: &str| Brought::read(Some(text), &partition).may_resume(&partition);
        let (newest, old) = (log.cursor_behind(399), log.cursor_behind(200));
        let forged = Cursor { fingerprint: domain::Fingerprint(1), ..newest };
        assert!(may_resume(&forged.to_string()), "nothing is known of a partition that is not read");
        let mut device = Feed::new(&partition, log.user(), Brought::Nothing, Blocked::default());
        assert!(matches!(device.next().await, Fed::Reset(..)));
        let scanned = partition.config.range_scan_records_max;
        let ahead = Cursor { next: newest.next + scanned, ..newest };
        for good in [newest, old, ahead] {
            assert!(may_resume(&good.to_string()), "{good}");
        }
        let elsewhere = Cursor { partition: newest.partition + 1, ..newest };
        let of_another_log = Cursor { generation: newest.generation + 1, ..newest };
        let far_ahead = Cursor { next: ahead.next + 1, ..newest };
        for bad in [forged, elsewhere, of_another_log, far_ahead] {
            assert!(!may_resume(&bad.to_string()), "{bad}");
        }
        assert!(!may_resume("x") && !may_resume("") && !Brought::read(None, &partition).may_resume(&partition));
    }
}
