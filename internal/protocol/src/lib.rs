//! The protocol between clients and services: the types of what is sent, without any transport.
//!
//! It has the frames of the socket, the bodies of HTTP requests and answers, one closed list of error codes with
//! the HTTP status of each, and the websocket close codes. Services, the client crate and the test kit all use
//! these types, so the crate depends on no HTTP framework; axum's extractors and responses are in `api`.
//! `schemas/` describes the same protocol for other languages, and tests check that both agree.

mod accounts;
mod batched;
mod bodies;
mod close;
mod command;
mod error;
mod fields;
mod frames;
mod integer;
mod kinds;
mod object;
mod requests;
mod said;
mod signals;
mod text;

pub use accounts::{
    Credentials, ListedSessionBody, PasswordBody, PrivacyBody, PrivacyChange, RefreshBody, Registration, SessionBody,
    SessionList, UserBody, UserList,
};
pub use batched::BatchedFrame;
pub use bodies::{
    Accepted, ConversationBody, ConversationPage, EntryBody, HistoryPage, MarkBody, MemberBody, MemberPage,
    OutcomeBody, OutcomeState, ReactionBody, RepliesBody, SyncConversation, SyncPage, SyncState, VersionBody,
    VersionPage,
};
pub use close::CloseCode;
pub use command::{CommandFrame, CommandKind};
pub use error::{ErrorBody, ErrorCode, sentence};
pub use fields::{Field, FieldType};
pub use frames::{
    ClientFrame, FeedFrame, RESET_REASONS, Received, ServerFrame, StandsName, appended_ms, batch, is_frame,
    put_with_cursor, with_cursor,
};
pub use kinds::FeedKind;
pub use object::is_object;
pub use requests::{
    AddMembersBody, CommandBody, CreateBody, EditBody, MarkUpTo, ReactBody, RoleBody, SendBody, TitleBody, UnreactBody,
};
pub use said::{ContentBody, MentionsBody, QuoteBody};
pub use signals::{DoingName, OwnStatus, SignalFrame, StatusName};
