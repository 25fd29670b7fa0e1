//! What a run came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::load::{Faults, Killed, World};
use crate::oracle::{Truth, Verdict};

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Messages sent, copies aside.
    pub messages: usize,
    /// How long they were talking.
    pub talked: Duration,
    /// Events in the log, and how many of them took effect.
    pub events: (usize, usize),
    /// Who was killed, and how long each took to be ready again.
    pub killed: Killed,
    /// What else went wrong.
    pub faults: Faults,
    /// What devices met on the way.
    pub troubles: BTreeMap<String, u32>,
    /// From send to acknowledgement.
    pub ack_us: Vec<u64>,
    /// From send to arrival on another device.
    pub arrival_us: Vec<u64>,
    /// The oracle's.
    pub verdict: Verdict,
}

impl Report {
    /// Takes over what devices remember.
    pub(super) fn remember(&mut self, world: &World, truth: &Truth) {
        self.events = (truth.events, truth.accepted);
        self.troubles = world.troubles();
        for device in &world.devices {
            let memory = device.memory();
            self.ack_us.extend(&memory.journal.ack_us);
            self.arrival_us.extend(&memory.journal.arrival_us);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.messages as f64 / self.talked.as_secs_f64().max(0.001);
        writeln!(
            f,
            "{} messages in {:.1?} ({rate:.0}/s); {} events, {} accepted",
            self.messages, self.talked, self.events.0, self.events.1
        )?;
        writeln!(f, "send to ack:            {}", percentiles(&self.ack_us))?;
        writeln!(f, "send to another device: {}", percentiles(&self.arrival_us))?;
        write!(f, "{}{}", self.killed.table(), self.faults)?;
        for (what, count) in &self.troubles {
            writeln!(f, "  met {count:6} x {what}")?;
        }
        write!(f, "{}", self.verdict)
    }
}

/// p50, p99 and the longest of times in microseconds, in words.
#[must_use]
pub fn percentiles(us: &[u64]) -> String {
    if us.is_empty() {
        return "nothing measured".into();
    }
    let mut sorted = us.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| Duration::from_micros(sorted[(sorted.len() - 1) * percent / 100]);
    format!("p50 {:.2?}, p99 {:.2?}, longest {:.2?} of {}", at(50), at(99), at(100), sorted.len())
}
