//! The queue of ring entries that wait for one socket.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::Cursor;
use environment::seeded_bugs::{Bug, seeded};
use tokio::sync::Notify;

use crate::ring::Ring;
use crate::text_frame::TextFrame;
use crate::wire::Blocked;

/// A queue that held more numbers than this gives its memory back once it is empty.
const IDLE_QUEUE_MAX: usize = 32;

/// The numbers of the entries that a socket has not taken. Never more than the ring has entries.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) id: u64,
    /// The cursor behind everything that the socket has taken, and before everything that waits.
    pub(crate) from: Cursor,
    pub(crate) wake: Arc<Notify>,
    /// Whether the socket's write waits for the device to read.
    blocked: Blocked,
    numbers: VecDeque<u64>,
    /// Whether the ring dropped an entry that the socket had not taken.
    outrun: bool,
    /// Whether a record was passed that may be for the user and that this program cannot read.
    gap: bool,
}

/// The result of taking frames from a mailbox.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Frames in order, and the cursor behind them.
    Frames(Vec<TextFrame>, Cursor),
    /// Everything was taken: this is the device's cursor.
    Nothing(Cursor),
    /// The ring dropped an entry that the socket had not taken. The cursor is that of the device.
    Outrun(Cursor),
    /// A record that may be for the user cannot be read.
    Gap,
    /// The reader lost its position.
    Lost,
}

impl Mailbox {
    pub(crate) fn new(id: u64, from: Cursor, numbers: VecDeque<u64>, wake: Arc<Notify>, blocked: Blocked) -> Self {
        Self { id, from, wake, blocked, numbers, outrun: false, gap: false }
    }

    /// Queues an entry; `before` is the cursor in front of it. Returns whether the socket will take it. If the
    /// ring has meanwhile dropped an entry of this queue, the socket was outrun: nothing is queued for it any
    /// more, and the entries that it will never take here are added to `given_up`.
    pub(crate) fn put(
        &mut self,
        number: u64,
        before: Cursor,
        ring: &Ring,
        wakes: &mut Vec<Arc<Notify>>,
        given_up: &mut Vec<u64>,
    ) -> bool {
        if self.numbers.front().is_some_and(|oldest| ring.dropped(*oldest)) {
            self.outrun = true;
            given_up.extend(std::mem::take(&mut self.numbers));
        }
        if self.outrun || self.gap {
            return false;
        }
        // A socket takes entries until the queue is empty before it waits: only the first entry needs to wake it.
        if self.numbers.is_empty() {
            wakes.push(Arc::clone(&self.wake));
            if before.next > self.from.next {
                self.from = before;
            }
        }
        self.numbers.push_back(number);
        true
    }

    /// Whether an entry before that number waits for the socket.
    pub(crate) fn waits_before(&self, number: u64) -> bool {
        self.numbers.front().is_some_and(|oldest| *oldest < number)
    }

    /// Whether the socket's write waits for the device to read.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is()
    }

    /// Notes that a record was passed that may be for the user and cannot be read.
    pub(crate) fn mark_gap(&mut self, wakes: &mut Vec<Arc<Notify>>) {
        self.gap = true;
        wakes.push(Arc::clone(&self.wake));
    }

    pub(crate) fn take(&mut self, ring: &mut Ring, frames_max: usize) -> Taken {
        if self.gap {
            return Taken::Gap;
        }
        if seeded(Bug::DropInsteadOfClose) {
            self.outrun = false;
            self.numbers.retain(|number| !ring.dropped(*number));
        }
        if self.outrun || self.numbers.front().is_some_and(|oldest| ring.dropped(*oldest)) {
            return Taken::Outrun(self.from);
        }
        let (mut frames, mut last) = (Vec::new(), None);
        for number in self.numbers.drain(..self.numbers.len().min(frames_max)) {
            if let Some(entry) = ring.take(number) {
                frames.push(entry.frame.clone());
                last = Some(entry.end);
            }
        }
        if let Some(last) = last {
            self.from = last;
        }
        let cursor = self.stands(ring).unwrap_or(self.from);
        if frames.is_empty() { Taken::Nothing(cursor) } else { Taken::Frames(frames, cursor) }
    }

    /// The device's cursor, which follows the ring's end; `None` while entries wait.
    pub(crate) fn stands(&mut self, ring: &Ring) -> Option<Cursor> {
        if self.gap || self.outrun || !self.numbers.is_empty() {
            return None;
        }
        if self.numbers.capacity() > IDLE_QUEUE_MAX {
            self.numbers = VecDeque::new();
        }
        Some(if ring.end().next > self.from.next { ring.end() } else { self.from })
    }

    /// The socket leaves: the reader need not wait until it has taken its entries.
    pub(crate) fn leave(&mut self, ring: &mut Ring) {
        for number in self.numbers.drain(..) {
            ring.take(number);
        }
    }
}
