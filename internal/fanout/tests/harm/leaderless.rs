//! A delivery partition without a leader, and far more deliveries than any bound (issue 10, item 6): the others go on
//! at once, commits too, nothing piles up in memory, and when it has a leader again its devices get everything in
//! order, whatever was restarted meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{AppendError, AppendReceipt, Position};
use events::topics::DELIVERIES;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::*;

/// The deliveries of each user and conversation, by seq.
pub(super) type Deliveries = BTreeMap<(UserId, ConversationId), Vec<Seq>>;

/// Events in all: their deliveries to one partition are far beyond what may be in flight to it (a twelfth of 32 MiB).
const EVENTS: u64 = 8_000;
/// The size of each message.
const BODY_BYTES: usize = 4_000;
/// Far more conversations than may be parked in a partition.
const CONVERSATIONS: u64 = 2_000;

/// A log of which one partition of `chat.deliveries` acknowledges nothing while it has no leader. What it was handed by
/// then is lost, as with a producer that died.
pub(super) struct Leaderless {
    inner: SharedLog,
    partition: u32,
    sick: Mutex<Option<Vec<Waiting>>>,
}

/// A record that is not acknowledged, and its caller.
type Waiting = (NewRecord, oneshot::Sender<Result<Position, AppendError>>);

impl Leaderless {
    /// The partition has a leader, at first.
    pub(super) fn new(inner: SharedLog, partition: u32) -> Self {
        Self { inner, partition, sick: Mutex::new(None) }
    }

    /// The partition has no leader from now on.
    pub(super) fn falls_sick(&self) {
        self.sick.lock().unwrap().get_or_insert_default();
    }

    /// The number of records that it was handed and has not acknowledged.
    pub(super) fn waiting(&self) -> usize {
        self.sick.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    /// Gives it a leader again, and appends what it was handed, in order.
    pub(super) async fn heal(&self) {
        loop {
            let waiting = {
                let mut sick = self.sick.lock().unwrap();
                let waiting = sick.take().filter(|waiting| !waiting.is_empty());
                // Records that come meanwhile wait behind these.
                *sick = waiting.as_ref().map(|_| Vec::new());
                waiting
            };
            for (record, report) in waiting.into_iter().flatten() {
                // The caller may be gone with its process.
                let _ = report.send(append(&*self.inner, DELIVERIES, record).await);
            }
            if self.sick.lock().unwrap().is_none() {
                return;
            }
        }
    }

    /// The producer is gone, and the records that it was handed with it.
    pub(super) fn forget(&self) {
        if let Some(waiting) = self.sick.lock().unwrap().as_mut() {
            waiting.clear();
        }
    }
}

#[async_trait]
impl LogWrapper for Leaderless {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        if topic == DELIVERIES && record.partition == Some(self.partition) {
            let mut sick = self.sick.lock().unwrap();
            if let Some(waiting) = sick.as_mut() {
                let (report, receipt) = AppendReceipt::new();
                waiting.push((record, report));
                return Ok(receipt);
            }
        }
        self.inner.enqueue(topic, record).await
    }
}

fn person(number: u64) -> UserId {
    format!("00000000-0000-4000-8000-{number:012x}").parse().unwrap()
}

pub(super) fn partition_of(user: UserId) -> u32 {
    eventlog::partition_of_id(user.uuid(), spec_of(DELIVERIES).partitions)
}

/// Event `number` of all: the pairs take turns.
async fn say_one(log: &SharedLog, number: u64, expected: &mut Deliveries) {
    let (pair, turn) = (number % CONVERSATIONS, number / CONVERSATIONS);
    let (author, other) = (person(2 * pair), person(2 * pair + 1));
    let conversation = ConversationId::direct(author, other);
    let action = match turn {
        0 => Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![other] }),
        _ => Action::SendMessage(SendMessage { body: "m".repeat(BODY_BYTES).into(), reply_to: None, thread: None }),
    };
    let id = CommandId::first_at(1_700_000_000_000 + i64::try_from(number).unwrap());
    let event = Event {
        id,
        conversation,
        author,
        received_ms: 1_700_000_000_000,
        rules: RULES_NEWEST,
        key_id: None,
        looked_up: true,
        action,
    };
    let encoded = Codec::compiled_in().event(&event);
    let key = conversation.to_string();
    let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
    let place = append(&**log, MESSAGES, record).await.unwrap();
    for user in [author, other] {
        expected.entry((user, conversation)).or_default().push(Seq::new(0, place.offset).unwrap());
    }
}

/// The devices of one delivery partition, with what their filter lets through.
pub(super) struct Devices {
    partition: u32,
    delivered: Deliveries,
    next: u64,
}

impl Devices {
    pub(super) fn of(partition: u32) -> Self {
        Self { partition, delivered: Deliveries::new(), next: 0 }
    }

    /// Reads on; returns the number of events that are missing.
    async fn lack(&mut self, log: &SharedLog, expected: &Deliveries) -> usize {
        let codec = Codec::compiled_in();
        let mut reader = log.reader(DELIVERIES, self.partition, self.next).await.unwrap();
        while self.next < log.watermarks(DELIVERIES, self.partition).await.unwrap().next {
            for record in reader.next(500).await.unwrap() {
                self.next = record.offset + 1;
                let Some(delivery) = codec.read_delivery(&record.headers, &record.payload).unwrap() else { continue };
                let (conversation, seq) = delivery.event_key.unwrap();
                for user in delivery.recipients {
                    let seqs = self.delivered.entry((user, conversation)).or_default();
                    if seqs.last().is_none_or(|last| *last < seq) {
                        seqs.push(seq);
                    }
                }
            }
        }
        let wanted = expected.iter().filter(|((user, _), _)| partition_of(*user) == self.partition);
        let lack = |key, seqs: &Vec<Seq>| {
            let delivered = self.delivered.get(key).map_or(&[][..], Vec::as_slice);
            assert!(
                seqs.starts_with(delivered),
                "delivery partition {}: {key:?}: {delivered:?} of {seqs:?}",
                self.partition
            );
            seqs.len() - delivered.len()
        };
        wanted.map(|(key, seqs)| lack(key, seqs)).sum()
    }

    /// Waits until every device has got everything, in order.
    pub(super) async fn all_delivered(&mut self, log: &SharedLog, expected: &Deliveries, within: Duration) {
        let mut left = within.as_secs();
        loop {
            let lack = self.lack(log, expected).await;
            if lack == 0 {
                return;
            }
            assert!(left > 0, "delivery partition {}: {lack} events are missing", self.partition);
            left -= 1;
            sleep(Duration::from_secs(1)).await; // virtual time: lets the fan-out go on
        }
    }
}

/// Waits until all of `chat.messages` is committed.
async fn all_committed(log: &SharedLog) {
    for partition in 0..spec_of(MESSAGES).partitions {
        let (at, end) =
            (TopicPartition::new(MESSAGES, partition), log.watermarks(MESSAGES, partition).await.unwrap().next);
        timeout(Duration::from_secs(60), async {
            while log.committed(GROUP_FANOUT, &at).await.unwrap().unwrap().next < end {
                sleep(Duration::from_millis(500)).await; // virtual time: lets the fan-out commit
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{at} is not committed up to {end}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_partition_without_a_leader_stops_nobody_far_beyond_every_bound() {
    let (inner, store) = (log(1_700_000_000_000).await, new_store().await);
    let sick = partition_of(person(1));
    let leaderless = Arc::new(Leaderless::new(inner.clone(), sick));
    leaderless.falls_sick();
    let log: SharedLog = leaderless.clone();
    let storage = Running::storage(&log, &store, RULES_NEWEST);
    let running = Running::fanout(&log, &store);
    let mut expected = Deliveries::new();
    for number in 0..EVENTS {
        say_one(&log, number, &mut expected).await;
        if number % 500 == 499 {
            sleep(Duration::from_millis(500)).await; // virtual time: as if they came by and by
        }
    }
    let (mut healthy, mut behind): (Vec<_>, Vec<_>) =
        (0..spec_of(DELIVERIES).partitions).map(Devices::of).partition(|devices| devices.partition != sick);
    for devices in &mut healthy {
        devices.all_delivered(&inner, &expected, Duration::from_secs(30)).await;
    }
    let lack = behind[0].lack(&inner, &expected).await;
    assert!(lack > 500 && behind[0].delivered.is_empty(), "one partition is sick: {lack}");
    let handed = leaderless.waiting();
    assert!((10..1_000).contains(&handed), "{handed} records wait in memory, and no more");
    all_committed(&log).await;
    assert!(running.tells("fanout_lagging_partitions 12"), "{}", running.metrics.text());

    // The process is killed, and its producer with what it was handed; the next one is stopped in order.
    running.task.abort();
    let _ = running.task.await;
    leaderless.forget();
    let next = Running::fanout(&log, &store);
    for number in EVENTS..EVENTS + CONVERSATIONS {
        say_one(&log, number, &mut expected).await;
    }
    for devices in &mut healthy {
        devices.all_delivered(&inner, &expected, Duration::from_secs(30)).await;
    }
    timeout(Duration::from_secs(6), next.stop()).await.expect("the end does not wait for that partition");
    leaderless.forget();
    let last = Running::fanout(&log, &store);
    sleep(Duration::from_secs(10)).await; // virtual time: it is sick for the third one, too

    leaderless.heal().await;
    behind[0].all_delivered(&inner, &expected, Duration::from_secs(120)).await;
    for devices in &mut healthy {
        devices.all_delivered(&inner, &expected, Duration::from_secs(1)).await;
    }
    timeout(Duration::from_secs(60), async {
        while !last.tells("fanout_lagging_partitions 0") {
            sleep(Duration::from_secs(1)).await; // virtual time: its followers end when they have caught up
        }
    })
    .await
    .expect("it lags no more");
    last.stop().await;
    storage.stop().await;
}
