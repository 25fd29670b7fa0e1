//! `ledger check`: joins the ledgers of a load test (`deploy/k6`), one of each of its parts, and holds them against one
//! another and, if it is given, the log.
//!
//! A part of a distributed run judges only what it saw itself. A message that one part sent and that devices of another
//! should have been shown is judged here alone; so is a part that is missing, which makes the whole run void.

mod lines;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufRead;

use serde::Serialize;

use crate::OpsError;
use lines::{Line, LoggedLine, PartLine, State};

/// Faults that are described; all are counted.
const EXAMPLES_MAX: usize = 20;

/// The part of a run, and the number of a message within it.
type Number = (u32, u64);

/// A membership: from this seq up to (excluded) that one, or without an end.
type Span = (u64, Option<u64>);

/// A message that a part sent.
#[derive(Debug)]
struct Sent {
    id: String,
    conversation: String,
    author: String,
    state: State,
    /// How often it was sent: only the order of those sent once is known.
    copies: u32,
}

/// What one device was shown of one conversation.
#[derive(Debug)]
struct Shown {
    /// Names the device in descriptions of faults.
    name: String,
    user: String,
    conversation: String,
    /// By message: its seq.
    frames: HashMap<Number, u64>,
    /// Messages that a reset left to pages of history. The part leaves out what the device should have been shown before.
    rows: BTreeSet<Number>,
}

/// The ledgers of a run.
#[derive(Debug, Default)]
pub struct Ledgers {
    run: Option<String>,
    parts: BTreeSet<u32>,
    sent: BTreeMap<Number, Sent>,
    /// By conversation and user.
    members: HashMap<(String, String), Vec<Span>>,
    shown: Vec<Shown>,
    /// By id of a command: its offsets in the log. `None` when no log was given.
    logged: Option<HashMap<String, Vec<u64>>>,
    report: Report,
}

/// The verdict on a run.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Parts that were joined.
    pub parts: usize,
    /// Messages that were sent.
    pub sent: usize,
    /// Of these, messages that are acknowledged or stand.
    pub acked: usize,
    /// Devices, once for each conversation that they were shown something of.
    pub views: usize,
    /// Comparisons of a message with a device that must have been shown it, or with the log.
    pub expected: u64,
    /// Comparisons of orders.
    pub ordered: u64,
    /// Messages that a device was not shown or that the log does not have.
    pub lost: u64,
    /// Messages that were shown twice.
    pub dup: u64,
    /// Messages in different orders.
    pub reorder: u64,
    /// Messages that were shown to others than members, or that nobody sent, or that were refused.
    pub foreign: u64,
    /// Messages whose fate the parts do not know.
    pub unknown: u64,
    /// The first faults, in words.
    pub examples: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong, and something was compared.
    #[must_use]
    pub fn passes(&self) -> bool {
        let faults = [self.lost, self.dup, self.reorder, self.foreign, self.unknown];
        faults.iter().all(|count| *count == 0) && self.expected > 0 && self.ordered > 0
    }

    fn example(&mut self, words: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(words());
        }
    }
}

impl Ledgers {
    /// Adds a file with the ledgers of some parts. Lines that are no JSON objects are passed over: a console writes
    /// warnings among them.
    ///
    /// # Errors
    /// When it cannot be read, a part is of another run, was added before, or is not complete: the run is void then.
    pub fn add(&mut self, name: &str, file: impl BufRead) -> Result<(), OpsError> {
        // By part: how many lines came. `None` once it has ended.
        let mut open: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        for line in file.lines() {
            let line = line.map_err(|error| OpsError::io(format!("reading {name}"), error))?;
            if !line.starts_with('{') {
                continue;
            }
            let PartLine { vu: part, line } =
                serde_json::from_str(&line).map_err(|error| void(&format!("{name}: {error}")))?;
            match (line, open.get(&part).copied().flatten()) {
                (Line::Begin { version: 1, run }, None) => {
                    self.begin(name, &run, part)?;
                    open.insert(part, Some(1));
                }
                (Line::End { lines, dup, reorder, foreign }, Some(before)) if lines == before => {
                    self.report.dup += dup;
                    self.report.reorder += reorder;
                    self.report.foreign += foreign;
                    open.insert(part, None);
                }
                (Line::End { lines, .. }, Some(before)) => {
                    return Err(void(&format!("part {part} in {name} has {before} lines and says {lines}")));
                }
                (line, Some(before)) => {
                    self.take(part, line);
                    open.insert(part, Some(before + 1));
                }
                (_, None) => return Err(void(&format!("part {part} in {name} has no beginning of version 1"))),
            }
        }
        match open.iter().find(|(_, lines)| lines.is_some()) {
            Some((part, _)) => Err(void(&format!("part {part} in {name} has no end: it was stopped"))),
            None if open.is_empty() => Err(void(&format!("{name} has no ledger"))),
            None => Ok(()),
        }
    }

    /// Takes in a line between the first and the last of a part.
    fn take(&mut self, part: u32, line: Line) {
        match line {
            Line::Sent { n, id, conversation, author, state, copies } => {
                self.sent.insert((part, n), Sent { id, conversation, author, state, copies });
            }
            Line::Member { conversation, user, spans } => {
                self.members.entry((conversation, user)).or_default().extend(spans);
            }
            Line::Device { device, user, conversation, frames, rows } => {
                let frames = frames.into_iter().map(|(part, n, seq)| ((part, n), seq)).collect();
                let name = format!("device {device} of part {part}");
                self.shown.push(Shown { name, user, conversation, frames, rows: rows.into_iter().collect() });
            }
            // These are counted where they are found.
            Line::Begin { .. } | Line::End { .. } => {}
        }
    }

    fn begin(&mut self, name: &str, run: &str, part: u32) -> Result<(), OpsError> {
        let known = self.run.get_or_insert_with(|| run.to_owned());
        if known != run {
            return Err(void(&format!("{name} is of the run {run}, others are of {known}")));
        }
        if !self.parts.insert(part) {
            return Err(void(&format!("part {part} in {name} was there before")));
        }
        Ok(())
    }

    /// Adds the log: what `tail chat.messages --from start` has written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_log(&mut self, name: &str, log: impl BufRead) -> Result<(), OpsError> {
        let logged = self.logged.get_or_insert_default();
        for line in log.lines() {
            let line = line.map_err(|error| OpsError::io(format!("reading {name}"), error))?;
            let parsed: LoggedLine =
                serde_json::from_str(&line).map_err(|error| OpsError::Failed(format!("{name}: {error}")))?;
            if let Some(id) = parsed.id() {
                logged.entry(id.to_owned()).or_default().push(parsed.offset);
            }
        }
        Ok(())
    }

    /// The verdict.
    ///
    /// # Errors
    /// When one of `parts` is missing (without: one between the others): the run is void then.
    pub fn judge(mut self, parts: Option<u32>) -> Result<Report, OpsError> {
        let number = parts.or_else(|| self.parts.last().map(|last| last + 1)).unwrap_or(0);
        let missing: Vec<String> =
            (0..number).filter(|part| !self.parts.contains(part)).map(|part| part.to_string()).collect();
        if !missing.is_empty() || number == 0 {
            return Err(void(&format!("parts are missing: {}", missing.join(", "))));
        }
        let mut report = std::mem::take(&mut self.report);
        let acked = |sent: &&Sent| sent.state.is_logged();
        (report.parts, report.sent, report.views) = (self.parts.len(), self.sent.len(), self.shown.len());
        report.acked = self.sent.values().filter(acked).count();
        report.unknown = self.sent.values().filter(|sent| !sent.state.is_known()).count() as u64;
        let seqs = self.seqs(&mut report);
        let mut sent: HashMap<&str, Vec<(Number, &Sent)>> = HashMap::new();
        for (number, message) in self.sent.iter().filter(|(_, message)| message.state.is_logged()) {
            sent.entry(&message.conversation).or_default().push((*number, message));
        }
        for shown in &self.shown {
            let sent = sent.get(shown.conversation.as_str()).map(Vec::as_slice).unwrap_or_default();
            self.compare(shown, sent, &seqs, &mut report);
        }
        self.compare_orders(&seqs, &mut report);
        self.compare_log(&seqs, &mut report);
        Ok(report)
    }

    /// The seq of every message that some device was shown. All devices must name the same.
    fn seqs(&self, report: &mut Report) -> BTreeMap<Number, u64> {
        let mut seqs = BTreeMap::new();
        for shown in &self.shown {
            for (number, seq) in &shown.frames {
                let known = *seqs.entry(*number).or_insert(*seq);
                if known != *seq {
                    report.reorder += 1;
                    report
                        .example(|| format!("{} was shown {} at {seq}, others at {known}", shown.name, words(*number)));
                }
            }
        }
        seqs
    }

    /// Holds what a device was shown of a conversation against what must be in there: `sent`.
    fn compare(&self, shown: &Shown, sent: &[(Number, &Sent)], seqs: &BTreeMap<Number, u64>, report: &mut Report) {
        let spans = self.members.get(&(shown.conversation.clone(), shown.user.clone()));
        for (number, sent) in sent {
            // One that no device was shown has no seq; then it concerns those who are members at the end.
            let concerned = spans.into_iter().flatten().any(|(from, to)| match seqs.get(number) {
                Some(seq) => from <= seq && to.is_none_or(|to| *seq < to),
                None => to.is_none(),
            });
            let was_shown = shown.frames.contains_key(number) || shown.rows.contains(number);
            if concerned {
                report.expected += 1;
                if !was_shown {
                    report.lost += 1;
                    report.example(|| format!("{} was not shown {}, id {}", shown.name, words(*number), sent.id));
                }
            } else if shown.frames.contains_key(number) {
                report.foreign += 1;
                report.example(|| format!("{} was shown {} and is no member", shown.name, words(*number)));
            }
        }
        for number in shown.frames.keys().filter(|number| !self.sent.contains_key(number)) {
            report.foreign += 1;
            report.example(|| format!("{} was shown {}, which nobody sent", shown.name, words(*number)));
        }
        // A row is a place in history: one that was refused has none.
        let refused = |number: &&Number| self.sent.get(*number).is_some_and(|sent| sent.state == State::Refused);
        let stands: BTreeSet<&Number> = shown.frames.keys().chain(&shown.rows).filter(refused).collect();
        for number in stands {
            report.foreign += 1;
            report.example(|| format!("{} has {}, which was refused", shown.name, words(*number)));
        }
    }

    /// Messages of one author in one conversation that were sent once each have the order in which they were sent.
    fn compare_orders(&self, seqs: &BTreeMap<Number, u64>, report: &mut Report) {
        let mut last: HashMap<(&str, &str), u64> = HashMap::new();
        for (number, sent) in self.sent.iter().filter(|(_, sent)| sent.copies == 1) {
            let Some(seq) = seqs.get(number) else { continue };
            report.ordered += 1;
            let before = last.insert((&sent.conversation, &sent.author), *seq);
            if before.is_some_and(|before| before >= *seq) {
                report.reorder += 1;
                report.example(|| format!("{} stands before one that its author sent earlier", words(*number)));
            }
        }
    }

    /// What is acknowledged is in the log; in one conversation, the order of the seqs is that of the log.
    fn compare_log(&self, seqs: &BTreeMap<Number, u64>, report: &mut Report) {
        let Some(logged) = &self.logged else { return };
        let mut by_conversation: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
        for (number, sent) in self.sent.iter().filter(|(_, sent)| sent.state.is_logged()) {
            report.expected += 1;
            match (logged.get(&sent.id).map(Vec::as_slice), seqs.get(number)) {
                (None, _) => {
                    report.lost += 1;
                    report.example(|| format!("{} is acknowledged and not in the log, id {}", words(*number), sent.id));
                }
                // Of several copies, the log alone does not say which one stands.
                (Some([offset]), Some(seq)) => {
                    by_conversation.entry(&sent.conversation).or_default().push((*seq, *offset));
                }
                _ => {}
            }
        }
        for (conversation, mut places) in by_conversation {
            places.sort_unstable();
            report.ordered += places.len() as u64;
            for (one, next) in places.iter().zip(places.iter().skip(1)).filter(|(one, next)| one.1 >= next.1) {
                report.reorder += 1;
                report.example(|| format!("{conversation}: {} is before {}, the log says otherwise", one.0, next.0));
            }
        }
    }
}

fn words((part, n): Number) -> String {
    format!("message {n} of part {part}")
}

fn void(why: &str) -> OpsError {
    OpsError::Failed(format!("the run is void: {why}"))
}

#[cfg(test)]
mod tests;
