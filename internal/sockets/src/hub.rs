//! The shared state between the reader of a partition and the sockets of its users: the ring, and a mailbox for
//! each socket.
//!
//! The reader puts a record into the ring once, and its number into the mailbox of each recipient's socket; a
//! socket takes its frames from the ring by these numbers. So a record wakes only sockets that get it, frames are
//! never copied, and a socket that does not keep up costs eight bytes per frame until the ring drops an entry that
//! it has not taken. Such a socket was *outrun* by the ring: it reads on from the log, at its own cursor.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Cursor, UserId};
use environment::Latest;
use environment::seeded_bugs::{Bug, seeded};
use tokio::sync::Notify;

use crate::entry::{Entry, Hidden};
use crate::mailbox::{Mailbox, Taken};
use crate::ring::{Ring, Standing};
use crate::wire::Blocked;

/// The ring and the sockets of one partition.
#[derive(Debug)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    /// Whether there is a ring: the reader has a position.
    running: Latest<bool>,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` while the reader has no position.
    ring: Option<Ring>,
    /// The map's order is random: code that visits all mailboxes sorts them first, so that a simulation can be
    /// repeated.
    users: HashMap<UserId, Vec<Mailbox>>,
    next_id: u64,
    /// How often sockets took frames, in total.
    takes: u64,
}

/// A socket's registration at a hub, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    hub: Arc<Hub>,
    user: UserId,
    id: u64,
    wake: Arc<Notify>,
}

/// [`Crowd::many`] is true when at least one socket in this many is behind.
const MANY_ONE_OF: usize = 8;

/// The sockets that would lose frames if the ring dropped its oldest entries now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowd {
    /// How often sockets took frames so far: where this does not change, waiting does not help.
    pub(crate) takes: u64,
    /// Whether they are at least one in [`MANY_ONE_OF`] of all sockets.
    pub(crate) many: bool,
    /// Whether one of them has no blocked write: it waits for the node to serve it, not for its device.
    pub(crate) unserved: bool,
}

/// The result of attaching a socket at a cursor.
#[derive(Debug)]
pub(crate) enum Attach {
    /// The socket is registered, and reads from the ring.
    Attached(Registration),
    /// The cursor is older than the ring, this many offsets before its end: read the log.
    Older(u64),
    /// The cursor is ahead of what the reader has read: only the log can tell whether it is valid.
    Ahead,
    /// The record before the cursor is another one than the cursor names, or a record behind it may be for the
    /// user and cannot be read.
    Differs,
    /// There is no ring at the moment: the reader has no position.
    NotRunning,
}

impl Hub {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), running: Latest::new(false) })
    }

    /// The reader has found its position: sockets can attach.
    pub(crate) fn open(&self, ring: Ring) {
        self.with(|inner| inner.ring = Some(ring));
        self.running.set(true);
    }

    /// The reader has lost its position or ends: all sockets are deregistered and woken.
    pub(crate) fn close(&self) {
        self.running.set(false);
        let left = self.with(|inner| {
            inner.ring = None;
            std::mem::take(&mut inner.users)
        });
        let mut left: Vec<Mailbox> = left.into_values().flatten().collect();
        left.sort_unstable_by_key(|mailbox| mailbox.id); // the same order in every run of a simulation
        left.iter().for_each(|mailbox| mailbox.wake.notify_one());
    }

    /// The cursor behind everything that was read so far; `None` when there is no ring.
    pub(crate) fn end(&self) -> Option<Cursor> {
        self.with(|inner| inner.ring.as_ref().map(Ring::end))
    }

    /// Waits until there is a ring.
    pub(crate) async fn running(&self) {
        let _ = self.running.seen().wait_for(|running| running).await; // it lives as long as `self`
    }

    /// The sockets that would lose frames if these entries were added now; `None` when none would.
    pub(crate) fn crowded(&self, entries: &[Entry]) -> Option<Crowd> {
        self.with(|inner| {
            let stays = inner.ring.as_ref()?.would_cut(entries)?;
            let (mut sockets, mut behind, mut unserved) = (0, 0, false);
            for mailbox in inner.users.values().flatten() {
                sockets += 1;
                if mailbox.waits_before(stays) {
                    behind += 1;
                    unserved |= !mailbox.is_blocked();
                }
            }
            Some(Crowd { takes: inner.takes, many: behind * MANY_ONE_OF >= sockets, unserved })
        })
    }

    /// Adds records, in order, and wakes the sockets of their recipients; returns the records and bytes in the
    /// ring.
    pub(crate) fn push(&self, entries: Vec<Entry>) -> (usize, usize) {
        let (mut wakes, mut given_up) = (Vec::new(), Vec::new());
        let size = self.with(|inner| {
            let Inner { ring: Some(ring), users, .. } = inner else { return (0, 0) };
            for entry in entries {
                if entry.hidden != Hidden::Nothing {
                    let hidden_from = users.iter_mut().filter(|(user, _)| entry.hides_from(**user));
                    let mut all: Vec<&mut Mailbox> = hidden_from.flat_map(|(_, mailboxes)| mailboxes).collect();
                    all.sort_unstable_by_key(|mailbox| mailbox.id);
                    all.into_iter().for_each(|mailbox| mailbox.mark_gap(&mut wakes));
                }
                let before = ring.end();
                let (number, end) = (ring.push(entry), ring.end());
                let Some(entry) = ring.get(number) else { continue };
                let mut waiting = 0;
                for user in entry.recipients() {
                    let mailboxes = users.get_mut(user).into_iter().flatten();
                    for mailbox in mailboxes.filter(|mailbox| mailbox.from.next < end.next) {
                        waiting += u32::from(mailbox.put(number, before, ring, &mut wakes, &mut given_up));
                    }
                }
                ring.await_takers(number, waiting);
                given_up.drain(..).for_each(|number| _ = ring.take(number));
            }
            ring.size()
        });
        for wake in wakes {
            wake.notify_one();
        }
        size
    }

    /// Whether a device may resume at `cursor`, as far as the ring tells: it names the right record, or is at most
    /// `range_max` offsets away from the ring's end. `true` while there is no ring.
    pub(crate) fn may_resume(&self, cursor: Cursor, range_max: u64) -> bool {
        self.with(|inner| {
            let Some(ring) = &inner.ring else { return true };
            match ring.standing(cursor) {
                Standing::Inside => true,
                Standing::Older(behind) => behind <= range_max,
                Standing::Ahead => cursor.next - ring.end().next <= range_max,
                Standing::Differs => false,
            }
        })
    }

    /// Registers a socket of `user` at `cursor`. A cursor ahead of the ring is accepted only if it was `proved`
    /// valid before.
    pub(crate) fn attach(self: &Arc<Self>, user: UserId, cursor: Cursor, proved: bool, blocked: &Blocked) -> Attach {
        self.with(|inner| {
            let Some(ring) = &mut inner.ring else { return Attach::NotRunning };
            match ring.standing(cursor) {
                Standing::Inside => {}
                Standing::Ahead if proved => {}
                Standing::Ahead => return Attach::Ahead,
                Standing::Older(behind) => return Attach::Older(behind),
                Standing::Differs => return Attach::Differs,
            }
            if ring.since(cursor).any(|(_, entry)| entry.hides_from(user)) {
                return Attach::Differs;
            }
            let missed = ring.since(cursor).filter(|(_, entry)| entry.concerns(user));
            let numbers: VecDeque<u64> = missed.map(|(number, _)| number).collect();
            if seeded(Bug::RingAttachWithoutLock) {
                let end = ring.end();
                return Attach::Attached(self.register(inner, user, end, VecDeque::new(), blocked));
            }
            numbers.iter().for_each(|number| ring.await_takers(*number, 1));
            Attach::Attached(self.register(inner, user, cursor, numbers, blocked))
        })
    }

    /// Registers a socket of `user` at the end of the ring, and returns the cursor there; `None` when there is no
    /// ring.
    pub(crate) fn attach_at_end(self: &Arc<Self>, user: UserId, blocked: &Blocked) -> Option<(Registration, Cursor)> {
        self.with(|inner| {
            let end = inner.ring.as_ref()?.end();
            Some((self.register(inner, user, end, VecDeque::new(), blocked), end))
        })
    }

    fn register(
        self: &Arc<Self>,
        inner: &mut Inner,
        user: UserId,
        from: Cursor,
        numbers: VecDeque<u64>,
        blocked: &Blocked,
    ) -> Registration {
        let (id, wake) = (inner.next_id, Arc::new(Notify::new()));
        inner.next_id += 1;
        let mailbox = Mailbox::new(id, from, numbers, Arc::clone(&wake), blocked.clone());
        inner.users.entry(user).or_insert_with(|| Vec::with_capacity(1)).push(mailbox);
        Registration { hub: Arc::clone(self), user, id, wake }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Registration {
    /// The next frames, at most `frames_max`.
    pub(crate) fn take(&self, frames_max: usize) -> Taken {
        let taken = self.with(|mailbox, ring, takes| {
            let taken = mailbox.take(ring, frames_max);
            *takes += u64::from(matches!(taken, Taken::Frames(..)));
            taken
        });
        taken.unwrap_or(Taken::Lost)
    }

    /// The device's cursor; `None` while frames wait for it.
    pub(crate) fn stands(&self) -> Option<Cursor> {
        self.with(|mailbox, ring, _| mailbox.stands(ring))?
    }

    /// Waits until there may be something to take. Cancel safe.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Calls `act` on this socket's mailbox; `None` once the reader has lost its position.
    fn with<T>(&self, act: impl FnOnce(&mut Mailbox, &mut Ring, &mut u64) -> T) -> Option<T> {
        self.hub.with(|inner| {
            let Inner { ring, users, takes, .. } = inner;
            let mailbox = users.get_mut(&self.user)?.iter_mut().find(|mailbox| mailbox.id == self.id)?;
            Some(act(mailbox, ring.as_mut()?, takes))
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.with(|mailbox, ring, _| mailbox.leave(ring));
        self.hub.with(|inner| {
            let Some(mailboxes) = inner.users.get_mut(&self.user) else { return };
            mailboxes.retain(|mailbox| mailbox.id != self.id);
            if mailboxes.is_empty() {
                inner.users.remove(&self.user);
            }
        });
    }
}
