//! Runs many seeds on several threads: each run has a thread, a runtime and a virtual time of its own.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::plan::{Plan, plan_of};
use crate::run::{Outcome, run};
use crate::shrink::shrink;
use crate::trace::Totals;

/// The results of many runs.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of seeds that were run.
    pub seeds: u64,
    /// How often each kind of thing happened, over all runs.
    pub totals: Totals,
    /// The seeds that failed, and how, in ascending order.
    pub failed: Vec<(u64, String)>,
    /// A hash of the traces of all runs, which does not depend on the order in which they ended.
    pub hash: u64,
}

/// Runs the seeds on so many threads; stops after `failures_max` failures.
#[must_use]
pub fn run_seeds(seeds: Range<u64>, threads: usize, failures_max: usize) -> Report {
    let (next, report) = (AtomicU64::new(seeds.start), Mutex::new(Report::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let enough = report.lock().unwrap_or_else(PoisonError::into_inner).failed.len() >= failures_max;
            if seed >= seeds.end || enough {
                return;
            }
            let outcome = run(&plan_of(seed), false);
            report.lock().unwrap_or_else(PoisonError::into_inner).take(seed, outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failed.sort();
    report
}

impl Report {
    fn take(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        // The sum does not depend on the order in which threads finish.
        self.hash = self.hash.wrapping_add(outcome.hash.wrapping_mul(seed | 1));
        for (what, times) in outcome.totals {
            *self.totals.entry(what).or_default() += times;
        }
        self.failed.extend(outcome.wrong.map(|wrong| (seed, wrong)));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds, {} failed; hash of all traces {:016x}", self.seeds, self.failed.len(), self.hash)?;
        writeln!(f, "{:44} {:>12} {:>16}", "what happened", "times", "per 1,000 seeds")?;
        for (what, times) in &self.totals {
            writeln!(f, "{what:44} {times:>12} {:>16}", times * 1000 / self.seeds.max(1))?;
        }
        Ok(())
    }
}

/// The description of a failing seed: its number, what is wrong, its schedule, and a shortened schedule.
#[derive(Debug)]
pub struct Shown(pub String);

/// Describes a seed, and shortens its schedule if it fails. With `trace`, adds the trace of the shortened schedule.
#[must_use]
pub fn show(seed: u64, trace: bool) -> Shown {
    let (plan, mut text) = (plan_of(seed), String::new());
    // Writing to a string never fails.
    let _ = writeln!(text, "seed {seed}\n{}", schedule(&plan));
    match shrink(&plan) {
        None => text += "nothing is wrong with it\n",
        Some(short) => {
            let steps = short.plan.steps.len();
            let _ = writeln!(text, "shortened to {steps} steps in {} runs:\n{}", short.runs, schedule(&short.plan));
            let _ = writeln!(text, "what is wrong with the short one: {}", short.wrong);
            if trace {
                run(&short.plan, true).lines.iter().for_each(|line| _ = writeln!(text, "{line}"));
            }
        }
    }
    Shown(text)
}

fn schedule(plan: &Plan) -> String {
    let mut text = format!("{:?}\n", plan.setup);
    for (number, step) in plan.steps.iter().enumerate() {
        let _ = writeln!(
            text,
            "{number:4} after {} yields and {} ms, salt {:016x}: {:?}",
            step.yields, step.wait_ms, step.salt, step.what
        );
    }
    text
}
