//! Shortens a failing plan as long as it still fails: fewer steps, then fewer users, devices and faults.

use crate::plan::{Plan, What};
use crate::run::run;
use crate::weather::Rates;

/// The most runs that are spent on one plan.
const RUNS_MAX: usize = 400;

/// A shortened plan.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The shortest failing plan that was found.
    pub plan: Plan,
    /// What is wrong in its run.
    pub wrong: String,
    /// Number of runs that this took.
    pub runs: usize,
}

/// Shortens a failing plan; `None` if it does not fail.
#[must_use]
pub fn shrink(plan: &Plan) -> Option<Shrunk> {
    let wrong = run(plan, false).wrong?;
    let mut best = Shrunk { plan: plan.clone(), wrong, runs: 1 };
    best.calm();
    best.fewer_steps();
    best.calm();
    Some(best)
}

impl Shrunk {
    /// Keeps the shorter plan if it fails as well.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if self.runs >= RUNS_MAX || plan == self.plan {
            return false;
        }
        self.runs += 1;
        let Some(wrong) = run(&plan, false).wrong else { return false };
        (self.plan, self.wrong) = (plan, wrong);
        true
    }

    fn change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.plan.clone();
        change(&mut plan);
        self.try_plan(plan)
    }

    /// Leaves out pieces of decreasing size. Source: Zeller and Hildebrandt, "Simplifying and isolating
    /// failure-inducing input", 2002.
    fn fewer_steps(&mut self) {
        let mut size = self.plan.steps.len().div_ceil(2);
        while size > 0 {
            let (mut at, mut shorter) = (0, false);
            while at < self.plan.steps.len() {
                let end = (at + size).min(self.plan.steps.len());
                if self.change(|plan| drop(plan.steps.drain(at..end))) {
                    shorter = true;
                } else {
                    at = end;
                }
            }
            if size == 1 && !shorter {
                return;
            }
            size = if shorter { size } else { size / 2 }.min(self.plan.steps.len());
        }
    }

    /// Removes what the failure does not need: random faults, skewed clocks, small bounds, users.
    fn calm(&mut self) {
        self.change(|plan| plan.setup.rates = Rates::default());
        for rate in 0..Rates::COUNT {
            self.change(|plan| *plan.setup.rates.at(rate) = 0);
        }
        self.change(|plan| plan.setup.host_skews_ms = [0; 7]);
        self.change(|plan| plan.setup.device_skews_ms.iter_mut().for_each(|skew| *skew = 0));
        self.change(|plan| (plan.setup.ring, plan.setup.warm, plan.setup.range) = (4096, 0, 20_000));
        self.change(|plan| plan.setup.queued = fanout::QUEUED_MAX);
        self.change(|plan| plan.setup.slice = storage::SLICE_EVENTS_MAX);
        self.change(|plan| plan.setup.pipe = 65_536);
        self.change(|plan| plan.setup.several = false);
        self.change(|plan| plan.setup.old = [false; 7]);
        self.change(|plan| plan.setup.devices = 1);
        while self.plan.setup.rooms.len() > 1 && self.change(|plan| drop(plan.setup.rooms.pop())) {}
        self.change(|plan| plan.steps.iter_mut().for_each(|step| step.yields = 0));
        self.change(|plan| plan.steps.retain(|step| step.what != What::Wait));
    }
}
