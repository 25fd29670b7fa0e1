//! The bounds of what a conversation may hold. The reducer refuses what is beyond them at log order; the services
//! refuse it earlier, with a sentence.

/// Bytes of a message body (UTF-8): beyond, the command is refused.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a conversation's title (UTF-8).
pub const TITLE_BYTES_MAX: usize = 256;
/// Bytes of a reaction (UTF-8): room for the longest emoji sequences.
pub const EMOJI_BYTES_MAX: usize = 64;
/// Members named in one event; larger changes come in several events.
pub const MEMBERS_PER_EVENT_MAX: usize = 256;
/// Members of a conversation whose deliveries list their recipients.
pub const MEMBERS_MAX: usize = 10_000;
/// Recipients that one delivery record lists, 32 KiB of them: those of an event in one delivery partition beyond come in
/// further records, so that no record is large for the sake of users whom it does not concern.
pub const RECIPIENTS_PER_RECORD_MAX: usize = 2_048;
/// How far an id's stamp may lie ahead of its event's append time, in milliseconds.
pub const STAMP_AHEAD_MS_MAX: i64 = 60_000;
