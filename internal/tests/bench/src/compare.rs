//! Two results of the same row, beside each other: which medians differ by more than their rounds do.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::report::{Report, Spread, shown};

/// Prints a line for each figure of the first file. Returns whether the second one has each of them, and none differs.
///
/// # Errors
/// When a file is no result, or the rows are not the same.
pub(crate) fn run(before: &Path, after: &Path) -> Result<bool> {
    let (before, after) = (Report::load(before)?, Report::load(after)?);
    ensure!(before.row == after.row, "one is of {}, the other one of {}", before.row, after.row);
    for (name, report) in [("before", &before), ("after", &after)] {
        println!("{name}: {}", report.command);
        if let Some(conditions) = &report.conditions {
            println!("  {conditions}");
        }
    }
    println!("{:<64}{:>12}{:>12}{:>8}", "", "before", "after", "ratio");
    Ok(same(&before, &after))
}

fn same(before: &Report, after: &Report) -> bool {
    let mut same = true;
    for (measure, contestants) in &before.figures {
        for (contestant, figures) in contestants {
            let (name, one) = (format!("{measure}, {contestant}"), Spread::of(figures));
            let others = after.figures.get(measure).and_then(|figures| figures.get(contestant));
            let Some(other) = others.map(|others| Spread::of(others)) else {
                same = false;
                println!("{name:<64}{:>12}{:>12}{:>8}  missing", shown(one.median), "-", "-");
                continue;
            };
            let (word, ratio) = (if differ(one, other) { "differs" } else { "" }, other.median / one.median);
            same &= word.is_empty();
            println!("{name:<64}{:>12}{:>12}{ratio:>8.2}  {word}", shown(one.median), shown(other.median));
        }
    }
    same
}

/// Whether the medians are further apart than the rounds of either one are. A single round has no spread, so it differs
/// from everything: measure several.
fn differ(one: Spread, other: Spread) -> bool {
    (one.median - other.median).abs() > (one.most - one.least).max(other.most - other.least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_within_the_spread_of_the_rounds_are_the_same() {
        let (steady, restless) = (Spread::of(&[10.0, 10.1, 10.2]), Spread::of(&[9.0, 11.0, 14.0]));
        assert!(!differ(steady, restless));
        assert!(differ(steady, Spread::of(&[10.4, 10.5, 10.6])));
    }

    #[test]
    fn a_figure_that_is_gone_is_a_difference() {
        let report = |figures: &[(&'static str, f64)]| {
            let mut report = Report::default();
            report.add("bare", figures.to_vec());
            report
        };
        let (both, one) = (report(&[("a", 1.0), ("b", 2.0)]), report(&[("a", 1.0)]));
        assert!(same(&both, &both) && same(&one, &both));
        assert!(!same(&both, &one));
    }
}
