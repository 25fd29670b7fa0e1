//! The state of each command that a device has sent.

use domain::{CommandId, ConversationId, Seq};
use protocol::{CommandFrame, CommandKind, ErrorCode, OutcomeBody, OutcomeState, StandsName};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// What a device knows about the result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The result is not known yet.
    Open,
    /// It took effect; its event is at that seq.
    Stands(Seq),
    /// Its id was withdrawn.
    Withdrawn,
    /// The reducer refused it at log order.
    Refused(ErrorCode),
    /// The server refused it before it was appended.
    NotTaken(ErrorCode),
}

/// The transport of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Over the socket.
    Socket,
    /// Over HTTP.
    Http,
}

/// A command that was sent.
#[derive(Debug)]
pub struct Sent {
    /// The command.
    pub command: CommandFrame,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The transport that it uses.
    pub route: Route,
    /// What became of it.
    pub fate: Fate,
    /// Number of copies that may be in the log.
    pub copies: u32,
    /// Number of copies that were acknowledged.
    pub acks: u32,
    /// When the first copy was sent.
    pub at: Option<Instant>,
    /// When the command is sent again, or its outcome requested; `None` when nothing is to be done.
    pub due: Option<Instant>,
    /// Whether, when it is due, its outcome is requested instead of sending it again.
    pub ask: bool,
    /// A copy was refused before the log while the fate of others is not known. The command is then withdrawn,
    /// unless a copy has taken effect already, so that none takes effect later.
    pub giving_up: bool,
    /// A copy was refused because another command has the same id. Only the outcome tells which one.
    pub conflict: bool,
    /// The load's permit, returned with the first answer of any kind.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Two answers that contradict one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The id of the command.
    pub id: CommandId,
    /// The contradiction, in words.
    pub what: String,
}

impl Sent {
    pub(crate) fn new(command: CommandFrame, conversation: ConversationId, route: Route, now: Instant) -> Self {
        Self {
            command,
            conversation,
            route,
            fate: Fate::Open,
            copies: 0,
            acks: 0,
            at: None,
            due: Some(now),
            ask: false,
            giving_up: false,
            conflict: false,
            permit: None,
        }
    }

    /// Whether its fate is still open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.fate == Fate::Open
    }

    /// Notes that the command took effect at `seq`. Returns a description if that contradicts what was known.
    pub(crate) fn stands(&mut self, seq: Seq) -> Option<String> {
        let contradiction = match self.fate {
            Fate::Stands(known) if known != seq => Some(format!("stood at {known:?}, now at {seq:?}")),
            Fate::Withdrawn => Some(format!("was withdrawn, now stands at {seq:?}")),
            _ => None,
        };
        self.settle(Fate::Stands(seq));
        contradiction
    }

    /// Notes that the command was withdrawn. Returns a description if that contradicts what was known.
    pub(crate) fn withdrawn(&mut self) -> Option<String> {
        let contradiction = match self.fate {
            Fate::Stands(known) => Some(format!("stood at {known:?}, now withdrawn")),
            _ => None,
        };
        self.settle(Fate::Withdrawn);
        contradiction
    }

    /// Notes that a copy was refused by the reducer, which says nothing about other copies.
    pub(crate) fn refused(&mut self, reason: ErrorCode, now: Instant) -> Option<String> {
        match (reason, self.fate) {
            (ErrorCode::Withdrawn, _) => return self.withdrawn(),
            (ErrorCode::Conflict, Fate::Open) => (self.due, self.ask, self.conflict) = (Some(now), true, true),
            (_, Fate::Open | Fate::NotTaken(_)) => self.settle(Fate::Refused(reason)),
            _ => {}
        }
        None
    }

    /// Notes that a copy was not appended. That is final only if no other copy may be in the log.
    pub(crate) fn not_taken(&mut self, code: ErrorCode, now: Instant) {
        self.copies = self.copies.saturating_sub(1);
        self.conflict |= code == ErrorCode::Conflict;
        if self.fate != Fate::Open {
            return;
        }
        // A withdrawal is refused as `NotMember` only to users who never were members: none of their copies took
        // effect.
        let never = code == ErrorCode::NotMember && matches!(self.command.what, CommandKind::Withdraw { .. });
        if self.copies == 0 || never {
            self.settle(Fate::NotTaken(code));
        } else {
            (self.due, self.ask, self.giving_up) = (Some(now), true, true);
        }
    }

    /// Notes what the outcome says. `absent` does not change a fate that is known. It contradicts one that was known
    /// before the outcome was requested; otherwise the answer may be older than what was received meanwhile.
    pub(crate) fn outcome(&mut self, outcome: &OutcomeBody, asked_open: bool, now: Instant) -> Option<String> {
        let (id, conversation) = (outcome.id, self.conversation);
        match (outcome.outcome, outcome.stands, outcome.seq) {
            (OutcomeState::Settled, Some(StandsName::Withdrawal), _) => self.withdrawn(),
            (OutcomeState::Settled, _, Some(seq)) => self.stands(seq),
            (OutcomeState::Settled, _, None) => Some("settled without a place".into()),
            (OutcomeState::Refused, ..) if self.fate == Fate::Open && !self.giving_up => {
                self.settle(Fate::Refused(outcome.code.unwrap_or(ErrorCode::Other)));
                None
            }
            (OutcomeState::Absent | OutcomeState::Refused, ..) => match self.fate {
                Fate::Stands(_) | Fate::Withdrawn if asked_open => None,
                Fate::Stands(seq) => Some(format!("stood at {seq:?}, now absent")),
                Fate::Withdrawn => Some("was withdrawn, now absent".into()),
                // The id belongs to another user's command, and outcomes tell only a command's author.
                Fate::Open if self.conflict => {
                    self.settle(Fate::Refused(ErrorCode::Conflict));
                    None
                }
                Fate::Open => {
                    if self.giving_up {
                        self.command = CommandFrame::new(id, conversation, CommandKind::Withdraw {});
                    }
                    (self.due, self.ask) = (Some(now), false);
                    None
                }
                Fate::Refused(_) | Fate::NotTaken(_) => None,
            },
        }
    }

    fn settle(&mut self, fate: Fate) {
        (self.fate, self.due, self.permit) = (fate, None, None);
    }
}

/// The id and the conversation of a command; the conversation of a creation is derived from them.
///
/// # Errors
/// When the command is malformed.
pub fn names(command: &CommandFrame, author: domain::UserId) -> Result<(CommandId, ConversationId), String> {
    command.clone().into_action(author).map(|(id, conversation, _)| (id, conversation))
}

/// Whether the code means that the command was not appended, and that a retry makes sense.
pub(super) fn is_later(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Retry
            | ErrorCode::Held
            | ErrorCode::RateLimited
            | ErrorCode::Busy
            | ErrorCode::TooSlow
            | ErrorCode::Unavailable
            | ErrorCode::Unauthorized
            | ErrorCode::TokenExpired
    )
}
