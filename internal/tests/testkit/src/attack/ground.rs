//! Groups whose ids are chosen by brute force so that they sort before all others, and into which one account adds a
//! user: the user's real conversations must stay visible, the number of groups must be bounded, and a group that the
//! user has left for good must stay away.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use domain::{CommandId, ConversationId, UserId};
use protocol::{ConversationBody, ConversationPage, ErrorCode};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::{People, Target, Wishes};
use crate::device::{Account, Endpoints, Failed, Http};

/// Groups that the attacker tries to create, unless `--count` is given.
const GROUPS: usize = 1_000;
/// Users with whom the victim has real conversations.
const FRIENDS: usize = 5;
/// How often the victim leaves one of the groups.
const DECLINES: usize = 3;
/// How long people talk before the attack, and during it.
const TALK: Duration = Duration::from_secs(15);

pub(super) async fn run(wishes: Wishes) -> Result<bool> {
    let mut target = Target::new(&wishes, "", &[]).await?;
    let endpoints = target.endpoints();
    let people = People::begin(&endpoints, 6, 20).await?;
    let (victim, user) = register(&endpoints).await?;
    let mut real = BTreeSet::new();
    for number in 0..FRIENDS {
        let (friend, _) = register(&endpoints).await?;
        let (kind, title) = if number == 0 { ("group", "friends") } else { ("direct", "") };
        let body = json!({ "id": Uuid::now_v7(), "kind": kind, "title": title, "members": [user] });
        let conversation = open(&friend, &body).await?;
        say(&friend, conversation).await?;
        say(&victim, conversation).await?;
        real.insert(conversation);
    }
    let before = people.talk(TALK).await?;
    println!("before:  {before}");

    let (attacker, by) = register(&endpoints).await?;
    let flood = flood(&attacker, by, user, wishes.count.unwrap_or(GROUPS));
    let (taken, during) = tokio::join!(flood, people.talk(TALK));
    let (taken, during) = (taken?, during?);
    target.alive()?;
    println!("during:  {during}; {:?} MiB", target.resident_mib());
    let (all, known) = (listed(&victim, "").await?, listed(&victim, "&invitations=false").await?);
    let ids = |list: &[ConversationBody]| list.iter().map(|body| body.id).collect::<BTreeSet<_>>();
    let (shown, found) = (ids(&all).is_superset(&real), ids(&known) == real);
    println!("{} groups got through; the list has {} conversations", taken.len(), all.len());
    println!("real ones in the list: {shown}; real ones alone without invitations: {found}");
    let declined = match taken.first() {
        Some(group) => decline(&victim, &attacker, *group, user).await?,
        None => true,
    };
    println!("a declined group stays away: {declined}");
    let lost = people.lost().await?;
    println!("lost: {lost}");
    Ok(lost == 0 && shown && found && declined && during.as_good_as(&before))
}

async fn register(endpoints: &Endpoints) -> Result<(Http, UserId)> {
    let name = format!("u{}", &Uuid::now_v7().simple().to_string()[16..]);
    let account = Account::register(endpoints, &name).await?;
    let user = account.user;
    Ok((Http::new(endpoints.clone(), account)?, user))
}

async fn open(http: &Http, body: &Value) -> Result<ConversationId, anyhow::Error> {
    let opened: Value = http.chat(Method::POST, "/v1/conversations", Some(body)).await?;
    Ok(opened["conversation"].as_str().context("a creation names its conversation")?.parse()?)
}

async fn say(http: &Http, conversation: ConversationId) -> Result<()> {
    let message = json!({ "id": Uuid::now_v7(), "body": "hello" });
    let _: Value =
        http.chat(Method::POST, &format!("/v1/conversations/{conversation}/messages"), Some(&message)).await?;
    Ok(())
}

/// An id for a creation, found by brute force, such that the group sorts before nearly all other conversations.
fn ground(author: UserId) -> Option<CommandId> {
    let mut ids = std::iter::repeat_with(|| CommandId::try_from(Uuid::now_v7()).ok()).flatten();
    ids.find(|id| ConversationId::group(author, *id).as_bytes()[0] == 0)
}

/// Creates groups with the user until that is refused for good. Returns the groups that were created.
async fn flood(http: &Http, author: UserId, user: UserId, groups: usize) -> Result<Vec<ConversationId>> {
    let mut taken = Vec::new();
    while taken.len() < groups {
        let id = ground(author).context("ids do not end")?;
        let body = json!({ "id": id, "kind": "group", "title": "win", "members": [user] });
        match open_or_code(http, &body).await? {
            Ok(group) => taken.push(group),
            Err(ErrorCode::RateLimited | ErrorCode::Busy) => sleep(Duration::from_millis(200)).await,
            Err(code) => {
                println!("refused from then on: {code:?}");
                break;
            }
        }
    }
    Ok(taken)
}

async fn open_or_code(http: &Http, body: &Value) -> Result<Result<ConversationId, ErrorCode>> {
    match http.chat::<Value>(Method::POST, "/v1/conversations", Some(body)).await {
        Ok(opened) => Ok(Ok(opened["conversation"].as_str().context("a creation names its conversation")?.parse()?)),
        Err(Failed::Refused(code, _)) => Ok(Err(code)),
        Err(error) => Err(error.into()),
    }
}

/// The whole list of conversations, from all its pages.
async fn listed(http: &Http, query: &str) -> Result<Vec<ConversationBody>> {
    let (mut listed, mut next): (Vec<ConversationBody>, Option<String>) = (Vec::new(), None);
    loop {
        let page = next.map(|page| format!("&page={page}")).unwrap_or_default();
        let page: ConversationPage = http.get(&format!("/v1/conversations?limit=100{query}{page}")).await?;
        listed.extend(page.conversations);
        next = page.next;
        if next.is_none() {
            return Ok(listed);
        }
    }
}

/// The user leaves a group each time that its owner adds them. Returns whether the owner is refused in the end.
async fn decline(victim: &Http, owner: &Http, group: ConversationId, user: UserId) -> Result<bool> {
    for _ in 0..DECLINES {
        let id = Uuid::now_v7();
        let leave = format!("/v1/conversations/{group}/leave");
        let _: Value = victim.chat(Method::POST, &leave, Some(&json!({ "id": id }))).await?;
        let _: Value = victim.get(&format!("/v1/conversations/{group}/outcome/{id}")).await?;
        if listed(victim, "").await?.iter().any(|body| body.id == group) {
            return Ok(false);
        }
        let id = Uuid::now_v7();
        let (members, body) = (format!("/v1/conversations/{group}/members"), json!({ "id": id, "members": [user] }));
        match owner.chat::<Value>(Method::POST, &members, Some(&body)).await {
            Ok(_) => drop(owner.get::<Value>(&format!("/v1/conversations/{group}/outcome/{id}")).await?),
            Err(Failed::Refused(ErrorCode::Declined, _)) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
