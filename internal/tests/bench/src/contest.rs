//! Rounds in which contestants take turns: what every row has in common.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::conditions::{Beginning, machine};
use crate::report::{Figures, Report};
use crate::wishes::Wishes;

/// After so many void rounds in a row, no other one will be better.
const VOID_IN_A_ROW_MAX: usize = 2;

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
    /// Runs the rounds, prints the figures, and writes them to the result file. A void round has no figures; the others
    /// keep theirs.
    ///
    /// # Errors
    /// When a round was void; at once, when [`VOID_IN_A_ROW_MAX`] were.
    pub(crate) async fn run(
        self,
        wishes: &Wishes,
        mut round: impl AsyncFnMut(&'static str) -> Result<Figures>,
    ) -> Result<()> {
        let beginning = Beginning::now();
        println!("{}", machine());
        let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        let floor = self.floor.map(str::to_owned);
        let mut void_in_a_row = 0;
        let mut report = Report { row: self.row.to_owned(), command, floor, ..Report::default() };
        for number in 1..=wishes.rounds {
            for contestant in self.contestants.iter().filter(|contestant| wishes.wants(contestant)) {
                let figures = match round(contestant).await.with_context(|| format!("round {number} of {contestant}")) {
                    Ok(figures) => figures,
                    Err(fault) if void_in_a_row + 1 < VOID_IN_A_ROW_MAX => {
                        println!("VOID: {fault:#}");
                        report.void.push(format!("{fault:#}"));
                        void_in_a_row += 1;
                        continue;
                    }
                    Err(fault) => return Err(fault),
                };
                void_in_a_row = 0;
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
        if !report.void.is_empty() {
            bail!("{} rounds were void: {}", report.void.len(), report.void.join("; "));
        }
        Ok(())
    }
}
