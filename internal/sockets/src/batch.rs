//! Several frames in one websocket message, for devices that asked for batches: fewer messages to write and to
//! read, and one cursor for all frames of a message.

use crate::text_frame::TextFrame;

/// The largest batch, in bytes, approximately. A frame that is larger is sent alone.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// The frames in their order, in as few messages as the bound allows. A frame that is alone in its message stays
/// as it is.
pub(crate) fn batched(frames: Vec<TextFrame>) -> Vec<TextFrame> {
    let (mut texts, mut open, mut bytes) = (Vec::new(), Vec::new(), 0);
    for frame in frames {
        bytes += frame.len();
        if bytes > BATCH_BYTES_MAX && !open.is_empty() {
            bytes = frame.len();
            texts.push(text_of(std::mem::take(&mut open)));
        }
        open.push(frame);
    }
    if !open.is_empty() {
        texts.push(text_of(open));
    }
    texts
}

fn text_of(mut frames: Vec<TextFrame>) -> TextFrame {
    match frames.pop() {
        Some(only) if frames.is_empty() => only,
        Some(last) => {
            frames.push(last);
            let texts: Vec<&str> = frames.iter().map(TextFrame::text).collect();
            TextFrame::new(&protocol::batch(&texts))
        }
        None => TextFrame::default(),
    }
}

#[cfg(test)]
mod tests {
    use domain::{Cursor, Fingerprint};
    use protocol::ServerFrame;

    use super::*;

    #[test]
    fn frames_stay_in_order_and_texts_are_bounded() {
        let frame = |next: u64| {
            let cursor = Cursor { generation: 0, partition: 1, next, fingerprint: Fingerprint(next) };
            let padding = "x".repeat(if next == 40 { BATCH_BYTES_MAX } else { 4000 });
            let text = format!(r#"{{"type":"test","at":{next},"text":"{padding}"}}"#);
            TextFrame::new(&protocol::with_cursor(&cursor, &text))
        };
        let texts = batched((1..=50).map(frame).collect());
        let mut at = 0;
        for text in &texts {
            let value: serde_json::Value = serde_json::from_str(text.text()).unwrap();
            let (cursor, frames) = match serde_json::from_value(value.clone()) {
                Ok(ServerFrame::Batch { cursor, frames }) => {
                    (cursor, frames.into_iter().map(|frame| frame.0).collect())
                }
                _ => (serde_json::from_value(value["cursor"].clone()).unwrap(), vec![value]),
            };
            assert!(frames.len() == 1 || text.len() <= BATCH_BYTES_MAX + 64);
            for frame in frames {
                at += 1;
                assert_eq!(frame["at"], at);
            }
            assert_eq!((cursor.next, cursor.fingerprint), (at, Fingerprint(at)));
        }
        assert_eq!(at, 50);
        assert!(texts.len() < 8, "{}", texts.len());
        assert!(batched(Vec::new()).is_empty());
    }
}
