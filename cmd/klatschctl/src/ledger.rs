//! `klatschctl ledger`: judges the ledgers of a load test. It needs no running program.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use operate::{Console, Output as _};
use ops::ledger::{Ledgers, Report};
use ops::{Exit, OpsError};

#[derive(Debug, Args)]
pub(crate) struct LedgerOptions {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Join the ledgers of all parts of a run: nothing lost, doubled or out of order. Exit 1 when something is,
    /// 70 when a part is missing or unfinished and so nothing is known
    Check {
        /// The ledgers, one of each part
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// How many parts the run had; without, up to the last one that is there
        #[arg(long, value_name = "N")]
        parts: Option<u32>,
        /// The log, as 'klatschctl tail chat.messages --from start' writes it
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(options: LedgerOptions) -> Result<Exit, OpsError> {
    let LedgerCommand::Check { files, parts, log, json } = options.command;
    let mut ledgers = Ledgers::default();
    for file in &files {
        ledgers.add(&file.display().to_string(), open(file)?)?;
    }
    if let Some(file) = &log {
        ledgers.add_log(&file.display().to_string(), open(file)?)?;
    }
    let report = ledgers.judge(parts)?;
    let text = if json {
        serde_json::to_string(&report).map_err(|error| OpsError::Failed(error.to_string()))?
    } else {
        words(&report)
    };
    Console.stream_line(&text)?;
    Ok(if report.passes() { Exit::Ok } else { Exit::Differs })
}

fn open(file: &Path) -> Result<BufReader<File>, OpsError> {
    let opened = File::open(file).map_err(|error| OpsError::io(format!("opening {}", file.display()), error));
    opened.map(BufReader::new)
}

fn words(report: &Report) -> String {
    let Report { parts, sent, acked, views, expected, ordered, lost, dup, reorder, foreign, unknown, examples } =
        report;
    let mut lines = examples.clone();
    lines.push(format!("{parts} parts, {sent} messages sent, {acked} acknowledged, {views} views of devices"));
    lines
        .push(format!("{expected} compared: {lost} lost, {dup} doubled, {foreign} foreign, {unknown} of unknown fate"));
    lines.push(format!("{ordered} in order, {reorder} not"));
    lines.join("\n")
}
