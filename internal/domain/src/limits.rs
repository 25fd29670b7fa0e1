//! The limits of a conversation. The reducer refuses events beyond them when it judges them; the services refuse
//! such commands earlier, with a sentence for the client.

/// Bytes of a message body (UTF-8).
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a conversation's title (UTF-8).
pub const TITLE_BYTES_MAX: usize = 256;
/// Bytes of a reaction (UTF-8): room for the longest emoji sequences.
pub const EMOJI_BYTES_MAX: usize = 64;
/// Different emojis that a message takes in its time. One that everybody has removed keeps its place, so that memory
/// and rows of a message are bounded by this, whatever is added and removed.
pub const EMOJIS_PER_MESSAGE_MAX: usize = 20;
/// Messages of a thread, deleted ones included: what one partition of the store holds of it.
pub const THREAD_MESSAGES_MAX: u64 = 16_384;
/// Edits of a message: what it said is kept, so that members can look at it.
pub const EDITS_MAX: usize = 100;
/// Users whom one message mentions by name.
pub const MENTIONS_MAX: usize = 100;
/// Characters (Unicode code points) of the part of a message that a reply quotes.
pub const QUOTE_CHARS_MAX: u32 = 1024;
/// Bytes of the name of a kind of custom content.
pub const CUSTOM_KIND_BYTES_MAX: usize = 64;
/// Bytes of the data of custom content (UTF-8).
pub const CUSTOM_DATA_BYTES_MAX: usize = 4 * 1024;
/// Pinned messages of a conversation.
pub const PINS_MAX: usize = 100;
/// Members named in one event; a larger change takes several events.
pub const MEMBERS_PER_EVENT_MAX: usize = 256;
/// Members of a conversation. Bounded, because deliveries list their recipients.
pub const MEMBERS_MAX: usize = 10_000;
/// Recipients that one delivery record lists (32 KiB). An event with more recipients in one delivery partition is
/// written as several records, so that nobody reads a large record because of other users' ids.
pub const RECIPIENTS_PER_RECORD_MAX: usize = 2_048;
/// How far the stamp of an id may lie ahead of its event's append time, in milliseconds.
pub const STAMP_AHEAD_MS_MAX: i64 = 60_000;
