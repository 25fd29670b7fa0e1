//! Compares the deliveries that a portion of events must have caused with `chat.deliveries`.
//!
//! For each event there must be one record per delivery partition with recipients (several, where there are more
//! The search begins at the time of the portion's first event. Repetitions are allowed, as the clients' filter drops
//! them; a record that the filter drops although it was not delivered before is out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::limits::RECIPIENTS_PER_RECORD_MAX;
use domain::{ConversationId, Seq, UserId};
use eventlog::{EventLog, PatientReader, Record, TopicPartition, partition_of_id};
use events::topics::{DELIVERIES, MESSAGES, spec_of};
use events::{Codec, Delivery};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::frame::{differing, frame_of};
use super::judge::Judged;
use super::order::{Found, LastDeliveries};
use super::portions::Slice;
use super::rate::Rate;
use super::report::{Counts, Difference, Fault};
use super::retry::retry;
use crate::OpsError;

/// Records read at once.
const RECORDS_AT_ONCE: usize = 500;
/// How far the clocks of brokers may differ, in milliseconds: the search begins so long before the event.
const SKEW_MS: i64 = 1_000;
/// The same for the second search, when the first has not found a delivery.
pub(super) const SKEW_WIDE_MS: i64 = 600_000;
/// The delivery that an event must have caused in one delivery partition.
#[derive(Debug)]
struct ExpectedDelivery {
    partition: u32,
    recipients: Vec<UserId>,
    /// The recipients that the records found so far list: a long list is split into several records.
    named: BTreeSet<UserId>,
    frame: Arc<Map<String, Value>>,
    /// The append time of the event.
    time_ms: i64,
    /// The offset at which it was first found complete.
    found: Option<u64>,
}

type EventKey = (ConversationId, Seq);
/// A delivery by its event's conversation and seq, and whether it is for users who may read the message that the
/// event is about: other users get another frame.
type ExpectedKey = (EventKey, bool);

/// The deliveries of a portion, by delivery partition.
#[derive(Debug, Default)]
pub(super) struct ExpectedDeliveries {
    by: BTreeMap<u32, BTreeMap<ExpectedKey, ExpectedDelivery>>,
    /// Conversations of which an event of the portion was not judged: none of their deliveries can be called
    /// unexpected.
    pub(super) left_out: BTreeSet<ConversationId>,
}

/// The context of the search.
pub(super) struct Search<'a> {
    pub(super) log: &'a dyn EventLog,
    pub(super) codec: &'a Codec,
    /// The portion.
    pub(super) slices: &'a [Slice],
    /// The last deliveries of the portions before.
    pub(super) lasts: &'a mut LastDeliveries,
    pub(super) rate: &'a mut Rate,
    pub(super) stop: &'a CancellationToken,
}

impl<'a> Search<'a> {
    /// A reader of a delivery partition that begins at a time, and not before an offset; `None` when there is no
    /// record from that time on.
    pub(super) async fn reader(
        &self,
        partition: u32,
        from_ms: i64,
        least: u64,
    ) -> Result<Option<PatientReader<'a>>, OpsError> {
        let from = retry(self.stop, || self.log.offset_at(DELIVERIES, partition, from_ms)).await?;
        let at = TopicPartition::new(DELIVERIES, partition);
        Ok(from.map(|from| PatientReader::new(self.log, at, from.max(least), None)))
    }

    /// The next records before `end`; none when there are no more, or when the audit is to stop.
    pub(super) async fn records(&mut self, reader: &mut PatientReader<'_>, end: u64) -> Result<Vec<Record>, OpsError> {
        let records = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(Vec::new()),
            records = reader.next(end, RECORDS_AT_ONCE) => records?,
        };
        self.rate.spend(records.len(), self.stop).await;
        Ok(records)
    }
}

impl ExpectedDeliveries {
    pub(super) fn add(&mut self, partition: u32, judged: &Judged) {
        let Judged { event, appended, effects } = judged;
        let frames = [false, true].map(|seen| Arc::new(frame_of(event, *appended, effects, seen)));
        let partitions = spec_of(DELIVERIES).partitions;
        for user in &effects.recipients {
            let to = partition_of_id(user.uuid(), partitions);
            let seen = effects.blind.binary_search(user).is_err();
            let expected = self.by.entry(to).or_default().entry(((event.conversation, appended.seq), seen));
            let expected = expected.or_insert_with(|| ExpectedDelivery {
                partition,
                recipients: Vec::new(),
                named: BTreeSet::new(),
                frame: Arc::clone(&frames[usize::from(seen)]),
                time_ms: appended.append_time_ms,
                found: None,
            });
            expected.recipients.push(*user);
        }
    }

    /// Searches and compares all expected deliveries. Returns the differences.
    pub(super) async fn compare(
        mut self,
        search: &mut Search<'_>,
        counts: &mut Counts,
    ) -> Result<Vec<Difference>, OpsError> {
        let mut differences = Vec::new();
        let begin = self.by.values().flat_map(BTreeMap::values).map(|expected| expected.time_ms).min();
        let Some(begin) = begin else { return Ok(differences) };
        for (partition, mut expected) in std::mem::take(&mut self.by) {
            counts.deliveries += expected.len() as u64;
            counts.recipients += expected.values().map(|expected| expected.recipients.len() as u64).sum::<u64>();
            let mut reading =
                Reading { partition, highest: BTreeMap::new(), left_out: &self.left_out, found: Vec::new() };
            // Only an estimate: where the fan-out lagged, the deliveries of this portion begin after those of the
            // one before.
            let least = search.lasts.begin(partition);
            reading.run(search, &mut expected, (begin - SKEW_MS, least), counts).await?;
            if expected.values().any(|expected| expected.found.is_none()) {
                // A second search, from an earlier time to a later end, so that differences between clocks are not
                // reported.
                reading.found.clear();
                reading.highest.clear();
                expected.values_mut().for_each(ExpectedDelivery::forget);
                reading.run(search, &mut expected, (begin - SKEW_WIDE_MS, 0), counts).await?;
            }
            differences.append(&mut reading.found);
            let gone_before = retry(search.stop, || oldest_ms(search.log, partition)).await?;
            for (((conversation, seq), _), lost) in expected.iter().filter(|(_, expected)| expected.found.is_none()) {
                if gone_before.is_some_and(|oldest| lost.time_ms <= oldest + SKEW_WIDE_MS) {
                    counts.trimmed += 1;
                    continue;
                }
                let users: Vec<String> = lost.unnamed().map(ToString::to_string).collect();
                let words = format!("no delivery to {}", users.join(", "));
                let mut difference = Difference::of(Fault::DeliveryMissing, lost.partition, *conversation, *seq, words);
                difference.delivery_partition = Some(partition);
                differences.push(difference);
            }
            let found = expected.iter().filter_map(|(((conversation, seq), _), delivery)| {
                let (home, time_ms) = (delivery.partition, delivery.time_ms);
                Some(Found { home, conversation: *conversation, seq: *seq, time_ms, offset: delivery.found? })
            });
            differences.extend(search.remember(partition, found.collect()).await?);
        }
        Ok(differences)
    }
}

/// The append time of the oldest record, if older ones were trimmed.
async fn oldest_ms(log: &dyn EventLog, partition: u32) -> Result<Option<i64>, OpsError> {
    let marks = log.watermarks(DELIVERIES, partition).await?;
    if marks.low == 0 || marks.low == marks.next {
        return Ok(None);
    }
    let oldest = eventlog::record_at(log, DELIVERIES, partition, marks.low).await?;
    Ok(oldest.map(|record| record.append_time_ms))
}

pub(super) fn delivery_difference(
    fault: Fault,
    (partition, conversation, seq): (u32, ConversationId, Seq),
    (delivery_partition, offset): (u32, u64),
    words: String,
) -> Difference {
    let mut difference = Difference::of(fault, partition, conversation, seq, words);
    difference.delivery_partition = Some(delivery_partition);
    difference.delivery_offset = Some(offset);
    difference
}

/// Reading one delivery partition for a portion.
struct Reading<'a> {
    partition: u32,
    /// The highest seq of each conversation so far, as in the clients' filter.
    highest: BTreeMap<ConversationId, Seq>,
    left_out: &'a BTreeSet<ConversationId>,
    found: Vec<Difference>,
}

impl Reading<'_> {
    /// Reads from a time on, and not before an offset, until all expected deliveries are found or the log ends.
    async fn run(
        &mut self,
        search: &mut Search<'_>,
        expected: &mut BTreeMap<ExpectedKey, ExpectedDelivery>,
        (from_ms, least): (i64, u64),
        counts: &mut Counts,
    ) -> Result<(), OpsError> {
        let end = retry(search.stop, || search.log.watermarks(DELIVERIES, self.partition)).await?.next;
        let Some(mut reader) = search.reader(self.partition, from_ms, least).await? else { return Ok(()) };
        let mut missing = expected.len();
        while missing > 0 {
            let records = search.records(&mut reader, end).await?;
            if records.is_empty() {
                break;
            }
            counts.delivery_records += records.len() as u64;
            for record in &records {
                missing -= usize::from(self.record(search, record, expected, counts));
            }
        }
        Ok(())
    }

    /// Compares one record; returns whether it is the first of an expected delivery.
    fn record(
        &mut self,
        search: &Search<'_>,
        record: &Record,
        expected: &mut BTreeMap<ExpectedKey, ExpectedDelivery>,
        counts: &mut Counts,
    ) -> bool {
        // Records of other types and later versions are not expected deliveries.
        let Ok(Some(delivery)) = search.codec.read_delivery(&record.headers, &record.payload) else { return false };
        let Some((conversation, seq)) = delivery.event_key else { return false };
        // An event may have two deliveries in a partition: this record belongs to the one with the same recipients.
        let halves = [true, false].map(|seen| ((conversation, seq), seen));
        let is_for = |half: &ExpectedKey| {
            let wanted = expected.get(half).map(|wanted| wanted.recipients.as_slice()).unwrap_or_default();
            delivery.recipients.first().is_some_and(|user| wanted.contains(user))
        };
        let half = halves.into_iter().find(is_for).or(halves.into_iter().find(|half| expected.contains_key(half)));
        let Some(wanted) = half.and_then(|half| expected.get_mut(&half)) else {
            self.unexpected(search, record, (conversation, seq));
            return false;
        };
        let at = (self.partition, record.offset);
        let event = (wanted.partition, conversation, seq);
        if let Some(words) = wanted.differs(&delivery) {
            self.found.push(delivery_difference(Fault::DeliveryAltered, event, at, words));
        }
        if wanted.found.is_some() {
            counts.repeated += 1;
            return false;
        }
        wanted.named.extend(&delivery.recipients);
        if wanted.is_split() && wanted.unnamed().next().is_some() {
            return false;
        }
        wanted.found = Some(record.offset);
        let highest = self.highest.entry(conversation).or_insert(seq);
        if *highest > seq {
            let words = format!("it stands behind that of seq {highest}");
            self.found.push(delivery_difference(Fault::DeliveryOutOfOrder, event, at, words));
        }
        *highest = seq.max(*highest);
        true
    }

    /// Notes a delivery that no event of the portion has caused, although its seq is in the portion.
    fn unexpected(&mut self, search: &Search<'_>, record: &Record, (conversation, seq): EventKey) {
        let home = partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions);
        let inside = search.slices.iter().any(|slice| slice.partition == home && slice.covers(seq.offset()));
        if inside && seq.generation() == spec_of(MESSAGES).generation && !self.left_out.contains(&conversation) {
            let (event, at) = ((home, conversation, seq), (self.partition, record.offset));
            let words = "no event has caused this delivery".to_owned();
            self.found.push(delivery_difference(Fault::DeliveryUnexpected, event, at, words));
        }
    }
}

impl ExpectedDelivery {
    /// Whether the recipients may be split into several records.
    fn is_split(&self) -> bool {
        self.recipients.len() > RECIPIENTS_PER_RECORD_MAX
    }

    /// Recipients that no record lists.
    fn unnamed(&self) -> impl Iterator<Item = &UserId> {
        self.recipients.iter().filter(|user| !self.named.contains(user))
    }

    fn forget(&mut self) {
        self.found = None;
        self.named.clear();
    }

    fn differs(&self, delivery: &Delivery) -> Option<String> {
        let mut words = Vec::new();
        let (named, wanted): (BTreeSet<&UserId>, BTreeSet<&UserId>) =
            (delivery.recipients.iter().collect(), self.recipients.iter().collect());
        if named.len() != delivery.recipients.len() {
            words.push("a recipient is named twice".to_owned());
        }
        for (what, users) in [("does not name", wanted.difference(&named)), ("names", named.difference(&wanted))] {
            if self.is_split() && what == "does not name" {
                continue; // another record may name them; if none does, the delivery is reported as missing
            }
            let users: Vec<String> = users.map(ToString::to_string).collect();
            if !users.is_empty() {
                words.push(format!("it {what} {}", users.join(", ")));
            }
        }
        match differing(&self.frame, &delivery.frame) {
            None => words.push("its frame is no JSON object".to_owned()),
            Some(fields) if !fields.is_empty() => words.push(format!("its frame differs in {}", fields.join(", "))),
            Some(_) => {}
        }
        (!words.is_empty()).then(|| words.join("; "))
    }
}
