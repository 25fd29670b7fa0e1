//! The floor of the way of a message: from a socket to the first topic and an `ack`; a second process reads it there and
//! writes it to the second topic; from there to the sockets of its conversation. No rules, no store, no cursors.
//!
//! A conversation is named by its users' ids, with a dot between them, which is also the key of its records.

use std::sync::Arc;

use anyhow::Result;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use tokio::net::TcpListener;

use crate::kafka;
use crate::sockets::Sockets;

pub(crate) const FIRST: &str = "bare.first";
const SECOND: &str = "bare.second";

pub(crate) async fn talk(listener: TcpListener) -> Result<()> {
    let producer = kafka::producer()?.create()?;
    let (sockets, consumer) = (Arc::new(Sockets::taking_messages(producer)), kafka::at_the_end(SECOND)?);
    let reading = Arc::clone(&sockets);
    std::thread::spawn(move || read(&consumer, &reading));
    sockets.serve(listener).await
}

fn read(consumer: &BaseConsumer, sockets: &Sockets) {
    kafka::each(consumer, |users, payload| {
        for user in users.split(|byte| *byte == b'.') {
            sockets.write(user, payload);
        }
    });
}

pub(crate) async fn hop(listener: TcpListener) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = kafka::producer()?.create()?;
    let consumer = kafka::at_the_end(FIRST)?;
    std::thread::spawn(move || pass_on(&consumer, &producer));
    Arc::new(Sockets::default()).serve(listener).await
}

fn pass_on(consumer: &BaseConsumer, producer: &ThreadedProducer<DefaultProducerContext>) {
    kafka::each(consumer, |key, payload| {
        // A record that is not taken is missed at the sockets, and makes the run void.
        let _ = producer.send(BaseRecord::to(SECOND).key(key).payload(payload));
    });
}
