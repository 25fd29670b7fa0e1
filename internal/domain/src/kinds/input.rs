//! What can be told of a field by itself, as a sentence for the client. The reducer judges the same at log order.

use crate::limits::{BODY_BYTES_MAX, MEMBERS_PER_EVENT_MAX};
use crate::{MessageText, UserId, words};

pub(super) fn member_count(members: &[UserId]) -> Result<(), String> {
    if members.len() <= MEMBERS_PER_EVENT_MAX {
        return Ok(());
    }
    Err(format!(
        "{} members at once; at most {MEMBERS_PER_EVENT_MAX}: add the others with further commands",
        members.len()
    ))
}

/// A title or the like: empty, or one line that shows what it is.
pub(super) fn label(what: &str, label: &str, bytes_max: usize) -> Result<(), String> {
    if !label.is_empty() {
        words::check_label(label).map_err(|fault| format!("the {what} {}", fault.words()))?;
    }
    fits(what, label, bytes_max)
}

/// What is written in a message.
pub(super) fn body(body: &MessageText) -> Result<(), String> {
    text("body", body.reveal(), BODY_BYTES_MAX)
}

/// A text that shows something.
pub(super) fn text(what: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if !words::has_visible(text) {
        return Err(format!("the {what} is empty: it needs at least one visible character"));
    }
    fits(what, text, bytes_max)
}

fn fits(what: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(format!("the {what} has {} bytes (UTF-8); at most {bytes_max}", text.len()))
}
