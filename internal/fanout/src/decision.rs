//! What is to be done about one event.

use domain::Seq;

use crate::records::Outgoing;
use crate::request::Request;

/// What is to be done next for a conversation.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Nothing: it goes on when something else comes.
    Nothing,
    /// The event of that place is judged: these go out, and only then it counts as passed.
    Deliver(Seq, Vec<Outgoing>),
    /// It is parked until this is answered.
    Ask(Request),
    /// The same, and it is asked only once everything that was handed over before is acknowledged.
    AskBehind(Request),
}
