//! The report of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::device::Fate;
use crate::load::{Faults, Killed, World, Written};
use crate::oracle::{Logged, Truth, Verdict};

/// The results of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of messages sent, without copies.
    pub messages: usize,
    /// How long users were talking.
    pub talked: Duration,
    /// Number of events in the log, and how many of them took effect.
    pub events: (usize, usize),
    /// The programs that were killed, and how long each took to be ready again.
    pub killed: Killed,
    /// Other faults that were caused.
    pub faults: Faults,
    /// Records that other producers wrote.
    pub foreign: Written,
    /// Number of records that cannot be read.
    pub strange: usize,
    /// Number of read marks in the log, acknowledged, and received by devices.
    pub marks: (usize, usize, u32),
    /// Number of signals that devices received.
    pub signals: usize,
    /// Refused commands, by reason.
    pub refused: BTreeMap<String, u32>,
    /// Errors that devices met and retried.
    pub troubles: BTreeMap<String, u32>,
    /// Time from send to acknowledgement, in microseconds.
    pub ack_us: Vec<u64>,
    /// Time from send to arrival on another device, in microseconds.
    pub arrival_us: Vec<u64>,
    /// The oracle's findings.
    pub verdict: Verdict,
}

impl Report {
    /// Adds what devices remember.
    pub(super) fn remember(&mut self, world: &World, truth: &Truth, logged: &Logged) {
        self.events = (truth.events, truth.accepted);
        (self.strange, self.marks.0) = (logged.strange.len(), logged.marks.len());
        self.troubles = world.troubles();
        for device in &world.devices {
            let memory = device.memory();
            self.marks.1 += memory.journal.marks_acked.len();
            self.marks.2 += memory.journal.reads;
            self.signals += memory.journal.typing.len();
            for sent in memory.sends.values() {
                if let Fate::Refused(code) | Fate::NotTaken(code) = sent.fate {
                    *self.refused.entry(format!("{code:?}")).or_default() += 1;
                }
            }
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
        let (logged, acknowledged, heard) = self.marks;
        writeln!(f, "read marks: {logged} in the log, {acknowledged} conversations acknowledged, {heard} heard")?;
        writeln!(f, "signals: {} heard", self.signals)?;
        for (what, count) in &self.foreign {
            writeln!(f, "  others {count:3} x {what}")?;
        }
        if self.strange > 0 {
            writeln!(f, "{} records cannot be read", self.strange)?;
        }
        for (why, count) in &self.refused {
            writeln!(f, "  refused {count:2} x {why}")?;
        }
        for (what, count) in &self.troubles {
            writeln!(f, "  met {count:6} x {what}")?;
        }
        write!(f, "{}", self.verdict)
    }
}

/// p50, p99 and maximum of times in microseconds, as text.
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
