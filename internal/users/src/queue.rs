//! A fair queue for computing password hashes.
//!
//! Hashes are expensive, so a few are computed at a time and some more wait. Every second turn goes to a known client
//! (one that signed in before), if any waits. Within known clients, and within all others, turns go round by share (a
//! known device has one of its own, names that signed in at an address before have one there, strangers share their
//! address's), and within a share round by name: a client that asks often only delays itself. When the queue is full,
//! the newest request of the largest share is refused, unless the new request is of that share; half of the queue is
//! reserved for known clients.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// Requests that wait for their turn. Beyond that, the answer is `busy`.
pub const WAITING_MAX: usize = 256;
/// How long a request waits for a turn; a change of the password takes two turns. Well within
/// [`process::serve::REQUEST_WITHIN`], whose answer would not say when to come back. Beyond that, the answer is `busy`.
const TURN_WITHIN: Duration = Duration::from_secs(6);
/// The assumed duration of a hash before one was computed.
const HASH_LASTS: Duration = Duration::from_millis(50);

/// The share of the password work that a request is counted in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    /// Devices that signed in to that name before: all of them share one.
    Device(String),
    /// Names that signed in, or were registered, at that address before: all of these share one.
    Familiar(IpAddr),
    /// Everybody else at that address.
    Address(IpAddr),
}

/// The queue is full: there should be room after this time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) Duration);

/// Hands out turns. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct FairQueue {
    at_once: usize,
    state: Arc<Mutex<State>>,
}

/// The right to compute one hash, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Option<FairQueue>,
    begun: Instant,
}

#[derive(Debug)]
struct State {
    working: usize,
    waiting: usize,
    /// How long a turn has lasted lately.
    lasts: Duration,
    /// The waiting requests: of known clients, and of strangers; each in the order of the next turns. No line is empty.
    lines: [VecDeque<Line>; 2],
    /// The index in `lines` of the next turn.
    next: usize,
}

/// The waiting requests of one share.
#[derive(Debug)]
struct Line {
    share: Share,
    /// The names in the order of their next turns; none is empty.
    names: VecDeque<(String, VecDeque<oneshot::Sender<Turn>>)>,
}

impl FairQueue {
    pub(crate) fn new(at_once: usize) -> Self {
        let state = State { working: 0, waiting: 0, lasts: HASH_LASTS, lines: Default::default(), next: 0 };
        Self { at_once: at_once.max(1), state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self, share: Share, name: &str) -> Result<Turn, Full> {
        let waits = {
            let mut state = self.lock();
            if state.working < self.at_once {
                state.working += 1;
                None
            } else {
                if state.waiting >= WAITING_MAX && !state.make_room(&share) {
                    return Err(Full(state.wait(self.at_once)));
                }
                Some(state.push(share, name))
            }
        };
        match waits {
            None => Ok(self.begin()),
            Some(waits) => match timeout(TURN_WITHIN, waits).await {
                Ok(Ok(turn)) => Ok(turn.begun_now()),
                // It was refused to make room for another, or has waited for too long.
                Ok(Err(_)) | Err(_) => Err(Full(self.lock().wait(self.at_once))),
            },
        }
    }

    fn begin(&self) -> Turn {
        Turn { queue: Some(self.clone()), begun: Instant::now() }
    }

    /// Gives the turn that ended to the next request.
    fn go_on(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.pop();
                if next.is_none() {
                    state.working -= 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(self.begin()) {
                Ok(()) => return,
                // The request was given up meanwhile: the next one gets the turn.
                Err(mut turn) => drop(turn.queue.take()),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    fn begun_now(mut self) -> Self {
        self.begun = Instant::now();
        self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            {
                let mut state = queue.lock();
                state.lasts = (state.lasts * 7 + self.begun.elapsed()) / 8;
            }
            queue.go_on();
        }
    }
}

impl State {
    fn push(&mut self, share: Share, name: &str) -> oneshot::Receiver<Turn> {
        let (turn, waits) = oneshot::channel();
        self.waiting += 1;
        let lines = &mut self.lines[share.side()];
        let at = lines.iter().position(|line| line.share == share).unwrap_or_else(|| {
            lines.push_back(Line { share, names: VecDeque::new() });
            lines.len() - 1
        });
        let names = &mut lines[at].names;
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, waiting)) => waiting.push_back(turn),
            None => names.push_back((name.to_owned(), VecDeque::from([turn]))),
        }
        waits
    }

    /// The request whose turn is next. A request that was given up uses no turn.
    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.forget_gone();
        let side = if self.lines[self.next].is_empty() { 1 - self.next } else { self.next };
        let mut line = self.lines[side].pop_front()?;
        self.next = 1 - side;
        let (name, mut waiting) = line.names.pop_front().expect("no line is empty");
        let next = waiting.pop_front().expect("no name is empty");
        self.waiting -= 1;
        if !waiting.is_empty() {
            line.names.push_back((name, waiting));
        }
        if !line.names.is_empty() {
            self.lines[side].push_back(line);
        }
        Some(next)
    }

    /// Makes room for a request of `share`. Half of the queue is for known clients and half for strangers: a side that
    /// has more gives way when the other one comes. Within a side, the largest share gives way; false when none is
    /// larger than that share.
    fn make_room(&mut self, share: &Share) -> bool {
        self.forget_gone();
        if self.waiting < WAITING_MAX {
            return true;
        }
        let side = share.side();
        let own_side: usize = self.lines[side].iter().map(Line::waiting).sum();
        let lends = own_side < WAITING_MAX / 2;
        let own = self.lines[side].iter().find(|line| line.share == *share).map_or(0, Line::waiting);
        let crowded = &mut self.lines[if lends { 1 - side } else { side }];
        let largest = crowded.iter_mut().max_by_key(|line| line.waiting());
        let Some(largest) = largest.filter(|line| lends || line.waiting() > own + 1) else { return false };
        let of_name = largest.names.iter_mut().max_by_key(|(_, waiting)| waiting.len());
        // The newest goes: the request that has waited longest has the best claim.
        of_name.and_then(|(_, waiting)| waiting.pop_back());
        self.forget_gone();
        true
    }

    /// Removes requests that were given up.
    fn forget_gone(&mut self) {
        for lines in &mut self.lines {
            for line in &mut *lines {
                for (_, waiting) in &mut line.names {
                    waiting.retain(|turn| !turn.is_closed());
                }
                line.names.retain(|(_, waiting)| !waiting.is_empty());
            }
            lines.retain(|line| !line.names.is_empty());
        }
        self.waiting = self.lines.iter().flatten().map(Line::waiting).sum();
    }

    /// How long a new request would wait.
    fn wait(&self, at_once: usize) -> Duration {
        self.lasts * u32::try_from(self.waiting.div_ceil(at_once)).unwrap_or(u32::MAX)
    }
}

impl Share {
    /// The index in [`State::lines`].
    fn side(&self) -> usize {
        match self {
            Self::Device(_) | Self::Familiar(_) => 0,
            Self::Address(_) => 1,
        }
    }
}

impl Line {
    fn waiting(&self) -> usize {
        self.names.iter().map(|(_, waiting)| waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn address(last: u8) -> Share {
        Share::Address(IpAddr::from([192, 0, 2, last]))
    }

    /// Lets `asked` wait in this order behind a turn that is in use; returns the order in which they got their turns.
    async fn order(asked: &[(Share, &'static str)]) -> Vec<&'static str> {
        let queue = FairQueue::new(1);
        let first = queue.turn(address(0), "first").await.unwrap();
        let mut waiting: Vec<_> =
            asked.iter().map(|(share, name)| (*name, Box::pin(queue.turn(share.clone(), name)))).collect();
        for (_, turn) in &mut waiting {
            assert!(turn.now_or_never().is_none());
        }
        drop(first);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let mut got = None;
            for (at, (_, turn)) in waiting.iter_mut().enumerate() {
                if let Some(turn) = turn.now_or_never() {
                    got = Some((at, turn.unwrap()));
                    break;
                }
            }
            let (at, turn) = got.expect("somebody has a turn");
            order.push(waiting.remove(at).0);
            drop(turn);
        }
        order
    }

    #[tokio::test]
    async fn turns_go_round_by_share_and_within_one_by_name() {
        let (one, two) = (address(1), address(2));
        let asked =
            [(one.clone(), "guess"), (one.clone(), "guess"), (one.clone(), "guess"), (one, "ann"), (two, "bob")];
        assert_eq!(order(&asked).await, ["guess", "bob", "ann", "guess", "guess"]);
    }

    /// Issue 10, item 2: strangers from everywhere, and known people, one of them behind the strangers' address.
    #[tokio::test]
    async fn every_second_turn_is_of_somebody_who_was_here_before() {
        let home = Share::Familiar(IpAddr::from([192, 0, 2, 1]));
        let asked = [
            (address(1), "made-up-1"),
            (address(2), "made-up-2"),
            (address(3), "made-up-3"),
            (address(4), "made-up-4"),
            (home.clone(), "ann"),
            (home, "bob"),
            (Share::Device("cat".into()), "cat"),
        ];
        let order = order(&asked).await;
        assert_eq!(order, ["ann", "made-up-1", "cat", "made-up-2", "bob", "made-up-3", "made-up-4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_too_long_is_told_when_to_come_back() {
        let queue = FairQueue::new(1);
        let _first = queue.turn(address(0), "first").await.unwrap();
        let begun = Instant::now();
        let Full(_) = queue.turn(address(1), "late").await.unwrap_err();
        assert_eq!(begun.elapsed(), TURN_WITHIN);
        assert!(TURN_WITHIN * 2 < process::serve::REQUEST_WITHIN);
    }

    #[tokio::test]
    async fn who_gives_up_is_passed_over() {
        let queue = FairQueue::new(1);
        let first = queue.turn(address(0), "first").await.unwrap();
        let mut gone = Box::pin(queue.turn(address(1), "gone"));
        let mut there = Box::pin(queue.turn(address(1), "there"));
        assert!((&mut gone).now_or_never().is_none() && (&mut there).now_or_never().is_none());
        let mut known = Box::pin(queue.turn(Share::Device("ann".into()), "ann"));
        assert!((&mut known).now_or_never().is_none());
        drop(known);
        drop(gone);
        drop(first);
        let turn = there.now_or_never().unwrap().unwrap();
        assert_eq!(queue.lock().next, 0, "the turn of the known was taken by nobody");
        drop(turn);
        let left = {
            let state = queue.lock();
            (state.working, state.waiting)
        };
        assert_eq!(left, (0, 0));
        // Handed over and given up before it was seen: the turn is not lost.
        let first = queue.turn(address(0), "first").await.unwrap();
        let mut late = Box::pin(queue.turn(address(1), "late"));
        assert!((&mut late).now_or_never().is_none());
        drop(first);
        drop(late);
        assert!(queue.turn(address(2), "next").now_or_never().is_some());
    }

    #[tokio::test]
    async fn at_the_bound_the_largest_share_makes_room() {
        let queue = FairQueue::new(1);
        let _first = queue.turn(address(0), "first").await.unwrap();
        let mut crowd: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(queue.turn(address(1), "guess"))).collect();
        for turn in &mut crowd {
            assert!(turn.now_or_never().is_none());
        }
        let refused = queue.turn(address(1), "guess").now_or_never().unwrap().unwrap_err();
        assert!(refused.0 >= HASH_LASTS * 100, "{refused:?}");
        let mut other = Box::pin(queue.turn(address(2), "ann"));
        assert!((&mut other).now_or_never().is_none(), "it waits");
        let newest = crowd.last_mut().unwrap();
        assert!(newest.now_or_never().unwrap().is_err(), "the newest made room");
        assert_eq!(queue.lock().waiting, WAITING_MAX);
    }

    /// Strangers from so many addresses that each has one request in the queue.
    #[tokio::test]
    async fn half_of_the_queue_is_for_known_clients() {
        let queue = FairQueue::new(1);
        let _first = queue.turn(address(0), "first").await.unwrap();
        let from = |number: usize| Share::Address(IpAddr::from([10, 0, (number / 256) as u8, (number % 256) as u8]));
        let mut crowd: Vec<_> = (0..WAITING_MAX).map(|number| Box::pin(queue.turn(from(number), "guess"))).collect();
        assert!(crowd.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert!(queue.turn(from(WAITING_MAX), "guess").now_or_never().unwrap().is_err(), "strangers have no room");
        let home = Share::Familiar(IpAddr::from([192, 0, 2, 1]));
        let names: Vec<String> = (0..WAITING_MAX / 2).map(|number| format!("person-{number}")).collect();
        let mut known: Vec<_> = names.iter().map(|name| Box::pin(queue.turn(home.clone(), name))).collect();
        assert!(known.iter_mut().all(|turn| turn.now_or_never().is_none()), "they all wait");
        assert!(
            queue.turn(from(WAITING_MAX), "guess").now_or_never().unwrap().is_err(),
            "and push nobody of these out"
        );
        assert!(known.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert_eq!(queue.lock().waiting, WAITING_MAX);
    }
}
