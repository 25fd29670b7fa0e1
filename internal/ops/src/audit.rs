//! The oracle for production: what is in the log, against what is in the store and on its way to users.
//!
//! Reads `chat.messages`, judges every event again with the reducer, and holds two things against it: the rows that the
//! event must have left (each cell with its timestamp; [`store::Store`] is only read), and the deliveries that its
//! recipients must have got. What storage has not applied, the fan-out has not delivered, or either holds is left out
//! and counted, and the next audit begins before it; one that follows the log waits there. Everything is bounded: portions of some thousand records, memory as the consumers have it, and a
//! throttle. A difference is looked at again before it is told.
//!
//! What it does not look for: rows of users and conversations that appear in no event, ids and reactions that no event
//! has made, and read marks.

mod bounds;
mod deliveries;
mod expected;
mod frame;
mod insist;
mod judge;
mod lane;
mod metrics;
mod order;
mod place;
mod portion;
mod rate;
mod report;
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
use insist::insist;
use judge::Judge;
use lane::Lane;
use order::Lasts;
use rate::Rate;

use crate::{Exit, OpsError};

pub use metrics::AuditMetrics;
pub use place::{Places, replace};
pub use report::{Counts, Difference, Fault, Report};
pub use selection::{Conversations, Sample};

/// How often a continuous audit looks for more.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Rows that are remembered as told.
const TOLD_MAX: usize = 1 << 16;

/// What to audit, and how.
#[derive(Debug, Clone)]
pub struct What {
    /// The partitions of `chat.messages`, each with the offset to begin with; `None`: its oldest record.
    pub from: BTreeMap<u32, Option<u64>>,
    /// Behind the last offset of each partition; `None`: as far as there is.
    pub to: Option<u64>,
    /// Which conversations.
    pub conversations: Conversations,
    /// Records of the log that are read in a second; 0: as many as can be.
    pub rate: u32,
    /// How long to wait before a difference is looked at again.
    pub again_after: Duration,
    /// Go on as the log grows.
    pub follow: bool,
}

impl What {
    /// Everything, once.
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

/// What is told while an audit goes on.
#[derive(Debug)]
pub enum Told<'a> {
    /// Something is not as the log says.
    Difference(&'a Difference),
    /// Another portion is done; everything up to [`Report::next`] is.
    Portion(&'a Report),
}

/// What an audit reads.
#[derive(Clone)]
pub struct Engines {
    /// The log.
    pub log: SharedLog,
    /// The store.
    pub store: SharedStore,
    /// Reads records.
    pub codec: Codec,
}

/// Audits until the end of what can be looked at or, following, until `stop`. A log that is silent for a while is waited
/// for.
///
/// # Errors
/// When the log or the store cannot be read, or `told` fails. Differences are no error.
pub async fn audit(
    engines: &Engines,
    what: &What,
    stop: &CancellationToken,
    mut told: impl FnMut(Told<'_>) -> Result<(), OpsError> + Send,
) -> Result<Report, OpsError> {
    let mut audit = Audit::begin(engines, what, stop).await?;
    match audit.run(what, stop, &mut told).await {
        // It was to stop while it waited for an answer.
        Err(error) if stop.is_cancelled() && error.exit() == Exit::Unavailable => {}
        ended => ended?,
    }
    Ok(audit.report)
}

/// An audit that is under way.
struct Audit<'a> {
    engines: &'a Engines,
    lanes: Vec<Lane<'a>>,
    judges: BTreeMap<u32, Judge>,
    /// As of the last look.
    bounds: BTreeMap<u32, Bounds>,
    lasts: Lasts,
    rate: Rate,
    report: Report,
    /// Conversations with rows that differ: as they are read back, they differ for that reason.
    differing: selection::Bounded,
    /// Rows that were told to differ: later events that change them are not told again.
    told: BTreeSet<(&'static str, BTreeMap<&'static str, String>)>,
}

impl<'a> Audit<'a> {
    async fn begin(engines: &'a Engines, what: &What, stop: &CancellationToken) -> Result<Self, OpsError> {
        let (mut lanes, mut judges, mut report) = (Vec::new(), BTreeMap::new(), Report::default());
        for (partition, from) in &what.from {
            if *partition >= spec_of(MESSAGES).partitions {
                return Err(OpsError::Usage(format!("{MESSAGES} has no partition {partition}")));
            }
            let low = insist(stop, || engines.log.watermarks(MESSAGES, *partition)).await?.low;
            let from = from.unwrap_or(low).max(low);
            lanes.push(Lane::new(&*engines.log, *partition, from));
            judges.insert(*partition, Judge::new(from == 0));
            report.next.insert(*partition, from);
        }
        let differing = selection::Bounded::default();
        let (bounds, lasts, rate) = (BTreeMap::new(), Lasts::new(), Rate::new(what.rate));
        Ok(Self { engines, lanes, judges, bounds, lasts, rate, report, differing, told: BTreeSet::new() })
    }

    /// Until the end, or until `stop`.
    async fn run(
        &mut self,
        what: &What,
        stop: &CancellationToken,
        told: &mut (impl FnMut(Told<'_>) -> Result<(), OpsError> + Send),
    ) -> Result<(), OpsError> {
        loop {
            self.look(what, stop).await?;
            while !stop.is_cancelled() {
                let portion = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    portion = lane::chunk(&mut self.lanes) => portion?,
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
                    told(Told::Difference(difference))?;
                }
                for slice in &portion {
                    let settled = self.bounds[&slice.partition].settled().min(slice.to);
                    let next = self.report.next.entry(slice.partition).or_default();
                    *next = settled.max(*next);
                }
                told(Told::Portion(&self.report))?;
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

    /// Finds how far each partition can be audited now.
    async fn look(&mut self, what: &What, stop: &CancellationToken) -> Result<(), OpsError> {
        let (mut storage_lag, mut fanout_lag, mut held) = (0, 0, 0);
        for lane in &mut self.lanes {
            let (log, store) = (&*self.engines.log, &*self.engines.store);
            let bounds = insist(stop, || Bounds::read(log, store, lane.partition)).await?;
            let to = what.to.unwrap_or(u64::MAX);
            // Who goes on looks at each event once, when everything of it can be looked at.
            let end = if what.follow { bounds.settled() } else { bounds.applied };
            lane.end = end.min(to).max(lane.next);
            storage_lag += bounds.end.min(to).saturating_sub(bounds.applied.max(lane.next));
            fanout_lag += bounds.applied.min(to).saturating_sub(bounds.delivered.max(lane.next));
            held += bounds.arrived().min(to).saturating_sub(lane.end);
            self.bounds.insert(lane.partition, bounds);
        }
        self.report.counts.storage_lag = storage_lag;
        if what.follow {
            self.report.counts.fanout_lag = fanout_lag;
            self.report.counts.held = held;
        }
        Ok(())
    }

    /// Whether this difference of a row is the first of its row.
    fn is_first(&mut self, difference: &Difference) -> bool {
        let Some(table) = difference.table else { return true };
        self.told.len() >= TOLD_MAX || self.told.insert((table, difference.key.clone()))
    }
}
