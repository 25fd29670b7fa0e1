//! What became of a device's commands.

use domain::{CommandId, ConversationId, Seq};
use protocol::{CommandFrame, CommandKind, ErrorCode, OutcomeBody, OutcomeState, StandsName};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// What a device believes about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Not known yet.
    Open,
    /// It stands there.
    Stands(Seq),
    /// Its id was withdrawn.
    Withdrawn,
    /// The reducer decided against it.
    Refused(ErrorCode),
    /// The server did not append it.
    NotTaken(ErrorCode),
}

/// Which way a command goes.
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
    /// Which way.
    pub route: Route,
    /// What became of it.
    pub fate: Fate,
    /// Copies that may be in the log.
    pub copies: u32,
    /// Copies that were acknowledged.
    pub acks: u32,
    /// When the first copy went out.
    pub at: Option<Instant>,
    /// When it is sent, or asked for, next; `None` when nothing is to be done.
    pub due: Option<Instant>,
    /// Whether, when due, its outcome is asked for instead of sending it.
    pub ask: bool,
    /// A copy was refused before the log while the fate of others is not known: unless one of them stands, the command
    /// is withdrawn, so that none ever will.
    pub giving_up: bool,
    /// A copy was refused because something else stands under the id: what, only the outcome says.
    pub conflict: bool,
    /// Given back with the first answer of any kind.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Two answers that contradict one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The command.
    pub id: CommandId,
    /// In words.
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

    /// It stands at `seq`. Says what contradicts that, if anything does.
    pub(crate) fn stands(&mut self, seq: Seq) -> Option<String> {
        let contradiction = match self.fate {
            Fate::Stands(known) if known != seq => Some(format!("stood at {known:?}, now at {seq:?}")),
            Fate::Withdrawn => Some(format!("was withdrawn, now stands at {seq:?}")),
            _ => None,
        };
        self.settle(Fate::Stands(seq));
        contradiction
    }

    /// Its withdrawal stands.
    pub(crate) fn withdrawn(&mut self) -> Option<String> {
        let contradiction = match self.fate {
            Fate::Stands(known) => Some(format!("stood at {known:?}, now withdrawn")),
            _ => None,
        };
        self.settle(Fate::Withdrawn);
        contradiction
    }

    /// A copy of it was refused, which says nothing about other copies.
    pub(crate) fn refused(&mut self, reason: ErrorCode, now: Instant) -> Option<String> {
        match (reason, self.fate) {
            (ErrorCode::Withdrawn, _) => return self.withdrawn(),
            (ErrorCode::Conflict, Fate::Open) => (self.due, self.ask, self.conflict) = (Some(now), true, true),
            (_, Fate::Open | Fate::NotTaken(_)) => self.settle(Fate::Refused(reason)),
            _ => {}
        }
        None
    }

    /// A copy of it was not appended. Final only if no other copy may be in the log.
    pub(crate) fn not_taken(&mut self, code: ErrorCode, now: Instant) {
        self.copies = self.copies.saturating_sub(1);
        self.conflict |= code == ErrorCode::Conflict;
        if self.fate != Fate::Open {
            return;
        }
        // Who never was a member has nothing that could be given up: no copy that is in the log stands.
        let never = code == ErrorCode::NotMember && matches!(self.command.what, CommandKind::Withdraw { .. });
        if self.copies == 0 || never {
            self.settle(Fate::NotTaken(code));
        } else {
            (self.due, self.ask, self.giving_up) = (Some(now), true, true);
        }
    }

    /// What the outcome says. `absent` leaves a fate that is decided; it contradicts one that was decided before it was
    /// asked (else it is older than what was heard meanwhile).
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
                // It is somebody else's, of which nobody is told.
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

/// The id and conversation that a command names; a creation's conversation is derived.
///
/// # Errors
/// When the command is malformed.
pub fn names(command: &CommandFrame, author: domain::UserId) -> Result<(CommandId, ConversationId), String> {
    command.clone().into_action(author).map(|(id, conversation, _)| (id, conversation))
}
