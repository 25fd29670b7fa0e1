//! What the oracle found.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, ensure};

/// Findings of one kind that are kept in words; all are counted.
const WORDS_MAX: usize = 8;

/// A way in which something may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Acknowledged, or shown as standing, and not in the log; or accepted, and never heard by a device.
    Lost,
    /// One command twice: in history, in the log's accepted events, or on a device.
    Doubled,
    /// A conversation in two orders.
    OutOfOrder,
    /// A frame that the filter dropped although the device had never had it.
    WronglyFiltered,
    /// A frame that should not have come, or says something else than the log.
    Foreign,
    /// A send whose fate is open, or not what the log says.
    Unresolved,
    /// A device shows something else than the log comes to.
    ViewDiffers,
    /// History, lists or counts over HTTP say something else.
    HistoryDiffers,
    /// Rows say something else than the log.
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

/// Counts of all that was compared, and what was wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    faults: BTreeMap<Fault, (u64, Vec<String>)>,
    /// What was looked at.
    compared: BTreeMap<&'static str, u64>,
}

impl Verdict {
    /// Something is wrong; `words` say where.
    pub fn fault(&mut self, fault: Fault, words: impl FnOnce() -> String) {
        let (count, kept) = self.faults.entry(fault).or_default();
        *count += 1;
        if kept.len() < WORDS_MAX {
            kept.push(words());
        }
    }

    /// So many more of `what` were looked at.
    pub fn compared(&mut self, what: &'static str, count: usize) {
        *self.compared.entry(what).or_default() += count as u64;
    }

    /// How often something was wrong in that way.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).map_or(0, |(count, _)| *count)
    }

    /// Whether everything was as it must be.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.faults.is_empty()
    }

    /// Takes over what another comparison found.
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

    /// Fails unless everything was as it must be.
    ///
    /// # Errors
    /// The whole table, with what differs.
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
