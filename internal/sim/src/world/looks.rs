//! Reads while everything is under way: what they showed is judged once the log says who might see it.

use std::sync::{Arc, Mutex, PoisonError};

use api::{ConversationPage, EntryBody, HistoryPage};
use domain::{ConversationId, UserId};
use testkit::oracle::{Fault, Truth, Verdict};

use super::World;

/// What was shown to whom.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks(Arc<Mutex<Vec<Shown>>>);

#[derive(Debug)]
struct Shown {
    user: UserId,
    conversation: ConversationId,
    entry: EntryBody,
}

impl World {
    /// The device's user reads their list, or the newest page of that room.
    pub(super) fn look(&self, device: usize, room: usize, list: bool) {
        let user = self.people.accounts[device / self.setup.devices].user;
        let (http, room) = (Arc::clone(&self.people.devices[device].http), self.rooms[room % self.rooms.len()].id);
        let (looks, trace) = (self.looks.clone(), Arc::clone(&self.shared.trace));
        tokio::spawn(async move {
            let shown: Vec<(ConversationId, EntryBody)> = if list {
                let page = http.get::<ConversationPage>("/v1/conversations?limit=50").await;
                let listed = page.into_iter().flat_map(|page| page.conversations);
                listed.filter_map(|body| Some((body.id, body.last_message?))).collect()
            } else {
                let page = http.get::<HistoryPage>(&format!("/v1/conversations/{room}/messages?limit=50")).await;
                page.into_iter().flat_map(|page| page.entries).map(|entry| (room, entry)).collect()
            };
            trace.add(if list { "last messages seen in lists" } else { "entries seen in history" }, shown.len() as u64);
            let mut looks = looks.0.lock().unwrap_or_else(PoisonError::into_inner);
            looks.extend(shown.into_iter().map(|(conversation, entry)| Shown { user, conversation, entry }));
        });
    }
}

impl Looks {
    /// Nobody was shown an entry from outside their memberships, nor what changed it after the last of them.
    pub(crate) fn check(&self, truth: &Truth) -> Verdict {
        let (mut verdict, looks) = (Verdict::default(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for Shown { user, conversation, entry } in looks.iter() {
            let spans = truth.stories.get(conversation).and_then(|story| story.spans.get(user));
            let mut spans = spans.into_iter().flatten();
            let inside = spans.clone().any(|(from, to)| *from <= entry.seq && to.is_none_or(|to| entry.seq <= to));
            let covered = entry.withheld || spans.any(|(_, to)| to.is_none_or(|to| entry.changed <= to));
            if !inside || !covered {
                verdict.fault(Fault::HistoryDiffers, || format!("{user} was shown {entry:?} of {conversation}"));
            }
        }
        verdict.compared("entries seen on the way", looks.len());
        verdict
    }
}
