//! A group with nearly as many members as there may be, all of one delivery partition, in which one account sends
//! one-letter messages as fast as it may. Neither the other users of that partition nor anybody else may notice:
//! devices that were away meanwhile come back without a reset, and get everything that was sent to them.
//!
//! The members are invented: their accounts are written into the store while the server is stopped, with the password
//! hash of the one account that was registered, since hashing ten thousand passwords would take an hour.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::{ConversationId, UserId};
use eventlog::partition_of_id;
use events::topics::{DELIVERIES, spec_of};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::ErrorCode;
use reqwest::Method;
use serde_json::{Value, json};
use store::{OutboxRow, SharedStore};
use tokio::time::sleep;
use uuid::Uuid;

use super::{People, Target, Wishes};
use crate::device::{Account, Device, Failed, Http, Stamps};
use crate::engines::Engines;

/// Members that the attacker's group gets.
const MEMBERS: usize = 9_990;
/// Members added by one command.
const MEMBERS_AT_ONCE: usize = 256;
/// One-letter messages, unless `--count` is given.
const LETTERS: usize = 400;
/// Devices of users in the crowd's partition that are away during the attack: the first half belong to members of
/// the group, the others have nothing to do with it.
const RETURNING: usize = 12;
/// How long people talk before the attack, and at least how long during it.
const TALK: Duration = Duration::from_secs(15);
/// Accounts that are written at the same time.
const WRITES_AT_ONCE: usize = 256;
/// How long devices may take to get everything, in steps of a tenth of a second.
const STEPS: u32 = 600;

pub(super) async fn run(wishes: Wishes) -> Result<bool> {
    ensure!(wishes.url.is_none(), "the crowd's accounts are written into a store of its own");
    let mut target = Target::new(&wishes, "", &[]).await?;
    let attacker = Account::register(&target.endpoints(), "attacker").await?;
    let (members, returning) = populate(&mut target, &attacker).await?;
    let endpoints = target.endpoints();
    let people = People::begin(&endpoints, 6, 20).await?;
    let http = Http::new(endpoints.clone(), attacker)?;
    let group = gather(&http, &members).await?;
    let friend = Http::new(endpoints.clone(), Account::register(&endpoints, "friend").await?)?;
    let (mut devices, stamps) = (Vec::new(), Stamps::default());
    for (number, account) in returning.iter().enumerate() {
        let device = Device::start(number, &endpoints, account, &stamps)?;
        let body = json!({ "id": Uuid::now_v7(), "kind": "direct", "members": [account.user] });
        let opened: Value = friend.chat(Method::POST, "/v1/conversations", Some(&body)).await?;
        let direct = opened["conversation"].as_str().context("a creation names its conversation")?.parse()?;
        say(&friend, direct, "before").await?;
        devices.push((device, direct));
    }
    ensure!(has_all(&devices, 1).await, "the devices did not get what was said before the attack");
    let before = people.talk(TALK).await?;
    let stored = bytes_under(&target.single().context("started here")?.data());
    println!("before:  {before}; {:?} MiB", target.resident_mib());

    devices.iter().for_each(|(device, _)| device.set_away(true));
    let letters = spell(&http, group, wishes.count.unwrap_or(LETTERS));
    let (said, during) = tokio::join!(letters, people.talk(TALK));
    let ((said, refused), during) = (said?, during?);
    target.alive()?;
    println!("during:  {during}; {:?} MiB, {:?} at the peak", target.resident_mib(), target.peak_mib());
    let written = bytes_under(&target.single().context("started here")?.data()).saturating_sub(stored);
    println!("{said} letters to {MEMBERS} members, {refused} refused; the data grew by {} MiB", written >> 20);
    for (_, direct) in &devices {
        say(&friend, *direct, "meanwhile").await?;
    }
    devices.iter().for_each(|(device, _)| device.set_away(false));
    let complete = has_all(&devices, 2).await;
    // The first reset of each device is its first connect: it had no cursor yet.
    let resets: Vec<String> = devices
        .iter()
        .flat_map(|(device, _)| device.memory().journal.resets.iter().skip(1).cloned().collect::<Vec<_>>())
        .collect();
    println!("{RETURNING} devices came back; complete: {complete}, resets: {resets:?}");
    for (device, _) in &mut devices {
        device.stop().await;
    }
    let lost = people.lost().await?;
    println!("lost: {lost}");
    Ok(lost == 0 && complete && resets.is_empty() && said > 0 && during.as_good_as(&before))
}

/// Writes accounts into the stopped server's store, all of one delivery partition: the members of the attacker's
/// group, and the users whose devices will be away.
async fn populate(target: &mut Target, attacker: &Account) -> Result<(Vec<UserId>, Vec<Account>)> {
    let single = target.single().context("a server of one's own")?;
    single.program.stop().await?;
    let engines = Engines::embedded(&single.data()).await?;
    let registered = engines.store.account(attacker.user).await?.context("the attacker has an account")?;
    let partitions = spec_of(DELIVERIES).partitions;
    let home = |user: UserId| partition_of_id(user.uuid(), partitions);
    let partition = home(attacker.user);
    let users = std::iter::repeat_with(|| UserId::try_from(Uuid::now_v7())).filter_map(Result::ok);
    let users: Vec<UserId> = users.filter(|user| home(*user) == partition).take(MEMBERS + RETURNING / 2).collect();
    let accounts = users.clone().into_iter().enumerate().map(|(number, id)| {
        let (name, display_name) = (format!("crowd-{number}"), format!("crowd-{number}"));
        let account = store::Account { id, name, display_name, ..registered.clone() };
        create(SharedStore::clone(&engines.store), account)
    });
    let accounts: Vec<Account> = stream::iter(accounts).buffered(WRITES_AT_ONCE).try_collect().await?;
    engines.close().await;
    single.program.start().await?;
    let members = users[..MEMBERS].to_vec();
    let returning = accounts[..RETURNING / 2].iter().chain(&accounts[MEMBERS..]).cloned().collect();
    Ok((members, returning))
}

/// Writes the account, with an outbox row that carries no event for other services.
async fn create(store: SharedStore, account: store::Account) -> Result<Account> {
    let (user, name) = (account.id, account.name.clone());
    let event = OutboxRow { id: *user.as_bytes(), user, account_name: name.clone(), payload: Vec::new() };
    store.create_account(&account, &event).await?;
    store.remove_outbox(&event.id).await?;
    Ok(Account { name, user })
}

async fn gather(http: &Http, members: &[UserId]) -> Result<ConversationId> {
    let body = json!({ "id": Uuid::now_v7(), "kind": "group", "title": "crowd", "members": [] });
    let opened: Value = http.chat(Method::POST, "/v1/conversations", Some(&body)).await?;
    let group: ConversationId =
        opened["conversation"].as_str().context("a creation names its conversation")?.parse()?;
    for some in members.chunks(MEMBERS_AT_ONCE) {
        let body = json!({ "id": Uuid::now_v7(), "members": some });
        patiently(http, &format!("/v1/conversations/{group}/members"), &body).await?;
    }
    Ok(group)
}

async fn say(http: &Http, conversation: ConversationId, body: &str) -> Result<()> {
    let message = json!({ "id": Uuid::now_v7(), "body": body });
    patiently(http, &format!("/v1/conversations/{conversation}/messages"), &message).await
}

/// Sends a command, and retries it while the rate limit refuses it.
async fn patiently(http: &Http, path: &str, body: &Value) -> Result<()> {
    for attempt in 0.. {
        match http.chat::<Value>(Method::POST, path, Some(body)).await {
            Ok(_) => break,
            Err(Failed::Refused(ErrorCode::RateLimited | ErrorCode::Busy, _)) if attempt < 20 => {
                sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends one-letter messages. Returns how many were accepted, and how many refused.
async fn spell(http: &Http, group: ConversationId, letters: usize) -> Result<(usize, usize)> {
    let (path, mut said, mut refused) = (format!("/v1/conversations/{group}/messages"), 0, 0);
    for _ in 0..letters {
        let message = json!({ "id": Uuid::now_v7(), "body": "x" });
        match http.chat::<Value>(Method::POST, &path, Some(&message)).await {
            Ok(_) => said += 1,
            Err(Failed::Refused(ErrorCode::RateLimited | ErrorCode::Busy, words)) => {
                if refused == 0 {
                    println!("the first refusal: {words}");
                }
                refused += 1;
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((said, refused))
}

/// Waits until each device shows that many messages in its conversation with the friend.
async fn has_all(devices: &[(Device, ConversationId)], messages: usize) -> bool {
    let has = |(device, direct): &(Device, ConversationId)| {
        let memory = device.memory();
        let entries = memory.kept.rooms.get(direct).map(|room| room.entries.values());
        entries.is_some_and(|entries| entries.filter(|entry| entry.kind == "message").count() >= messages)
    };
    for _ in 0..STEPS {
        if devices.iter().all(has) {
            return true;
        }
        sleep(Duration::from_millis(100)).await;
    }
    false
}

/// Bytes of all files in a folder.
fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_under(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
