//! A record of all appends to `chat.deliveries`, since the log itself trims that topic.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eventlog::{NewRecord, Position};
use events::topics::{DELIVERIES, spec_of};
use events::{Codec, Delivery};

use crate::trace::Trace;

/// Sees every append of every process.
#[derive(Debug)]
pub(crate) struct Recorder {
    trace: Arc<Trace>,
    codec: Codec,
    /// By partition: each delivery with its epoch (how often the topic had been re-created) and offset.
    deliveries: Mutex<Vec<Vec<(u32, u64, Delivery)>>>,
    /// How often `chat.deliveries` was re-created.
    recreated: AtomicU32,
    appended: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(trace: Arc<Trace>, codec: Codec) -> Arc<Self> {
        let deliveries = Mutex::new(vec![Vec::new(); spec_of(DELIVERIES).partitions as usize]);
        Arc::new(Self { trace, codec, deliveries, recreated: AtomicU32::new(0), appended: AtomicU64::new(0) })
    }

    /// Notes that `chat.deliveries` was re-created.
    pub(crate) fn recreated(&self) {
        self.recreated.fetch_add(1, Ordering::SeqCst);
    }

    /// The present epoch of `chat.deliveries`: to be read when a record is enqueued.
    pub(crate) fn epoch(&self) -> u32 {
        self.recreated.load(Ordering::SeqCst)
    }

    /// Notes that `who` appended `record`, enqueued in that epoch.
    pub(crate) fn appended(&self, who: &str, topic: &str, record: &NewRecord, (epoch, position): (u32, Position)) {
        self.appended.fetch_add(1, Ordering::SeqCst);
        self.trace.note(&format!("{who} appends {topic}/{} at {}", position.partition, position.offset));
        self.trace.count(match topic {
            DELIVERIES => "deliveries appended",
            events::topics::MESSAGES => "events appended",
            _ => "other records appended",
        });
        if topic != DELIVERIES {
            return;
        }
        if let Ok(Some(delivery)) = self.codec.read_delivery(&record.headers, &record.payload) {
            self.trace.note(&delivery.frame);
            self.lock()[position.partition as usize].push((epoch, position.offset, delivery));
        }
    }

    /// The number of appended records.
    pub(crate) fn appended_so_far(&self) -> u64 {
        self.appended.load(Ordering::SeqCst)
    }

    /// All deliveries, by partition, in the order of epochs and offsets.
    pub(crate) fn deliveries(&self) -> Vec<Vec<(u64, Delivery)>> {
        let mut all = self.lock().clone();
        all.iter_mut().for_each(|partition| partition.sort_by_key(|(epoch, offset, _)| (*epoch, *offset)));
        let in_order = |partition: Vec<(u32, u64, Delivery)>| {
            partition.into_iter().map(|(_, offset, delivery)| (offset, delivery)).collect()
        };
        all.into_iter().map(in_order).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<(u32, u64, Delivery)>>> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
