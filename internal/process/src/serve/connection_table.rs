//! The connections of a listener: a bound on all of them, a lower one on those without a verified token ("strangers").
//! The connection that has been idle the longest is closed first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::CONNECTIONS_PER_ADDRESS;
use super::link::Link;

/// How many strangers are looked at, the oldest first, for one that can be closed.
const LOOKED_AT_MAX: usize = 256;
/// How soon that is tried again when all of them were busy.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How many connections a listener keeps open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// All connections.
    pub connections: usize,
    /// Those over which no valid token has come yet.
    pub strangers: usize,
    /// Those of one address.
    pub per_address: PerAddress,
}

/// How many connections one address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerAddress {
    /// So many, whatever the address.
    Max(usize),
    /// So many, except for loopback addresses: a connection from there is a proxy's, or somebody's on this machine.
    MaxUnlessLoopback(usize),
    /// Any number.
    Unbounded,
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    bounds: Bounds,
    open: Mutex<Open>,
    /// Notified when a connection has ended.
    ended: Notify,
    /// The number of open connections.
    count: Gauge,
    /// The number of connections closed to make room, or refused because their address has enough.
    let_go: Counter,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    links: BTreeMap<u64, Link>,
    /// Connections without a verified token when they were last looked at.
    strangers: BTreeSet<u64>,
    /// Connections with a verified token that were no socket when they were last looked at.
    known: BTreeSet<u64>,
    /// The number of connections that were told to close and are still open.
    closing: usize,
    addresses: HashMap<IpAddr, BTreeSet<u64>>,
}

/// A connection's entry in the table. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct ConnectionEntry {
    table: Arc<ConnectionTable>,
    number: u64,
    address: IpAddr,
}

impl ConnectionTable {
    pub(super) fn new(bounds: Bounds, count: Gauge, let_go: Counter) -> Self {
        Self { bounds, open: Mutex::default(), ended: Notify::new(), count, let_go }
    }

    /// Waits until there is room for one more connection, and closes an idle one where that is possible.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            // A busy connection may have become idle, of which nothing is notified.
            let _ = timeout(LOOK_AGAIN, self.ended.notified()).await;
        }
    }

    /// Adds a connection from `address`; `None` when that address has enough and none of its connections can be closed.
    pub(super) fn insert(self: &Arc<Self>, address: IpAddr, link: &Link) -> Option<ConnectionEntry> {
        let address = of_one_host(address);
        let mut guard = self.open();
        let open = &mut *guard;
        let here = open.addresses.entry(address).or_default();
        if self.bounds.per_address.max_of(address).is_some_and(|max| here.len() >= max) {
            let links = &open.links;
            let oldest = here.iter().filter_map(|number| links.get(number)).find(|link| link.can_go());
            self.let_go.inc();
            // Closing takes a moment, in which there is one more of this address than there should be.
            oldest?.close();
            open.closing += 1;
        }
        let number = open.next;
        open.next += 1;
        here.insert(number);
        open.links.insert(number, link.clone());
        open.strangers.insert(number);
        self.count.inc();
        Some(ConnectionEntry { table: Arc::clone(self), number, address })
    }

    fn has_room(&self) -> bool {
        let mut open = self.open();
        loop {
            let full = open.links.len() >= self.bounds.connections;
            if !full && open.strangers.len() < self.bounds.strangers {
                return true;
            }
            if open.closing > 0 {
                return false;
            }
            match open.oldest(full, self.bounds.strangers) {
                Look::Again => {}
                Look::Found(link) => {
                    link.close();
                    open.closing += 1;
                    self.let_go.inc();
                    return false;
                }
                Look::Nobody => return false,
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Look {
    /// Some turned out to be no strangers: there may be room already.
    Again,
    Found(Link),
    Nobody,
}

impl Open {
    /// The connection to close: the oldest idle stranger. When the table is `full`, the oldest idle known connection
    /// may be closed as well, and before any stranger while strangers have at most half of their bound: otherwise one
    /// user's idle connections would keep all newcomers out, since each newcomer is a stranger for a moment. Sockets of
    /// known users are never closed.
    fn oldest(&mut self, full: bool, strangers_max: usize) -> Look {
        let (mut found, mut authenticated) = (None, Vec::new());
        for number in self.strangers.iter().take(LOOKED_AT_MAX) {
            let Some(link) = self.links.get(number) else { continue };
            if link.is_vouched() {
                authenticated.push(*number);
            } else if found.is_none() && link.can_go() {
                found = Some(link.clone());
            }
        }
        if !authenticated.is_empty() {
            for number in authenticated {
                self.strangers.remove(&number);
                self.known.insert(number);
            }
            return Look::Again;
        }
        let few_strangers = self.strangers.len() * 2 <= strangers_max;
        let known = if full && (few_strangers || found.is_none()) { self.oldest_known() } else { None };
        known.or(found).map_or(Look::Nobody, Look::Found)
    }

    /// The oldest idle connection with a verified token.
    fn oldest_known(&mut self) -> Option<Link> {
        let links = &self.links;
        self.known.retain(|number| links.get(number).is_some_and(|link| !link.is_socket()));
        self.known.iter().filter_map(|number| links.get(number)).find(|link| link.can_go()).cloned()
    }
}

impl PerAddress {
    /// As an option names it: unless named, a default that loopback addresses are exempt from; 0 is any number.
    #[must_use]
    pub fn of_option(option: Option<usize>) -> Self {
        match option {
            None => Self::MaxUnlessLoopback(CONNECTIONS_PER_ADDRESS),
            Some(0) => Self::Unbounded,
            Some(max) => Self::Max(max),
        }
    }

    /// The bound for this address, if there is one.
    #[must_use]
    pub fn max_of(self, address: IpAddr) -> Option<usize> {
        match self {
            Self::Max(max) => Some(max),
            Self::MaxUnlessLoopback(max) => Some(max).filter(|_| !address.is_loopback()),
            Self::Unbounded => None,
        }
    }
}

/// The address that stands for a host: of IPv6, a network of 64 bits is one host's.
fn of_one_host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        let mut guard = self.table.open();
        let open = &mut *guard;
        if let Some(link) = open.links.remove(&self.number)
            && link.is_closed()
        {
            open.closing = open.closing.saturating_sub(1);
        }
        open.strangers.remove(&self.number);
        open.known.remove(&self.number);
        if let Some(here) = open.addresses.get_mut(&self.address) {
            here.remove(&self.number);
            if here.is_empty() {
                open.addresses.remove(&self.address);
            }
        }
        drop(guard);
        self.table.count.dec();
        self.table.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(connections: usize, strangers: usize, per_address: PerAddress) -> Arc<ConnectionTable> {
        let bounds = Bounds { connections, strangers, per_address };
        Arc::new(ConnectionTable::new(bounds, Gauge::default(), Counter::default()))
    }

    fn comes(table: &Arc<ConnectionTable>, address: &str) -> Option<(Link, ConnectionEntry)> {
        let link = Link::default();
        let entry = table.insert(address.parse().unwrap(), &link)?;
        Some((link, entry))
    }

    #[test]
    fn the_oldest_silent_stranger_goes_first_and_somebody_s_socket_never() {
        let table = table(4, 3, PerAddress::Unbounded);
        let (socket, _socket) = comes(&table, "10.0.0.1").unwrap();
        socket.authenticated().set();
        socket.set_socket();
        let (known, known_entry) = comes(&table, "10.0.0.1").unwrap();
        known.authenticated().set();
        let (busy, _busy) = comes(&table, "10.0.0.1").unwrap();
        busy.set_busy(true);
        assert!(table.has_room());
        let (silent, silent_entry) = comes(&table, "10.0.0.1").unwrap();
        assert!(!table.has_room() && silent.is_closed(), "the newest, but the only silent stranger");
        assert!(!table.has_room() && !known.is_closed(), "one at a time");
        drop(silent_entry);
        assert!(table.has_room());
        let (other, _other) = comes(&table, "10.0.0.1").unwrap();
        other.set_busy(true);
        assert!(!table.has_room() && known.is_closed(), "then whoever is silent");
        drop(known_entry);
        assert!(table.has_room() && !socket.is_closed() && !busy.is_closed());
        let _last = comes(&table, "10.0.0.1").unwrap();
    }

    /// Issue 10, item 1: one user with many idle connections kept all newcomers out.
    #[test]
    fn where_there_are_few_strangers_an_idle_connection_of_somebody_makes_room() {
        let table = table(6, 4, PerAddress::Unbounded);
        let mut idle = Vec::new();
        for _ in 0..5 {
            let (link, entry) = comes(&table, "10.0.0.1").unwrap();
            link.authenticated().set();
            idle.push((link, entry));
        }
        assert!(table.has_room());
        let (first, _first) = comes(&table, "10.0.0.2").unwrap();
        assert!(!table.has_room() && !first.is_closed() && idle[0].0.is_closed(), "the oldest idle one");
        drop(idle.remove(0));
        assert!(table.has_room());
        let (second, _second) = comes(&table, "10.0.0.2").unwrap();
        assert!(!table.has_room() && !second.is_closed() && idle[0].0.is_closed());
        drop(idle.remove(0));
        assert!(table.has_room());
        let _third = comes(&table, "10.0.0.2").unwrap();
        assert!(!table.has_room() && first.is_closed(), "strangers have more than half of what they may have");
    }

    #[test]
    fn strangers_have_a_bound_of_their_own_which_others_do_not_count_under() {
        let table = table(100, 2, PerAddress::Unbounded);
        let mut kept = Vec::new();
        for _ in 0..10 {
            let (link, entry) = comes(&table, "10.0.0.1").unwrap();
            link.authenticated().set();
            kept.push((link, entry));
        }
        assert!(table.has_room());
        let (first, first_entry) = comes(&table, "10.0.0.1").unwrap();
        assert!(table.has_room());
        let _second = comes(&table, "10.0.0.1").unwrap();
        assert!(!table.has_room() && first.is_closed());
        drop(first_entry);
        assert!(table.has_room() && kept.iter().all(|(link, _)| !link.is_closed()));
    }

    #[test]
    fn an_address_has_its_bound_and_a_network_of_ipv6_is_one() {
        let table = table(100, 100, PerAddress::MaxUnlessLoopback(2));
        let (first, _first) = comes(&table, "2001:db8::1").unwrap();
        let (second, _second) = comes(&table, "2001:db8::2").unwrap();
        let (third, _third) = comes(&table, "2001:db8::3").unwrap();
        assert!(first.is_closed() && !second.is_closed(), "its oldest silent stranger goes");
        second.set_busy(true);
        third.set_busy(true);
        assert!(comes(&table, "2001:db8::4").is_none(), "none of it can go");
        assert!(comes(&table, "2001:db8:0:1::4").is_some() && comes(&table, "10.0.0.1").is_some());
        let local: Vec<_> = (0..5).map(|_| comes(&table, "127.0.0.1").unwrap()).collect();
        assert!(local.iter().all(|(link, _)| !link.is_closed()));
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_waited_for_until_somebody_is_silent() {
        let table = table(1, 1, PerAddress::Unbounded);
        let (busy, entry) = comes(&table, "10.0.0.1").unwrap();
        busy.set_busy(true);
        let waits = tokio::spawn({
            let table = Arc::clone(&table);
            async move { table.room().await }
        });
        tokio::time::sleep(LOOK_AGAIN * 10).await;
        assert!(!waits.is_finished() && !busy.is_closed());
        busy.set_busy(false);
        tokio::time::sleep(LOOK_AGAIN * 2).await;
        assert!(busy.is_closed());
        drop(entry);
        waits.await.unwrap();
    }
}
