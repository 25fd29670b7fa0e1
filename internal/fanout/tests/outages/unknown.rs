//! A read mark of an unknown schema while the store is away.

use std::time::Duration;

use bytes::Bytes;
use domain::{ConversationId, RULES_NEWEST, Seq, UserId};
use eventlog::{Header, NewRecord, TopicPartition, append};
use events::topics::{DELIVERIES, GROUP_FANOUT, RECEIPTS, spec_of};
use events::{Codec, ReadMark};
use store::Consumer;
use tokio::time::sleep;
use uuid::Uuid;

use crate::faulty::State;
use crate::lives;
use crate::world::{PARTITION, World};

fn user() -> UserId {
    UserId::try_from(Uuid::from_u128(7)).unwrap()
}

async fn put(world: &World, headers: Vec<Header>, payload: Bytes) {
    let key = ConversationId::direct(user(), user()).to_string();
    append(&*world.log, RECEIPTS, NewRecord { key, partition: Some(PARTITION), headers, payload }).await.unwrap();
}

async fn put_mark(world: &World) {
    let (conversation, seq) = (ConversationId::direct(user(), user()), Seq::new(0, 1).unwrap());
    let encoded = Codec::compiled_in().read_mark(&ReadMark { user: user(), conversation, seq, ordinal: 1 });
    put(world, encoded.headers, encoded.payload).await;
}

/// The frames of read marks that were delivered.
async fn relayed(world: &World) -> usize {
    let mut found = 0;
    for partition in 0..spec_of(DELIVERIES).partitions {
        let next = world.log.watermarks(DELIVERIES, partition).await.unwrap().next;
        let (mut reader, mut at) = (world.log.reader(DELIVERIES, partition, 0).await.unwrap(), 0);
        while at < next {
            for record in reader.next(500).await.unwrap() {
                at = record.offset + 1;
                let delivery = Codec::compiled_in().read_delivery(&record.headers, &record.payload).unwrap();
                found += usize::from(delivery.is_some_and(|delivery| delivery.frame.contains("\"read\"")));
            }
        }
    }
    found
}

async fn committed(world: &World) -> u64 {
    let at = TopicPartition::new(RECEIPTS, PARTITION);
    world.log.committed(GROUP_FANOUT, &at).await.unwrap().unwrap().next
}

async fn goes_on(state: State) {
    let mut world = World::new().await;
    put_mark(&world).await;
    world.start("fanout", RULES_NEWEST);
    sleep(Duration::from_secs(5)).await; // virtual time: lets it commit
    assert_eq!((relayed(&world).await, committed(&world).await), (1, 2));
    world.fate.set(state);
    put(&world, Vec::new(), Bytes::from_static(b"\0\0\x01\0\0datum")).await;
    for round in 2..9 {
        put_mark(&world).await;
        sleep(Duration::from_secs(1)).await; // virtual time
        assert_eq!(relayed(&world).await, round, "what can be read does not wait for the store");
        sleep(Duration::from_secs(10)).await; // virtual time: it looks at its holds, too
    }
    assert_eq!(committed(&world).await, 2, "not beyond a record of which no row says that it is held");
    world.fate.set(State::Well);
    sleep(Duration::from_secs(60)).await; // virtual time
    assert_eq!((committed(&world).await, world.held(Consumer::MarksRelay).await.len()), (10, 1));
    world.stop("fanout").await;
}

#[test]
fn a_record_that_cannot_be_read_delays_nobody_while_the_store_is_away() {
    lives(goes_on(State::Away));
}

#[test]
fn a_record_that_cannot_be_read_delays_nobody_while_the_store_hangs() {
    lives(goes_on(State::Hangs));
}
