//! The audit: compares the log with the store's rows and with the deliveries to users.
//!
//! It reads `chat.messages`, judges every event again with the reducer, and compares two things with the result: the
//! rows that the event must have written (each cell with its timestamp; [`store::Store`] is only read), and the
//! deliveries that its recipients must have got. Events that storage has not applied, the fan-out has not delivered,
//! or either of them holds are left out and counted. The next audit begins before them; an audit that follows the
//! log waits for them. Everything is bounded: portions of some thousand records, memory as the consumers have it,
//! and a throttle. A difference is checked a second time before it is reported.
//!
//! It looks neither for rows of users and conversations that appear in no event, nor for ids and reactions that no
//! event has made, nor at read marks.

mod bounds;
mod deliveries;
mod expected;
mod frame;
mod judge;
mod metrics;
mod offsets;
mod order;
mod portion;
mod portions;
mod rate;
mod report;
mod retry;
mod rows;
mod selection;
mod states;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventlog::SharedLog;
use events::Codec;
use events::topics::{MESSAGES, spec_of};
use store::SharedStore;
use tokio_util::sync::CancellationToken;

use bounds::Bounds;
use judge::Judge;
use order::LastDeliveries;
use portions::PartitionRange;
use rate::Rate;
use retry::retry;

use crate::{Exit, OpsError};

pub use metrics::AuditMetrics;
pub use offsets::{AuditOffsets, replace};
pub use report::{Counts, Difference, Fault, Report};
pub use selection::{Conversations, Sample};

/// How often an audit that follows the log looks for new records.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// The most rows that are remembered as reported.
const REPORTED_MAX: usize = 1 << 16;

/// What to audit, and how.
#[derive(Debug, Clone)]
pub struct AuditScope {
    /// The partitions of `chat.messages`, each with the offset to begin with; `None`: its oldest record.
    pub from: BTreeMap<u32, Option<u64>>,
    /// The end of each partition's range, exclusive; `None`: the end of the log.
    pub to: Option<u64>,
    /// The conversations to audit.
    pub conversations: Conversations,
    /// The most records of the log that are read per second; 0: no limit.
    pub rate: u32,
    /// How long to wait before a difference is checked a second time.
    pub again_after: Duration,
    /// Whether to go on as the log grows.
    pub follow: bool,
}

impl AuditScope {
    /// All records of the log, once.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            from: (0..spec_of(MESSAGES).partitions).map(|partition| (partition, None)).collect(),
            to: None,
            conversations: Conversations::All,
            rate: 0,
            again_after: Duration::from_secs(1),
            follow: false,
        }
    }
}

/// What an audit reports while it goes on.
#[derive(Debug)]
pub enum AuditEvent<'a> {
    /// Something differs from what the log says.
    Difference(&'a Difference),
    /// Another portion is done: everything before [`Report::next`] is audited.
    Portion(&'a Report),
}

/// The engines that an audit reads.
#[derive(Clone)]
pub struct Engines {
    /// The log.
    pub log: SharedLog,
    /// The store.
    pub store: SharedStore,
    /// Decodes records.
    pub codec: Codec,
}

/// Audits up to the last event that can be audited or, following the log, until `stop`. A log that does not answer
/// is retried for minutes.
///
/// # Errors
/// When the log or the store cannot be read, or `tell` fails. Differences are no error.
pub async fn audit(
    engines: &Engines,
    what: &AuditScope,
    stop: &CancellationToken,
    mut tell: impl FnMut(AuditEvent<'_>) -> Result<(), OpsError> + Send,
) -> Result<Report, OpsError> {
    let mut audit = Audit::begin(engines, what, stop).await?;
    match audit.run(what, stop, &mut tell).await {
        // `stop` was cancelled while the audit waited for an answer.
        Err(error) if stop.is_cancelled() && error.exit() == Exit::Unavailable => {}
        ended => ended?,
    }
    Ok(audit.report)
}

/// An audit in progress.
struct Audit<'a> {
    engines: &'a Engines,
    ranges: Vec<PartitionRange<'a>>,
    judges: BTreeMap<u32, Judge>,
    /// How far each partition could be audited at the last look.
    bounds: BTreeMap<u32, Bounds>,
    lasts: LastDeliveries,
    rate: Rate,
    report: Report,
    /// Conversations with rows that differ. Their states differ for the same reason, so they are not compared.
    differing: selection::Bounded,
    /// Rows that were reported as different: later events that change them are not reported again.
    reported: BTreeSet<(&'static str, BTreeMap<&'static str, String>)>,
}

impl<'a> Audit<'a> {
    async fn begin(engines: &'a Engines, what: &AuditScope, stop: &CancellationToken) -> Result<Self, OpsError> {
        let (mut ranges, mut judges, mut report) = (Vec::new(), BTreeMap::new(), Report::default());
        for (partition, from) in &what.from {
            if *partition >= spec_of(MESSAGES).partitions {
                return Err(OpsError::Usage(format!("{MESSAGES} has no partition {partition}")));
            }
            let low = retry(stop, || engines.log.watermarks(MESSAGES, *partition)).await?.low;
            let from = from.unwrap_or(low).max(low);
            ranges.push(PartitionRange::new(&*engines.log, *partition, from));
            judges.insert(*partition, Judge::new(from == 0));
            report.next.insert(*partition, from);
        }
        let differing = selection::Bounded::default();
        let (bounds, lasts, rate) = (BTreeMap::new(), LastDeliveries::new(), Rate::new(what.rate));
        Ok(Self { engines, ranges, judges, bounds, lasts, rate, report, differing, reported: BTreeSet::new() })
    }

    /// Audits until the end, or until `stop`.
    async fn run(
        &mut self,
        what: &AuditScope,
        stop: &CancellationToken,
        tell: &mut (impl FnMut(AuditEvent<'_>) -> Result<(), OpsError> + Send),
    ) -> Result<(), OpsError> {
        loop {
            self.look(what, stop).await?;
            while !stop.is_cancelled() {
                let portion = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    portion = portions::chunk(&mut self.ranges) => portion?,
                };
                if portion.is_empty() {
                    break;
                }
                let differences = self.portion(what, &portion, stop).await?;
                if stop.is_cancelled() {
                    break; // in the middle of the portion: the next audit begins before it
                }
                for difference in &differences {
                    *self.report.differences.entry(difference.fault).or_default() += 1;
                    tell(AuditEvent::Difference(difference))?;
                }
                for slice in &portion {
                    let settled = self.bounds[&slice.partition].settled().min(slice.to);
                    let next = self.report.next.entry(slice.partition).or_default();
                    *next = settled.max(*next);
                }
                tell(AuditEvent::Portion(&self.report))?;
            }
            if !what.follow || stop.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
        }
    }

    /// Reads how far each partition can be audited now.
    async fn look(&mut self, what: &AuditScope, stop: &CancellationToken) -> Result<(), OpsError> {
        let (mut storage_lag, mut fanout_lag, mut held) = (0, 0, 0);
        for range in &mut self.ranges {
            let (log, store) = (&*self.engines.log, &*self.engines.store);
            let bounds = retry(stop, || Bounds::read(log, store, range.partition)).await?;
            let to = what.to.unwrap_or(u64::MAX);
            // An audit that follows the log judges each event once, when both its rows and its deliveries must be
            // there.
            let end = if what.follow { bounds.settled() } else { bounds.applied };
            range.end = end.min(to).max(range.next);
            storage_lag += bounds.end.min(to).saturating_sub(bounds.applied.max(range.next));
            fanout_lag += bounds.applied.min(to).saturating_sub(bounds.delivered.max(range.next));
            held += bounds.arrived().min(to).saturating_sub(range.end);
            self.bounds.insert(range.partition, bounds);
        }
        self.report.counts.storage_lag = storage_lag;
        if what.follow {
            self.report.counts.fanout_lag = fanout_lag;
            self.report.counts.held = held;
        }
        Ok(())
    }

    /// Whether this is the first difference of its row.
    fn is_first(&mut self, difference: &Difference) -> bool {
        let Some(table) = difference.table else { return true };
        self.reported.len() >= REPORTED_MAX || self.reported.insert((table, difference.key.clone()))
    }
}
