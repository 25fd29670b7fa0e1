//! The oracle: holds what was sent and acknowledged, what every device showed, and the history against one another.
//!
//! Every acknowledged message must be in the history once, and on every device of every member once, in the order of the
//! history. What one device sent into a conversation must stand in the order in which it was sent, unless it was sent more
//! than once. What a device was told to sync (after a reset) counts from where the device was to the head of that sync:
//! it reads it in the history, which is compared. Each text names its run and its send: a message under another id, and
//! one that the run did not send, are found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use client::{CommandId, Seq};
use serde::{Deserialize, Serialize};

use crate::{journal, ledger};

pub use journal::{ELSEWHERE, Journal, Loss, Shown};
pub use ledger::{Fate, NOT_OURS, Sent};

/// How many findings of one kind are kept as text; all are counted.
const WORDS_MAX: usize = 5;

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Acknowledged, or told to stand, and not in the history.
    Lost,
    /// In the history, and not shown on a device of a member by the end. A tool that is too slow makes this, too.
    NotShown,
    /// One message twice, in the history or on a device.
    Doubled,
    /// A device or the history shows two messages in another order than their seqs, or than their sender sent them.
    OutOfOrder,
    /// Something was shown that was not sent so, or is not in the history.
    Foreign,
    /// What became of a send is not known at the end. A tool that is too slow makes this, too.
    Unresolved,
    /// The server refused a message of a member.
    Refused,
    /// A device was told to stop for good.
    Stopped,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Lost,
        Self::NotShown,
        Self::Doubled,
        Self::OutOfOrder,
        Self::Foreign,
        Self::Unresolved,
        Self::Refused,
        Self::Stopped,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::NotShown => "not shown on a device",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out of order",
            Self::Foreign => "not sent so, or not in history",
            Self::Unresolved => "unresolved sends",
            Self::Refused => "refused sends",
            Self::Stopped => "devices stopped for good",
        }
    }
}

/// A message in the history that was read at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its seq.
    pub seq: Seq,
    /// Its id.
    pub id: CommandId,
    /// The number of its send, as its text says; [`NOT_OURS`] when it says none of the run.
    pub number: u32,
}

/// What the oracle compares.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// All sends; a send's number is its index.
    pub sent: &'a [Sent],
    /// The journal of each device, by number.
    pub journals: &'a [Journal],
    /// The devices of the members, for each conversation by number.
    pub devices: &'a [Vec<u32>],
    /// The messages in the history of each conversation since the run began, in the order in which the server returned
    /// them.
    pub histories: &'a [Vec<Stored>],
}

/// The findings, and counts of what was compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// How many findings of each kind there are.
    pub faults: BTreeMap<Fault, u64>,
    /// Some of them in words.
    pub words: Vec<String>,
    /// Messages that were sent.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Messages shown on all devices together.
    pub shown: u64,
    /// Messages that a device did not get live, because a sync covers them.
    pub through_sync: u64,
    /// Messages that were compared with the one that the same device had sent before.
    #[serde(default)]
    pub ordered: u64,
}

impl Verdict {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether something was found that no slowness of the tool explains.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.faults.keys().any(|fault| !matches!(fault, Fault::NotShown | Fault::Unresolved))
    }

    fn fault(&mut self, fault: Fault, words: impl FnOnce() -> String) {
        let count = self.faults.entry(fault).or_default();
        *count += 1;
        if *count <= WORDS_MAX as u64 {
            self.words.push(format!("{}: {}", fault.words(), words()));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, acknowledged, shown, through_sync, ordered, .. } = self;
        writeln!(
            f,
            "oracle: {sent} sent, {acknowledged} acknowledged, {ordered} in the order of their sender, {shown} shown on \
             devices, {through_sync} through a sync"
        )?;
        let counts: Vec<String> = Fault::ALL
            .iter()
            .map(|fault| format!("{} {}", self.faults.get(fault).copied().unwrap_or(0), fault.words()))
            .collect();
        writeln!(f, "        {}", counts.join(", "))?;
        for words in &self.words {
            writeln!(f, "        {words}")?;
        }
        Ok(())
    }
}

/// Compares everything.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let stored: HashMap<u32, Seq> =
        evidence.histories.iter().flatten().map(|entry| (entry.number, entry.seq)).collect();
    sends(evidence, &stored, &mut verdict);
    for (conversation, history) in (0..).zip(evidence.histories) {
        check_history(evidence, conversation, history, &mut verdict);
    }
    let mut own: HashMap<u32, Vec<u32>> = HashMap::new();
    for (conversation, devices) in (0..).zip(evidence.devices) {
        devices.iter().for_each(|device| own.entry(*device).or_default().push(conversation));
    }
    for (device, journal) in (0..).zip(evidence.journals) {
        let own = own.get(&device).map(Vec::as_slice).unwrap_or_default();
        check_device(evidence, (device, own), journal, &mut verdict);
    }
    verdict
}

fn sends(evidence: &Evidence<'_>, stored: &HashMap<u32, Seq>, verdict: &mut Verdict) {
    for (number, sent) in (0..).zip(evidence.sent) {
        verdict.sent += 1;
        verdict.acknowledged += u64::from(sent.acked_us.is_some());
        let found = stored.get(&number).copied();
        let words = |what: &str| format!("message {number} of device {}, {}: {what}", sent.device, sent.id);
        match (sent.fate, found) {
            (Fate::Stands(seq), Some(found)) if seq == found => {}
            (Fate::Stands(seq), None) => {
                verdict.fault(Fault::Lost, || words(&format!("told to stand at {seq:?}, not in the history")));
            }
            (Fate::Stands(seq), Some(found)) => {
                verdict.fault(Fault::Foreign, || words(&format!("told to stand at {seq:?}, stored at {found:?}")));
            }
            (Fate::Refused(code), None) => verdict.fault(Fault::Refused, || words(&format!("refused, {code:?}"))),
            (Fate::Refused(code), Some(_)) => {
                verdict.fault(Fault::Foreign, || words(&format!("refused, {code:?}, and in the history")));
            }
            (Fate::Open, None) if sent.acked_us.is_some() => {
                verdict.fault(Fault::Lost, || words("acknowledged, not in the history, its fate unknown"));
            }
            (Fate::Open, _) => verdict.fault(Fault::Unresolved, || words("its fate is not known")),
        }
    }
}

fn check_history(evidence: &Evidence<'_>, conversation: u32, history: &[Stored], verdict: &mut Verdict) {
    let (mut numbers, mut last) = (HashSet::new(), HashMap::new());
    for (before, entry) in std::iter::once(None).chain(history.iter().map(Some)).zip(history) {
        if before.is_some_and(|before| before.seq >= entry.seq) {
            verdict.fault(Fault::OutOfOrder, || format!("history of conversation {conversation} at {:?}", entry.seq));
        }
        if entry.number != NOT_OURS && !numbers.insert(entry.number) {
            verdict.fault(Fault::Doubled, || {
                format!("message {} is twice in the history of conversation {conversation}", entry.number)
            });
        }
        let sent = evidence.sent.get(entry.number as usize);
        if sent.is_none_or(|sent| sent.id != entry.id || sent.conversation != conversation) {
            verdict.fault(Fault::Foreign, || format!("history of conversation {conversation} has {}", entry.id));
        }
        if let Some(sent) = sent.filter(|sent| !sent.unordered)
            && let Some(before) = last.insert(sent.device, entry.number)
        {
            verdict.ordered += 1;
            if before > entry.number {
                let words = |number| format!("message {number} of device {}", sent.device);
                verdict.fault(Fault::OutOfOrder, || {
                    format!("{} stands behind {}, which was sent later", words(entry.number), words(before))
                });
            }
        }
    }
}

fn check_device(evidence: &Evidence<'_>, (device, own): (u32, &[u32]), journal: &Journal, verdict: &mut Verdict) {
    verdict.shown += journal.shown.len() as u64;
    if let Some(why) = &journal.stopped {
        verdict.fault(Fault::Stopped, || format!("device {device}: {why}"));
    }
    let mut shown: HashMap<u32, Vec<&Shown>> = HashMap::new();
    for message in &journal.shown {
        shown.entry(message.conversation).or_default().push(message);
    }
    for conversation in own {
        let shown = shown.remove(conversation).unwrap_or_default();
        let history = evidence.histories.get(*conversation as usize).map(Vec::as_slice).unwrap_or_default();
        check_shown((device, *conversation), history, &shown, journal, verdict);
    }
    for conversation in shown.keys() {
        verdict.fault(Fault::Foreign, || format!("device {device} shows conversation {conversation}, not its own"));
    }
}

/// Compares what a device showed of one conversation with the history.
fn check_shown(
    (device, conversation): (u32, u32),
    history: &[Stored],
    shown: &[&Shown],
    journal: &Journal,
    verdict: &mut Verdict,
) {
    let stored: HashMap<Seq, &Stored> = history.iter().map(|entry| (entry.seq, entry)).collect();
    let (mut seen, mut last) = (HashSet::new(), None);
    for message in shown {
        let words =
            |what: &str| format!("device {device}, conversation {conversation}, message {}: {what}", message.number);
        if message.number != NOT_OURS && !seen.insert(message.number) {
            verdict.fault(Fault::Doubled, || words("shown twice"));
        }
        if last.is_some_and(|last| message.seq < last) {
            verdict.fault(Fault::OutOfOrder, || words("shown after a later one"));
        }
        last = Some(message.seq);
        let same = |entry: &&Stored| (entry.id, entry.number) == (message.id, message.number);
        if message.number == NOT_OURS {
            verdict.fault(Fault::Foreign, || {
                format!(
                    "device {device}, conversation {conversation}: shows {}, which the run did not send",
                    message.id
                )
            });
        } else if !stored.get(&message.seq).is_some_and(same) {
            verdict.fault(Fault::Foreign, || words("shown, and not in the history at its seq"));
        }
    }
    let ours = history.iter().filter(|entry| entry.number != NOT_OURS);
    for entry in ours.filter(|entry| !seen.contains(&entry.number)) {
        if journal.covers(conversation, entry.seq) {
            verdict.through_sync += 1;
        } else {
            verdict.fault(Fault::NotShown, || {
                format!("device {device}, conversation {conversation}: never showed message {}", entry.number)
            });
        }
    }
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
