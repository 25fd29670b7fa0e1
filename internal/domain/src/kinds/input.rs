//! Checks of single fields that need no state. Failures are sentences for the client; the reducer makes the same
//! checks again when it judges the event.

use crate::limits::{
    BODY_BYTES_MAX, CUSTOM_DATA_BYTES_MAX, CUSTOM_KIND_BYTES_MAX, MEMBERS_PER_EVENT_MAX, MENTIONS_MAX, QUOTE_CHARS_MAX,
};
use crate::{CustomContent, MessageBody, Quote, UserId, words};

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

/// Checks what a message says.
pub(super) fn body(body: &MessageBody) -> Result<(), String> {
    text("body", body.text.reveal(), BODY_BYTES_MAX)?;
    let named = body.mentions.users().len();
    if named > MENTIONS_MAX {
        return Err(format!("{named} users are mentioned; at most {MENTIONS_MAX}, or 'all' for every member"));
    }
    let Some(CustomContent { kind, data }) = &body.custom else { return Ok(()) };
    if !is_custom_kind(kind) {
        return Err(format!(
            "the content's type must be 3 to {CUSTOM_KIND_BYTES_MAX} of a-z, 0-9, '.', '_' and '-', with a '.' between \
             others, such as 'com.example.poll': names without a '.' are reserved"
        ));
    }
    fits("content's data", data.reveal(), CUSTOM_DATA_BYTES_MAX)
}

/// Whether it is the name of a kind of custom content.
pub(super) fn is_custom_kind(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    let dotted = name.split_once('.').is_some_and(|(before, after)| !before.is_empty() && !after.is_empty());
    dotted && name.len() <= CUSTOM_KIND_BYTES_MAX && name.bytes().all(letter)
}

/// Checks which part of a message is quoted.
pub(super) fn quote(quote: Quote) -> Result<(), String> {
    if is_quotable(quote) {
        return Ok(());
    }
    Err(format!(
        "the quote is from character {} to {}: it must end after its beginning, and have at most {QUOTE_CHARS_MAX}",
        quote.from, quote.to
    ))
}

/// Whether a message can have such a part.
pub(super) fn is_quotable(Quote { from, to }: Quote) -> bool {
    from < to && to - from <= QUOTE_CHARS_MAX && to as usize <= BODY_BYTES_MAX
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
