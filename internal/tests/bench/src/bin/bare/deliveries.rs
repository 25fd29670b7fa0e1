//! The floor of the websocket service: reads `chat.deliveries`, and writes each record, as it is, to the socket of the
//! user in its key. No cursors, no resume, no checks, no limits.

use std::sync::Arc;

use anyhow::Result;
use tokio::net::TcpListener;

use crate::kafka;
use crate::sockets::Sockets;

pub(crate) async fn run(listener: TcpListener) -> Result<()> {
    let (sockets, consumer) = (Arc::new(Sockets::default()), kafka::at_the_end("chat.deliveries")?);
    let reading = Arc::clone(&sockets);
    std::thread::spawn(move || kafka::each(&consumer, |user, frame| reading.write(user, frame)));
    sockets.serve(listener).await
}
