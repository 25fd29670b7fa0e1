//! The decision of the judge about one event.

use domain::Seq;

use crate::records::Outgoing;
use crate::request::Request;

/// What is to be done next for a conversation.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Nothing: it goes on when something else comes.
    Nothing,
    /// The event with that seq is judged: these records are to be delivered, and only then does it count as passed.
    Deliver(Seq, Vec<Outgoing>),
    /// The conversation is parked until this request is answered.
    Ask(Request),
    /// As [`Self::Ask`], but the request is only made once all earlier deliveries are acknowledged.
    AskBehind(Request),
}
