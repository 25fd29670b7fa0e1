//! Parked conversations: their first unjudged event, and later ones as far as memory holds them.

use std::collections::{BTreeMap, VecDeque};

use domain::{ConversationId, Seq};
use environment::seeded_bugs::{Bug, seeded};
use eventlog::{DecodedRecord, Meaning};

/// Conversations of one partition that may be parked at once: so many positions fit into a commit. When one more would
/// have to be parked, the partition's intake pauses.
pub const PARKED_MAX: usize = 100;
/// Events that all parked conversations of a partition keep in memory; beyond that, the log is read again.
pub const QUEUED_MAX: usize = 2000;

/// One parked conversation.
#[derive(Debug)]
struct Parked {
    /// The first unjudged event is here or later.
    first: Seq,
    /// When the first unjudged event was appended, milliseconds since the Unix epoch; `None` until it was read.
    since_ms: Option<i64>,
    /// The events from `first` on.
    queue: VecDeque<DecodedRecord>,
    /// Whether the queue reaches up to the intake; otherwise the log has the rest.
    complete: bool,
    /// The events taken in while the log is read again up to the intake.
    since: Option<VecDeque<DecodedRecord>>,
    /// Whether it is parked to be judged again after a hold: at the end, `done_through` is raised.
    redrive: bool,
    /// Whether that is being written.
    healing: bool,
}

/// The parked conversations of one partition.
#[derive(Debug)]
pub(crate) struct ParkedSet {
    all: BTreeMap<ConversationId, Parked>,
    /// The number of events in all queues.
    queued: usize,
    /// The bound on them.
    queued_max: usize,
}

impl ParkedSet {
    /// Keeps at most about so many events in memory.
    pub(crate) fn new(queued_max: usize) -> Self {
        Self { all: BTreeMap::new(), queued: 0, queued_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.all.len() < PARKED_MAX
    }

    pub(crate) fn contains(&self, conversation: ConversationId) -> bool {
        self.all.contains_key(&conversation)
    }

    /// The seq at or before its first unjudged event; `None` when it is not parked.
    pub(crate) fn first(&self, conversation: ConversationId) -> Option<Seq> {
        self.all.get(&conversation).map(|parked| parked.first)
    }

    /// Whether memory has everything up to the intake.
    pub(crate) fn is_complete(&self, conversation: ConversationId) -> bool {
        self.all.get(&conversation).is_some_and(|parked| parked.complete)
    }

    /// Whether it is judged again after a hold.
    pub(crate) fn is_redriven(&self, conversation: ConversationId) -> bool {
        self.all.get(&conversation).is_some_and(|parked| parked.redrive)
    }

    /// The number of conversations that are judged again after a hold.
    pub(crate) fn redriven(&self) -> usize {
        self.all.values().filter(|parked| parked.redrive).count()
    }

    /// That the hold is over is being written.
    pub(crate) fn heals(&mut self, conversation: ConversationId) {
        if let Some(parked) = self.all.get_mut(&conversation) {
            parked.healing = true;
        }
    }

    /// The hold is over.
    pub(crate) fn is_healed(&mut self, conversation: ConversationId) {
        if let Some(parked) = self.all.get_mut(&conversation) {
            (parked.redrive, parked.healing) = (false, false);
        }
    }

    /// Parks a conversation at `message`, which is the latest of its events that was taken in.
    pub(crate) fn park(&mut self, conversation: ConversationId, message: DecodedRecord) {
        self.insert(conversation, message.appended.seq, true, false);
        // Its first event is kept in any case: the intake has not passed it yet, so nothing would read it again.
        if let Some(parked) = self.all.get_mut(&conversation) {
            parked.since_ms = Some(message.appended.append_time_ms);
            parked.queue.push_back(message);
            self.queued += 1;
        }
    }

    /// Parks a conversation from `first` on, with no events in memory: they have to be read from the log.
    pub(crate) fn park_from(&mut self, conversation: ConversationId, first: Seq, redrive: bool) {
        self.insert(conversation, first, false, redrive);
    }

    fn insert(&mut self, conversation: ConversationId, first: Seq, complete: bool, redrive: bool) {
        self.remove(conversation);
        self.all.insert(
            conversation,
            Parked { first, since_ms: None, queue: VecDeque::new(), complete, since: None, redrive, healing: false },
        );
    }

    /// Adds another event of a parked conversation.
    pub(crate) fn follow(&mut self, conversation: ConversationId, message: DecodedRecord) {
        let Some(parked) = self.all.get_mut(&conversation) else { return };
        let queue = if parked.complete { Some(&mut parked.queue) } else { parked.since.as_mut() };
        match queue {
            Some(queue) if self.queued < self.queued_max => {
                queue.push_back(message);
                self.queued += 1;
            }
            Some(_) => {
                parked.complete &= seeded(Bug::OverflowCountsAsComplete);
                self.queued -= parked.since.take().map_or(0, |since| since.len());
            }
            None => {}
        }
    }

    /// The log is being read again for it, up to the present intake.
    pub(crate) fn reread_begins(&mut self, conversation: ConversationId) {
        if let Some(parked) = self.all.get_mut(&conversation) {
            parked.since = Some(VecDeque::new());
        }
    }

    /// Adds what was read again, up to `next`; followed by what was taken in meanwhile, if that is `complete`.
    pub(crate) fn refill(
        &mut self,
        conversation: ConversationId,
        mut queue: VecDeque<DecodedRecord>,
        next: Seq,
        mut complete: bool,
    ) {
        let Some(parked) = self.all.get_mut(&conversation) else { return };
        // One event is kept in any case; those that there is no room for are read again later.
        let room = self.queued_max.saturating_sub(self.queued).max(1);
        complete &= queue.len() <= room;
        queue.truncate(room);
        self.queued += queue.len();
        parked.queue.extend(queue);
        match parked.since.take() {
            Some(since) if complete => {
                parked.queue.extend(since);
                parked.complete = true;
            }
            since => self.queued -= since.map_or(0, |since| since.len()),
        }
        if parked.queue.is_empty() {
            parked.first = next;
        }
    }

    /// The conversation is judged up to before `next`.
    pub(crate) fn went_on(&mut self, conversation: ConversationId, next: Seq) {
        if let Some(parked) = self.all.get_mut(&conversation) {
            parked.first = next;
        }
    }

    /// The next event to judge, taken out.
    pub(crate) fn take(&mut self, conversation: ConversationId) -> Option<DecodedRecord> {
        let parked = self.all.get_mut(&conversation)?;
        let message = parked.queue.pop_front()?;
        parked.since_ms = Some(message.appended.append_time_ms);
        self.queued -= 1;
        Some(message)
    }

    /// Puts an event back: its facts are not there yet.
    pub(crate) fn put_back(&mut self, conversation: ConversationId, message: DecodedRecord) {
        if let Some(parked) = self.all.get_mut(&conversation) {
            parked.first = message.appended.seq;
            parked.queue.push_front(message);
            self.queued += 1;
        }
    }

    /// Marks the next event as dropped.
    pub(crate) fn drop_first(&mut self, conversation: ConversationId) {
        if let Some(first) = self.all.get_mut(&conversation).and_then(|parked| parked.queue.front_mut()) {
            first.meaning = Meaning::Dropped;
        }
    }

    /// Passes over its events up to that seq, whether they are in memory or not.
    pub(crate) fn skip_to(&mut self, conversation: ConversationId, seq: Seq) {
        let Some(parked) = self.all.get_mut(&conversation) else { return };
        let skipped = parked.queue.iter().take_while(|message| message.appended.seq <= seq).count();
        parked.queue.drain(..skipped);
        self.queued -= skipped;
        parked.first = parked.first.max(seq.next());
    }

    pub(crate) fn remove(&mut self, conversation: ConversationId) {
        if let Some(parked) = self.all.remove(&conversation) {
            self.queued -= parked.queue.len() + parked.since.map_or(0, |since| since.len());
        }
    }

    /// The first seq from which a parked conversation is judged. Those that are re-driven do not count: they are held until
    /// no delivery partition lags.
    pub(crate) fn first_to_judge(&self) -> Option<Seq> {
        self.all.values().filter(|parked| parked.healing || !parked.redrive).map(|parked| parked.first).min()
    }

    /// The append time of the earliest unjudged event, milliseconds since the Unix epoch. Re-driven conversations do not
    /// count: they are held until they have come to the intake.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.all.values().filter(|parked| !parked.redrive).filter_map(|parked| parked.since_ms).min()
    }

    /// The append time of the conversation's first unjudged event; `None` until it was read.
    pub(crate) fn since_ms(&self, conversation: ConversationId) -> Option<i64> {
        self.all.get(&conversation)?.since_ms
    }

    /// The conversations, with the seq of their first unjudged event.
    pub(crate) fn firsts(&self) -> Vec<(ConversationId, Seq)> {
        self.all.iter().map(|(conversation, parked)| (*conversation, parked.first)).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::{Appended, Fingerprint, UserId};
    use uuid::Uuid;

    use super::*;

    /// Found by the simulator: the event at which a conversation is parked was lost where the queues of others were
    /// full.
    #[test]
    fn the_event_that_is_parked_at_is_kept_however_much_others_keep() {
        let user = |number| UserId::try_from(Uuid::from_u128(number)).unwrap();
        let message = |offset| {
            let appended = Appended { seq: Seq::new(0, offset).unwrap(), append_time_ms: 0 };
            DecodedRecord {
                appended,
                fingerprint: Fingerprint(0),
                conversation: None,
                meaning: Meaning::Marker,
                trace: None,
            }
        };
        let (greedy, late) = (ConversationId::direct(user(1), user(1)), ConversationId::direct(user(2), user(2)));
        let mut parked = ParkedSet::new(QUEUED_MAX);
        parked.park(greedy, message(1));
        for offset in 2..100_000 {
            parked.follow(greedy, message(offset));
        }
        parked.park(late, message(100_000));
        assert!(parked.is_complete(late) && parked.take(late).is_some());
    }

    /// After a restart beside a store that is away, the log is read again for all that were parked.
    #[test]
    fn what_is_read_again_is_bounded_too_and_everybody_goes_on() {
        let user = |number| UserId::try_from(Uuid::from_u128(number)).unwrap();
        let at = |offset| Seq::new(0, offset).unwrap();
        let message = |offset| {
            let appended = Appended { seq: at(offset), append_time_ms: 0 };
            DecodedRecord {
                appended,
                fingerprint: Fingerprint(0),
                conversation: None,
                meaning: Meaning::Marker,
                trace: None,
            }
        };
        let mut parked = ParkedSet::new(QUEUED_MAX);
        let conversations: Vec<_> = (0..100).map(|n| ConversationId::direct(user(n), user(n))).collect();
        for conversation in &conversations {
            parked.park_from(*conversation, at(1), false);
            parked.reread_begins(*conversation);
            parked.refill(*conversation, (1..=500).map(message).collect(), at(501), true);
        }
        assert!(parked.queued <= QUEUED_MAX + conversations.len(), "{} are queued", parked.queued);
        for conversation in &conversations {
            let queue = std::iter::from_fn(|| parked.take(*conversation));
            let last = queue.last().expect("each has one at least").appended.seq;
            assert_eq!(parked.is_complete(*conversation), last == at(500), "what there was no room for is read again");
        }
        assert_eq!(parked.queued, 0);
    }

    /// What a follower that begins now has to deliver: a re-driven conversation stays held, unless its row is being
    /// written.
    #[test]
    fn a_conversation_that_heals_is_judged_whatever_memory_has_of_it() {
        let conversation = ConversationId::direct(
            UserId::try_from(Uuid::from_u128(1)).unwrap(),
            UserId::try_from(Uuid::from_u128(2)).unwrap(),
        );
        let mut parked = ParkedSet::new(QUEUED_MAX);
        parked.park_from(conversation, Seq::new(0, 7).unwrap(), true);
        assert_eq!(parked.first_to_judge(), None);
        parked.heals(conversation);
        assert_eq!(parked.first_to_judge(), Some(Seq::new(0, 7).unwrap()));
    }
}
