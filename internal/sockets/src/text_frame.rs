//! A text message of the websocket as it is written: its header and its text in one buffer, made once and shared by
//! all sockets that write it.
//!
//! Tungstenite, which reads from sockets, would copy each text into a buffer of each socket, and keep that buffer.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

/// The first byte of a text message in one frame (RFC 6455, section 5.2): final, opcode 1. A server masks nothing.
const FINAL_TEXT: u8 = 0x81;
/// The longest header.
const HEADER_BYTES_MAX: usize = 10;
/// Frames share buffers of about this size: large enough that one allocation serves many frames, and small because
/// one frame that waits for a slow device keeps its whole buffer.
const SHARED_BYTES: usize = 4 * 1024;

/// A text message with its header. Empty when there is nothing to write. Debug output shows only the length, because
/// the text may be what a user wrote.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct TextFrame(Bytes);

/// Makes frames that share buffers.
#[derive(Debug)]
pub(crate) struct TextFrames {
    buffer: BytesMut,
    /// Bytes that the frames to come will take, approximately.
    to_come: usize,
}

impl TextFrame {
    pub(crate) fn new(text: &str) -> Self {
        let mut buffer = BytesMut::with_capacity(HEADER_BYTES_MAX + text.len());
        put(&mut buffer, text);
        Self(buffer.freeze())
    }

    /// Its bytes with the header.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn text(&self) -> &str {
        let header = match self.0.get(1) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        };
        self.0.get(header..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// The bytes of the buffer that this frame keeps, if it is the only one of it.
    #[cfg(test)]
    pub(crate) fn kept(self) -> usize {
        self.0.try_into_mut().map_or(0, |buffer| buffer.capacity())
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl TextFrames {
    /// For frames of about so many bytes in total: what is allocated beyond them would be kept, unused, as long as they
    /// are.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), to_come: bytes }
    }

    pub(crate) fn frame(&mut self, text: &str) -> TextFrame {
        let bytes = HEADER_BYTES_MAX + text.len();
        if self.buffer.capacity() < bytes {
            self.buffer = BytesMut::with_capacity(bytes.max(self.to_come.min(SHARED_BYTES)));
        }
        self.to_come = self.to_come.saturating_sub(bytes);
        put(&mut self.buffer, text);
        TextFrame(self.buffer.split().freeze())
    }
}

fn put(buffer: &mut BytesMut, text: &str) {
    buffer.put_u8(FINAL_TEXT);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ ..=125), _) => buffer.put_u8(length),
        (_, Ok(length)) => {
            buffer.put_u8(126);
            buffer.put_u16(length);
        }
        _ => {
            buffer.put_u8(127);
            buffer.put_u64(text.len() as u64);
        }
    }
    buffer.put_slice(text.as_bytes());
}

impl fmt::Debug for TextFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[frame of {} bytes]", self.len())
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use futures_util::StreamExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A batch of one record, as on a quiet day, must not keep a buffer for ten.
    #[test]
    fn a_frame_alone_takes_the_memory_of_one() {
        let mut frames = TextFrames::new(300);
        frames.frame(&"x".repeat(290));
        assert!(frames.buffer.capacity() < 32, "{}", frames.buffer.capacity());
    }

    /// At every border of the header's length, and across several shared buffers.
    #[tokio::test]
    async fn a_client_reads_what_was_framed() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 100_000].into_iter().chain((0..200).map(|more| more * 7));
        let texts: Vec<String> = lengths.map(|length| "\u{e9}x".repeat(length / 3 + 1)[..].to_owned()).collect();
        let mut frames = TextFrames::new(texts.iter().map(String::len).sum());
        let shared: Vec<TextFrame> = texts.iter().map(|text| frames.frame(text)).collect();
        let own: Vec<TextFrame> = texts.iter().map(|text| TextFrame::new(text)).collect();
        assert_eq!(shared, own);
        assert!(shared.iter().zip(&texts).all(|(frame, text)| frame.text() == text));
        assert_eq!(TextFrame::default().text(), "");
        let (mut server, client) = tokio::io::duplex(1 << 20);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let written = tokio::spawn(async move {
            for frame in shared {
                server.write_all(&frame.into_bytes()).await.unwrap();
            }
            server
        });
        for text in texts {
            assert_eq!(client.next().await.unwrap().unwrap(), Message::text(text));
        }
        written.await.unwrap();
    }
}
