//! `klatschctl replay storage`.

use std::io::IsTerminal;

use host::Entropy;
use ops::replay::{Range, Selection, plan, run};
use ops::{Exit, OpsError};
use storage::Replayed;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;
use crate::options::ReplayOptions;
use crate::output::{dry_run, say};

/// A line of progress every so many records.
const PROGRESS_EVERY: u64 = 10_000;

pub(crate) async fn storage(
    engines: &mut Engines,
    options: &ReplayOptions,
    entropy: &Entropy,
    stop: &CancellationToken,
) -> Result<Exit, OpsError> {
    let selection = match (options.partition, options.from_offset) {
        (Some(partition), Some(offset)) => Selection::From { partition, offset },
        _ => Selection::FromStart,
    };
    let (log, mut store) = (engines.log().await?, engines.store().await?);
    let ranges = plan(&log, &store, selection, options.into_new_incarnation).await?;
    if options.into_new_incarnation {
        say(format!(
            "a new incarnation after {}: new, empty tables; every program restarts itself",
            store.incarnation()
        ))?;
    }
    for range in ranges.iter().filter(|range| range.records() > 0) {
        say(range.to_string())?;
    }
    let records: u64 = ranges.iter().map(Range::records).sum();
    say(format!("{records} records in all"))?;
    if !options.yes {
        return dry_run().map(|()| Exit::Ok);
    }
    if options.into_new_incarnation {
        let incarnation = store.new_incarnation().await?;
        store = engines.reopen_store().await?;
        say(format!("at incarnation {incarnation}"))?;
    }
    let codec = engines.codec().await?;
    let mut progress = Progress::default();
    run(&log, &store, &codec, entropy, &ranges, stop, |range, done| progress.tell(range, done)).await?;
    say(format!("{} records replayed", progress.records))?;
    Ok(Exit::Ok)
}

/// Lines of progress, on standard error: now and then, and at the end of each range.
#[derive(Default)]
struct Progress {
    records: u64,
    /// Of the range that is under way.
    before: u64,
    told: u64,
}

impl Progress {
    fn tell(&mut self, range: &Range, done: Replayed) {
        self.records += done.records.saturating_sub(self.before);
        let ended = done.next >= range.to;
        self.before = if ended { 0 } else { done.records };
        if self.records - self.told >= PROGRESS_EVERY || (ended && std::io::stderr().is_terminal()) {
            self.told = self.records;
            eprintln!("{}/{} at {} of {}", range.source.topic, range.source.partition, done.next, range.to);
        }
    }
}
