//! The domain: ids, seqs, cursors, the reducer that judges every event by the rules of conversations, and the caches
//! that make the reducer's facts cheap.
//!
//! This crate has no I/O, no clock and no randomness: the storage consumer and the fan-out run this code over the
//! same log and must come to the same decisions, today and at any replay.

mod change;
mod cursor;
mod event;
mod id_cache;
mod ids;
mod message_body;
mod message_text;
mod reducer;
mod seq;
mod signal;
mod spans;
mod state;
mod target_cache;

pub mod kinds;
pub mod limits;
pub mod words;

pub use change::{Change, ReactionChange};
pub use cursor::{Cursor, CursorError, Fingerprint};
pub use event::{Appended, Event};
pub use id_cache::{ID_CACHE_ROWS_MAX, ID_CACHE_SPAN_MS, IdCache, Lookup};
pub use ids::{CommandId, ConversationId, IdError, UserId};
pub use kinds::{Action, Kind, PayloadHash};
pub use message_body::{CustomContent, Extras, Mentions, MessageBody, Quote, Said};
pub use message_text::MessageText;
pub use reducer::{
    Decision, Effects, Emojis, Facts, Past, RULES_NEWEST, RULES_TRIAL, Refusal, TargetFact, TargetFacts, UnknownRules,
    apply, past_of,
};
pub use seq::{GENERATION_MAX, OFFSET_MAX, Seq, SeqError};
pub use signal::{
    Doing, OFFLINE_AFTER, PRESENCE_EVERY, Presence, SIGNAL_SHOWN, Signal, Status, TYPING_EVERY, TYPING_MEMBERS_MAX,
    WATCHED_MAX,
};
pub use spans::{MembershipSpan, MembershipSpans};
pub use state::{
    Content, ConversationKind, ConversationState, IdRow, InThread, Membership, Pin, Reply, Role, Settings, Stands,
    ThreadPlace,
};
pub use target_cache::{TARGET_CACHE_MESSAGES_MAX, TargetCache};
