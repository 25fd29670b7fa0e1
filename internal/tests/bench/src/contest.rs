//! Rounds in which contestants take turns: what every row has in common.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::conditions::{Beginning, machine};
use crate::report::{Figures, Report};
use crate::wishes::Wishes;

/// Who is measured, beside which floor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contest {
    /// The name of what is measured.
    pub(crate) row: &'static str,
    /// In the order of their turns.
    pub(crate) contestants: &'static [&'static str],
    /// One of them.
    pub(crate) floor: Option<&'static str>,
}

impl Contest {
    /// Runs the rounds, prints the figures, and writes them to the result file.
    ///
    /// # Errors
    /// When a round fails or is void: then there are no figures.
    pub(crate) async fn run(
        self,
        wishes: &Wishes,
        mut round: impl AsyncFnMut(&'static str) -> Result<Figures>,
    ) -> Result<()> {
        let beginning = Beginning::now();
        println!("{}", machine());
        let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        let floor = self.floor.map(str::to_owned);
        let mut report = Report { row: self.row.to_owned(), command, floor, ..Report::default() };
        for number in 1..=wishes.rounds {
            for contestant in self.contestants.iter().filter(|contestant| wishes.wants(contestant)) {
                let figures = round(contestant).await.with_context(|| format!("round {number} of {contestant}"))?;
                let words = figures.iter().map(|(measure, figure)| format!("{measure} {figure:.2}"));
                println!("{number} {contestant}: {}", words.collect::<Vec<_>>().join(", "));
                report.add(contestant, figures);
            }
        }
        let conditions = beginning.conditions();
        println!("{} {}, {} rounds", self.row, report.command, wishes.rounds);
        println!("{conditions}");
        let began = conditions.began;
        report.conditions = Some(conditions);
        report.print();
        let path = wishes.out.clone().unwrap_or_else(|| PathBuf::from(format!("bench-{}-{began}.json", self.row)));
        report.save(&path)?;
        println!("written to {}", path.display());
        Ok(())
    }
}
