//! The users whose presence the sockets of this node watch, and what other nodes say about them.
//!
//! Each node that has sockets of a user says how present the user is there, again and again. What it said is forgotten
//! after a while, so that a node which vanishes takes its users along. Of what several nodes say the strongest counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::{PRESENCE_EVERY, Presence, Status, UserId};
use tokio::time::Instant;
use uuid::Uuid;

use super::mailbox::Mailbox;
use super::presence::WATCH_KEPT;

/// How often a node repeats what it wants to know.
pub(super) const WATCH_AGAIN: Duration = Duration::from_secs(15);
/// How long a user about whom no node says anything is not shown as offline yet.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// How long it is taken for granted that two users share a conversation.
pub const SHARING_KEPT: Duration = Duration::from_secs(60);
/// The most users that the sockets of a node watch: 40 MiB. Beyond, they are shown as offline.
pub(super) const WATCHED_USERS_MAX: usize = 100_000;
/// The most answers that are kept about one user: their devices are at few nodes.
const NODES_MAX: usize = 16;

/// Users to ask about: by the partition that they are in and the one that is to be told.
pub(super) type Asks = BTreeMap<(u32, u32), Vec<UserId>>;

/// A socket, its user, and those for whom it is to be looked up whether that user may know about them.
pub(super) type LookUp = (u64, UserId, Vec<UserId>);

/// What the sockets of a node watch.
#[derive(Debug, Default)]
pub(super) struct Watching {
    /// The sockets that watch anybody, by number.
    watchers: BTreeMap<u64, Watcher>,
    users: BTreeMap<UserId, Watched>,
    /// Users whom nobody watched before, and about whom no node was asked yet.
    fresh: BTreeSet<UserId>,
}

#[derive(Debug)]
struct Watcher {
    user: UserId,
    partition: u32,
    mailbox: Arc<Mailbox>,
    /// Whom it watches. The list is the one that the device sent last.
    list: BTreeMap<UserId, May>,
    /// When to look up again with whom its user shares a conversation.
    look_up_at: Instant,
    /// Whether that is being done.
    looks_up: bool,
    /// Whether it is to be done again after that, for all users.
    again: bool,
}

/// Whether a watcher may know about a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    /// It is being looked up.
    Unknown,
    /// They share a conversation.
    Yes,
    /// They do not. The user is shown as offline at that moment, as one about whom no node says anything.
    No(Instant),
    /// The same, and it is shown.
    Told,
}

#[derive(Debug)]
struct Watched {
    /// The sockets that are told.
    sockets: BTreeSet<u64>,
    /// What each node said, and until when that counts.
    said: BTreeMap<Uuid, (Presence, Instant)>,
    /// What the sockets were told last.
    shown: Option<Presence>,
    /// When they may be told again.
    next: Instant,
    /// When the nodes are asked again.
    ask_at: Instant,
    /// When silence means that the user is offline.
    silent_at: Instant,
}

impl Watching {
    /// A socket watches these users from now on. Returns those for whom it is to be looked up whether its user may
    /// know about them; none while a look-up of the same socket runs, which then goes on with them.
    pub(super) fn watch(
        &mut self,
        (socket, user, partition): (u64, UserId, u32),
        mailbox: &Arc<Mailbox>,
        users: &BTreeSet<UserId>,
        now: Instant,
    ) -> Vec<UserId> {
        let watcher = self.watchers.entry(socket).or_insert_with(|| Watcher {
            user,
            partition,
            mailbox: Arc::clone(mailbox),
            list: BTreeMap::new(),
            look_up_at: now + SHARING_KEPT,
            looks_up: false,
            again: false,
        });
        let left: Vec<UserId> = watcher.list.keys().filter(|user| !users.contains(user)).copied().collect();
        for user in &left {
            watcher.list.remove(user);
            watcher.mailbox.forget(*user);
        }
        for user in users {
            watcher.list.entry(*user).or_insert(May::Unknown);
        }
        if watcher.list.is_empty() {
            self.watchers.remove(&socket);
        }
        for user in left {
            self.release(socket, user);
        }
        self.look_up(socket)
    }

    /// The socket was closed.
    pub(super) fn close(&mut self, socket: u64) {
        let Some(watcher) = self.watchers.remove(&socket) else { return };
        for user in watcher.list.into_keys() {
            self.release(socket, user);
        }
    }

    fn release(&mut self, socket: u64, user: UserId) {
        let Some(watched) = self.users.get_mut(&user) else { return };
        watched.sockets.remove(&socket);
        if watched.sockets.is_empty() {
            self.users.remove(&user);
            self.fresh.remove(&user);
        }
    }

    /// The users for whom a look-up of that socket is to be begun, unless one runs.
    fn look_up(&mut self, socket: u64) -> Vec<UserId> {
        let Some(watcher) = self.watchers.get_mut(&socket).filter(|watcher| !watcher.looks_up) else {
            return Vec::new();
        };
        let unknown = watcher.list.iter().filter(|(_, may)| **may == May::Unknown);
        let unknown: Vec<UserId> = unknown.map(|(user, _)| *user).collect();
        watcher.looks_up = !unknown.is_empty();
        unknown
    }

    /// A look-up of that socket has ended. Returns the users for whom the next one is to be begun, who came meanwhile.
    pub(super) fn looked_up(
        &mut self,
        socket: u64,
        found: &[(UserId, bool)],
        silent_at: Instant,
        now: Instant,
    ) -> Vec<UserId> {
        for (user, may) in found {
            self.may(socket, *user, *may, silent_at.max(now + ANSWER_WAIT), now);
        }
        if let Some(watcher) = self.watchers.get_mut(&socket) {
            if std::mem::take(&mut watcher.again) {
                return watcher.list.keys().copied().collect();
            }
            watcher.looks_up = false;
        }
        self.look_up(socket)
    }

    /// The user has changed the privacy settings. Returns the sockets for which it is to be looked up again whether the
    /// user may know anything.
    pub(super) fn privacy_changed(&mut self, user: UserId) -> Vec<LookUp> {
        let mut again = Vec::new();
        for (socket, watcher) in self.watchers.iter_mut().filter(|(_, watcher)| watcher.user == user) {
            if watcher.looks_up {
                watcher.again = true;
            } else {
                watcher.looks_up = true;
                again.push((*socket, user, watcher.list.keys().copied().collect()));
            }
        }
        again
    }

    fn may(&mut self, socket: u64, user: UserId, may: bool, silent_at: Instant, now: Instant) {
        let Some(watcher) = self.watchers.get_mut(&socket) else { return };
        let Some(entry) = watcher.list.get_mut(&user) else { return };
        let full = self.users.len() >= WATCHED_USERS_MAX && !self.users.contains_key(&user);
        if !may || full {
            // Somebody whose presence was shown goes offline; others are shown as if nobody had answered.
            if !matches!(entry, May::No(_) | May::Told) {
                *entry = May::No(silent_at);
                self.release(socket, user);
            }
            return;
        }
        *entry = May::Yes;
        let watched = self.users.entry(user).or_insert_with(|| {
            self.fresh.insert(user);
            let (sockets, said) = Default::default();
            Watched { sockets, said, shown: None, next: now, ask_at: now, silent_at }
        });
        if watched.sockets.insert(socket)
            && let Some(shown) = watched.shown
        {
            watcher.mailbox.present(shown);
        }
    }

    /// A node says how present users are there.
    pub(super) fn say(&mut self, node: Uuid, states: &[Presence], now: Instant) {
        for state in states {
            let Some(watched) = self.users.get_mut(&state.user) else { continue };
            if watched.said.len() < NODES_MAX || watched.said.contains_key(&node) {
                watched.said.insert(node, (*state, now + WATCH_KEPT));
            }
            self.show(state.user, now);
        }
    }

    /// Tells the sockets of a user whose status has changed, if that may be done again already.
    fn show(&mut self, user: UserId, now: Instant) {
        let Some(watched) = self.users.get_mut(&user) else { return };
        let Some(state) = watched.state(user, now) else { return };
        if watched.next > now || watched.shown.is_some_and(|shown| shown.status == state.status) {
            return;
        }
        (watched.shown, watched.next) = (Some(state), now + PRESENCE_EVERY);
        for socket in &watched.sockets {
            if let Some(watcher) = self.watchers.get(socket) {
                watcher.mailbox.present(state);
            }
        }
    }

    /// Users who are watched since the last call, to be asked about at once.
    pub(super) fn fresh(&mut self, partition_of: impl Fn(UserId) -> u32, now: Instant) -> Asks {
        let mut asks = Asks::new();
        for user in std::mem::take(&mut self.fresh) {
            self.ask(user, partition_of(user), now, &mut asks);
        }
        asks
    }

    /// Puts the user into the list of those to be asked about.
    fn ask(&mut self, user: UserId, partition: u32, now: Instant, asks: &mut Asks) {
        let Some(watched) = self.users.get_mut(&user) else { return };
        let teller = watched.sockets.first().and_then(|socket| self.watchers.get(socket));
        if let Some(watcher) = teller {
            watched.ask_at = now + WATCH_AGAIN;
            asks.entry((partition, watcher.partition)).or_default().push(user);
        }
    }

    /// Forgets what is too old, tells what could not be told before, and returns whom to ask about, and the sockets
    /// for whose users it is to be looked up again whether they may know what they are told.
    pub(super) fn tick(&mut self, partition_of: impl Fn(UserId) -> u32, now: Instant) -> (Asks, Vec<LookUp>) {
        let mut asks = self.fresh(&partition_of, now);
        let users: Vec<UserId> = self.users.keys().copied().collect();
        for user in users {
            let Some(watched) = self.users.get_mut(&user) else { continue };
            watched.said.retain(|_, (_, until)| *until > now);
            let due = watched.ask_at <= now;
            self.show(user, now);
            if due {
                self.ask(user, partition_of(user), now, &mut asks);
            }
        }
        let mut again = Vec::new();
        for (socket, watcher) in &mut self.watchers {
            for (user, may) in &mut watcher.list {
                if matches!(may, May::No(at) if *at <= now) {
                    *may = May::Told;
                    watcher.mailbox.present(Presence { user: *user, status: Status::Offline, since_ms: None });
                }
            }
            if watcher.look_up_at <= now && !watcher.looks_up {
                (watcher.look_up_at, watcher.looks_up) = (now + SHARING_KEPT, true);
                again.push((*socket, watcher.user, watcher.list.keys().copied().collect()));
            }
        }
        (asks, again)
    }
}

impl Watched {
    /// The strongest of what nodes say, since the earliest of those that say it; `None` while it is not known.
    fn state(&self, user: UserId, now: Instant) -> Option<Presence> {
        let states = || self.said.values().map(|(state, _)| *state);
        let Some(status) = states().map(|state| state.status).max() else {
            return (now >= self.silent_at).then_some(Presence { user, status: Status::Offline, since_ms: None });
        };
        let since = states().filter(|state| state.status == status).filter_map(|state| state.since_ms);
        // Who has left one node after the other is offline since the last one.
        let since_ms = if status == Status::Offline { since.max() } else { since.min() };
        Some(Presence { user, status, since_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(Uuid::from_u128(number)).unwrap()
    }

    fn state(number: u128, status: Status) -> Presence {
        Presence { user: user(number), status, since_ms: Some(7) }
    }

    fn silence(number: u128) -> Presence {
        Presence { user: user(number), status: Status::Offline, since_ms: None }
    }

    /// One socket that watches users, all of whom its user may know about.
    struct Scene {
        watching: Watching,
        mailbox: Arc<Mailbox>,
        now: Instant,
    }

    impl Scene {
        fn new(users: &[u128]) -> Self {
            let mut scene = Self { watching: Watching::default(), mailbox: Arc::default(), now: Instant::now() };
            scene.watch(1, users);
            scene
        }

        fn watch(&mut self, socket: u64, users: &[u128]) {
            let list = users.iter().copied().map(user).collect();
            let unknown = self.watching.watch((socket, user(9), 3), &self.mailbox, &list, self.now);
            let found: Vec<_> = unknown.into_iter().map(|user| (user, true)).collect();
            assert_eq!(self.watching.looked_up(socket, &found, self.now, self.now), []);
        }

        fn say(&mut self, node: u128, number: u128, status: Status) {
            self.watching.say(Uuid::from_u128(node), &[state(number, status)], self.now);
        }

        fn tick(&mut self, later: Duration) -> Asks {
            self.now += later;
            self.watching.tick(|_| 5, self.now).0
        }

        fn told(&self) -> Vec<Presence> {
            self.mailbox.presences(100)
        }
    }

    #[test]
    fn the_strongest_of_several_nodes_counts_and_one_that_vanishes_is_forgotten() {
        let mut scene = Scene::new(&[1]);
        assert_eq!(scene.watching.fresh(|_| 5, scene.now), Asks::from([((5, 3), vec![user(1)])]));
        scene.say(10, 1, Status::Idle);
        assert_eq!(scene.told(), [state(1, Status::Idle)]);
        scene.say(11, 1, Status::Dnd);
        assert_eq!(scene.told(), [], "it was told just now");
        scene.tick(PRESENCE_EVERY);
        assert_eq!(scene.told(), [state(1, Status::Dnd)]);
        // Node 11 vanishes without a word; the other one goes on saying what it knows.
        let asked = (0..4).filter(|_| {
            let asks = scene.tick(WATCH_AGAIN);
            scene.say(10, 1, Status::Idle);
            !asks.is_empty()
        });
        assert_eq!(asked.count(), 4);
        scene.tick(PRESENCE_EVERY);
        assert_eq!(scene.told(), [state(1, Status::Idle)]);
        scene.tick(WATCH_KEPT);
        assert_eq!(scene.told(), [silence(1)]);
    }

    #[test]
    fn changes_are_told_once_in_two_seconds_and_the_last_one_counts() {
        let mut scene = Scene::new(&[1]);
        let mut told = 0;
        for number in 0..100 {
            scene.say(10, 1, if number % 2 == 0 { Status::Online } else { Status::Idle });
            scene.tick(Duration::from_millis(100));
            told += scene.told().len();
        }
        assert!(told <= 6, "{told} in ten seconds");
        scene.say(10, 1, Status::Dnd);
        scene.tick(PRESENCE_EVERY);
        assert_eq!(scene.told(), [state(1, Status::Dnd)]);
    }

    #[test]
    fn who_begins_to_watch_is_told_at_once_what_is_known() {
        let mut scene = Scene::new(&[1, 2]);
        scene.say(10, 1, Status::Online);
        assert_eq!(scene.told(), [state(1, Status::Online)]);
        scene.tick(ANSWER_WAIT);
        assert_eq!(scene.told(), [silence(2)], "nobody knows anything of the other one");
        scene.watch(1, &[1, 2]);
        assert_eq!(scene.told(), [], "nothing is new");
        scene.watch(2, &[1, 2]);
        assert_eq!(scene.told(), [state(1, Status::Online), silence(2)]);
        scene.watch(2, &[]);
        scene.watching.close(1);
        assert!(scene.watching.users.is_empty() && scene.watching.watchers.is_empty());
    }

    #[test]
    fn whom_one_shares_no_conversation_with_is_offline_as_others_are() {
        let mut scene = Scene::new(&[1]);
        let list = BTreeSet::from([user(1), user(2)]);
        let unknown = scene.watching.watch((1, user(9), 3), &scene.mailbox, &list, scene.now);
        assert_eq!(unknown, [user(2)]);
        assert_eq!(scene.watching.looked_up(1, &[(user(2), false)], scene.now, scene.now), []);
        scene.say(10, 2, Status::Online);
        assert_eq!(scene.told(), [], "not sooner than of somebody about whom no node says anything");
        scene.tick(ANSWER_WAIT);
        assert_eq!(scene.told(), [silence(1), silence(2)]);
        // User 1 leaves the conversation, and is shown to be offline.
        scene.say(10, 1, Status::Online);
        scene.tick(PRESENCE_EVERY);
        assert_eq!(scene.told(), [state(1, Status::Online)]);
        scene.now += SHARING_KEPT;
        let (_, again) = scene.watching.tick(|_| 5, scene.now);
        assert_eq!(again, [(1, user(9), vec![user(1), user(2)])]);
        scene.told();
        scene.watching.looked_up(1, &[(user(1), false), (user(2), true)], scene.now, scene.now);
        scene.say(10, 2, Status::Idle);
        scene.say(10, 1, Status::Dnd);
        scene.tick(ANSWER_WAIT);
        assert_eq!(scene.told(), [silence(1), state(2, Status::Idle)]);
    }
}
