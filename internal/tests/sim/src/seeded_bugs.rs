//! Tests the simulator itself: switches seeded bugs on, one at a time, and counts the seeds until each is found.

use std::fmt::Write as _;

use environment::seeded_bugs::{Bug, switch};

use crate::plan::plan_of;
use crate::run::run;
use crate::shrink::shrink;

/// A bug, and how it was found.
#[derive(Debug)]
pub struct Caught {
    /// The bug.
    pub bug: Bug,
    /// The seed that failed, and its symptom; `None` if none did.
    pub by: Option<(u64, String)>,
    /// Number of steps of the shortened schedule.
    pub steps: Option<usize>,
}

/// Runs seeds from 1 on, at most `seeds_max`, until each bug is found. With `shorten`, shortens the failing plan.
#[must_use]
pub fn hunt(bugs: &[Bug], seeds_max: u64, shorten: bool) -> Vec<Caught> {
    let mut found = Vec::new();
    for bug in bugs {
        switch(Some(*bug));
        let by = (1..=seeds_max).find_map(|seed| Some((seed, run(&plan_of(seed), false).wrong?)));
        let short = by.as_ref().filter(|_| shorten).and_then(|(seed, _)| shrink(&plan_of(*seed)));
        switch(None);
        found.push(Caught { bug: *bug, by, steps: short.map(|short| short.plan.steps.len()) });
        eprintln!("{}", line(&found[found.len() - 1]));
    }
    found
}

/// The findings as a Markdown table, one row for each bug.
#[must_use]
pub fn table(found: &[Caught]) -> String {
    let mut text =
        "| bug | what catches it | seeds needed | steps of the shortened schedule |\n|---|---|---|---|\n".to_owned();
    for caught in found {
        // Writing to a string never fails.
        let _ = writeln!(text, "{}", line(caught));
    }
    text
}

fn line(caught: &Caught) -> String {
    let (what, seeds) = match &caught.by {
        Some((seed, wrong)) => (symptom(wrong), seed.to_string()),
        None => ("nothing".to_owned(), "-".to_owned()),
    };
    let steps = caught.steps.map_or_else(|| "-".to_owned(), |steps| steps.to_string());
    format!("| {:?} | {what} | {seeds} | {steps} |", caught.bug)
}

/// The first kind of fault in an oracle's table, or the first words of the error.
fn symptom(wrong: &str) -> String {
    let counted = |line: &&str| {
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
        !line.starts_with(' ') && count.is_some_and(|count| count > 0)
    };
    let found: Vec<String> = wrong
        .lines()
        .filter(counted)
        .map(|line| line.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ').to_owned())
        .collect();
    if found.is_empty() { wrong.lines().next().unwrap_or("").chars().take(70).collect() } else { found.join("; ") }
}
