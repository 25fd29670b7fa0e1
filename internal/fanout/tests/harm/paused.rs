//! A fan-out that has no room to park one more conversation.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{LogError, PartitionReader, Record};
use events::topics::DELIVERIES;
use fanout::PARKED_MAX;
use tokio::time::sleep;
use uuid::Uuid;

use super::*;
use crate::leaderless::{Deliveries, Devices};

/// A log that counts the open readers of `chat.messages`.
struct Counted {
    inner: SharedLog,
    open: Arc<AtomicI64>,
}

struct CountedReader {
    inner: Box<dyn PartitionReader>,
    open: Arc<AtomicI64>,
}

#[async_trait]
impl LogWrapper for Counted {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let inner = self.inner.reader(topic, partition, from).await?;
        if topic != MESSAGES || partition != partition_in(MESSAGES).partition {
            return Ok(inner);
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(CountedReader { inner, open: Arc::clone(&self.open) }))
    }
}

#[async_trait]
impl PartitionReader for CountedReader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        self.inner.next(records_max).await
    }
}

impl Drop for CountedReader {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Creates conversations of two in the partition of [`conversation`]; returns what has to be delivered.
async fn create_more_than_can_be_parked(log: &SharedLog) -> Deliveries {
    let at = partition_in(MESSAGES);
    let person = |n: u128| UserId::try_from(Uuid::from_u128((4 << 76) | (8 << 60) | n)).unwrap();
    let of = |n: u128| ConversationId::direct(person(2 * n), person(2 * n + 1));
    let fits = |n: &u128| eventlog::partition_of_id(of(*n).uuid(), spec_of(MESSAGES).partitions) == at.partition;
    let mut expected = Deliveries::new();
    for n in (1..).filter(fits).take(PARKED_MAX + 20) {
        let create = Create { kind: ConversationKind::Direct, title: None, members: vec![person(2 * n + 1)] };
        let event = Event {
            id: CommandId::first_at(1_700_000_000_000),
            conversation: of(n),
            author: person(2 * n),
            received_ms: 1_700_000_000_000,
            rules: RULES_NEWEST,
            key_id: None,
            looked_up: true,
            action: Action::Create(create),
        };
        let encoded = Codec::compiled_in().event(&event);
        let (key, partition) = (of(n).to_string(), Some(at.partition));
        let record = NewRecord { key, partition, headers: encoded.headers, payload: encoded.payload };
        let place = append(&**log, MESSAGES, record).await.unwrap();
        for user in [person(2 * n), person(2 * n + 1)] {
            expected.insert((user, of(n)), vec![Seq::new(0, place.offset).unwrap()]);
        }
    }
    expected
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_that_must_pause_has_no_reader_and_goes_on_with_what_it_had_not_read() {
    let (inner, store, open) = (log(1_700_000_000_000).await, new_store().await, Arc::new(AtomicI64::new(0)));
    let log: SharedLog = Arc::new(Counted { inner: inner.clone(), open: Arc::clone(&open) });
    let expected = create_more_than_can_be_parked(&inner).await;
    // Storage does not run, so nothing of what they need is known.
    let fanout = Running::fanout(&log, &store);
    sleep(Duration::from_secs(5)).await; // virtual time: takes in, parks, and pauses
    assert!(fanout.tells(&format!("klatsch_fanout_parked {PARKED_MAX}")), "{}", fanout.metrics.text());
    let paused = open.load(Ordering::SeqCst);
    let storage = Running::storage(&inner, &store, RULES_NEWEST);
    for partition in 0..spec_of(DELIVERIES).partitions {
        Devices::of(partition).all_delivered(&inner, &expected, Duration::from_secs(600)).await;
    }
    assert_eq!(open.load(Ordering::SeqCst), 1, "it reads again");
    assert_eq!(paused, 0, "nothing is fetched ahead while it reads nothing");
    fanout.stop().await;
    storage.stop().await;
}
