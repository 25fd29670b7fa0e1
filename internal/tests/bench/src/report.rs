//! The figures of several rounds, in a table.

use std::collections::BTreeMap;

/// Figures by contestant, in the order of the rounds.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: BTreeMap<&'static str, Vec<f64>>,
}

impl Report {
    pub(crate) fn add(&mut self, contestant: &'static str, figure: f64) {
        self.figures.entry(contestant).or_default().push(figure);
    }

    /// A line for each contestant: the median, the smallest and the largest figure, and the share of the floor's
    /// median.
    pub(crate) fn print(&self, unit: &str, floor: &str) {
        let floor = self.figures.get(floor).map(|figures| median(figures));
        println!("{:<20}{:>12}{:>12}{:>12}{:>8}  {unit}", "", "median", "least", "most", "share");
        for (contestant, figures) in &self.figures {
            let middle = median(figures);
            let (least, most) = figures
                .iter()
                .fold((f64::MAX, 0.0_f64), |(least, most), figure| (least.min(*figure), most.max(*figure)));
            let share = floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.2}", middle / floor));
            println!("{contestant:<20}{middle:>12.0}{least:>12.0}{most:>12.0}{share:>8}");
        }
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default();
    (lower + upper) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_the_mean_of_two() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }
}
