//! The reducer and its id cache against the oracle: random histories, with evictions and crashes at any event,
//! rows dropped from the cache at any moment, wrong client clocks, and broker time that runs backwards.

#![allow(clippy::unwrap_used)] // in helpers of tests too

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Appended, Change, CommandId, ConversationId, ConversationState, Decision, Effects, Event, Facts, ID_CACHE_SPAN_MS,
    IdCache, IdRow, Lookup, RULES_NEWEST, ReactionChange, Role, Said, Seq, TargetCache, TargetFact, ThreadPlace, apply,
    past_of,
};
use workload::{Random, Reference, Stories, StoryConfig};

const HISTORIES: u64 = 300;
const EVENTS: u64 = 120;

/// The rows that a store would hold: every accepted event's effects, by seq.
#[derive(Default)]
struct Rows {
    accepted: BTreeMap<ConversationId, Vec<(Seq, Vec<Change>)>>,
}

impl Rows {
    fn state(&self, conversation: ConversationId, as_of: Seq) -> ConversationState {
        let mut state = ConversationState::default();
        for (seq, changes) in self.accepted.get(&conversation).into_iter().flatten() {
            if *seq <= as_of {
                state.absorb(*seq, changes);
            }
        }
        state
    }

    fn memberships(&self, event: &Event) -> Vec<(Seq, Option<Role>)> {
        let mut versions = Vec::new();
        for (seq, changes) in self.accepted.get(&event.conversation).into_iter().flatten() {
            versions.extend(changes.iter().filter_map(|change| match change {
                Change::Member { user, role } if *user == event.author => Some((*seq, *role)),
                _ => None,
            }));
        }
        versions
    }

    /// The emojis that a message had taken by then.
    fn emojis(&self, conversation: ConversationId, message: Seq, as_of: Seq) -> BTreeSet<String> {
        let accepted = self.accepted.get(&conversation).into_iter().flatten().filter(|(seq, _)| *seq <= as_of);
        let added = accepted.flat_map(|(_, changes)| changes).filter_map(|change| match change {
            Change::Reaction { seq, emoji, change: ReactionChange::Added { .. }, .. } if *seq == message => {
                Some(emoji.clone())
            }
            _ => None,
        });
        added.collect()
    }

    /// The number of messages that a thread had by then.
    fn thread(&self, conversation: ConversationId, root: Seq, as_of: Seq) -> u64 {
        let accepted = self.accepted.get(&conversation).into_iter().flatten().filter(|(seq, _)| *seq <= as_of);
        let below = accepted
            .flat_map(|(_, changes)| changes)
            .filter(|change| matches!(change, Change::Thread { of, .. } if of.root_seq == root));
        below.count() as u64
    }

    /// What had to be known of what a message said by then.
    fn said(&self, conversation: ConversationId, message: Seq, as_of: Seq) -> Said {
        let mut said = Said::default();
        let accepted = self.accepted.get(&conversation).into_iter().flatten().filter(|(seq, _)| *seq <= as_of);
        for change in accepted.flat_map(|(_, changes)| changes) {
            if let Change::Extras { seq, now, edit, .. } = change
                && *seq == message
            {
                said.extras = now.clone();
                said.edits.extend(*edit);
            }
        }
        said
    }

    fn ids(&self, conversation: ConversationId, as_of: Seq) -> BTreeMap<CommandId, IdRow> {
        let mut ids: BTreeMap<CommandId, IdRow> = BTreeMap::new();
        for (seq, changes) in self.accepted.get(&conversation).into_iter().flatten().filter(|(seq, _)| *seq <= as_of) {
            for change in changes {
                match change {
                    Change::Id { id, row } => drop(ids.insert(*id, *row)),
                    Change::Deleted { id, .. } => {
                        ids.entry(*id).and_modify(|row| row.deleted = Some(*seq));
                    }
                    _ => {}
                }
            }
        }
        ids
    }
}

/// A consumer with a cache, like the storage consumer and the fan-out.
struct Consumer {
    state: ConversationState,
    ids: IdCache,
    targets: TargetCache,
}

impl Consumer {
    fn load(rows: &Rows, event: &Event, appended: Appended) -> Self {
        let as_of = appended.seq.before().unwrap();
        let t0 = appended.append_time_ms - ID_CACHE_SPAN_MS;
        let ids = rows.ids(event.conversation, as_of).into_iter().filter(|(id, _)| id.stamp_ms() >= t0);
        let (state, ids) = (rows.state(event.conversation, as_of), IdCache::new(t0, ids));
        Self { state, ids, targets: TargetCache::default() }
    }

    fn fact(&mut self, rows: &Rows, event: &Event, id: CommandId, as_of: Seq) -> Option<IdRow> {
        match self.ids.lookup(id) {
            Lookup::Known(row) => row,
            Lookup::Read => {
                let row = rows.ids(event.conversation, as_of).get(&id).copied()?;
                self.ids.keep(id, row);
                Some(row)
            }
        }
    }

    fn judge(&mut self, rows: &Rows, event: &Event, appended: Appended) -> Effects {
        let as_of = appended.seq.before().unwrap();
        let first = self.fact(rows, event, event.id, as_of);
        let target = event.action.target().and_then(|id| self.fact(rows, event, id, as_of));
        let past = past_of(&self.state, event, first.as_ref(), target.as_ref())
            .is_some_and(|past| past.answer(rows.memberships(event), as_of));
        match self.targets.facts(event, first.as_ref(), target.as_ref()) {
            Err(TargetFact::Emojis(message, _)) => {
                self.targets.keep_emojis(message, rows.emojis(event.conversation, message, as_of));
            }
            Err(TargetFact::Thread(root)) => {
                self.targets.keep_thread(root, rows.thread(event.conversation, root, as_of));
            }
            Err(TargetFact::Said(message, _)) => {
                self.targets.keep_said(message, rows.said(event.conversation, message, as_of));
            }
            Ok(_) => {}
        }
        let of_target = self.targets.facts(event, first.as_ref(), target.as_ref()).unwrap();
        let facts = Facts { first, target, past, of_target };
        let effects = apply(&self.state, event, appended, &facts, RULES_NEWEST).unwrap();
        self.state.absorb(appended.seq, &effects.changes);
        self.targets.absorb(&effects.changes);
        self.ids.absorb(appended.seq, &effects.changes, target.as_ref());
        effects
    }
}

/// A history: events with their seqs, and the effects that the oracle expects.
fn history(seed: u64) -> Vec<(Event, Appended, Effects)> {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut now_ms = 10 * 7 * 86_400_000 + i64::try_from(random.below(600_000)).unwrap() - 540_000; // near a week's end
    let mut stories = Stories::new(seed, StoryConfig::default(), now_ms);
    let mut reference = Reference::default();
    (1..=EVENTS)
        .map(|offset| {
            now_ms += *random.pick(&[0, 1, 20, 1000, 60_000, 200_000, 4_000_000]);
            if random.chance(8) {
                now_ms -= *random.pick(&[30_000, 200_000, 1_000_000, 9_000_000]);
            }
            let event = stories.next(now_ms, &reference);
            let appended = Appended { seq: Seq::new(0, offset).unwrap(), append_time_ms: now_ms };
            let effects = reference.judge(&event, appended);
            (event, appended, effects)
        })
        .collect()
}

#[test]
fn any_eviction_crash_or_dropped_id_gives_the_same_effects() {
    let mut decisions = BTreeMap::new();
    for seed in 0..HISTORIES {
        let (history, mut random) = (history(seed), Random::new(seed));
        let evict = *random.pick(&[1, 10, 60]);
        let (mut rows, mut consumers) = (Rows::default(), BTreeMap::<ConversationId, Consumer>::new());
        for (event, appended, expected) in &history {
            let consumer =
                consumers.entry(event.conversation).or_insert_with(|| Consumer::load(&rows, event, *appended));
            let effects = consumer.judge(&rows, event, *appended);
            assert_eq!(&effects, expected, "seed {seed}, {appended:?}: {event:?}");
            *decisions
                .entry(format!("{:?}", effects.decision).split([' ', '{']).next().unwrap().to_owned())
                .or_insert(0) += 1;
            if effects.decision == Decision::Accepted {
                rows.accepted.entry(event.conversation).or_default().push((appended.seq, effects.changes));
            }
            if random.chance(evict) {
                consumers.remove(&event.conversation);
            } else if random.chance(20) {
                let keep = usize::try_from(random.below(5)).unwrap();
                consumers.values_mut().for_each(|consumer| consumer.ids.shrink(keep));
            }
        }
    }
    // Check that the histories contain every kind of decision.
    for decision in [
        "Accepted",
        "Settled",
        "Refused(Conflict)",
        "Refused(Withdrawn)",
        "Refused(IdFromFuture)",
        "Refused(Exists)",
        "Refused(NotMember)",
        "Refused(Forbidden)",
        "Refused(Already)",
        "Refused(NoSuchMember)",
        "Refused(NoSuchMessage)",
        "Refused(NotAuthor)",
        "Refused(Invalid)",
    ] {
        assert!(decisions.get(decision).is_some_and(|n| *n > 20), "{decision}: {decisions:?}");
    }
}

#[test]
fn an_id_is_accepted_once_and_the_duplicate_predicate_is_exact() {
    for seed in 0..HISTORIES {
        let mut accepted = BTreeSet::new();
        for (event, appended, effects) in history(seed) {
            let key = (event.conversation, event.id);
            match effects.decision {
                Decision::Accepted => assert!(accepted.insert(key), "seed {seed}: {appended:?} accepted twice"),
                Decision::Settled { first_seq, .. } => {
                    assert!(accepted.contains(&key) && first_seq < appended.seq, "seed {seed}: {appended:?}");
                }
                Decision::Refused(_) => {}
            }
        }
    }
}

#[test]
fn a_replay_of_any_history_gives_the_same_effects() {
    for seed in 0..HISTORIES / 3 {
        let history = history(seed);
        let mut again = Reference::default();
        for (event, appended, effects) in &history {
            assert_eq!(&again.judge(event, *appended), effects, "seed {seed}");
        }
    }
}

#[test]
fn counters_members_and_owners_stay_sound() {
    for seed in 0..HISTORIES {
        let mut reference = Reference::default();
        let (mut slots, mut ordinals, mut threads) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (event, appended, _) in history(seed) {
            let effects = reference.judge(&event, appended);
            let conversation = event.conversation;
            for change in &effects.changes {
                if let Change::Timeline { slot, ordinal, content } = change {
                    let next = slots.entry(conversation).or_insert(0);
                    assert_eq!(slot, next, "seed {seed}: places have no gap");
                    *next += 1;
                    let messages = ordinals.entry(conversation).or_insert(0);
                    // Written out here: what is in a thread alone does not count.
                    let counts = |thread: &Option<ThreadPlace>| thread.is_none_or(|thread| thread.also_in_conversation);
                    let main = matches!(content, domain::Content::Message { thread, .. } if counts(thread));
                    *messages += u64::from(main);
                    assert_eq!(ordinal, messages, "seed {seed}: ordinals count the messages of the main view");
                }
                if let Change::Thread { of, ordinal, .. } = change {
                    let messages = threads.entry((conversation, of.root_seq)).or_insert(0);
                    *messages += 1;
                    assert_eq!(ordinal, messages, "seed {seed}: a thread counts its own");
                }
            }
            let state = reference.state(conversation);
            assert!(state.pins.len() <= domain::limits::PINS_MAX);
            let owners = state.members.values().filter(|member| member.role == domain::Role::Owner).count();
            let group =
                state.settings.as_ref().is_some_and(|settings| settings.kind == domain::ConversationKind::Group);
            assert_eq!(owners, usize::from(group && !state.members.is_empty()), "seed {seed}: {state:?}");
            assert!(effects.recipients.is_sorted(), "seed {seed}");
        }
    }
}
