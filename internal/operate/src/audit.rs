//! `klatschctl audit`.

use std::time::Duration;

use events::topics::{MESSAGES, spec_of};
use ops::audit::{
    self, AuditEvent, AuditMetrics, AuditOffsets, AuditScope, Conversations, Engines as Read, Report, Sample,
};
use ops::{Exit, OpsError};
use process::{Metrics, Readiness, Serving};

use crate::command::AuditOptions;
use crate::context::Context;
use crate::engines::Engines;

/// How long after it was found a difference is checked again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A line of progress is printed every so many records.
const PROGRESS_EVERY: u64 = 20_000;

pub(crate) async fn run(engines: &mut dyn Engines, options: &AuditOptions, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let what = what(options, cx)?;
    let codec = engines.codec().await?;
    let read = Read { log: engines.log().await?, store: engines.store().await?, codec };
    let metrics = Metrics::new();
    let mut shown = AuditOutput { options, cx, set: AuditMetrics::new(&metrics), metrics, shown_at: 0 };
    let serving = match options.listen {
        None => None,
        Some(address) => {
            let listener = process::bind(address).await.map_err(|fault| OpsError::Usage(fault.to_string()))?;
            let serving = Serving::new(cx.entropy.clone(), Readiness::default(), shown.metrics.clone());
            Some(tokio::spawn(process::serve(listener, axum::Router::new(), serving, cx.stop.clone())))
        }
    };
    let audited = audit::audit(&read, &what, cx.stop, |event| shown.show(&event)).await;
    if let Some(serving) = serving {
        serving.abort();
    }
    let report = audited?;
    shown.finish(&report)?;
    Ok(if report.differences() == 0 { Exit::Ok } else { Exit::Differs })
}

/// The part of the options that the audit itself needs.
fn what(options: &AuditOptions, cx: &Context<'_>) -> Result<AuditScope, OpsError> {
    let mut partitions = options.partition.clone();
    if partitions.is_empty() {
        partitions = (0..spec_of(MESSAGES).partitions).collect();
    }
    let from = match (&options.from, &options.state) {
        (Some(text), _) => {
            AuditOffsets::parse(text)?.next.into_iter().map(|(one, offset)| (one, Some(offset))).collect()
        }
        (None, state) => {
            let begun = state
                .as_deref()
                .map(|file| AuditOffsets::of(file, cx.output.read(file)))
                .transpose()?
                .unwrap_or_default();
            partitions.into_iter().map(|one| (one, begun.next.get(&one).copied())).collect()
        }
    };
    let conversations = match options.sample {
        Some(percent) => Conversations::Sample(Sample { percent }),
        None if options.conversation.is_empty() => Conversations::All,
        None => Conversations::These(options.conversation.iter().copied().collect()),
    };
    let AuditOptions { to, rate, follow, .. } = *options;
    Ok(AuditScope { from, to, conversations, rate, again_after: AGAIN_AFTER, follow })
}

/// Prints the findings and keeps the audit's results in files.
struct AuditOutput<'a> {
    options: &'a AuditOptions,
    cx: &'a Context<'a>,
    metrics: Metrics,
    set: AuditMetrics,
    /// The number of records at the last line of progress.
    shown_at: u64,
}

impl AuditOutput<'_> {
    fn show(&mut self, event: &AuditEvent<'_>) -> Result<(), OpsError> {
        match event {
            AuditEvent::Difference(difference) if self.options.json => self.cx.json(difference),
            AuditEvent::Difference(difference) => self.cx.say(difference.to_string()),
            AuditEvent::Portion(report) => {
                // An audit that follows the log is at its end after every portion.
                self.keep(report, self.options.follow)?;
                let records = report.counts.records;
                if records - self.shown_at >= PROGRESS_EVERY && self.cx.output.is_terminal() {
                    self.shown_at = records;
                    self.cx.output.tell(&format!("{records} records, {} differences\n", report.differences()));
                }
                Ok(())
            }
        }
    }

    /// Writes the offsets and the metrics to their files.
    fn keep(&self, report: &Report, finished: bool) -> Result<(), OpsError> {
        self.set.set(report, finished.then(|| self.cx.clock.now_ms()));
        if let Some(file) = &self.options.metrics {
            self.cx.output.replace(file, &self.metrics.text())?;
        }
        if let Some(file) = &self.options.state {
            // Partitions that this audit has not read keep their offsets.
            let mut places = AuditOffsets::of(file, self.cx.output.read(file))?;
            places.next.extend(&report.next);
            self.cx.output.replace(file, &places.text()?)?;
        }
        Ok(())
    }

    fn finish(&self, report: &Report) -> Result<(), OpsError> {
        self.keep(report, true)?;
        if self.options.json {
            self.cx.json(&serde_json::json!({ "report": report }))
        } else {
            self.cx.say(report.to_string())
        }
    }
}
