//! The order of deliveries across portions: each must come after the earlier ones of its conversation.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use domain::{ConversationId, Seq};
use lru::LruCache;

use super::deliveries::{SKEW_WIDE_MS, Search, delivery_difference};
use super::report::{Difference, Fault};
use crate::OpsError;

/// The most conversations and delivery partitions whose last delivery is remembered.
const LAST_MAX: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// A delivery of a portion, at the offset where it was first found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// The partition of the event.
    pub(super) home: u32,
    pub(super) conversation: ConversationId,
    pub(super) seq: Seq,
    /// The append time of the event.
    pub(super) time_ms: i64,
    pub(super) offset: u64,
}

/// State that is kept from one portion to the next.
#[derive(Debug)]
pub(super) struct LastDeliveries {
    /// The last delivery of a conversation in a delivery partition.
    last: LruCache<(u32, ConversationId), Found>,
    /// The offset of the first delivery of the last portion, by delivery partition.
    begins: BTreeMap<u32, u64>,
}

impl LastDeliveries {
    pub(super) fn new() -> Self {
        Self { last: LruCache::new(LAST_MAX), begins: BTreeMap::new() }
    }

    /// The offset at which the next portion's deliveries are likely to begin.
    pub(super) fn begin(&self, partition: u32) -> u64 {
        self.begins.get(&partition).copied().unwrap_or(0)
    }
}

impl Search<'_> {
    /// Compares a portion's deliveries in one partition, by conversation and seq, with those of the portions before.
    pub(super) async fn remember(&mut self, partition: u32, found: Vec<Found>) -> Result<Vec<Difference>, OpsError> {
        let mut differences = Vec::new();
        if let Some(first) = found.iter().map(|found| found.offset).min() {
            self.lasts.begins.insert(partition, first);
        }
        let mut newest: BTreeMap<ConversationId, Found> = BTreeMap::new();
        for this in found {
            let before = self.lasts.last.get(&(partition, this.conversation)).copied();
            if let Some(last) = before.filter(|last| last.seq < this.seq && last.offset > this.offset)
                && !self.stands_before(partition, last, this.offset).await?
            {
                let words = format!("it stands before that of seq {} at {}", last.seq, last.offset);
                let (event, at) = ((this.home, this.conversation, this.seq), (partition, this.offset));
                differences.push(delivery_difference(Fault::DeliveryOutOfOrder, event, at, words));
            }
            newest.insert(this.conversation, this);
        }
        for (conversation, last) in newest {
            self.lasts.last.put((partition, conversation), last);
        }
        Ok(differences)
    }

    /// Whether that delivery is also found before `end`: the offset first found may have been that of a repetition.
    async fn stands_before(&mut self, partition: u32, delivery: Found, end: u64) -> Result<bool, OpsError> {
        let reader = self.reader(partition, delivery.time_ms - SKEW_WIDE_MS, 0).await?;
        let Some(mut reader) = reader else { return Ok(false) };
        loop {
            let records = self.records(&mut reader, end).await?;
            if records.is_empty() {
                return Ok(false);
            }
            for record in records.iter().filter(|record| record.offset < end) {
                let read = self.codec.read_delivery(&record.headers, &record.payload);
                if read.is_ok_and(|read| {
                    read.and_then(|read| read.event_key) == Some((delivery.conversation, delivery.seq))
                }) {
                    return Ok(true);
                }
            }
        }
    }
}
