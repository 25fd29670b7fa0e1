//! The trace of a run, in order and in virtual time: as a hash, and as lines if they are kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// The constants of FNV-1a. Source: Fowler, Noll and Vo, 1991.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The trace of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    hash: u64,
    /// `None` when lines are not kept.
    lines: Option<Vec<String>>,
    totals: Totals,
}

/// How often each kind of thing happened.
pub type Totals = BTreeMap<&'static str, u64>;

impl Trace {
    /// Starts a trace now.
    pub(crate) fn new(keep: bool) -> Self {
        let inner = Inner { hash: BASIS, lines: keep.then(Vec::new), totals: Totals::new() };
        Self { begun: Instant::now(), inner: Mutex::new(inner) }
    }

    /// Adds a line: `words` hold everything that must be the same in another run of the seed.
    pub(crate) fn note(&self, words: &str) {
        let us = self.begun.elapsed().as_micros();
        let line = format!("{:>12.6} {words}", us as f64 / 1e6);
        self.with(|inner| {
            inner.hash = fold(inner.hash, line.as_bytes());
            if let Some(lines) = &mut inner.lines {
                lines.push(line);
            }
        });
    }

    /// Counts one more thing of that kind.
    pub(crate) fn count(&self, what: &'static str) {
        self.add(what, 1);
    }

    /// Counts so many more things of that kind.
    pub(crate) fn add(&self, what: &'static str, times: u64) {
        self.with(|inner| *inner.totals.entry(what).or_default() += times);
    }

    /// Adds a line about a fault and counts it.
    pub(crate) fn fault(&self, what: &'static str, words: &str) {
        self.note(words);
        self.count(what);
    }

    /// The hash of the trace, the lines if they were kept, and the totals.
    pub(crate) fn end(&self) -> (u64, Vec<String>, Totals) {
        self.with(|inner| (inner.hash, inner.lines.take().unwrap_or_default(), std::mem::take(&mut inner.totals)))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn fold(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
