//! The bounds of a scenario, held against what was measured.

use serde::{Deserialize, Serialize};

use crate::figures::{Figures, in_ms};
use crate::journal::{Journal, Shown};
use crate::ledger::Sent;
use crate::options::Scenario;
use crate::pace::Act;
use crate::plan::{Plan, Role};
use crate::report::{Group, StageFigures};

/// The difference that is noise, whatever the ratio, in milliseconds.
pub(crate) const NOISE_MS: f64 = 2.0;

/// A bound, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// What is bounded.
    pub what: String,
    /// What was measured; `None` for nothing, which fails.
    pub measured: Option<f64>,
    /// The most that passes.
    pub most: f64,
    /// The unit of both.
    pub unit: String,
}

impl Bound {
    fn new(what: impl Into<String>, measured: Option<f64>, most: f64, unit: &str) -> Self {
        Self { what: what.into(), measured, most, unit: unit.to_owned() }
    }

    /// Whether it is kept.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.most)
    }
}

/// What bounds are checked against.
pub(crate) struct Measured<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) stages: &'a [StageFigures],
    pub(crate) sent: &'a [Sent],
    pub(crate) journals: &'a [Journal],
    /// When stages began that disturb, in microseconds since the run began.
    pub(crate) acts: &'a [(Act, u64)],
    pub(crate) connects_per_second: u64,
}

impl Measured<'_> {
    /// All bounds of the scenario that are not switched off.
    pub(crate) fn bounds(&self) -> Vec<Bound> {
        let options = &self.plan.options.bounds;
        let mut bounds = self.latencies();
        match self.plan.scenario {
            Scenario::Steady | Scenario::FanIn => bounds.push(self.resets()),
            Scenario::FindLimit => {}
            Scenario::Burst => {
                let burst = self.worst("burst", |stage| stage.shown.p99_ms);
                bounds.push(Bound::new("p99 shown, in a burst", burst, options.burst_p99_ms, "ms"));
                bounds.extend(self.others("after"));
            }
            Scenario::Idle => {
                let losses = self.journals.iter().flat_map(|journal| &journal.losses);
                #[allow(clippy::cast_precision_loss)] // far fewer than 2^52
                let losses = losses.filter(|loss| !loss.is_move()).count() as f64;
                bounds.push(Bound::new("lost connections", Some(losses), 0.0, ""));
                bounds.push(self.resets());
            }
            Scenario::Storm => bounds.extend(self.others("storm")),
            Scenario::Away => bounds.extend(self.others("away")),
            Scenario::Slow => {
                bounds.extend(self.others("slow"));
                let open = Some(self.not_closed());
                bounds.push(Bound::new("slow devices that were not closed", open, 0.0, ""));
            }
        }
        if options.back_within > 0.0 {
            let back = self.longest_absence_s();
            bounds.push(Bound::new("longest time until a device was back", back, options.back_within, "s"));
        }
        if options.connects_per_second > 0 {
            #[allow(clippy::cast_precision_loss)] // far fewer than 2^52
            let (measured, most) = (self.connects_per_second as f64, options.connects_per_second as f64);
            bounds.push(Bound::new("connections welcomed in one second", Some(measured), most, ""));
        }
        bounds.retain(|bound| bound.most > 0.0 || bound.unit.is_empty());
        bounds
    }

    /// Resets, where nothing disturbs: each one hides what the feed may have lost before it.
    fn resets(&self) -> Bound {
        let counts = self.journals.iter().flat_map(|journal| journal.resets.values());
        #[allow(clippy::cast_precision_loss)] // far fewer than 2^52
        let resets = counts.sum::<u64>() as f64;
        Bound::new("resets", Some(resets), 0.0, "")
    }

    /// The absolute bounds, in the stages in which nothing disturbs.
    fn latencies(&self) -> Vec<Bound> {
        let options = &self.plan.options.bounds;
        let name = if self.plan.scenario == Scenario::FindLimit {
            "hold"
        } else if self.stages.iter().any(|stage| stage.stage == "steady") {
            "steady"
        } else {
            "before"
        };
        let ack = self.worst(name, |stage| stage.ack.p99_ms);
        let shown = self.worst(name, |stage| stage.shown.p99_ms);
        vec![
            Bound::new(format!("p99 acknowledged, {name}"), ack, options.ack_p99_ms, "ms"),
            Bound::new(format!("p99 shown, {name}"), shown, options.shown_p99_ms, "ms"),
        ]
    }

    /// The highest value over all groups of a stage in which something was measured.
    fn worst(&self, name: &str, value: impl Fn(&StageFigures) -> f64) -> Option<f64> {
        let stages = self.stages.iter().filter(|stage| stage.stage == name && stage.ack.count > 0);
        stages.map(value).max_by(f64::total_cmp)
    }

    /// The others' latencies in a stage, against those before it. Where nothing is meant to happen to some devices, there
    /// must be others; without any, nothing is measured. What hits everybody may leave none: then there is no bound.
    fn others(&self, name: &str) -> Vec<Bound> {
        let times = self.plan.others_times();
        let of = |stage: &str| self.stages.iter().find(|of| of.stage == stage && of.group == Group::Others);
        let (before, during) = (of("before"), of(name));
        let spared = self.plan.options.command.is_none() && self.plan.roles.contains(&Role::Normal);
        if !spared && (before.is_none() || during.is_none()) {
            return Vec::new();
        }
        let bound = |what: &str, figures: fn(&StageFigures) -> &Figures| {
            let p99_ms = |stage: Option<&StageFigures>| {
                stage.map(figures).filter(|figures| figures.count > 0).map(|figures| figures.p99_ms)
            };
            let before = p99_ms(before);
            let (during, most) =
                (p99_ms(during).filter(|_| before.is_some()), before.unwrap_or(0.0) * times + NOISE_MS);
            Bound::new(format!("others' p99 {what}, {name}"), during, most, "ms")
        };
        vec![bound("acknowledged", |stage| &stage.ack), bound("shown", |stage| &stage.shown)]
    }

    /// The longest time that a device was without connection; `None` when one never came back. Slow devices are not
    /// counted: they cannot be back before they read again.
    fn longest_absence_s(&self) -> Option<f64> {
        let mut longest = 0.0_f64;
        for (journal, role) in self.journals.iter().zip(&self.plan.roles) {
            for loss in journal.losses.iter().filter(|_| !matches!(role, Role::Stopped | Role::Trickling)) {
                longest = longest.max(in_ms(loss.back_us?.saturating_sub(loss.at_us)) / 1_000.0);
            }
        }
        Some(longest)
    }

    /// Slow devices whose connection the server had not closed when they read again. The device only finds out then, once
    /// it has read what was under way: so the connection was closed in time if it was lost before anything came over it
    /// that was due later.
    fn not_closed(&self) -> f64 {
        let when = |act: Act| self.acts.iter().find(|(other, _)| *other == act).map_or(0, |(_, at)| *at);
        let (slow, hurry) = (when(Act::Slow), when(Act::Hurry));
        let closed = |journal: &&Journal| {
            let lost = journal.losses.iter().map(|loss| loss.at_us).find(|at| *at >= slow);
            let due = |shown: &Shown| self.sent.get(shown.number as usize).map_or(0, |sent| sent.due_us);
            let alive = |lost: u64| journal.shown.iter().any(|shown| shown.at_us <= lost && due(shown) > hurry);
            lost.is_some_and(|lost| !alive(lost))
        };
        let devices = self.journals.iter().zip(&self.plan.roles);
        let devices = devices.filter(|(_, role)| matches!(role, Role::Stopped | Role::Trickling));
        #[allow(clippy::cast_precision_loss)] // far fewer than 2^52
        let open = devices.map(|(journal, _)| journal).filter(|journal| !closed(journal)).count() as f64;
        open
    }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
