//! File descriptors: how many the process may have open, and how they are divided.
//!
//! The embedded engine opens files as it works, and a flush that finds no descriptor poisons its database for good
//! (fjall 3.1: a worker that fails takes the database with it; it cannot be told to wait). So the budget makes that
//! impossible: the listeners never take what is reserved for engines and outgoing connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ConfigFault;
use crate::serve::CONNECTIONS_MAX;

/// The descriptors reserved for engines, outgoing connections and the operators' listener, at least. Of these the
/// embedded engine takes an eighth of the limit for open tables, and what compactions and journals need.
pub const RESERVED_MIN: u64 = 256;
/// This part of the limit (one in so many) is reserved where that is more than [`RESERVED_MIN`].
pub const RESERVED_SHARE: u64 = 4;
/// A process refuses to start with a lower limit.
pub const LIMIT_MIN: u64 = RESERVED_MIN + 64;

/// Raises the process's own limit as far as it is allowed to and as far as that is useful.
///
/// # Errors
/// When that is less than [`LIMIT_MIN`].
pub fn raise() -> Result<(), ConfigFault> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = wanted(maximum);
    if current.is_some_and(|current| current < wanted) {
        // The system refuses only where its true bound is below the one that it names: then the present limit has to
        // do.
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        tracing::debug!(?current, wanted, ?raised, "limit of open files");
    }
    let limit = limit();
    if limit < LIMIT_MIN {
        return Err(ConfigFault::new(format!(
            "this process may have only {limit} files and connections open, and needs at least {LIMIT_MIN}: raise its \
             hard limit (`ulimit -n`, or LimitNOFILE= of its unit)"
        )));
    }
    Ok(())
}

/// How many connections the listeners may have open.
#[must_use]
pub fn connections_max() -> usize {
    connections_within(limit())
}

/// The limit to ask for. More would be of no use: some systems name a billion, which slows down all code that walks
/// over every descriptor.
fn wanted(maximum: Option<u64>) -> u64 {
    let of_use = CONNECTIONS_MAX as u64 * RESERVED_SHARE / (RESERVED_SHARE - 1) + RESERVED_MIN;
    maximum.map_or(of_use, |maximum| maximum.min(of_use))
}

pub(crate) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn connections_within(limit: u64) -> usize {
    let left = limit.saturating_sub(RESERVED_MIN.max(limit / RESERVED_SHARE));
    usize::try_from(left).unwrap_or(usize::MAX).clamp(1, CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_never_get_what_is_reserved() {
        assert_eq!((connections_within(LIMIT_MIN), connections_within(1_024)), (64, 768));
        assert_eq!(connections_within(20_000), 15_000);
        assert_eq!(connections_within(wanted(None)), CONNECTIONS_MAX);
        assert_eq!(connections_within(u64::MAX), CONNECTIONS_MAX);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one_as_far_as_it_is_of_use() {
        assert_eq!(wanted(Some(4_096)), 4_096);
        assert!(wanted(Some(1 << 30)) < 1 << 20);
        raise().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(current >= Some(wanted(maximum)), "{current:?} of {maximum:?}");
    }
}
