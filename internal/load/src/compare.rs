//! Comparing runs: what of the second side is worse than the first, beyond noise.
//!
//! A side is one run or several. Each figure is the median of its side; the spread of either side (its highest less its
//! lowest) is noise, and so are two milliseconds and a tenth. A figure that the second side lacks, and a run of it that
//! failed, are worse than any figure.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::bounds::NOISE_MS;
use crate::exit::{Exit, SetupError};
use crate::figures::Figures;
use crate::report::Report;

/// Scenarios that are meant to cost connections.
const DISTURBING: [&str; 3] = ["storm", "slow", "away"];
/// The name of the figures of devices that lost their connection and came back.
const BACK: &str = "connection back";
/// The relative difference that is noise.
const NOISE_PART: f64 = 0.1;

/// A figure of both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// What it is.
    pub what: String,
    /// The medians: first and second side.
    pub medians: (f64, f64),
    /// The difference up to which it is noise.
    pub noise: f64,
    /// Whether more is better, as of a limit.
    pub more_is_better: bool,
}

impl Difference {
    /// Whether the second side is worse.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        self.gained() < -self.noise
    }

    /// Whether the second side is better.
    #[must_use]
    pub fn is_better(&self) -> bool {
        self.gained() > self.noise
    }

    fn gained(&self) -> f64 {
        let more = self.medians.1 - self.medians.0;
        if self.more_is_better { more } else { -more }
    }
}

/// A comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Every figure that both sides have.
    pub differences: Vec<Difference>,
    /// Why the comparison is worth nothing or the second side is worse whatever its figures, in words.
    pub faults: Vec<String>,
}

impl Comparison {
    /// Passed unless something is worse.
    #[must_use]
    pub fn outcome(&self) -> Exit {
        let worse = !self.faults.is_empty() || self.differences.iter().any(Difference::is_worse);
        if worse { Exit::Failed } else { Exit::Passed }
    }
}

/// Reads the reports of one side.
///
/// # Errors
/// When a file cannot be read or is no report.
pub fn read(files: &[PathBuf]) -> Result<Vec<Report>, SetupError> {
    let one = |path: &PathBuf| {
        let text = fs::read(path).map_err(SetupError::io(format!("reading {}", path.display())))?;
        serde_json::from_slice(&text)
            .map_err(|error| SetupError::Other(format!("{} is no report of a run: {error}", path.display())))
    };
    files.iter().map(one).collect()
}

/// Compares the second side with the first.
///
/// # Errors
/// When the two are not of the same scenario and size, or a side is empty.
pub fn compare(first: &[Report], second: &[Report]) -> Result<Comparison, SetupError> {
    let shape = |report: &Report| (report.scenario.clone(), report.devices, report.users, report.rate.to_bits());
    let all = || first.iter().chain(second);
    let Some(one) = first.first().filter(|_| !second.is_empty()) else {
        return Err(SetupError::Usage("each side needs a report".into()));
    };
    if let Some(other) = all().find(|other| shape(other) != shape(one)) {
        let words =
            |report: &Report| format!("{} with {} devices at {:.0}/s", report.scenario, report.devices, report.rate);
        return Err(SetupError::Usage(format!("{} cannot be compared with {}", words(one), words(other))));
    }
    let mut faults = Vec::new();
    for (side, reports) in [("first", first), ("second", second)] {
        for report in reports.iter().filter(|report| [Exit::Overloaded, Exit::Setup].contains(&report.outcome())) {
            faults.push(format!("a run of the {side} side is void (exit {})", report.exit));
        }
    }
    for report in second.iter().filter(|report| !report.verdict.is_zero()) {
        faults.push(format!("the oracle of a run of the second side is not all zero: {:?}", report.verdict.faults));
    }
    for report in second {
        let missed = report.bounds.iter().filter(|bound| !bound.passed());
        faults.extend(missed.map(|bound| format!("a run of the second side missed a bound: {}", bound.what)));
    }
    let (values, others) = (values(first), values(second));
    let calm = !DISTURBING.contains(&&*one.scenario) && second.iter().all(|report| report.losses.is_empty());
    let mut differences = Vec::new();
    for (what, first) in values {
        match others.get(&what) {
            Some(second) => differences.push(difference(what, &first, second)),
            // Better than a figure: nobody lost a connection.
            None if calm && (what.contains(" cut: ") || what.starts_with(BACK)) => {}
            None => faults.push(format!("the second side has no figure '{what}'")),
        }
    }
    Ok(Comparison { differences, faults })
}

fn difference(what: String, first: &[f64], second: &[f64]) -> Difference {
    let medians = (median(first), median(second));
    let absolute = if what.ends_with(" ms") { NOISE_MS } else { 0.0 };
    let noise = absolute.max(medians.0 * NOISE_PART).max(spread(first)).max(spread(second));
    let more_is_better = what.starts_with("limit");
    Difference { what, medians, noise, more_is_better }
}

/// Every figure of a side by name, with one value of each run. Names of latencies end with their unit.
fn values(reports: &[Report]) -> BTreeMap<String, Vec<f64>> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for report in reports {
        let mut put = |what: String, value: f64| values.entry(what).or_default().push(value);
        let mut times = |what: &str, figures: &Figures| {
            if figures.count > 0 {
                put(format!("{what} p50 ms"), figures.p50_ms);
                put(format!("{what} p99 ms"), figures.p99_ms);
            }
        };
        for stage in &report.stages {
            let group = format!("{:?}", stage.group).to_lowercase();
            times(&format!("{} {group}: acknowledged", stage.stage), &stage.ack);
            times(&format!("{} {group}: shown", stage.stage), &stage.shown);
        }
        times(BACK, &report.back);
        if let Some(limit) = report.limit {
            put("limit, messages/s".into(), limit);
        }
    }
    values
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn spread(values: &[f64]) -> f64 {
    let highest = values.iter().copied().fold(f64::MIN, f64::max);
    let lowest = values.iter().copied().fold(f64::MAX, f64::min);
    (highest - lowest).max(0.0)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:44} {:>10} {:>10} {:>10}", "", "first", "second", "noise")?;
        for difference in &self.differences {
            let words = match difference {
                worse if worse.is_worse() => "  WORSE",
                better if better.is_better() => "  better",
                _ => "",
            };
            let Difference { what, medians: (first, second), noise, .. } = difference;
            writeln!(f, "{what:44} {first:10.2} {second:10.2} {noise:10.2}{words}")?;
        }
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        writeln!(f, "{}", if self.outcome() == Exit::Passed { "nothing is worse" } else { "WORSE" })
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
