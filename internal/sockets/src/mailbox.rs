//! What waits in the ring for one socket.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::Cursor;
use environment::seeded_bugs::{Bug, seeded};
use tokio::sync::Notify;

use crate::hub::Taken;
use crate::ring::Ring;
use crate::wire::Blocked;

/// A queue that held more numbers than this gives its memory back once it is empty.
const IDLE_QUEUE_MAX: usize = 32;

/// The numbers of the entries that a socket has not taken. Never more than the ring has entries.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) id: u64,
    /// Where the device stands that has had what was taken: all before it, and nothing that waits.
    pub(crate) from: Cursor,
    pub(crate) wake: Arc<Notify>,
    /// Whether the device is to take something before the node can write more to it.
    blocked: Blocked,
    numbers: VecDeque<u64>,
    /// The ring dropped an entry that the socket had not taken.
    outrun: bool,
    /// A record went by that nobody here can read.
    gap: bool,
}

impl Mailbox {
    pub(crate) fn new(id: u64, from: Cursor, numbers: VecDeque<u64>, wake: Arc<Notify>, blocked: Blocked) -> Self {
        Self { id, from, wake, blocked, numbers, outrun: false, gap: false }
    }

    /// Notes an entry, and where a device stands that has had all before it; says whether it will be waited for. What the
    /// ring has dropped meanwhile shows that it has outrun the socket: then nothing is kept for it any more, and what it
    /// will never take here is added to `given_up`.
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
        // A socket takes until nothing is left before it waits: it needs waking for the first entry only.
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

    /// Whether the node waits for the device.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is()
    }

    /// A record went by that may have been for the socket and cannot be read.
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

    /// Where a device stands that has had all there was; `None` while something waits.
    pub(crate) fn stands(&mut self, ring: &Ring) -> Option<Cursor> {
        if self.gap || self.outrun || !self.numbers.is_empty() {
            return None;
        }
        if self.numbers.capacity() > IDLE_QUEUE_MAX {
            self.numbers = VecDeque::new();
        }
        Some(if ring.end().next > self.from.next { ring.end() } else { self.from })
    }

    /// The socket goes: nobody waits for its entries.
    pub(crate) fn leave(&mut self, ring: &mut Ring) {
        for number in self.numbers.drain(..) {
            ring.take(number);
        }
    }
}
