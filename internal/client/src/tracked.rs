//! Commands whose fate is not known for good, and when to do something about them.

use std::time::Duration;

use domain::{ConversationId, Seq};
use protocol::{CommandFrame, CommandKind, ErrorCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A copy that was not acknowledged is sent again after so long: longer than a server waits for the log.
pub(crate) const RESEND_AFTER: Duration = Duration::from_secs(15);
/// Of a command that is in the log and has not been heard of, the outcome is asked after so long.
pub(crate) const ASK_AFTER: Duration = Duration::from_secs(10);
/// A command that was not taken for now is sent again after so long.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A command whose fate is open, or that was refused (which another copy may overrule).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracked {
    /// What is sent, every time.
    pub command: CommandFrame,
    /// Where it belongs.
    pub conversation: ConversationId,
    /// Copies that are in the log, or may be, or may come to be.
    pub copies: u32,
    /// Whether a copy is known to be in the log.
    pub acked: bool,
    /// The latest refusal by the reducer.
    pub refused: Option<(Seq, ErrorCode)>,
    /// A refusal before the append, while earlier copies may stand: unless one of them does, the command is withdrawn,
    /// so that none ever will.
    pub rejected: Option<(ErrorCode, String)>,
    /// A reset came since it was sent: what became of it may lie before the cursor, so its outcome has to be asked for,
    /// on this socket or a later one, until there is an answer.
    #[serde(default)]
    pub doubtful: bool,
    /// When to send or ask again; `None`: at once.
    #[serde(skip)]
    pub(crate) due: Option<Instant>,
    /// Whether its outcome is being asked.
    #[serde(skip)]
    pub(crate) asking: bool,
}

impl Tracked {
    pub(crate) fn new(command: CommandFrame, conversation: ConversationId) -> Self {
        Self {
            command,
            conversation,
            copies: 0,
            acked: false,
            refused: None,
            rejected: None,
            doubtful: false,
            due: None,
            asking: false,
        }
    }

    /// Whether the user still waits for it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.refused.is_none()
    }

    /// Whether nothing but a withdrawal is sent any more, because a copy was refused before the append.
    pub(crate) fn is_given_up(&self) -> bool {
        self.rejected.is_some() && matches!(self.command.what, CommandKind::Withdraw { .. })
    }

    /// When something is to be done about it: `None` for nothing, or while it is being asked for.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let wanted = (self.is_open() || self.doubtful) && !self.asking;
        wanted.then(|| self.due.unwrap_or(now))
    }

    /// Whether, when due, its outcome is asked for instead of sending it.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.acked || self.doubtful
    }
}

/// Whether the same command may be taken when it is sent again.
pub(crate) fn is_passing(code: ErrorCode) -> bool {
    match code {
        ErrorCode::Held
        | ErrorCode::Retry
        | ErrorCode::RateLimited
        | ErrorCode::Busy
        | ErrorCode::TooSlow
        | ErrorCode::Unknown
        | ErrorCode::Unavailable
        | ErrorCode::Internal
        | ErrorCode::TokenExpired => true,
        ErrorCode::BadRequest
        | ErrorCode::UnknownFrame
        | ErrorCode::TooLarge
        | ErrorCode::Invalid
        | ErrorCode::PageOutOfRange
        | ErrorCode::Unauthorized
        | ErrorCode::WrongCredentials
        | ErrorCode::SessionEnded
        | ErrorCode::OriginForbidden
        | ErrorCode::NotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::NameTaken
        | ErrorCode::NotMember
        | ErrorCode::Forbidden
        | ErrorCode::Already
        | ErrorCode::Exists
        | ErrorCode::NoSuchMember
        | ErrorCode::NoSuchUser
        | ErrorCode::TooManyInvitations
        | ErrorCode::Declined
        | ErrorCode::Full
        | ErrorCode::NoSuchMessage
        | ErrorCode::NotAuthor
        | ErrorCode::Conflict
        | ErrorCode::Withdrawn
        | ErrorCode::IdFromFuture
        | ErrorCode::Other => false,
    }
}
