//! Compares `chat.deliveries` with the log: what each user's devices keep after their filter.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use domain::{ConversationId, Seq, UserId};
use protocol::{FeedFrame, SignalFrame};

use super::log::Logged;
use super::truth::Truth;
use super::verdict::{Fault, Verdict};

/// Checks the deliveries: none missing, in order, none to users whom it does not concern, and repetitions equal to
/// the first delivery.
#[must_use]
pub fn check_deliveries(truth: &Truth, logged: &Logged) -> Verdict {
    let mut verdict = Verdict::default();
    let mut heard: BTreeMap<(UserId, ConversationId), BTreeMap<Seq, u64>> = BTreeMap::new();
    for (partition, deliveries) in logged.deliveries.iter().enumerate() {
        verdict.compared("deliveries", deliveries.len());
        for (offset, delivery) in deliveries {
            let Some((conversation, seq)) = delivery.event_key else { continue };
            let digest = digest(&delivery.frame);
            for user in &delivery.recipients {
                let feed = heard.entry((*user, conversation)).or_default();
                let newest = feed.last_key_value().is_none_or(|(highest, _)| *highest < seq);
                let before = feed.get(&seq).copied();
                if newest {
                    feed.insert(seq, digest);
                } else if before != Some(digest) {
                    let fault = if before.is_none() { Fault::OutOfOrder } else { Fault::Foreign };
                    verdict.fault(fault, || {
                        format!("deliveries/{partition} at {offset}: {conversation} {seq:?} to {user}")
                    });
                }
            }
        }
    }
    for (user, conversations) in &truth.frames {
        for (conversation, frames) in conversations {
            let feed = heard.remove(&(*user, *conversation)).unwrap_or_default();
            for (seq, frame) in frames {
                match feed.get(seq) {
                    Some(digest) if *digest == frame.digest => {}
                    Some(_) => verdict.fault(Fault::Foreign, || format!("{conversation} {seq:?} to {user} differs")),
                    None => {
                        verdict.fault(Fault::Lost, || format!("{conversation} {seq:?} was not delivered to {user}"))
                    }
                }
            }
            for seq in feed.keys().filter(|seq| !frames.contains_key(seq)) {
                verdict.fault(Fault::Foreign, || format!("{conversation} {seq:?} is not for {user}"));
            }
        }
    }
    for (user, conversation) in heard.keys() {
        verdict.fault(Fault::Foreign, || format!("{conversation} is not for {user}"));
    }
    check_relayed(logged, &mut verdict);
    verdict
}

/// Checks that every read mark and account event in the log was delivered to its user. They may be delivered twice,
/// in any order, and may come from other producers.
fn check_relayed(logged: &Logged, verdict: &mut Verdict) {
    let (mut marks, mut accounts) = (BTreeSet::new(), BTreeSet::new());
    for (_, delivery) in logged.deliveries.iter().flatten().filter(|(_, delivery)| delivery.event_key.is_none()) {
        match serde_json::from_str(&delivery.frame) {
            Ok(FeedFrame::Read { conversation, user, mark, ordinal }) if delivery.recipients.contains(&user) => {
                marks.insert((user, conversation, mark, ordinal));
            }
            Ok(FeedFrame::Account { time, .. }) => {
                accounts.extend(delivery.recipients.iter().map(|user| (*user, time)))
            }
            _ if serde_json::from_str::<SignalFrame>(&delivery.frame).is_ok() => {
                verdict.fault(Fault::Foreign, || format!("a signal on the durable lane: {}", delivery.frame));
            }
            _ => {}
        }
    }
    for mark in &logged.marks {
        if !marks.contains(&(mark.user, mark.conversation, mark.seq, mark.ordinal)) {
            verdict.fault(Fault::Lost, || format!("{mark:?} was not delivered to the reader's own devices"));
        }
    }
    for event in &logged.accounts {
        if !accounts.contains(&(event.user, event.time_ms)) {
            verdict.fault(Fault::Lost, || format!("{event:?} was not delivered to its user"));
        }
    }
    verdict.compared("read marks", logged.marks.len());
    verdict.compared("account events", logged.accounts.len());
}

/// The digest that [`crate::device::digest`] computes of the same frame.
fn digest(frame: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    frame.to_owned().hash(&mut hasher);
    hasher.finish()
}
