//! One portion of the log: its events are judged, then rows, conversations and deliveries are compared.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Change, ConversationId, Decision, Seq};
use eventlog::{DecodedRecord, Meaning};
use events::topics::{MESSAGES, spec_of};
use tokio_util::sync::CancellationToken;

use super::bounds::Bounds;
use super::deliveries::{ExpectedDeliveries, Search};
use super::judge::Judged;
use super::portions::Slice;
use super::report::Difference;
use super::retry::retry;
use super::rows::{ExpectedRows, Horizon, compare};
use super::states::{Span, foreign_entries, state_differs};
use super::{Audit, AuditScope};
use crate::OpsError;

/// The result of judging a slice.
struct Looked {
    partition: u32,
    span: Span,
    rows: ExpectedRows,
    /// Conversations with an accepted event, each with its last event that was judged.
    touched: BTreeMap<ConversationId, Seq>,
    /// Those of them whose members or settings changed.
    reshaped: BTreeSet<ConversationId>,
    /// Conversations of which an event was not judged.
    left_out: BTreeSet<ConversationId>,
}

impl Audit<'_> {
    /// Audits one portion; returns the differences, each checked twice.
    pub(super) async fn portion(
        &mut self,
        what: &AuditScope,
        slices: &[Slice],
        stop: &CancellationToken,
    ) -> Result<Vec<Difference>, OpsError> {
        let mut deliveries = ExpectedDeliveries::default();
        let mut differences = Vec::new();
        for slice in slices {
            self.rate.spend(slice.records.len(), stop).await;
            let looked = self.judge(what, slice, &mut deliveries).await?;
            differences.extend(self.rows(what, looked, stop).await?);
        }
        let mut search = Search {
            log: &*self.engines.log,
            codec: &self.engines.codec,
            slices,
            lasts: &mut self.lasts,
            rate: &mut self.rate,
            stop,
        };
        differences.extend(deliveries.compare(&mut search, &mut self.report.counts).await?);
        Ok(differences)
    }

    /// Judges a slice's events: what must be in the store, and what must have been delivered.
    async fn judge(
        &mut self,
        what: &AuditScope,
        slice: &Slice,
        deliveries: &mut ExpectedDeliveries,
    ) -> Result<Looked, OpsError> {
        let (spec, partition) = (spec_of(MESSAGES), slice.partition);
        let seq = |offset| Seq::new(spec.generation, offset).map_err(|error| OpsError::Failed(error.to_string()));
        let span = Span { partition, from: seq(slice.from)?, to: seq(slice.to)? };
        let mut looked = Looked {
            partition,
            span,
            rows: ExpectedRows::default(),
            touched: BTreeMap::new(),
            reshaped: BTreeSet::new(),
            left_out: BTreeSet::new(),
        };
        let mut messages = Vec::with_capacity(slice.records.len());
        for record in &slice.records {
            let message = DecodedRecord::read(&self.engines.codec, spec.generation, partition, spec.partitions, record);
            messages.push(message.map_err(|error| OpsError::Failed(error.to_string()))?);
        }
        self.report.counts.records += messages.len() as u64;
        let (bounds, counts) = (&self.bounds[&partition], &mut self.report.counts);
        let judge = self.judges.get_mut(&partition).expect("every range has a judge");
        let selected =
            |message: &&DecodedRecord| message.conversation.is_some_and(|one| what.conversations.contains(one));
        let chosen: Vec<&DecodedRecord> = messages.iter().filter(selected).collect();
        let judged: Vec<&DecodedRecord> = chosen.iter().copied().filter(|message| !is_held(bounds, message)).collect();
        judge.load(&*self.engines.store, &judged).await?;
        // Deliveries of conversations that were not selected are found among the expected ones, and are not
        // unexpected.
        let others = messages.iter().filter(|message| !selected(message));
        deliveries.left_out.extend(others.filter_map(|message| message.conversation));
        for message in chosen {
            let Some(conversation) = message.conversation else { continue };
            let dropped = bounds.dropped.contains(&message.appended.seq);
            if dropped || matches!(message.meaning, Meaning::Marker | Meaning::Corrupt(_) | Meaning::Dropped) {
                continue;
            }
            let held = is_held(bounds, message);
            let judged = if held { None } else { judge.judge(&*self.engines.store, message).await? };
            let Some(judged) = judged else {
                if held {
                    counts.held += 1
                } else {
                    counts.unknown += 1
                }
                judge.forget(conversation);
                looked.left_out.insert(conversation);
                deliveries.left_out.insert(conversation);
                continue;
            };
            counts.events += 1;
            counts.accepted += u64::from(judged.effects.decision == Decision::Accepted);
            looked.add(&judged);
            match undelivered(bounds, conversation, judged.appended.seq) {
                None => deliveries.add(partition, &judged),
                Some(why) => {
                    deliveries.left_out.insert(conversation);
                    match why {
                        Undelivered::Lag => counts.fanout_lag += 1,
                        Undelivered::Held => counts.held += 1,
                    }
                }
            }
        }
        Ok(looked)
    }

    /// Compares the rows and conversations of a slice.
    async fn rows(
        &mut self,
        what: &AuditScope,
        looked: Looked,
        stop: &CancellationToken,
    ) -> Result<Vec<Difference>, OpsError> {
        let (store, log) = (&*self.engines.store, &*self.engines.log);
        let seq = |offset| Seq::new(spec_of(MESSAGES).generation, offset).unwrap_or(looked.span.to);
        let partition = looked.partition;
        let horizon = |end| Horizon { partition, judged: looked.span.to, end: seq(end) };
        let mut entries: BTreeMap<ConversationId, BTreeSet<Seq>> = BTreeMap::new();
        for conversation in looked.touched.keys().filter(|one| !looked.left_out.contains(one)) {
            entries.insert(*conversation, looked.rows.entries(*conversation));
        }
        let rows = looked.rows.into_rows();
        let end = self.bounds[&partition].end;
        let mut wrong = compare(store, rows, horizon(end), &mut self.report.counts).await?;
        if !wrong.is_empty() {
            // A second comparison, after a while, with the log's end at that time.
            tokio::time::sleep(what.again_after).await;
            let again = wrong.into_iter().map(|(row, _)| row).collect();
            let end = retry(stop, || log.watermarks(MESSAGES, partition)).await?.next;
            // An event that is not judged yet may have been applied meanwhile.
            let mut counts = super::Counts::default();
            wrong = compare(store, again, horizon(end + 1), &mut counts).await?;
        }
        wrong.retain(|(row, _)| !looked.left_out.contains(&row.conversation));
        wrong.iter().for_each(|(row, _)| self.differing.insert(row.conversation));
        let mut differences: Vec<Difference> = wrong.into_iter().map(|(_, difference)| difference).collect();
        differences.retain(|difference| self.is_first(difference));
        for (conversation, expected) in &entries {
            let foreign = foreign_entries(store, *conversation, looked.span, expected).await?;
            if !foreign.is_empty() {
                self.differing.insert(*conversation);
            }
            differences.extend(foreign);
        }
        let judge = self.judges.get_mut(&partition).expect("every range has a judge");
        for conversation in looked.reshaped.difference(&looked.left_out) {
            let (Some(state), Some(as_of)) = (judge.state(*conversation), looked.touched.get(conversation)) else {
                continue;
            };
            if self.differing.contains(*conversation) {
                continue;
            }
            self.report.counts.states += 1;
            differences.extend(state_differs(store, *conversation, partition, *as_of, &state).await?);
        }
        judge.shrink();
        Ok(differences)
    }
}

impl Looked {
    fn add(&mut self, judged: &Judged) {
        let conversation = judged.event.conversation;
        self.rows.add(judged);
        self.touched.insert(conversation, judged.appended.seq);
        if judged.effects.changes.iter().any(Change::reshapes) {
            self.reshaped.insert(conversation);
        }
    }
}

fn is_held(bounds: &Bounds, message: &DecodedRecord) -> bool {
    let hold = message.conversation.and_then(|conversation| bounds.held_by_storage.get(&conversation));
    hold.is_some_and(|done| message.appended.seq > *done)
}

/// Why an event may not be delivered yet.
enum Undelivered {
    Lag,
    Held,
}

fn undelivered(bounds: &Bounds, conversation: ConversationId, seq: Seq) -> Option<Undelivered> {
    if bounds.held_by_fanout.get(&conversation).is_some_and(|done| seq > *done) {
        return Some(Undelivered::Held);
    }
    let parked = bounds.parked.get(&conversation).is_some_and(|first| *first <= seq.offset());
    (parked || seq.offset() >= bounds.delivered).then_some(Undelivered::Lag)
}
