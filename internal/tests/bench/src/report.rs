//! The figures of several rounds: printed as tables, and kept in a file with the conditions under which they were
//! measured.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::conditions::Conditions;

/// What one round measured of one contestant: each measure with its unit, and the figure.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// Figures by measure and contestant, in the order of the rounds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The name of what was measured.
    pub(crate) row: String,
    /// The command line.
    pub(crate) command: String,
    /// The contestant that is the floor of the others.
    pub(crate) floor: Option<String>,
    pub(crate) figures: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    /// Why rounds were void.
    #[serde(default)]
    pub(crate) void: Vec<String>,
    /// Set at the end.
    pub(crate) conditions: Option<Conditions>,
}

/// The middle of several figures, and their bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Report {
    pub(crate) fn add(&mut self, contestant: &str, figures: Figures) {
        for (measure, figure) in figures {
            let of_measure = self.figures.entry(measure.to_owned()).or_default();
            of_measure.entry(contestant.to_owned()).or_default().push(figure);
        }
    }

    /// A table for each measure, with a line for each contestant: the median, the smallest and the largest figure, and
    /// the share of the floor's median.
    pub(crate) fn print(&self) {
        for (measure, contestants) in &self.figures {
            println!("{measure:<44}{:>12}{:>12}{:>12}{:>8}", "median", "least", "most", "share");
            let floor = self.floor.as_ref().and_then(|floor| contestants.get(floor)).map(|floor| Spread::of(floor));
            for (contestant, figures) in contestants {
                let Spread { median, least, most } = Spread::of(figures);
                let share = floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.2}", median / floor.median));
                let [median, least, most] = [median, least, most].map(shown);
                println!("  {contestant:<42}{median:>12}{least:>12}{most:>12}{share:>8}");
            }
        }
    }

    /// Writes it to the file.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no result", path.display()))
    }
}

impl Spread {
    pub(crate) fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        Self { median: (at(sorted.len() / 2) + at(last / 2)) / 2.0, least: at(0), most: at(last) }
    }
}

/// A figure with three digits or more.
pub(crate) fn shown(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// The time that this percentage of the times, in microseconds, does not exceed; in milliseconds.
pub(crate) fn percentile_ms(us: &[u64], percent: usize) -> f64 {
    let mut sorted = us.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_the_mean_of_two() {
        let median = |figures: &[f64]| Spread::of(figures).median;
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        let (folder, mut report) = (tempfile::tempdir().unwrap(), Report::default());
        report.add("bare", vec![("rows per second", 12.5)]);
        report.save(&folder.path().join("result.json")).unwrap();
        let read = Report::load(&folder.path().join("result.json")).unwrap();
        assert_eq!(read.figures, report.figures);
    }
}
