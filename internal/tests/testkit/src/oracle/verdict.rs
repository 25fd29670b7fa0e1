//! The findings of the oracle.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, ensure};

/// How many findings of one kind are kept as text; all are counted.
const WORDS_MAX: usize = 8;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Acknowledged or shown as accepted, but not in the log; or accepted, but never received by a device.
    Lost,
    /// One command took effect twice: in the history, in the log's accepted events, or on a device.
    Doubled,
    /// A conversation has two orders.
    OutOfOrder,
    /// A frame was dropped by a device's filter although the device had never received it.
    WronglyFiltered,
    /// A frame should not have come, or differs from the log.
    Foreign,
    /// A command's fate is open, or differs from the log.
    Unresolved,
    /// A device's view differs from the log.
    ViewDiffers,
    /// History, lists or counts over HTTP differ from the log.
    HistoryDiffers,
    /// Rows differ from the log.
    StoreDiffers,
    /// A read mark that was acknowledged is not there, or differs between devices.
    MarkDiffers,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Lost,
        Self::Doubled,
        Self::OutOfOrder,
        Self::WronglyFiltered,
        Self::Foreign,
        Self::Unresolved,
        Self::ViewDiffers,
        Self::HistoryDiffers,
        Self::StoreDiffers,
        Self::MarkDiffers,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Lost => "acknowledged or accepted, and lost",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out of order",
            Self::WronglyFiltered => "wrongly filtered",
            Self::Foreign => "frames that are wrong or for others",
            Self::Unresolved => "sends unresolved or told wrong",
            Self::ViewDiffers => "device differs from log",
            Self::HistoryDiffers => "history differs from log",
            Self::StoreDiffers => "store differs from log",
            Self::MarkDiffers => "read marks differ",
        }
    }
}

/// The findings, and counts of what was compared.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    faults: BTreeMap<Fault, (u64, Vec<String>)>,
    /// How many things of each kind were compared.
    compared: BTreeMap<&'static str, u64>,
}

impl Verdict {
    /// Counts a fault; `words` describe it.
    pub fn fault(&mut self, fault: Fault, words: impl FnOnce() -> String) {
        let (count, kept) = self.faults.entry(fault).or_default();
        *count += 1;
        if kept.len() < WORDS_MAX {
            kept.push(words());
        }
    }

    /// Counts `count` more compared things of the kind `what`.
    pub fn compared(&mut self, what: &'static str, count: usize) {
        *self.compared.entry(what).or_default() += count as u64;
    }

    /// How often that fault was found.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).map_or(0, |(count, _)| *count)
    }

    /// Whether no fault was found.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.faults.is_empty()
    }

    /// Adds the findings of another comparison.
    pub fn join(&mut self, other: Self) {
        for (fault, (count, words)) in other.faults {
            let (known, kept) = self.faults.entry(fault).or_default();
            *known += count;
            kept.extend(words.into_iter().take(WORDS_MAX.saturating_sub(kept.len())));
        }
        for (what, count) in other.compared {
            *self.compared.entry(what).or_default() += count;
        }
    }

    /// Fails if any fault was found.
    ///
    /// # Errors
    /// The whole table, with descriptions of the faults.
    pub fn demand_zero(&self) -> Result<()> {
        ensure!(self.is_zero(), "the oracle is not all zero\n{self}");
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared: Vec<String> = self.compared.iter().map(|(what, count)| format!("{count} {what}")).collect();
        writeln!(f, "compared: {}", compared.join(", "))?;
        for fault in Fault::ALL {
            writeln!(f, "{:36} {:>8}", fault.words(), self.count(fault))?;
            for words in self.faults.get(&fault).map(|(_, words)| words.as_slice()).unwrap_or_default() {
                writeln!(f, "    {words}")?;
            }
        }
        Ok(())
    }
}
