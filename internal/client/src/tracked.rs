//! Commands whose fate is not final, and when to send them or ask for them again.

use std::time::Duration;

use domain::{ConversationId, Seq};
use protocol::{CommandFrame, CommandKind, ErrorCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A command without an acknowledgement is sent again after this time, which is longer than a server waits for the
/// log.
pub(crate) const RESEND_AFTER: Duration = Duration::from_secs(15);
/// The outcome of an acknowledged command is asked for after this time, if no frame has told it.
pub(crate) const ASK_AFTER: Duration = Duration::from_secs(10);
/// A command that was refused with a transient error is sent again after this time.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A command whose fate is open, or that was refused (a refusal may be overruled by another copy that is
/// accepted).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracked {
    /// The command as it is sent, each time.
    pub command: CommandFrame,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The count of copies that are in the log, may be, or may still get there.
    pub copies: u32,
    /// How often it was sent, whatever became of it.
    #[serde(default)]
    pub sends: u32,
    /// Whether a copy is known to be in the log.
    pub acked: bool,
    /// The latest refusal by the reducer, with the seq of that copy.
    pub refused: Option<(Seq, ErrorCode)>,
    /// A refusal before the append, while an earlier copy may have been accepted. Unless one was, the command is
    /// withdrawn, so that none ever will be.
    pub rejected: Option<(ErrorCode, String)>,
    /// Whether a reset came since it was sent. The frame with its fate may lie before the new cursor, so its
    /// outcome has to be asked for, on this socket or a later one, until there is an answer.
    #[serde(default)]
    pub doubtful: bool,
    /// When to send it or ask for it again; `None` for at once.
    #[serde(skip)]
    pub(crate) due: Option<Instant>,
    /// Whether a request for its outcome is running.
    #[serde(skip)]
    pub(crate) asking: bool,
}

impl Tracked {
    pub(crate) fn new(command: CommandFrame, conversation: ConversationId) -> Self {
        Self {
            command,
            conversation,
            copies: 0,
            sends: 0,
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

    /// Whether only its withdrawal is sent from now on, because a copy was refused before the append.
    pub(crate) fn is_given_up(&self) -> bool {
        self.rejected.is_some() && matches!(self.command.what, CommandKind::Withdraw { .. })
    }

    /// When it is to be sent or asked for; `None` when there is nothing to do, or while its outcome is being asked
    /// for.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let wanted = (self.is_open() || self.doubtful) && !self.asking;
        wanted.then(|| self.due.unwrap_or(now))
    }

    /// Whether its outcome is asked for when it is due; otherwise the command is sent.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.acked || self.doubtful
    }
}

/// Whether the error is transient: the same command may be accepted when it is sent again.
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
        | ErrorCode::NotARoot
        | ErrorCode::ThreadFull
        | ErrorCode::TooManyEdits
        | ErrorCode::TooManyReactions
        | ErrorCode::TooManyPins
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
