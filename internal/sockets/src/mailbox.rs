//! What waits in the ring for one socket.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::Cursor;
use host::teeth::{Bug, bites};
use tokio::sync::Notify;

use crate::hub::Taken;
use crate::ring::Ring;

/// A queue that held more numbers than this gives its memory back once it is empty.
const IDLE_QUEUE_MAX: usize = 32;

/// The numbers of the entries that a socket has not taken. Never more than the ring has entries.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) id: u64,
    /// Entries before this are not for the socket: it has had them.
    pub(crate) from: Cursor,
    pub(crate) wake: Arc<Notify>,
    numbers: VecDeque<u64>,
    /// The ring dropped an entry that the socket had not taken.
    slow: bool,
    /// A record went by that nobody here can read.
    gap: bool,
}

impl Mailbox {
    pub(crate) fn new(id: u64, from: Cursor, numbers: VecDeque<u64>, wake: Arc<Notify>) -> Self {
        Self { id, from, wake, numbers, slow: false, gap: false }
    }

    /// Notes an entry; says whether it will be waited for. What the ring has dropped meanwhile shows that the socket is
    /// slow: then nothing is kept for it any more, and what it will never take is added to `given_up`.
    pub(crate) fn put(
        &mut self,
        number: u64,
        ring: &Ring,
        wakes: &mut Vec<Arc<Notify>>,
        given_up: &mut Vec<u64>,
    ) -> bool {
        if self.numbers.front().is_some_and(|oldest| ring.dropped(*oldest)) {
            self.slow = true;
            given_up.extend(std::mem::take(&mut self.numbers));
        }
        if self.slow || self.gap {
            return false;
        }
        // A socket takes until nothing is left before it waits: it needs waking for the first entry only.
        if self.numbers.is_empty() {
            wakes.push(Arc::clone(&self.wake));
        }
        self.numbers.push_back(number);
        true
    }

    /// Whether an entry before that number waits for the socket.
    pub(crate) fn waits_before(&self, number: u64) -> bool {
        self.numbers.front().is_some_and(|oldest| *oldest < number)
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
        if bites(Bug::DropInsteadOfClose) {
            self.slow = false;
            self.numbers.retain(|number| !ring.dropped(*number));
        }
        if self.slow || self.numbers.front().is_some_and(|oldest| ring.dropped(*oldest)) {
            return Taken::Slow;
        }
        let (mut frames, mut last) = (Vec::new(), None);
        for number in self.numbers.drain(..self.numbers.len().min(frames_max)) {
            if let Some(entry) = ring.take(number) {
                frames.push(entry.frame.clone());
                last = Some(entry.end);
            }
        }
        let cursor = self.stands(ring).or(last).unwrap_or(self.from);
        if frames.is_empty() { Taken::Nothing(cursor) } else { Taken::Frames(frames, cursor) }
    }

    /// Where a device stands that has had all there was; `None` while something waits.
    pub(crate) fn stands(&mut self, ring: &Ring) -> Option<Cursor> {
        if self.gap || self.slow || !self.numbers.is_empty() {
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
