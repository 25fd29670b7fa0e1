//! The floor of the websocket service: reads `chat.deliveries`, and writes each record, as it is, to the socket of the
//! user in its key. No cursors, no resume, no checks, no limits.

use std::sync::Arc;

use anyhow::Result;
use rdkafka::Message as _;
use rdkafka::consumer::BaseConsumer;
use tokio::net::TcpListener;

use crate::kafka;
use crate::sockets::Sockets;

pub(crate) async fn run(listener: TcpListener) -> Result<()> {
    let (sockets, consumer) = (Arc::new(Sockets::default()), kafka::at_the_end("chat.deliveries")?);
    let reading = Arc::clone(&sockets);
    std::thread::spawn(move || read(&consumer, &reading));
    sockets.serve(listener).await
}

fn read(consumer: &BaseConsumer, sockets: &Sockets) {
    while let Some(polled) = consumer.poll(None) {
        let Ok(record) = polled else { continue };
        sockets.write(record.key().unwrap_or_default(), record.payload().unwrap_or_default());
    }
}
