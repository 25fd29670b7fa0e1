//! Checks of single fields that need no state. Failures are sentences for the client; the reducer makes the same
//! checks again when it judges the event.

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

/// Checks a title or similar label: empty, or one line of visible text that passes [`words::check_label`].
pub(super) fn label(what: &str, label: &str, bytes_max: usize) -> Result<(), String> {
    if !label.is_empty() {
        words::check_label(label).map_err(|fault| format!("the {what} {}", fault.words()))?;
    }
    fits(what, label, bytes_max)
}

/// Checks the text of a message.
pub(super) fn body(body: &MessageText) -> Result<(), String> {
    text("body", body.reveal(), BODY_BYTES_MAX)
}

/// Checks a text that must have a visible character.
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
