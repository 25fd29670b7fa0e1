//! The messages that are to be written to one socket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::text_frame::TextFrame;

/// Messages that are written by one call of the system.
const SLICES_MAX: usize = 64;

/// A queue that had room for more messages than this gives its memory back once it is empty.
const IDLE_MAX: usize = 4;

/// A queue of messages. Whoever adds to it bounds how much.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    messages: VecDeque<Bytes>,
    /// Whether a part of the first one is written.
    cut: bool,
}

impl WriteQueue {
    pub(crate) fn push(&mut self, text: TextFrame) {
        self.messages.push_back(text.into_bytes());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Writes at least a part of the first message. Cancel safe.
    pub(crate) async fn write_some(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        // The slices are not kept across the wait: every socket would have room for them for as long as it is open.
        let written = poll_fn(|context| {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            for (slice, message) in slices.iter_mut().zip(&self.messages) {
                *slice = IoSlice::new(message);
            }
            let count = self.messages.len().min(SLICES_MAX);
            Pin::new(&mut *stream).poll_write_vectored(context, slices.get(..count).unwrap_or_default())
        });
        match written.await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => {
                self.drop_written(written);
                Ok(())
            }
        }
    }

    /// Writes the rest of a message of which a part is written already, and drops all others: so that something else
    /// can be written.
    pub(crate) async fn finish(self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        match self.messages.front().filter(|_| self.cut) {
            Some(rest) => stream.write_all(rest).await,
            None => Ok(()),
        }
    }

    fn drop_written(&mut self, mut written: usize) {
        self.cut = false;
        while let Some(message) = self.messages.front_mut() {
            if written < message.len() {
                message.advance(written);
                self.cut = written > 0;
                return;
            }
            written -= message.len();
            self.messages.pop_front();
        }
        if self.messages.capacity() > IDLE_MAX {
            self.messages = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};
    use tokio::io::DuplexStream;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    fn queue() -> WriteQueue {
        let mut queue = WriteQueue::default();
        (0..200_usize).for_each(|number| queue.push(TextFrame::new(&"x".repeat(number))));
        queue
    }

    async fn read(client: DuplexStream) -> Vec<usize> {
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let read = client.map(|message| match message {
            Ok(Message::Text(text)) => Some(text.len()),
            _ => None,
        });
        read.take_while(|length| std::future::ready(length.is_some())).filter_map(std::future::ready).collect().await
    }

    #[tokio::test]
    async fn everything_is_written_in_order_however_little_the_stream_takes() {
        for room in [1, 2, 3, 100, 1 << 20] {
            let (mut server, client) = tokio::io::duplex(room);
            let reading = tokio::spawn(read(client));
            let mut queue = queue();
            while !queue.is_empty() {
                queue.write_some(&mut server).await.unwrap();
            }
            queue.finish(&mut server).await.unwrap();
            drop(server);
            assert!(reading.await.unwrap().into_iter().eq(0..200), "{room}");
        }
    }

    /// A socket that is closed while its device reads nothing: the device must find whole messages up to the close.
    #[tokio::test]
    async fn what_was_begun_is_finished_and_nothing_else() {
        for room in 1..600 {
            let (mut server, client) = tokio::io::duplex(room);
            let mut queue = queue();
            while let Some(written) = queue.write_some(&mut server).now_or_never() {
                written.unwrap();
            }
            let begun = 200 - queue.messages.len() + usize::from(queue.cut);
            let reading = tokio::spawn(read(client));
            queue.finish(&mut server).await.unwrap();
            server.write_all(&[0x88, 0]).await.unwrap(); // a close frame
            assert!(reading.await.unwrap().into_iter().eq(0..begun), "{room}");
        }
    }
}
