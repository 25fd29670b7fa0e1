//! The users of this node and how present they are, for the nodes that want to know it.
//!
//! Of several devices of a user the strongest status counts. A user whose last socket was closed stays as present as
//! before for [`OFFLINE_AFTER`]: a device that changes its network is not seen to come and go. Changes are collected
//! and told at the node's ticks; a new watch is answered at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::{OFFLINE_AFTER, Presence, Status, UserId};
use tokio::time::Instant;

/// How long a node tells nobody about its users after its start: their devices are still coming, and all at once.
pub const QUIET_AFTER_START: Duration = Duration::from_secs(10);
/// How long a node goes on telling another one about a user without being asked again.
pub(super) const WATCH_KEPT: Duration = Duration::from_secs(40);
/// How long it is taken for granted that others may know a user's presence: should the word of a change not come, it is
/// looked up again.
const SHOWS_KEPT: Duration = Duration::from_secs(60);
/// The most users of this node that are tracked, with those who have just left: 10 MiB. Beyond, a user is told to be
/// offline.
pub(super) const PRESENT_MAX: usize = 100_000;
/// The most users about whom other nodes want to know, here or not: 20 MiB. Beyond, a watch is not taken, and tried
/// again when it is renewed.
pub(super) const WANTED_MAX: usize = 100_000;

/// What is to be told to each partition of `chat.signals`.
pub(super) type Reports = BTreeMap<u32, Vec<Presence>>;

/// The users of this node.
#[derive(Debug)]
pub(super) struct Presences {
    present: BTreeMap<UserId, Present>,
    /// The partitions that want to know about a user, and until when.
    wanted: BTreeMap<UserId, BTreeMap<u32, Instant>>,
    /// Users whose status has changed since it was last told.
    changed: BTreeSet<UserId>,
    /// Users of whom it is to be looked up again whether they show it, by the moment.
    again: BTreeSet<(Instant, UserId)>,
    /// Users whose last socket was closed, by the moment at which they are offline.
    gone: BTreeSet<(Instant, UserId)>,
    /// The start of the node.
    begun: Instant,
}

#[derive(Debug)]
struct Present {
    /// The status of each device, by the number of its socket.
    devices: BTreeMap<u64, Status>,
    /// When the user will be offline, if the last socket was closed; and since when that will have been so.
    offline: Option<(Instant, i64)>,
    status: Status,
    since_ms: i64,
    /// Whether others may know it; `None` until it is looked up.
    shows: Option<bool>,
    /// Whether that is being looked up.
    looks_up: bool,
    /// The number of changes of the privacy settings: a look-up that was begun before one of them does not count.
    changes: u64,
    /// Whether others were told that the user is here.
    told: bool,
}

impl Present {
    fn state(&self, user: UserId) -> Presence {
        Presence { user, status: self.status, since_ms: Some(self.since_ms) }
    }
}

impl Presences {
    pub(super) fn new(now: Instant) -> Self {
        let (present, wanted, changed, again, gone) = Default::default();
        Self { present, wanted, changed, again, gone, begun: now }
    }

    /// A device of the user is here with that status, or has another one. Returns whether it is tracked.
    pub(super) fn says(&mut self, user: UserId, device: u64, status: Status, now_ms: i64) -> bool {
        if self.present.len() >= PRESENT_MAX && !self.present.contains_key(&user) {
            return false;
        }
        let fresh = || Present {
            devices: BTreeMap::new(),
            offline: None,
            status: Status::Offline,
            since_ms: now_ms,
            shows: None,
            looks_up: false,
            changes: 0,
            told: false,
        };
        let present = self.present.entry(user).or_insert_with(fresh);
        present.devices.insert(device, status);
        if let Some((at, _)) = present.offline.take() {
            self.gone.remove(&(at, user));
            // While no device was here, nobody heard of a change of the settings.
            self.privacy_changed(user);
        }
        self.settle(user, now_ms);
        true
    }

    /// The device's socket was closed.
    pub(super) fn leaves(&mut self, user: UserId, device: u64, now: Instant, now_ms: i64) {
        let Some(present) = self.present.get_mut(&user) else { return };
        if present.devices.remove(&device).is_some() && present.devices.is_empty() {
            let at = now + OFFLINE_AFTER;
            present.offline = Some((at, now_ms));
            self.gone.insert((at, user));
        }
        self.settle(user, now_ms);
    }

    /// Takes the strongest status of the devices; that of a user without devices stays as it was.
    fn settle(&mut self, user: UserId, now_ms: i64) {
        let Some(present) = self.present.get_mut(&user) else { return };
        let Some(strongest) = present.devices.values().max().copied() else { return };
        if strongest != present.status {
            (present.status, present.since_ms) = (strongest, now_ms);
            self.changed.insert(user);
        }
    }

    /// That partition wants to know about those users. Returns what it is to be told at once, and how many users were
    /// beyond the bound.
    pub(super) fn want(&mut self, users: &[UserId], partition: u32, now: Instant) -> (Vec<Presence>, usize) {
        let (mut states, mut beyond, quiet) = (Vec::new(), 0, self.is_quiet(now));
        for user in users {
            if self.wanted.len() >= WANTED_MAX && !self.wanted.contains_key(user) {
                beyond += 1;
                continue;
            }
            self.wanted.entry(*user).or_default().insert(partition, now + WATCH_KEPT);
            let Some(present) = self.present.get_mut(user) else { continue };
            match present.shows {
                Some(false) => {}
                Some(true) if !quiet => {
                    present.told = true;
                    states.push(present.state(*user));
                }
                Some(true) | None => drop(self.changed.insert(*user)),
            }
        }
        (states, beyond)
    }

    /// What has changed since the last tick, for each partition that wants to know it.
    pub(super) fn tick(&mut self, now: Instant, now_ms: i64) -> Reports {
        while let Some((at, user)) = self.gone.first().copied().filter(|(at, _)| *at <= now) {
            self.gone.remove(&(at, user));
            if let Some(present) = self.present.get_mut(&user)
                && let Some((_, since_ms)) = present.offline
            {
                (present.status, present.since_ms) = (Status::Offline, since_ms);
                self.changed.insert(user);
            }
        }
        self.wanted.retain(|_, partitions| {
            partitions.retain(|_, until| *until > now);
            !partitions.is_empty()
        });
        let mut reports = Reports::new();
        if self.is_quiet(now) {
            return reports;
        }
        for user in std::mem::take(&mut self.changed) {
            let Some(present) = self.present.get_mut(&user) else { continue };
            let wanted = self.wanted.get(&user);
            let state = match present.shows {
                Some(true) => Some(present.state(user)),
                // Who does not show it any more is offline from now on.
                _ if present.status == Status::Offline => present.told.then(|| present.state(user)),
                Some(false) => {
                    present.told.then_some(Presence { user, status: Status::Offline, since_ms: Some(now_ms) })
                }
                None => {
                    if wanted.is_some() {
                        self.changed.insert(user); // until it is looked up
                    }
                    continue;
                }
            };
            if let Some(state) = state {
                present.told = state.status != Status::Offline;
                for partition in wanted.into_iter().flat_map(BTreeMap::keys) {
                    reports.entry(*partition).or_default().push(state);
                }
            }
            if present.status == Status::Offline {
                self.present.remove(&user);
            }
        }
        reports
    }

    /// Users about whom others want to know, and for whom it is to be looked up now whether they may: at most so many,
    /// each with the number of changes until now.
    pub(super) fn unknown(&mut self, most: usize, now: Instant) -> Vec<(UserId, u64)> {
        let mut unknown = Vec::new();
        for user in self.changed.iter().filter(|user| self.wanted.contains_key(user)) {
            let Some(present) = self.present.get_mut(user) else { continue };
            if unknown.len() < most && present.shows.is_none() && !present.looks_up {
                present.looks_up = true;
                unknown.push((*user, present.changes));
            }
        }
        // What was found before counts until it is looked up again.
        while unknown.len() < most
            && let Some((at, user)) = self.again.first().copied().filter(|(at, _)| *at <= now)
        {
            self.again.remove(&(at, user));
            let Some(present) = self.present.get_mut(&user) else { continue };
            if !self.wanted.contains_key(&user) {
                present.shows = None;
            } else if present.shows.is_some() && !present.looks_up {
                present.looks_up = true;
                unknown.push((user, present.changes));
            }
        }
        unknown
    }

    /// The result of a look-up; `None`: it has failed, and is to be repeated.
    pub(super) fn knows(&mut self, user: UserId, changes: u64, shows: Option<bool>, now: Instant) {
        if let Some(present) = self.present.get_mut(&user).filter(|present| present.changes == changes) {
            present.looks_up = false;
            if present.shows != shows {
                self.changed.insert(user);
            }
            present.shows = shows;
            if shows.is_some() {
                self.again.insert((now + SHOWS_KEPT, user));
            }
        }
    }

    /// The user has changed the privacy settings.
    pub(super) fn privacy_changed(&mut self, user: UserId) {
        if let Some(present) = self.present.get_mut(&user) {
            (present.shows, present.looks_up) = (None, false);
            present.changes += 1;
            self.changed.insert(user);
        }
    }

    fn is_quiet(&self, now: Instant) -> bool {
        now < self.begun + QUIET_AFTER_START
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn user(number: u128) -> UserId {
        UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
    }

    fn presence(number: u128, status: Status, since_ms: i64) -> Presence {
        Presence { user: user(number), status, since_ms: Some(since_ms) }
    }

    /// Looks up that all users about whom others want to know show it.
    fn look_up(node: &mut Presences) {
        let now = Instant::now() + QUIET_AFTER_START; // as of a node that is grown
        for (user, changes) in node.unknown(usize::MAX, now) {
            node.knows(user, changes, Some(true), now);
        }
    }

    /// A node that is not quiet any more, and now.
    fn grown() -> (Presences, Instant) {
        let begun = Instant::now();
        (Presences::new(begun), begun + QUIET_AFTER_START)
    }

    #[test]
    fn the_strongest_device_counts_and_is_told_to_who_wants_to_know() {
        let (mut node, now) = grown();
        assert!(node.says(user(1), 1, Status::Online, 100));
        assert_eq!(node.tick(now, 900), Reports::new(), "nobody has asked");
        assert_eq!(node.want(&[user(1), user(2)], 7, now), (Vec::new(), 0));
        look_up(&mut node);
        assert_eq!(node.tick(now, 900)[&7], [presence(1, Status::Online, 100)]);
        assert_eq!(node.want(&[user(1), user(2)], 7, now), (vec![presence(1, Status::Online, 100)], 0));
        assert_eq!(node.tick(now, 900), Reports::new(), "that was an answer already");
        node.says(user(1), 2, Status::Idle, 200);
        assert_eq!(node.tick(now, 900), Reports::new(), "the weaker one of two");
        node.says(user(1), 2, Status::Dnd, 300);
        node.want(&[user(1)], 3, now);
        let state = vec![presence(1, Status::Dnd, 300)];
        assert_eq!(node.tick(now, 900), Reports::from([(3, state.clone()), (7, state)]));
        node.says(user(1), 2, Status::Online, 400);
        node.says(user(1), 2, Status::Dnd, 500);
        assert_eq!(node.tick(now, 900)[&3], [presence(1, Status::Dnd, 500)], "one record of what has changed twice");
        node.leaves(user(1), 2, now, 600);
        assert_eq!(node.tick(now, 900)[&3], [presence(1, Status::Online, 600)]);
        assert_eq!(node.tick(now + WATCH_KEPT, 900), Reports::new());
        node.says(user(1), 1, Status::Idle, 700);
        assert_eq!(node.tick(now + WATCH_KEPT, 900), Reports::new(), "nobody wants to know it any more");
    }

    #[test]
    fn who_is_away_for_a_moment_was_there_all_the_time() {
        let (mut node, mut now) = grown();
        node.want(&[user(1)], 7, now);
        node.says(user(1), 1, Status::Idle, 100);
        look_up(&mut node);
        assert_eq!(node.tick(now, 900)[&7], [presence(1, Status::Idle, 100)]);
        node.leaves(user(1), 1, now, 200);
        now += OFFLINE_AFTER - SECOND;
        node.want(&[user(1)], 7, now);
        assert_eq!(node.tick(now, 900), Reports::new());
        node.says(user(1), 2, Status::Idle, 300);
        now += OFFLINE_AFTER;
        assert_eq!(node.tick(now, 900), Reports::new(), "the device has come back");
        node.want(&[user(1)], 7, now);
        node.leaves(user(1), 2, now, 400);
        now += OFFLINE_AFTER;
        assert_eq!(node.tick(now, 900)[&7], [presence(1, Status::Offline, 400)]);
        assert!(node.present.is_empty() && node.gone.is_empty(), "and is forgotten");
        node.leaves(user(1), 2, now, 500);
    }

    #[test]
    fn a_node_that_has_just_started_tells_nobody_and_then_all_at_once() {
        let begun = Instant::now();
        let mut node = Presences::new(begun);
        for number in 0..100 {
            node.says(user(number), 1, Status::Online, 100);
        }
        let users: Vec<_> = (0..100).map(user).collect();
        assert_eq!(node.want(&users, 7, begun), (Vec::new(), 0));
        look_up(&mut node);
        assert_eq!(node.tick(begun + QUIET_AFTER_START - SECOND, 900), Reports::new());
        assert_eq!(node.tick(begun + QUIET_AFTER_START, 900)[&7].len(), 100);
        assert_eq!(node.tick(begun + QUIET_AFTER_START, 900), Reports::new());
    }

    #[test]
    fn who_does_not_show_it_is_told_of_to_nobody() {
        let (mut node, now) = grown();
        node.says(user(1), 1, Status::Online, 100);
        node.want(&[user(1)], 7, now);
        assert_eq!(node.tick(now, 900), Reports::new(), "it is not known yet whether anybody may know");
        let [(found, changes)] = node.unknown(10, now)[..] else { panic!("one is looked up") };
        assert_eq!(node.unknown(10, now), [], "once");
        node.knows(found, changes, None, now);
        assert_eq!(node.unknown(10, now), [(found, changes)], "and again where it has failed");
        // A change while it is looked up: what was found before does not count.
        node.privacy_changed(user(1));
        node.knows(found, changes, Some(true), now);
        assert_eq!(node.tick(now, 900), Reports::new());
        look_up(&mut node);
        assert_eq!(node.tick(now, 900)[&7], [presence(1, Status::Online, 100)]);
        // Now the user hides, and is offline at once, in the same words as others; then nothing is told any more.
        let hide = |node: &mut Presences, shows| {
            node.privacy_changed(user(1));
            let [(found, changes)] = node.unknown(10, now)[..] else { panic!("one is looked up") };
            node.knows(found, changes, Some(shows), now);
        };
        hide(&mut node, false);
        assert_eq!(node.tick(now, 900)[&7], [presence(1, Status::Offline, 900)]);
        node.says(user(1), 1, Status::Dnd, 200);
        assert_eq!(node.tick(now, 900), Reports::new());
        assert_eq!(node.want(&[user(1)], 7, now), (Vec::new(), 0));
        hide(&mut node, true);
        assert_eq!(node.tick(now, 900)[&7], [presence(1, Status::Dnd, 200)]);
    }

    /// The word of a change may be lost: nobody is shown for a whole session who has hidden.
    #[test]
    fn whether_it_may_be_shown_is_looked_up_again() {
        let (mut node, now) = grown();
        node.says(user(1), 1, Status::Online, 100);
        node.want(&[user(1)], 7, now);
        look_up(&mut node);
        assert_eq!(node.tick(now, 900)[&7], [presence(1, Status::Online, 100)]);
        assert_eq!(node.unknown(10, now + SHOWS_KEPT - SECOND), []);
        let mut later = now + SHOWS_KEPT + SECOND;
        node.want(&[user(1)], 7, later);
        let [(found, changes)] = node.unknown(10, later)[..] else { panic!("once more") };
        assert_eq!(node.unknown(10, later), [], "once");
        node.knows(found, changes, Some(true), later);
        assert_eq!(node.tick(later, 900), Reports::new(), "nothing has changed");
        later += SHOWS_KEPT;
        node.want(&[user(1)], 7, later);
        let [(found, changes)] = node.unknown(10, later)[..] else { panic!("and again") };
        node.knows(found, changes, Some(false), later);
        assert_eq!(node.tick(later, 900)[&7], [presence(1, Status::Offline, 900)]);
        // Of somebody about whom nobody wants to know, nothing is looked up.
        assert_eq!(node.unknown(10, later + 10 * SHOWS_KEPT).len(), 1);
        let alone = later + 20 * SHOWS_KEPT;
        node.tick(alone, 900);
        assert_eq!(node.unknown(10, alone), []);
    }

    #[test]
    fn what_is_tracked_is_bounded() {
        let (mut node, now) = grown();
        let crowd: Vec<_> = (0..PRESENT_MAX as u128 + 10).map(user).collect();
        assert_eq!(crowd.iter().filter(|user| node.says(**user, 1, Status::Online, 1)).count(), PRESENT_MAX);
        let (states, beyond) = node.want(&crowd, 7, now);
        assert_eq!((states.len(), beyond), (0, 10));
        assert_eq!(node.unknown(10, now).len(), 10, "and so many are looked up at a time");
        node.tick(now + WATCH_KEPT, 900);
        assert_eq!(node.want(&crowd[..10], 7, now).1, 0, "and given back");
    }
}
