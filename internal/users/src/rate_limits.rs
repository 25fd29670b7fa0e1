//! Rate limits of signing in and registering.
//!
//! A failed sign-in is charged to its device, if that signed in before; otherwise to its name at its address, and to
//! the address. It is never charged to a name alone: strangers elsewhere cannot lock anybody out of an account. A name
//! that signed in (or was registered) at an address before is not held to what the others there did. Names that do not
//! exist count like others, so the answer tells nothing about them. (Somebody who uses up an address's attempts can
//! tell by the wait which names signed in there before.) An attempt that was not judged costs nothing. Loopback
//! addresses have no bound of their own: a proxy may stand there, and people behind it cannot be told apart (see
//! `--trusted-proxies`).
//!
//! All other calls are bounded by user and by address.
//!
//! The tables are bounded; the entry used longest ago goes first. Filling a table costs as many password hashes, or
//! addresses.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::UserId;
use environment::Buckets;
use lru::LruCache;

use crate::queue::Share;

/// Failed sign-ins in a row to a name at an address, and of a device that signed in before.
pub const ATTEMPTS: u32 = 20;
/// The time after which one more such attempt is allowed.
pub const ATTEMPT_PER: Duration = Duration::from_secs(6);
/// Failed sign-ins in a row at an address.
pub const ADDRESS_ATTEMPTS: u32 = 100;
/// The time after which one more such attempt is allowed.
pub const ADDRESS_ATTEMPT_PER: Duration = Duration::from_secs(1);
/// Registrations in a row at an address.
pub const REGISTRATIONS: u32 = 100;
/// The time after which one more registration is allowed.
pub const REGISTRATION_PER: Duration = Duration::from_secs(6);
/// Calls of a user in a row, of those that need no password: over all of the user's devices.
pub const CALLS: u32 = 600;
/// The time after which one more call is allowed.
pub const CALL_PER: Duration = Duration::from_millis(20);
/// Such calls in a row of an address, signed in or not.
pub const ADDRESS_CALLS: u32 = 6_000;
/// The time after which one more call is allowed.
pub const ADDRESS_CALL_PER: Duration = Duration::from_millis(2);
/// Failed sign-ins in a row that are logged, and the time after which one more is.
const LOGGED: (u32, Duration) = (20, Duration::from_secs(1));
/// Entries of each table.
const TABLE_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// An attempt to sign in: the name, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The name, in the form in which it is unique; empty when it is no valid name.
    pub(crate) name: String,
    /// The network of the client's address.
    pub(crate) network: IpAddr,
    /// The device, if it signed in to this name before.
    pub(crate) device: Option<[u8; 16]>,
}

/// The remaining allowances of users, names, devices and addresses.
pub(crate) struct RateLimits {
    devices: Buckets<[u8; 16]>,
    names: Buckets<(String, IpAddr)>,
    addresses: Buckets<IpAddr>,
    registrations: Buckets<IpAddr>,
    calls: Buckets<UserId>,
    address_calls: Buckets<IpAddr>,
    /// Names that signed in, or were registered, at an address.
    familiar: Mutex<LruCache<(String, IpAddr), ()>>,
    logged: Buckets<()>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            devices: Buckets::new(ATTEMPTS, ATTEMPT_PER, TABLE_MAX),
            names: Buckets::new(ATTEMPTS, ATTEMPT_PER, TABLE_MAX),
            addresses: Buckets::new(ADDRESS_ATTEMPTS, ADDRESS_ATTEMPT_PER, TABLE_MAX),
            registrations: Buckets::new(REGISTRATIONS, REGISTRATION_PER, TABLE_MAX),
            calls: Buckets::new(CALLS, CALL_PER, TABLE_MAX),
            address_calls: Buckets::new(ADDRESS_CALLS, ADDRESS_CALL_PER, TABLE_MAX),
            familiar: Mutex::new(LruCache::new(TABLE_MAX)),
            logged: Buckets::new(LOGGED.0, LOGGED.1, TABLE_MAX),
        }
    }
}

impl Attempt {
    fn key(&self) -> (String, IpAddr) {
        (self.name.clone(), self.network)
    }
}

impl RateLimits {
    /// The share of the password work that the attempt is counted in.
    pub(crate) fn of(&self, attempt: &Attempt) -> Share {
        match attempt.device {
            Some(_) => Share::Device(attempt.name.clone()),
            None if !attempt.network.is_loopback() && self.is_familiar(attempt) => Share::Familiar(attempt.network),
            None => Share::Address(attempt.network),
        }
    }

    /// Whether an attempt is left; otherwise the time until there will be one. Takes nothing.
    pub(crate) fn look(&self, attempt: &Attempt) -> Result<(), Duration> {
        match &attempt.device {
            Some(device) => self.devices.look(device),
            None => {
                self.names.look(&attempt.key())?;
                if self.counts_address(attempt) { self.addresses.look(&attempt.network) } else { Ok(()) }
            }
        }
    }

    /// Takes an attempt.
    pub(crate) fn take(&self, attempt: &Attempt) -> Result<(), Duration> {
        self.look(attempt)?;
        match &attempt.device {
            Some(device) => self.devices.take(device),
            None => {
                self.names.take(&attempt.key())?;
                if self.counts_address(attempt) { self.addresses.take(&attempt.network) } else { Ok(()) }
            }
        }
    }

    /// Gives back an attempt that was not judged.
    pub(crate) fn give_back(&self, attempt: &Attempt) {
        match &attempt.device {
            Some(device) => self.devices.give_back(device),
            None => {
                self.names.give_back(&attempt.key());
                self.addresses.give_back(&attempt.network);
            }
        }
    }

    /// The attempt was right: it and the failures before it cost nothing.
    pub(crate) fn forgive(&self, attempt: &Attempt) {
        match &attempt.device {
            Some(device) => self.devices.forgive(device),
            None => {
                self.names.forgive(&attempt.key());
                self.addresses.give_back(&attempt.network);
            }
        }
        self.make_familiar(attempt);
    }

    /// Notes that the name has signed in at that address.
    pub(crate) fn make_familiar(&self, attempt: &Attempt) {
        self.familiar().put(attempt.key(), ());
    }

    /// Takes a registration of an address.
    pub(crate) fn take_registration(&self, network: IpAddr) -> Result<(), Duration> {
        if network.is_loopback() { Ok(()) } else { self.registrations.take(&network) }
    }

    /// Takes a call of that user and of that address.
    pub(crate) fn take_call(&self, user: Option<UserId>, network: IpAddr) -> Result<(), Duration> {
        user.map_or(Ok(()), |user| self.calls.take(&user))?;
        if network.is_loopback() { Ok(()) } else { self.address_calls.take(&network) }
    }

    /// Whether one more failed sign-in is logged.
    pub(crate) fn log(&self) -> bool {
        self.logged.take(&()).is_ok()
    }

    fn counts_address(&self, attempt: &Attempt) -> bool {
        !attempt.network.is_loopback() && !self.is_familiar(attempt)
    }

    fn is_familiar(&self, attempt: &Attempt) -> bool {
        self.familiar().get(&attempt.key()).is_some()
    }

    fn familiar(&self) -> MutexGuard<'_, LruCache<(String, IpAddr), ()>> {
        self.familiar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(name: &str, last: u8) -> Attempt {
        Attempt { name: name.into(), network: IpAddr::from([192, 0, 2, last]), device: None }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_run_out_come_back_and_the_wait_is_true() {
        let (limits, ann) = (RateLimits::default(), attempt("ann", 1));
        assert!((0..ATTEMPTS).all(|_| limits.take(&ann).is_ok()));
        assert_eq!(limits.take(&ann), Err(ATTEMPT_PER));
        limits.take(&attempt("bob", 1)).unwrap();
        limits.take(&attempt("ann", 2)).unwrap();
        tokio::time::advance(ATTEMPT_PER / 2).await;
        let wait = limits.look(&ann).unwrap_err();
        assert_eq!(wait, ATTEMPT_PER / 2);
        tokio::time::advance(wait).await;
        limits.take(&ann).unwrap();
        assert!(limits.take(&ann).is_err(), "refused attempts cost nothing and one came back");
        limits.give_back(&ann);
        limits.take(&ann).unwrap();
        limits.forgive(&ann);
        assert!((0..ATTEMPTS).all(|_| limits.take(&ann).is_ok()));
    }

    #[tokio::test]
    async fn a_device_has_a_share_and_so_have_the_names_at_home_at_an_address() {
        let (limits, ann) = (RateLimits::default(), attempt("ann", 1));
        assert_eq!(limits.of(&ann), Share::Address(ann.network));
        limits.make_familiar(&ann);
        assert_eq!(limits.of(&ann), Share::Familiar(ann.network));
        assert_eq!(limits.of(&attempt("ann", 2)), Share::Address(attempt("ann", 2).network));
        assert_eq!(limits.of(&Attempt { device: Some([1; 16]), ..ann }), Share::Device("ann".into()));
        let here = Attempt { network: IpAddr::from([127, 0, 0, 1]), ..attempt("ann", 1) };
        limits.make_familiar(&here);
        assert_eq!(limits.of(&here), Share::Address(here.network), "a proxy's people cannot be told apart");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_tries_many_names_slows_down_and_its_familiar_names_do_not() {
        let limits = RateLimits::default();
        limits.make_familiar(&attempt("ann", 1));
        for number in 0..ADDRESS_ATTEMPTS {
            limits.take(&attempt(&number.to_string(), 1)).unwrap();
        }
        assert_eq!(limits.look(&attempt("stranger", 1)), Err(ADDRESS_ATTEMPT_PER));
        limits.take(&attempt("ann", 1)).unwrap();
        limits.take(&attempt("stranger", 2)).unwrap();
        let device = Attempt { device: Some([1; 16]), ..attempt("zoe", 1) };
        assert!((0..ATTEMPTS).all(|_| limits.take(&device).is_ok()), "a device of its own");
        assert_eq!(limits.take(&device), Err(ATTEMPT_PER));
        let here = |number: u32| Attempt { network: IpAddr::from([127, 0, 0, 1]), ..attempt(&number.to_string(), 1) };
        assert!((0..1_000).all(|number| limits.take(&here(number)).is_ok()));
    }

    #[tokio::test]
    async fn what_was_not_judged_leaves_nothing_behind_and_the_tables_are_bounded() {
        let limits = RateLimits::default();
        for number in 0..100_u8 {
            limits.take(&attempt("ann", number)).unwrap();
            limits.give_back(&attempt("ann", number));
        }
        assert_eq!((limits.names.remembered(), limits.addresses.remembered()), (0, 0));
        for number in 0..TABLE_MAX.get() + 10 {
            limits.names.take(&attempt(&number.to_string(), 1).key()).unwrap();
        }
        assert_eq!(limits.names.remembered(), TABLE_MAX.get());
    }

    /// Issue 10, item 2.
    #[tokio::test(start_paused = true)]
    async fn calls_run_out_for_a_user_everywhere_and_at_an_address_for_everybody() {
        let (limits, network) = (RateLimits::default(), |last: u8| IpAddr::from([192, 0, 2, last]));
        let user = |number: u128| UserId::try_from(uuid::Uuid::from_u128(number)).unwrap();
        assert!((0..CALLS).all(|number| limits.take_call(Some(user(1)), network(number.to_le_bytes()[0])).is_ok()));
        assert_eq!(limits.take_call(Some(user(1)), network(1)), Err(CALL_PER));
        limits.take_call(Some(user(2)), network(1)).unwrap();
        assert!((0..ADDRESS_CALLS).all(|_| limits.take_call(None, "198.51.100.1".parse().unwrap()).is_ok()));
        assert_eq!(limits.take_call(Some(user(3)), "198.51.100.1".parse().unwrap()), Err(ADDRESS_CALL_PER));
        assert!((0..=ADDRESS_CALLS).all(|_| limits.take_call(None, "127.0.0.1".parse().unwrap()).is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn registrations_run_out_at_an_address() {
        let limits = RateLimits::default();
        let network = IpAddr::from([192, 0, 2, 1]);
        assert!((0..REGISTRATIONS).all(|_| limits.take_registration(network).is_ok()));
        assert_eq!(limits.take_registration(network), Err(REGISTRATION_PER));
        limits.take_registration(IpAddr::from([192, 0, 2, 2])).unwrap();
    }
}
