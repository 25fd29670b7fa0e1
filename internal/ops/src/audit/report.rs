//! The findings of an audit, as text and as data.

use std::collections::BTreeMap;
use std::fmt;

use domain::{ConversationId, Seq};
use events::topics::MESSAGES;
use serde::Serialize;

/// The kinds of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A row, or cells of it, are missing.
    RowMissing,
    /// A row has other values.
    RowAltered,
    /// There is a row that no event has written.
    RowUnexpected,
    /// The state of a conversation in the store (members, settings, counters) is not the one that follows from its
    /// events.
    StateDiffers,
    /// A delivery is missing, so that the devices of its recipients never got the event.
    DeliveryMissing,
    /// A delivery has other content, or other recipients.
    DeliveryAltered,
    /// There is a delivery that no event has caused.
    DeliveryUnexpected,
    /// A delivery comes after a later one of its conversation, so that the clients' filter drops it.
    DeliveryOutOfOrder,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::RowMissing,
        Self::RowAltered,
        Self::RowUnexpected,
        Self::StateDiffers,
        Self::DeliveryMissing,
        Self::DeliveryAltered,
        Self::DeliveryUnexpected,
        Self::DeliveryOutOfOrder,
    ];

    /// Its name in JSON and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RowMissing => "row_missing",
            Self::RowAltered => "row_altered",
            Self::RowUnexpected => "row_unexpected",
            Self::StateDiffers => "state_differs",
            Self::DeliveryMissing => "delivery_missing",
            Self::DeliveryAltered => "delivery_altered",
            Self::DeliveryUnexpected => "delivery_unexpected",
            Self::DeliveryOutOfOrder => "delivery_out_of_order",
        }
    }
}

/// One difference, and where it is. It never contains message texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The kind of difference.
    pub fault: Fault,
    /// The topic of the event: `chat.messages`.
    pub topic: &'static str,
    /// The partition of the event.
    pub partition: u32,
    /// The offset of the event.
    pub offset: u64,
    /// The seq of the event.
    pub seq: Seq,
    /// The conversation of the event.
    pub conversation: ConversationId,
    /// The table of the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// The key of the row, by column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub key: BTreeMap<&'static str, String>,
    /// The partition of `chat.deliveries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_partition: Option<u32>,
    /// The offset there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_offset: Option<u64>,
    /// A description of the difference.
    pub words: String,
}

impl Difference {
    pub(super) fn of(fault: Fault, partition: u32, conversation: ConversationId, seq: Seq, words: String) -> Self {
        Self {
            fault,
            topic: MESSAGES,
            partition,
            offset: seq.offset(),
            seq,
            conversation,
            table: None,
            key: BTreeMap::new(),
            delivery_partition: None,
            delivery_offset: None,
            words,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, topic, partition, offset, seq, conversation, .. } = self;
        write!(f, "{}  {topic}/{partition}/{offset}  conversation {conversation}  seq {seq}", fault.name())?;
        if let Some(table) = self.table {
            let key: Vec<String> = self.key.iter().map(|(column, value)| format!("{column} {value}")).collect();
            write!(f, "  {table} ({})", key.join(", "))?;
        }
        if let Some(partition) = self.delivery_partition {
            let offset = self.delivery_offset.map(|offset| format!("/{offset}")).unwrap_or_default();
            write!(f, "  chat.deliveries/{partition}{offset}")?;
        }
        write!(f, ": {}", self.words)
    }
}

/// Counts of what was compared and what was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records of `chat.messages` read.
    pub records: u64,
    /// Events judged.
    pub events: u64,
    /// Events that were accepted.
    pub accepted: u64,
    /// Rows compared.
    pub rows: u64,
    /// Cells compared.
    pub cells: u64,
    /// Cells that a later event has overwritten: they are compared for that event.
    pub overwritten: u64,
    /// Conversations whose state was read back and compared.
    pub states: u64,
    /// Records of `chat.deliveries` read.
    pub delivery_records: u64,
    /// Deliveries compared, one for each event and partition of recipients.
    pub deliveries: u64,
    /// Recipients of those deliveries.
    pub recipients: u64,
    /// Deliveries that came more than once. They may: the clients' filter drops them.
    pub repeated: u64,
    /// Records that storage had not applied.
    pub storage_lag: u64,
    /// Events that the fan-out had not delivered, or whose conversation it had parked.
    pub fanout_lag: u64,
    /// Events skipped under holds or, in an audit that follows the log, records that wait behind the first of them.
    pub held: u64,
    /// Events that this program cannot judge, because they need a newer one.
    pub unknown: u64,
    /// Deliveries that may be missing because they were trimmed.
    pub trimmed: u64,
}

/// The result of an audit, or of the part of it that is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How much was compared, and how much was left out.
    #[serde(flatten)]
    pub counts: Counts,
    /// Numbers of differences, by kind.
    pub differences: BTreeMap<Fault, u64>,
    /// The offset at which the next audit begins, by partition.
    pub next: BTreeMap<u32, u64>,
}

impl Report {
    /// The number of all differences.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.differences.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { records, events, accepted, rows, cells, overwritten, states, .. } = self.counts;
        let Counts { delivery_records, deliveries, recipients, repeated, .. } = self.counts;
        let Counts { storage_lag, fanout_lag, held, unknown, trimmed, .. } = self.counts;
        writeln!(f, "{records} records, {events} events judged, {accepted} of them accepted")?;
        writeln!(f, "{rows} rows and {cells} cells compared, {overwritten} cells overwritten by later events")?;
        writeln!(f, "{states} conversations compared as they are read back")?;
        writeln!(f, "{deliveries} deliveries to {recipients} recipients compared, {repeated} repetitions")?;
        writeln!(f, "{delivery_records} records of chat.deliveries read")?;
        write!(f, "left out: {storage_lag} not applied yet, {fanout_lag} not delivered yet, {held} held, ")?;
        writeln!(f, "{unknown} of a later version, {trimmed} trimmed")?;
        let next: Vec<String> = self.next.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
        writeln!(f, "next: {}", next.join(","))?;
        write!(f, "{} differences", self.differences())
    }
}
