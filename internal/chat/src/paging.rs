//! Page sizes, in entries and in bytes.

use api::ApiError;
use domain::{Content, MessageBody, MessageText};
use protocol::ErrorCode;
use store::Entry;

/// The most that one page holds.
pub const PAGE_MAX: usize = 200;
/// What a page holds when the client does not say.
pub const PAGE_DEFAULT: usize = 50;

/// Bytes of one page, about: the entry that exceeds this begins the next page, unless it is the page's first. Less than
/// the server reserves for an answer (`process::serve::ANSWER_BYTES`).
pub const PAGE_BYTES_MAX: usize = 192 << 10;
/// Entries that are read from the store at once: even of the largest ones, no more than a few pages.
pub(crate) const ENTRIES_AT_ONCE: usize = 51;
/// Bytes of an entry beside its text, and of a user in it.
pub(crate) const ENTRY_BYTES: usize = 400;
pub(crate) const USER_BYTES: usize = 40;
/// Bytes of a reaction beside its emoji.
const REACTION_BYTES: usize = 64;

/// Bytes of the entry as JSON, about.
pub(crate) fn bytes_of(entry: &Entry) -> usize {
    let content = match &entry.content {
        Content::Message { body: MessageBody { text, mentions, custom }, .. } => {
            let custom = custom.as_ref().map_or(0, |custom| custom.kind.len() + bytes_of_message_text(&custom.data));
            bytes_of_message_text(text) + mentions.users().len() * USER_BYTES + custom
        }
        Content::Joined(users) => users.len() * USER_BYTES,
        Content::Title(title) => bytes_of_text(title),
        _ => 0,
    };
    let emojis = entry.reactions.iter().map(|reaction| reaction.emoji.as_str());
    ENTRY_BYTES + content + bytes_of_reactions(emojis)
}

/// Bytes of reactions as JSON, about.
pub(crate) fn bytes_of_reactions<'e>(emojis: impl Iterator<Item = &'e str>) -> usize {
    emojis.map(|emoji| REACTION_BYTES + bytes_of_text(emoji)).sum()
}

/// As [`bytes_of_text`].
pub(crate) fn bytes_of_message_text(text: &MessageText) -> usize {
    bytes_of_text(text.reveal())
}

/// Bytes of a text in JSON, with its escapes.
pub(crate) fn bytes_of_text(text: &str) -> usize {
    let bytes_of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(bytes_of).sum()
}

/// How many of `sizes`, in their order, fit a page: at least one, if there is one.
pub(crate) fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut total = 0;
    sizes
        .take_while(|size| {
            let first = total == 0;
            total += size;
            first || total <= PAGE_BYTES_MAX
        })
        .count()
}

/// Checks the page size that the client asks for.
///
/// # Errors
/// `page_out_of_range`.
pub(crate) fn limit(asked: Option<i64>, max: usize) -> Result<usize, ApiError> {
    let Some(asked) = asked else { return Ok(PAGE_DEFAULT.min(max)) };
    usize::try_from(asked)
        .ok()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| ApiError::new(ErrorCode::PageOutOfRange, format!("limit {asked} is out of range: 1 to {max}")))
}

#[cfg(test)]
mod tests {
    use domain::limits::{BODY_BYTES_MAX, CUSTOM_DATA_BYTES_MAX, EMOJI_BYTES_MAX, MEMBERS_PER_EVENT_MAX, MENTIONS_MAX};
    use store::REACTIONS_SHOWN_MAX;

    use super::*;

    #[test]
    fn a_page_holds_one_to_the_bound() {
        assert_eq!((limit(None, 200).unwrap(), limit(None, 20).unwrap()), (50, 20));
        assert_eq!((limit(Some(1), 200).unwrap(), limit(Some(200), 200).unwrap()), (1, 200));
        for asked in [i64::MIN, -1, 0, 201, i64::MAX] {
            assert_eq!(limit(Some(asked), 200).unwrap_err().code, ErrorCode::PageOutOfRange, "{asked}");
        }
    }

    #[test]
    fn a_page_is_full_at_so_many_bytes_and_never_empty() {
        assert_eq!(fitting([PAGE_BYTES_MAX * 2, 1].into_iter()), 1);
        assert_eq!(fitting([PAGE_BYTES_MAX / 2, PAGE_BYTES_MAX / 2, 1].into_iter()), 2);
        assert_eq!(fitting(std::iter::repeat_n(1, 200)), 200);
        assert_eq!(fitting(std::iter::empty()), 0);
        const { assert!(PAGE_BYTES_MAX < process::serve::ANSWER_BYTES) };
        // The largest entries of either kind fit a page.
        const { assert!(ENTRY_BYTES + (MEMBERS_PER_EVENT_MAX + 1) * USER_BYTES < PAGE_BYTES_MAX) };
        const SAID_BYTES: usize = (BODY_BYTES_MAX + CUSTOM_DATA_BYTES_MAX) * 6 + MENTIONS_MAX * USER_BYTES;
        const { assert!(ENTRY_BYTES + SAID_BYTES < PAGE_BYTES_MAX) };
        const {
            let reactions = REACTIONS_SHOWN_MAX * (REACTION_BYTES + EMOJI_BYTES_MAX * 6);
            assert!(ENTRY_BYTES + SAID_BYTES + reactions < process::serve::ANSWER_BYTES);
        };
        assert_eq!(bytes_of_text("a\"\n\u{1}"), serde_json::to_string("a\"\n\u{1}").unwrap().len() - 2);
    }
}
