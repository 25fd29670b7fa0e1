//! Reads over HTTP during the run: the answers are checked at the end, when the log tells who was allowed to see
//! what.

use std::sync::{Arc, Mutex, PoisonError};

use domain::{ConversationId, Seq, UserId};
use eventlog::{LogError, SharedLog, partition_of_id};
use events::topics::{MESSAGES, spec_of};
use protocol::{ConversationPage, EntryBody, HistoryPage, ReactionBody};
use testkit::oracle::{Fault, Truth, Verdict, newest_of};

use super::World;

/// The entries that were shown, and to whom.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks(Arc<Mutex<Vec<Shown>>>);

#[derive(Debug)]
struct Shown {
    user: UserId,
    conversation: ConversationId,
    entry: EntryBody,
    /// The end of the conversation's log partition when the answer arrived: later events cannot justify it.
    end: u64,
}

impl World {
    /// The device's user reads the list of conversations, or the newest page of that room.
    pub(super) fn look(&self, device: usize, room: usize, list: bool) {
        let user = self.people.accounts[device / self.setup.devices].user;
        let (http, room) = (Arc::clone(&self.people.devices[device].http), self.rooms[room % self.rooms.len()].id);
        let (looks, trace) = (self.looks.clone(), Arc::clone(&self.shared.trace));
        let log = Arc::clone(&self.services.log);
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
            for (conversation, entry) in shown {
                let Ok(end) = end_of(&log, conversation).await else { continue };
                let mut looks = looks.0.lock().unwrap_or_else(PoisonError::into_inner);
                looks.push(Shown { user, conversation, entry, end });
            }
        });
    }
}

/// The next offset of the conversation's partition.
async fn end_of(log: &SharedLog, conversation: ConversationId) -> Result<u64, LogError> {
    let partition = partition_of_id(conversation.uuid(), spec_of(MESSAGES).partitions);
    Ok(log.watermarks(MESSAGES, partition).await?.next)
}

/// Whether the whole content of the entry is in these versions. Its `changed` is not compared: it names a version
/// that the entry is at least as new as.
fn is_of<'v>(entry: &EntryBody, versions: &(impl Iterator<Item = &'v EntryBody> + Clone)) -> bool {
    // Every field, so that a new one is compared, or left to others by a decision. The first ones never change, and are
    // compared with what history has at the end; of a withheld one, nothing else is shown.
    let EntryBody {
        seq: _,
        id: _,
        author: _,
        time: _,
        kind: _,
        ordinal: _,
        reply_to: _,
        quote: _,
        thread: _,
        thread_ordinal: _,
        also_in_conversation: _,
        users: _,
        changed: _,
        edited: _,
        body,
        mentions,
        content,
        deleted,
        deleted_by,
        reactions,
        replies,
        withheld,
    } = entry;
    let text = |version: &EntryBody| {
        (&version.body, &version.mentions, &version.content) == (body, mentions, content)
            && (version.deleted, &version.deleted_by) == (*deleted, deleted_by)
    };
    let left_out = *withheld && body.is_none();
    let reacted = |reaction: &ReactionBody| versions.clone().any(|version| version.reactions.contains(reaction));
    let thread = replies.is_none() || versions.clone().any(|version| version.replies == *replies);
    (left_out || versions.clone().any(text)) && reactions.iter().all(reacted) && thread
}

impl Looks {
    /// Checks that no user was shown an entry from outside their memberships, nor a change of it after the last
    /// membership that had begun by then.
    pub(crate) fn check(&self, truth: &Truth) -> Verdict {
        let (mut verdict, looks) = (Verdict::default(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for Shown { user, conversation, entry, end } in looks.iter() {
            let Some(story) = truth.stories.get(conversation) else { continue };
            let spans = story.spans.get(user).into_iter().flatten().filter(|(from, _)| from.offset() < *end);
            let inside = spans.clone().any(|(from, to)| *from <= entry.seq && to.is_none_or(|to| entry.seq <= to));
            let until = |changed: Seq| spans.clone().any(|(_, to)| to.is_none_or(|to| changed <= to));
            let versions = story.entries.get(&entry.seq).into_iter().flatten();
            let covered = is_of(entry, &versions.filter(|version| until(newest_of(version))));
            if !inside || !covered {
                verdict.fault(Fault::HistoryDiffers, || format!("{user} was shown {entry:?} of {conversation}"));
            }
        }
        verdict.compared("entries seen on the way", looks.len());
        verdict
    }
}
