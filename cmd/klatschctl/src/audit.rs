//! `klatschctl audit`.

use std::io::IsTerminal;
use std::time::Duration;

use events::topics::{MESSAGES, spec_of};
use host::{Clock, Entropy};
use ops::audit::{self, AuditMetrics, Conversations, Engines as Read, Places, Report, Sample, Told, What};
use ops::{Exit, OpsError};
use runtime::{Metrics, Readiness, Serving};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;
use crate::options::AuditOptions;
use crate::output::{json, say};

/// How long after it was found a difference is looked at again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A line of progress every so many records.
const PROGRESS_EVERY: u64 = 20_000;

pub(crate) async fn run(
    engines: &mut Engines,
    options: &AuditOptions,
    clock: &Clock,
    entropy: &Entropy,
    stop: &CancellationToken,
) -> Result<Exit, OpsError> {
    let what = what(options)?;
    let codec = engines.codec().await?;
    let read = Read { log: engines.log().await?, store: engines.store().await?, codec };
    let metrics = Metrics::new();
    let mut shown = Shown { options, clock, set: AuditMetrics::new(&metrics), metrics, told: 0 };
    let serving = match options.listen {
        None => None,
        Some(address) => {
            let listener = runtime::bind(address).await.map_err(|fault| OpsError::Usage(fault.to_string()))?;
            let serving =
                Serving { entropy: entropy.clone(), readiness: Readiness::default(), metrics: shown.metrics.clone() };
            Some(tokio::spawn(runtime::serve(listener, axum::Router::new(), serving, stop.clone())))
        }
    };
    let audited = audit::audit(&read, &what, stop, |told| shown.tell(&told)).await;
    if let Some(serving) = serving {
        serving.abort();
    }
    let report = audited?;
    shown.finish(&report)?;
    Ok(if report.differences() == 0 { Exit::Ok } else { Exit::Differs })
}

/// What was asked for.
fn what(options: &AuditOptions) -> Result<What, OpsError> {
    let mut partitions = options.partition.clone();
    if partitions.is_empty() {
        partitions = (0..spec_of(MESSAGES).partitions).collect();
    }
    let from = match (&options.from, &options.state) {
        (Some(text), _) => Places::parse(text)?.next.into_iter().map(|(one, offset)| (one, Some(offset))).collect(),
        (None, state) => {
            let begun = state.as_deref().map(Places::load).transpose()?.unwrap_or_default();
            partitions.into_iter().map(|one| (one, begun.next.get(&one).copied())).collect()
        }
    };
    let conversations = match options.sample {
        Some(percent) => Conversations::Sample(Sample { percent }),
        None if options.conversation.is_empty() => Conversations::All,
        None => Conversations::These(options.conversation.iter().copied().collect()),
    };
    let AuditOptions { to, rate, follow, .. } = *options;
    Ok(What { from, to, conversations, rate, again_after: AGAIN_AFTER, follow })
}

/// Where the audit's findings go.
struct Shown<'a> {
    options: &'a AuditOptions,
    clock: &'a Clock,
    metrics: Metrics,
    set: AuditMetrics,
    /// Records at the last line of progress.
    told: u64,
}

impl Shown<'_> {
    fn tell(&mut self, told: &Told<'_>) -> Result<(), OpsError> {
        match told {
            Told::Difference(difference) if self.options.json => json(difference),
            Told::Difference(difference) => say(difference.to_string()),
            Told::Portion(report) => {
                // Who goes on is at the end of what can be looked at after every portion.
                self.keep(report, self.options.follow)?;
                let records = report.counts.records;
                if records - self.told >= PROGRESS_EVERY && std::io::stderr().is_terminal() {
                    self.told = records;
                    eprintln!("{records} records, {} differences", report.differences());
                }
                Ok(())
            }
        }
    }

    /// Keeps how far it has come, and the metrics.
    fn keep(&self, report: &Report, finished: bool) -> Result<(), OpsError> {
        self.set.set(report, finished.then(|| self.clock.now_ms()));
        if let Some(file) = &self.options.metrics {
            audit::replace(file, &self.metrics.text())?;
        }
        if let Some(file) = &self.options.state {
            // Partitions that this audit has not looked at stay where they are.
            let mut places = Places::load(file)?;
            places.next.extend(&report.next);
            places.save(file)?;
        }
        Ok(())
    }

    fn finish(&self, report: &Report) -> Result<(), OpsError> {
        self.keep(report, true)?;
        if self.options.json { json(&json!({ "report": report })) } else { say(report.to_string()) }
    }
}
