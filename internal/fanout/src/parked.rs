//! Parked conversations: their first unjudged event, and what came since as far as memory reaches.

use std::collections::{BTreeMap, VecDeque};

use domain::{ConversationId, Seq};
use eventlog::Message;

/// Conversations of one partition that may be parked at once: so many positions fit into a commit. When one more needs
/// it, the partition's intake pauses.
pub const PARKED_MAX: usize = 100;
/// Events that all parked conversations of a partition keep in memory; beyond, the log is read again.
const QUEUED_MAX: usize = 2000;

/// One parked conversation.
#[derive(Debug)]
pub(crate) struct Parked {
    /// Its first unjudged event is here or later.
    pub(crate) first: Seq,
    /// Its events from `first` on.
    pub(crate) queue: VecDeque<Message>,
    /// Whether the queue reaches up to the intake; if not, the log has the rest.
    pub(crate) complete: bool,
    /// Parked to be judged again after a hold: at the end, `done_through` is raised.
    pub(crate) redrive: bool,
}

/// The parked conversations of one partition.
#[derive(Debug, Default)]
pub(crate) struct ParkedSet {
    all: BTreeMap<ConversationId, Parked>,
    /// Events in all queues.
    queued: usize,
}

impl ParkedSet {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.all.len() < PARKED_MAX
    }

    pub(crate) fn contains(&self, conversation: ConversationId) -> bool {
        self.all.contains_key(&conversation)
    }

    pub(crate) fn get_mut(&mut self, conversation: ConversationId) -> Option<&mut Parked> {
        self.all.get_mut(&conversation)
    }

    /// Parks at `message`, which is the latest of its conversation that was taken in.
    pub(crate) fn park(&mut self, conversation: ConversationId, message: Message) {
        let first = message.placed.seq;
        self.all.insert(conversation, Parked { first, queue: VecDeque::new(), complete: true, redrive: false });
        self.follow(conversation, message);
    }

    /// Parks from `first` on: what there is, the log says.
    pub(crate) fn park_from(&mut self, conversation: ConversationId, first: Seq, redrive: bool) {
        self.all.insert(conversation, Parked { first, queue: VecDeque::new(), complete: false, redrive });
    }

    /// Another event of a parked conversation was taken in.
    pub(crate) fn follow(&mut self, conversation: ConversationId, message: Message) {
        let Some(parked) = self.all.get_mut(&conversation) else { return };
        if parked.complete && self.queued < QUEUED_MAX {
            parked.queue.push_back(message);
            self.queued += 1;
        } else {
            parked.complete = false;
        }
    }

    /// Replaces the queue by what was read again.
    pub(crate) fn refill(&mut self, conversation: ConversationId, queue: VecDeque<Message>, complete: bool) {
        let Some(parked) = self.all.get_mut(&conversation) else { return };
        self.queued = self.queued + queue.len() - parked.queue.len();
        parked.queue = queue;
        parked.complete = complete;
    }

    /// The next event to judge, taken out.
    pub(crate) fn take(&mut self, conversation: ConversationId) -> Option<Message> {
        let message = self.all.get_mut(&conversation)?.queue.pop_front()?;
        self.queued -= 1;
        Some(message)
    }

    /// Puts an event back: its facts are not there yet.
    pub(crate) fn put_back(&mut self, conversation: ConversationId, message: Message) {
        if let Some(parked) = self.all.get_mut(&conversation) {
            parked.first = message.placed.seq;
            parked.queue.push_front(message);
            self.queued += 1;
        }
    }

    pub(crate) fn remove(&mut self, conversation: ConversationId) {
        if let Some(parked) = self.all.remove(&conversation) {
            self.queued -= parked.queue.len();
        }
    }

    /// The conversations, with the place of their first unjudged event.
    pub(crate) fn firsts(&self) -> Vec<(ConversationId, Seq)> {
        self.all.iter().map(|(conversation, parked)| (*conversation, parked.first)).collect()
    }
}
