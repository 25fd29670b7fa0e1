//! Compares the API with the log: timelines, the list of conversations, counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use domain::{ConversationId, Seq, UserId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{ConversationBody, ConversationPage, EntryBody, HistoryPage, VersionPage};
use tokio::time::{Instant, sleep};

use super::again::again;
use super::truth::{Story, Truth, counts};
use super::verdict::{Fault, Verdict};
use crate::device::Http;
use crate::load::World;

/// How long storage may take to apply the whole log.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);
/// How often that is checked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Timelines that are read at the same time.
const READS_AT_ONCE: usize = 8;
/// Edited messages of a conversation of which each member looks at the versions.
const VERSIONS_LOOKED_AT: usize = 3;

/// Waits until storage has applied everything that is in the log now.
///
/// # Errors
/// When it does not get there in time.
pub async fn settled(http: &Http) -> Result<()> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        match http.sync_list().await {
            Ok(page) if page.complete => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error).context("waiting for storage"),
            Ok(_) if Instant::now() > deadline => bail!("storage does not come to the end of the log"),
            _ => sleep(ASK_EVERY).await,
        }
    }
}

/// Reads every user's conversations over HTTP and compares them with the log.
///
/// # Errors
/// When they cannot be read.
pub async fn check_history(truth: &Truth, world: &World) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for (number, account) in world.accounts.iter().enumerate() {
        let http = &world.devices[number * world.config.devices].http;
        settled(http).await?;
        check_list(truth, http, account.user, &mut verdict).await?;
        let ids: Vec<ConversationId> = truth.conversations_of(account.user).map(|(id, _)| id).collect();
        let reads = ids.into_iter().map(|id| async move {
            let what = format!("history of {id} for {}", account.name);
            again(&what, async || http.history(id, None).await).await.map(|rows| (id, rows))
        });
        let read: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        for (id, rows) in read {
            let story = &truth.stories[&id];
            check_timeline(story, account.user, id, &rows, &mut verdict);
            if story.is_member(account.user) {
                check_pins(story, http, account.user, id, &mut verdict).await?;
                check_versions(story, http, account.user, id, &mut verdict).await?;
            }
        }
    }
    Ok(verdict)
}

fn check_timeline(story: &Story, user: UserId, id: ConversationId, rows: &[EntryBody], verdict: &mut Verdict) {
    verdict.compared("entries of history", rows.len());
    if !rows.is_sorted_by_key(|row| row.seq) {
        verdict.fault(Fault::OutOfOrder, || format!("history of {id} for {user}"));
    }
    let mut shown: BTreeMap<_, &EntryBody> = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for row in rows {
        if let Some(other) = ids.insert(row.id, row.seq) {
            verdict.fault(Fault::Doubled, || format!("{id}: {} at {other:?} and {:?}", row.id, row.seq));
        }
        shown.insert(row.seq, row);
    }
    for (seq, versions) in story.visible(user) {
        let (expected, found) = (story.shown(user, versions), shown.remove(&seq));
        if expected.as_ref() != found {
            verdict.fault(Fault::HistoryDiffers, || format!("{id} at {seq:?} for {user}: {found:?}, not {expected:?}"));
        }
    }
    for row in shown.values() {
        verdict.fault(Fault::HistoryDiffers, || format!("{id} for {user}: not theirs to see: {row:?}"));
    }
}

async fn check_pins(story: &Story, http: &Http, user: UserId, id: ConversationId, verdict: &mut Verdict) -> Result<()> {
    let path = format!("/v1/conversations/{id}/pins?limit=200");
    let page: HistoryPage = again(&format!("the pins of {id} for {user}"), async || http.get(&path).await).await?;
    let found: BTreeSet<Seq> = page.entries.iter().map(|entry| entry.seq).collect();
    let expected: BTreeSet<Seq> =
        story.visible(user).map(|(seq, _)| seq).filter(|seq| story.pins.contains(seq)).collect();
    verdict.compared("pins", found.len());
    if found != expected {
        verdict.fault(Fault::HistoryDiffers, || format!("pins of {id} for {user}: {found:?}, not {expected:?}"));
    }
    Ok(())
}

/// Looks at what a few edited messages said, of those that the user has been there for: what was said at first, and since
/// each edit.
async fn check_versions(
    story: &Story,
    http: &Http,
    user: UserId,
    id: ConversationId,
    verdict: &mut Verdict,
) -> Result<()> {
    let joined = story.spans.get(&user).and_then(|spans| spans.last()).map(|(from, _)| *from);
    let there = story.edits.iter().filter(|(message, _)| Some(**message) > joined);
    for (message, edits) in there.take(VERSIONS_LOOKED_AT) {
        let Some(versions) = story.entries.get(message) else { continue };
        let (Some(first), Some(newest)) = (versions.first(), versions.last()) else { continue };
        let path = format!("/v1/conversations/{id}/messages/{}/versions", first.id);
        let page: VersionPage = again(&format!("versions in {id} for {user}"), async || http.get(&path).await).await?;
        let first_seq = first.seq;
        let edited = page.versions.into_iter().filter(|version| version.seq > first_seq);
        let found: Vec<_> = edited.map(|version| (version.seq, version.body)).collect();
        let expected = if newest.deleted { &[][..] } else { &edits[..] };
        verdict.compared("versions", found.len());
        if !expected.starts_with(&found) || (found.len() < expected.len() && !page.more) {
            verdict.fault(Fault::HistoryDiffers, || format!("versions of {} in {id} for {user}", first.id));
        }
    }
    Ok(())
}

async fn check_list(truth: &Truth, http: &Http, user: UserId, verdict: &mut Verdict) -> Result<()> {
    let (mut listed, mut next): (Vec<ConversationBody>, Option<String>) = (Vec::new(), None);
    loop {
        let page = next.map(|page| format!("&page={page}")).unwrap_or_default();
        let path = format!("/v1/conversations?limit=100{page}");
        let page: ConversationPage = again(&format!("the list of {user}"), async || http.get(&path).await).await?;
        listed.extend(page.conversations);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    verdict.compared("conversations listed", listed.len());
    if !listed.is_sorted_by(|one, other| (one.time, one.id) >= (other.time, other.id)) {
        verdict.fault(Fault::OutOfOrder, || format!("the list of {user}"));
    }
    let mut listed: BTreeMap<_, _> = listed.into_iter().map(|body| (body.id, body)).collect();
    for (id, story) in truth.conversations_of(user).filter(|(_, story)| story.is_member(user)) {
        let Some(body) = listed.remove(&id) else {
            verdict.fault(Fault::HistoryDiffers, || format!("{id} is not in the list of {user}"));
            continue;
        };
        let mark = truth.marks.get(&user).and_then(|marks| marks.get(&id)).copied();
        let read = mark.map(|(seq, _)| seq);
        let (unread, mentions) = (story.unread(user, read), story.mentions(user, read));
        let seen: Vec<&EntryBody> = story.visible(user).filter_map(|(_, versions)| versions.last()).collect();
        let last = seen.into_iter().rev().find(|entry| counts(entry));
        let counts = (body.unread, body.mentions);
        let found = (body.head, counts, body.mark.map(|mark| (mark.seq, mark.ordinal)), body.last_message.as_ref());
        let expected = (story.head.0, (unread, mentions), mark, last);
        if found != expected {
            verdict.fault(Fault::HistoryDiffers, || format!("{id} in the list of {user}: {found:?}, not {expected:?}"));
        }
    }
    for id in listed.keys() {
        verdict.fault(Fault::HistoryDiffers, || format!("{id} is in the list of {user}, who is no member"));
    }
    Ok(())
}
