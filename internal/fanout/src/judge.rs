//! The pure judge: from the state and one event (a record that was read, or an answer that came back) it derives the
//! one thing that is to be done next. The loop does it, and calls the judge again.

use std::time::Duration;

use domain::{ConversationId, Event, Seq, SeqError};
use environment::seeded_bugs::{Bug, seeded};
use eventlog::{DecodedRecord, Meaning};
use store::{Answers, CacheEntry, FactsLookup, Loaded};

use crate::decision::Decision;
use crate::records::Outgoing;
use crate::request::{Found, OwnHold, Request};
use crate::state::State;

/// How long a follower waits for the loop that it follows to write what it has skipped: that is written with each
/// commit.
const WRITTEN_AGAIN: Duration = Duration::from_millis(100);

/// The result of judging an event.
enum Verdict {
    /// The event is judged; these are its deliveries.
    Done(Vec<Outgoing>),
    /// A fact that it needs is not in memory.
    Asks,
    /// This program cannot judge it; the loaded state may be half changed.
    Hold,
}

/// Whether this program can judge the event at all.
pub(crate) fn knows(message: &DecodedRecord, rules_newest: u32) -> bool {
    match &message.meaning {
        Meaning::Unknown(_) => false,
        Meaning::Event(event) => event.rules <= rules_newest,
        Meaning::Marker | Meaning::Corrupt(_) | Meaning::Dropped => true,
    }
}

impl State {
    /// Takes in the next event of the log. Facts that are not in memory are requested, never waited for: the
    /// conversation is parked until they are there. `None`: the conversation would have to be parked, and there is no
    /// room; then nothing has changed, and the intake waits.
    pub(crate) fn take_in(&mut self, message: &DecodedRecord) -> Result<Option<Decision>, SeqError> {
        let Some(conversation) = message.conversation else { return Ok(Some(Decision::Nothing)) };
        if self.parked.contains(conversation) {
            self.parked.follow(conversation, message.clone());
            return Ok(Some(Decision::Nothing));
        }
        let seq = message.appended.seq;
        let mut loaded = match self.cache.take(conversation) {
            Some(CacheEntry::Ready(loaded)) => loaded,
            Some(CacheEntry::Held) => {
                self.skip_event(conversation, seq);
                self.cache.put(conversation, CacheEntry::Held);
                return Ok(Some(Decision::Nothing));
            }
            None if self.parked.has_room() => {
                self.park(conversation, message);
                return self.next(conversation, &Answers::default()).map(Some);
            }
            None => return Ok(None),
        };
        let verdict = self.verdict(&mut loaded, message, &Answers::default());
        Ok(match verdict {
            Verdict::Done(records) => {
                self.cache.put(conversation, CacheEntry::Ready(loaded));
                Some(Decision::Deliver(seq, records))
            }
            Verdict::Asks if self.parked.has_room() => {
                self.park(conversation, message);
                Some(Decision::Ask(Request::Complete { conversation, loaded, message: message.clone() }))
            }
            Verdict::Hold if self.parked.has_room() => {
                self.park(conversation, message);
                Some(self.hold(conversation, seq)?)
            }
            Verdict::Asks => {
                self.cache.put(conversation, CacheEntry::Ready(loaded));
                None
            }
            Verdict::Hold => None,
        })
    }

    /// Goes on with a parked conversation whose request was answered.
    pub(crate) fn go_on(&mut self, conversation: ConversationId, found: Found) -> Result<Decision, SeqError> {
        let Some(first) = self.parked.first(conversation) else { return Ok(Decision::Nothing) };
        let mut answers = Answers::default();
        let written = matches!(found, Found::Holding(_) | Found::Healed);
        if self.gives_up(conversation) && !written {
            return self.stay_held(conversation);
        }
        match found {
            Found::Redrive(_) if self.lags => return self.stay_held(conversation),
            Found::Ready(loaded, read) => {
                self.cache.put(conversation, CacheEntry::Ready(loaded));
                answers = read;
            }
            Found::Redrive(from) => self.parked.park_from(conversation, from, true),
            Found::Dropped => self.parked.drop_first(conversation),
            Found::Held => return self.hold(conversation, first),
            Found::Skipped(to) => self.parked.skip_to(conversation, to),
            Found::NotWritten => return Ok(Decision::Ask(Request::Wait(conversation, WRITTEN_AGAIN))),
            Found::Reread(read) => {
                let next = Seq::new(self.generation, read.next)?;
                self.parked.refill(conversation, read.queue, next, read.complete);
            }
            Found::Holding(hold) => return self.holding(conversation, hold),
            Found::Healed => self.healed(conversation),
            Found::Again => {}
        }
        self.next(conversation, &answers)
    }

    /// The deliveries of the event at `seq` are handed over: decides what comes next for its conversation, if that is
    /// parked.
    pub(crate) fn delivered(&mut self, conversation: ConversationId, seq: Seq) -> Result<Decision, SeqError> {
        self.parked.went_on(conversation, seq.next());
        if self.gives_up(conversation) {
            return self.stay_held(conversation);
        }
        self.next(conversation, &Answers::default())
    }

    /// Whether a re-drive of the conversation must not go on.
    fn gives_up(&self, conversation: ConversationId) -> bool {
        self.lags && self.parked.is_redriven(conversation)
    }

    /// Parks a conversation from the event at `first` on, whose events have to be read from the log.
    pub(crate) fn park_from(
        &mut self,
        conversation: ConversationId,
        first: Seq,
        redrive: bool,
    ) -> Result<Decision, SeqError> {
        self.parked.park_from(conversation, first, redrive);
        self.next(conversation, &Answers::default())
    }

    fn park(&mut self, conversation: ConversationId, message: &DecodedRecord) {
        self.metrics.parks.inc();
        self.parked.park(conversation, message.clone());
    }

    /// The next event of a parked conversation that is in memory, with the `answers` that were read for it; or the
    /// request that it needs to go on. A conversation that has come to the intake is parked no more.
    fn next(&mut self, conversation: ConversationId, answers: &Answers) -> Result<Decision, SeqError> {
        let Some(message) = self.parked.take(conversation) else { return self.drained(conversation) };
        let seq = message.appended.seq;
        let Some(CacheEntry::Ready(mut loaded)) = self.cache.take(conversation) else {
            let own_hold = self.own_hold(conversation);
            self.parked.put_back(conversation, message.clone());
            return Ok(Decision::Ask(Request::Open { conversation, own_hold, message }));
        };
        match self.verdict(&mut loaded, &message, answers) {
            Verdict::Done(records) => {
                self.cache.put(conversation, CacheEntry::Ready(loaded));
                Ok(Decision::Deliver(seq, records))
            }
            Verdict::Asks => {
                self.parked.put_back(conversation, message.clone());
                Ok(Decision::Ask(Request::Complete { conversation, loaded, message }))
            }
            Verdict::Hold => {
                self.parked.put_back(conversation, message.clone());
                if self.parked.is_redriven(conversation) && !knows(&message, self.rules_newest) {
                    // An operator may have dropped the event while it was held: opening the conversation looks that up,
                    // and never finds a held conversation ready.
                    let own_hold = OwnHold::Redriven;
                    return Ok(Decision::Ask(Request::Open { conversation, own_hold, message }));
                }
                self.hold(conversation, seq)
            }
        }
    }

    fn own_hold(&self, conversation: ConversationId) -> OwnHold {
        if self.is_follower() {
            OwnHold::Followed
        } else if self.parked.is_redriven(conversation) {
            OwnHold::Redriven
        } else {
            OwnHold::Unknown
        }
    }

    /// All events in memory are judged: the log has more, or the conversation has come to the intake.
    fn drained(&mut self, conversation: ConversationId) -> Result<Decision, SeqError> {
        let Some(first) = self.parked.first(conversation) else { return Ok(Decision::Nothing) };
        let (from, to, redriven) = (first.offset(), self.intake, self.parked.is_redriven(conversation));
        if !self.parked.is_complete(conversation) && from < to {
            self.parked.reread_begins(conversation);
            let (last, cold) = (self.fingerprint, !self.cache.contains(conversation));
            // A re-drive may be long: after a crash, it goes on from here.
            let out = first.before().filter(|_| redriven && !cold);
            let reread = Request::Reread { conversation, from, to, last, cold, out };
            return Ok(if out.is_some() { Decision::AskBehind(reread) } else { Decision::Ask(reread) });
        }
        if redriven {
            return self.heal(conversation);
        }
        self.parked.remove(conversation);
        Ok(Decision::Nothing)
    }

    /// Judges the next event of a conversation that is loaded, and applies it to `loaded`. The `answers` are what was
    /// read for it.
    fn verdict(&self, loaded: &mut Loaded, message: &DecodedRecord, answers: &Answers) -> Verdict {
        let event = match &message.meaning {
            Meaning::Marker | Meaning::Corrupt(_) | Meaning::Dropped => return Verdict::Done(Vec::new()),
            Meaning::Event(event) if knows(message, self.rules_newest) => &**event,
            Meaning::Event(_) | Meaning::Unknown(_) => return Verdict::Hold,
        };
        let FactsLookup::Ready(facts) = loaded.facts(event, answers) else { return Verdict::Asks };
        let newest = seeded(Bug::JudgedByNewestRules).then(|| Event { rules: self.rules_newest, ..event.clone() });
        let judged = newest.as_ref().unwrap_or(event);
        let records = |effects| self.records.of(event, message, &effects);
        match consumer::judge(loaded, (judged, message.appended), &facts, self.rules_newest, records) {
            Ok(records) => {
                if !self.is_follower() {
                    self.metrics.events.inc();
                }
                Verdict::Done(records)
            }
            Err(consumer::NotJudged::Rules(_)) => Verdict::Hold,
            Err(consumer::NotJudged::Panicked) => {
                self.metrics.panics.inc();
                Verdict::Hold
            }
        }
    }
}
