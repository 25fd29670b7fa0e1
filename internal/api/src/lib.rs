//! The public API's vocabulary, shared by the services that speak it and by the clients in this repository.
//!
//! One closed list of error codes, one table from it to HTTP statuses and websocket close codes; the bodies of HTTP
//! answers; the frames of the socket. `schemas/` describes the same, and tests hold the two together.

mod accounts;
mod bodies;
mod close;
mod error;
mod extract;
mod frames;
mod integer;
mod kinds;
mod label;
mod layer;
mod requests;
mod vouched;

pub use accounts::{
    Credentials, ListedSessionBody, PasswordBody, RefreshBody, Registration, SessionBody, SessionList, UserBody,
    UserList,
};
pub use bodies::{
    Accepted, ConversationBody, ConversationPage, EntryBody, HistoryPage, MarkBody, MemberBody, MemberPage,
    OutcomeBody, OutcomeState, ReactionBody, SyncConversation, SyncPage, SyncState,
};
pub use close::CloseCode;
pub use error::{ApiError, ErrorBody, ErrorCode, sentence};
pub use extract::{Caller, Json, Path, Query, bearer, is_object};
pub use frames::{
    ClientFrame, CommandFrame, FeedFrame, RESET_REASONS, Received, ServerFrame, StandsName, is_frame, with_cursor,
};
pub use kinds::FeedKind;
pub use label::check_label;
pub use layer::{REQUEST_ID_HEADER, finish_errors};
pub use requests::{
    AddMembersBody, CommandBody, CreateBody, EditBody, MarkUpTo, ReactBody, RoleBody, SendBody, TitleBody,
};
pub use vouched::Vouched;
