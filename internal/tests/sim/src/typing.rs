//! The final check of signals, when the world is at rest: every user types in every conversation. Only then it is
//! certain who has to receive a signal; who must not is checked over the whole run.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use domain::{ConversationId, Doing, Status, UserId};
use testkit::load::World as People;
use testkit::oracle::Truth;
use tokio::time::{Instant, sleep};

use crate::life::Shared;
use crate::world::Wall;

/// The broker's clock is ahead of all others during this check: no signal is too old for any node, whatever its
/// clock.
const BROKER_AHEAD_MS: i64 = 60_000;
/// Rounds of typing until all signals have arrived: a device may reconnect in the middle of one.
const ROUNDS: usize = 8;
/// The time between two rounds: longer than the window in which a node limits one user's signals.
const ROUND: Duration = Duration::from_secs(4);

/// Rounds of watching: more than two minutes. Until then a node may believe that two users share a conversation which
/// one has left, and that users are at a node which has vanished.
const WATCHES: usize = 35;

/// The signals that were received: receiver, conversation, and the user who types.
type Heard = BTreeSet<(UserId, ConversationId, UserId)>;

/// Lets every user type in every conversation, their own or not, until all members have received it. Fails when a
/// member does not, or another user does.
pub(crate) async fn everybody_types(people: &People, truth: &Truth, wall: &Wall, shared: &Shared) -> Result<()> {
    wall.set_broker(BROKER_AHEAD_MS);
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        for conversation in truth.stories.keys() {
            people.devices.iter().for_each(|device| device.typing(*conversation));
        }
        sleep(ROUND).await;
        let missing = missing(people, truth, begun);
        if missing.is_empty() {
            return only_members_hear(people, truth, begun, shared);
        }
        shared.trace.note(&format!("signals that have not come yet: {missing:?}"));
    }
    bail!("signals that never came, in calm weather: {:?}", missing(people, truth, begun))
}

/// Lets every device watch every user, until all of them show what is true: who is connected is present to those who
/// share a conversation with them, and nobody is to anybody else.
pub(crate) async fn everybody_watches(people: &People, truth: &Truth, wall: &Wall, shared: &Shared) -> Result<()> {
    wall.set_broker(BROKER_AHEAD_MS);
    let users: Vec<UserId> = people.accounts.iter().map(|account| account.user).collect();
    for _ in 0..WATCHES {
        for device in &people.devices {
            device.watch(&users);
        }
        sleep(ROUND).await;
        if misjudged(people, truth, &users).is_empty() {
            let told = people.devices.iter().map(|device| device.memory().journal.presences).sum();
            shared.trace.add("presences heard", told);
            return Ok(());
        }
    }
    bail!("presence that is not shown as it is, in calm weather: {:?}", misjudged(people, truth, &users))
}

/// Who shows what about whom, where that is not what it should be. Of users with a device that is not connected, or has
/// not asked for signals, nothing is expected: they may have been there a moment ago.
fn misjudged(people: &People, truth: &Truth, users: &[UserId]) -> Vec<(String, UserId, Option<Status>)> {
    let mut present = BTreeSet::new();
    for device in &people.devices {
        let memory = device.memory();
        if memory.live && memory.hears_signals {
            present.insert(memory.user);
        }
    }
    let shares = |one: UserId, other: UserId| {
        one == other || truth.stories.values().any(|story| story.is_member(one) && story.is_member(other))
    };
    let mut wrong = Vec::new();
    for device in people.devices.iter() {
        let memory = device.memory();
        if !memory.live || !memory.hears_signals {
            continue;
        }
        for user in users {
            let shown = memory.presences.get(user).copied();
            let right = match (shares(memory.user, *user), present.contains(user)) {
                (false, _) => shown == Some(Status::Offline),
                (true, true) => shown.is_some_and(|status| status != Status::Offline),
                (true, false) => true,
            };
            if !right {
                wrong.push((device.name.clone(), *user, shown));
            }
        }
    }
    wrong
}

/// The signals that are still missing, for users all of whose devices have asked for signals.
fn missing(people: &People, truth: &Truth, begun: Instant) -> Heard {
    let mut heard = Heard::new();
    let mut deaf = BTreeSet::new();
    for device in &people.devices {
        let memory = device.memory();
        let since = memory.journal.typing.iter().filter(|typing| typing.at >= begun);
        heard.extend(since.map(|typing| (memory.user, typing.conversation, typing.user)));
        if !memory.hears_signals || !memory.live {
            deaf.insert(memory.user);
        }
    }
    let mut expected = Heard::new();
    for (conversation, story) in &truth.stories {
        let members: Vec<UserId> =
            people.accounts.iter().map(|account| account.user).filter(|user| story.is_member(*user)).collect();
        for hears in members.iter().filter(|user| !deaf.contains(user)) {
            let others = members.iter().filter(|user| *user != hears);
            expected.extend(others.map(|types| (*hears, *conversation, *types)));
        }
    }
    expected.difference(&heard).copied().collect()
}

/// The name under which the received signals of that kind are counted.
fn counted(doing: Doing) -> &'static str {
    match doing {
        Doing::Text => "signals heard: typing",
        Doing::File => "signals heard: sending a file",
        Doing::Assistant => "signals heard: an assistant's",
    }
}

/// Checks that in these rounds only members receive signals, and only about members.
fn only_members_hear(people: &People, truth: &Truth, begun: Instant, shared: &Shared) -> Result<()> {
    for device in &people.devices {
        let memory = device.memory();
        shared.trace.add("signals heard", memory.journal.typing.len() as u64);
        for typing in memory.journal.typing.iter().filter(|typing| typing.at >= begun) {
            let (conversation, user) = (typing.conversation, typing.user);
            shared.trace.add(counted(typing.doing), 1);
            let member = |user| truth.stories.get(&conversation).is_some_and(|story| story.is_member(user));
            ensure!(
                member(memory.user) && member(user),
                "{} hears that {user} is typing in {conversation}, where both have to be members",
                device.name
            );
            ensure!(typing.left_for.is_none(), "{} hears it {:?} after leaving", device.name, typing.left_for);
        }
    }
    Ok(())
}
