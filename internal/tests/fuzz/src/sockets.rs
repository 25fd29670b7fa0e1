//! Frames that a device sends over its socket.

use domain::UserId;
use protocol::{ClientFrame, ServerFrame};

use crate::comes_back;

/// The longest message of an error frame: a client cannot make the server send a longer one.
const WORDS_MAX: usize = 200;

/// The input is a text frame of a device.
pub(crate) fn socket_frame(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match sockets::parse_frame(text) {
        Ok(frame) => {
            comes_back(&frame);
            if let ClientFrame::Command(command) = frame {
                let author: UserId = "00000000-0000-4000-8000-000000000001".parse().expect("an id");
                if let Ok((id, conversation, action)) = command.into_action(author) {
                    let same = action.payload_hash() == action.clone().payload_hash();
                    assert!(same, "{id} in {conversation}");
                }
            }
        }
        Err(refusal) => {
            comes_back(&refusal);
            let ServerFrame::Error { message, .. } = refusal else { panic!("a refusal is an error frame") };
            assert!(!message.is_empty() && message.chars().count() <= WORDS_MAX);
        }
    }
}
