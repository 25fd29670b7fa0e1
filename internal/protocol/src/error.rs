//! The closed list of error codes, used by HTTP and sockets alike, and their HTTP statuses.

use domain::Refusal;
use serde::{Deserialize, Serialize};

/// A stable code. Names are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Malformed JSON, path, query or frame.
    BadRequest,
    /// A frame type that the server does not know, or that is not allowed at this point.
    UnknownFrame,
    /// A body or frame above the size bound.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// A field is empty, too long or contradicts another, or names the author where that is not allowed.
    Invalid,
    /// `limit` or another page parameter is out of range.
    PageOutOfRange,
    /// No token, or one that this service does not accept.
    Unauthorized,
    /// The token has expired.
    TokenExpired,
    /// Name or password is wrong.
    WrongCredentials,
    /// The session was ended, or its refresh token was used before.
    SessionEnded,
    /// The browser's origin is not on the allow-list.
    OriginForbidden,
    /// There is no such resource or path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Another account has this name.
    NameTaken,
    /// Not a member of the conversation, or there is no such conversation.
    NotMember,
    /// The role, or the kind of conversation, does not allow it.
    Forbidden,
    /// The change has no effect: it was made before.
    Already,
    /// The conversation was created before.
    Exists,
    /// The user named is not a member.
    NoSuchMember,
    /// A user named has no account.
    NoSuchUser,
    /// A user named has too many invitations: groups that they were added to and have not accepted.
    TooManyInvitations,
    /// A user named has declined to be in the group.
    Declined,
    /// The conversation is full.
    Full,
    /// No such message, or it was deleted.
    NoSuchMessage,
    /// The message is another author's.
    NotAuthor,
    /// The message that a thread is to begin under is in a thread itself.
    NotARoot,
    /// The thread has as many messages as it can.
    ThreadFull,
    /// The message was edited as often as it can be.
    TooManyEdits,
    /// The message has taken as many different emojis as it can.
    TooManyReactions,
    /// The conversation has as many pinned messages as it can.
    TooManyPins,
    /// Another command was accepted under this id.
    Conflict,
    /// The id was withdrawn.
    Withdrawn,
    /// The timestamp in the id is too far in the future.
    IdFromFuture,
    /// The conversation is held until the server is upgraded: ask again later.
    Held,
    /// The server has not caught up yet: ask again.
    Retry,
    /// Too many commands, or too many sockets.
    RateLimited,
    /// A queue is full: try again.
    Busy,
    /// Not acknowledged in time: it may or may not have happened. Send it again with the same id.
    Unknown,
    /// A dependency of this service (such as the log or the store) does not answer, or the node is shutting down.
    Unavailable,
    /// A fault of the server; the request id finds it in the logs.
    Internal,
    /// A code of a newer server that this client does not know: read, never sent. It counts as not transient: the
    /// codes for which a retry helps are those of today.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// All codes that are sent.
    pub const ALL: [Self; 40] = [
        Self::BadRequest,
        Self::UnknownFrame,
        Self::TooLarge,
        Self::TooSlow,
        Self::Invalid,
        Self::PageOutOfRange,
        Self::Unauthorized,
        Self::TokenExpired,
        Self::WrongCredentials,
        Self::SessionEnded,
        Self::OriginForbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NameTaken,
        Self::NotMember,
        Self::Forbidden,
        Self::Already,
        Self::Exists,
        Self::NoSuchMember,
        Self::NoSuchUser,
        Self::TooManyInvitations,
        Self::Declined,
        Self::Full,
        Self::NoSuchMessage,
        Self::NotAuthor,
        Self::NotARoot,
        Self::ThreadFull,
        Self::TooManyEdits,
        Self::TooManyReactions,
        Self::TooManyPins,
        Self::Conflict,
        Self::Withdrawn,
        Self::IdFromFuture,
        Self::Held,
        Self::Retry,
        Self::RateLimited,
        Self::Busy,
        Self::Unknown,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The HTTP status of the code.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::UnknownFrame | Self::Invalid | Self::PageOutOfRange | Self::IdFromFuture => 400,
            Self::TooLarge => 413,
            Self::TooSlow => 408,
            Self::Unauthorized | Self::TokenExpired | Self::WrongCredentials | Self::SessionEnded => 401,
            Self::OriginForbidden | Self::NotMember | Self::Forbidden | Self::Declined | Self::NotAuthor => 403,
            Self::NotFound | Self::NoSuchMember | Self::NoSuchUser | Self::NoSuchMessage => 404,
            Self::MethodNotAllowed => 405,
            Self::NameTaken
            | Self::Already
            | Self::Exists
            | Self::TooManyInvitations
            | Self::Full
            | Self::NotARoot
            | Self::ThreadFull
            | Self::TooManyEdits
            | Self::TooManyReactions
            | Self::TooManyPins
            | Self::Conflict
            | Self::Withdrawn => 409,
            Self::RateLimited => 429,
            Self::Held | Self::Retry | Self::Busy | Self::Unavailable => 503,
            Self::Unknown => 504,
            Self::Internal | Self::Other => 500,
        }
    }

    /// Seconds after which a retry makes sense, for codes where it does.
    #[must_use]
    pub const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Retry | Self::Busy | Self::Unavailable | Self::RateLimited => Some(1),
            Self::Held => Some(30),
            _ => None,
        }
    }
}

impl From<Refusal> for ErrorCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict => Self::Conflict,
            Refusal::Withdrawn => Self::Withdrawn,
            Refusal::IdFromFuture => Self::IdFromFuture,
            Refusal::Exists => Self::Exists,
            Refusal::NotMember => Self::NotMember,
            Refusal::Forbidden => Self::Forbidden,
            Refusal::Already => Self::Already,
            Refusal::NoSuchMember => Self::NoSuchMember,
            Refusal::NoSuchUser => Self::NoSuchUser,
            Refusal::Full => Self::Full,
            Refusal::NoSuchMessage => Self::NoSuchMessage,
            Refusal::NotAuthor => Self::NotAuthor,
            Refusal::NotARoot => Self::NotARoot,
            Refusal::ThreadFull => Self::ThreadFull,
            Refusal::TooManyEdits => Self::TooManyEdits,
            Refusal::TooManyReactions => Self::TooManyReactions,
            Refusal::TooManyPins => Self::TooManyPins,
            Refusal::Invalid => Self::Invalid,
        }
    }
}

/// A reducer's refusal as a sentence: what was wrong, and what to do.
#[must_use]
pub const fn sentence(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Conflict => "another command stands under this id: send yours under an id of its own",
        Refusal::Withdrawn => "the id was withdrawn: send the command under a new one if it is still wanted",
        Refusal::IdFromFuture => "the id is stamped more than a minute ahead of the server: set the device's clock",
        Refusal::Exists => "the conversation was created before",
        Refusal::NotMember => "there is no such conversation, or you are not a member of it",
        Refusal::Forbidden => "your role, or the kind of conversation, does not allow it",
        Refusal::Already => "it is so already",
        Refusal::NoSuchMember => "a user who is named or mentioned is not a member of the conversation",
        Refusal::NoSuchUser => "a user named has no account, so nobody was taken in: name users who have one",
        Refusal::Full => "the conversation has as many members as it can have",
        Refusal::NoSuchMessage => "there is no such message that you may read, or it was deleted",
        Refusal::NotAuthor => "the message is another author's: only who has written it changes it",
        Refusal::NotARoot => {
            "that message is in a thread itself, and threads have no threads: send into its thread instead"
        }
        Refusal::ThreadFull => {
            "the thread has 16,384 messages, and takes no more: begin another one under a new message"
        }
        Refusal::TooManyEdits => "the message was edited 100 times, and that is all: send another one",
        Refusal::TooManyPins => "the conversation has 100 pinned messages: take a pin away first",
        Refusal::TooManyReactions => "the message has taken 20 different emojis: react with one of those",
        Refusal::Invalid => {
            "a field is empty, too long, has characters that it cannot have, or contradicts another; or it names yourself: \
             an owner stays one until another member is made the owner, and nobody removes themselves, but leaves"
        }
    }
}

/// The body of every failed HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The stable code.
    pub code: ErrorCode,
    /// A sentence for people.
    pub message: String,
    /// The id by which the request is found in the logs.
    pub request_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_newer_server_is_read_and_never_sent() {
        for code in ErrorCode::ALL {
            let name = serde_json::to_value(code).unwrap();
            assert_eq!(serde_json::from_value::<ErrorCode>(name).unwrap(), code);
        }
        assert_eq!(serde_json::from_str::<ErrorCode>("\"too_loud\"").unwrap(), ErrorCode::Other);
        assert!(!ErrorCode::ALL.contains(&ErrorCode::Other));
    }

    /// The reducer's refusal is only a code: the same sentence goes to an owner who makes themself a member, to an
    /// admin who removes themself, and to the author of an empty message.
    #[test]
    fn the_sentence_of_invalid_covers_whatever_is_refused_as_that() {
        let words = sentence(Refusal::Invalid);
        for part in
            ["empty", "too long", "characters", "contradicts", "until another member is made the owner", "leaves"]
        {
            assert!(words.contains(part), "{part}");
        }
    }

    #[test]
    fn every_refusal_of_the_reducer_has_the_code_of_its_name() {
        for refusal in Refusal::ALL {
            let code = serde_json::to_value(ErrorCode::from(refusal)).unwrap();
            assert_eq!(code, refusal.name());
        }
    }
}
