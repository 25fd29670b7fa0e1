//! Signals: who receives that somebody is typing, and that nothing durable depends on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{Fingerprint, Role, Seq, Status, UserId};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{SharedLog, partition_of_id};
use events::topics::{self, DELIVERIES, MESSAGES, SIGNALS, spec_of};
use events::{Codec, Delivery};
use protocol::{DoingName, FeedFrame, FeedKind, SignalFrame};
use serde_json::json;
use store::{Applied, Privacy, PrivacyUpdate, Row, Source};
use tokio::time::sleep;

use crate::common::{
    Device, Node, PATIENCE, Said, World, append_to, command_id, conversation, number_of, partition_of_user, quick,
    until, user_of,
};

/// Changes members of the tests' conversation at the next seq of its log, and sets storage's `applied` to that.
async fn members(world: &World, changes: &[(UserId, bool)]) {
    let partition = partition_of_id(conversation().uuid(), spec_of(MESSAGES).partitions);
    append_to(&*world.log, MESSAGES, partition, world.codec.tick()).await;
    let next = world.log.watermarks(MESSAGES, partition).await.unwrap().next;
    let seq = Seq::new(0, next - 1).unwrap();
    let rows = |(user, member): &(UserId, bool)| {
        let (user, role) = (*user, member.then_some(Role::Member));
        let own = match role {
            Some(role) => Row::Joined { user, role, seq, ordinal: 0 },
            None => Row::UserRole { user, role, seq },
        };
        [Row::Member { user, seq, role }, own]
    };
    let writes = changes.iter().flat_map(rows).map(|row| row.write(conversation(), seq)).collect();
    world.store.write(writes).await.unwrap();
    let applied = Applied { seq, fingerprint: Fingerprint(1) };
    world.store.set_applied(Source { topic: MESSAGES, partition }, applied).await.unwrap();
}

/// A device that asked for signals, after its welcome.
async fn hearing(world: &World, node: &Node, user: UserId) -> Device {
    let mut device = Device::open(node.address, Some(&world.token(user))).await.unwrap();
    device.say(&json!({ "type": "hello", "signals": true }).to_string()).await;
    device.welcome().await;
    device
}

fn types() -> String {
    json!({ "type": "typing", "conversation": conversation() }).to_string()
}

fn typing(user: UserId) -> Said {
    Said::Signal(SignalFrame::Typing { conversation: conversation(), user, doing: DoingName::Text, thread: None })
}

fn fate(name: &str) -> String {
    format!("socket_signals_total{{fate=\"{name}\"}}")
}

/// Waits until the nodes' readers read at the end of the signals: none that is sent from now on is missed.
async fn readers_stand(speaker: &mut Device, hearer: &mut Device, user: UserId) {
    // A reader starts a moment after its first device: a signal that is sent before may be lost.
    for _ in 0..100 {
        speaker.say(&types()).await;
        match tokio::time::timeout(Duration::from_millis(300), hearer.hear_news()).await {
            Ok(said) => return assert_eq!(said, typing(user)),
            Err(_) => sleep(Duration::from_millis(2_700)).await,
        }
    }
    panic!("no signal came");
}

#[tokio::test]
async fn the_other_members_hear_that_somebody_is_typing_and_nobody_else_does() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (ann, bob, eve) = (user_of(0, 0), user_of(0, 1), user_of(0, 2));
    members(&world, &[(ann, true), (bob, true)]).await;
    let mut anns = [hearing(&world, &node, ann).await, hearing(&world, &node, ann).await];
    let mut bobs = hearing(&world, &node, bob).await;
    let (mut bobs_old, cursor) = world.fresh_device(&node, bob).await;
    let mut eves = hearing(&world, &node, eve).await;
    readers_stand(&mut anns[0], &mut bobs, ann).await;
    // A signal of a user who is no member is dropped.
    eves.say(&types()).await;
    until("a stranger is not heard", || node.count(&fate("not_member")) >= 1).await;
    world.deliver(&[ann, bob, eve], 1).await;
    for device in anns.iter_mut().chain([&mut bobs, &mut eves]) {
        assert_eq!(device.messages(1).await.0, [1], "nothing else has come before it");
    }
    let received = bobs_old.feed().await;
    assert_eq!(received.cursor.next, cursor.next + 1, "a device that did not ask gets the feed alone");
    node.stop().await;
}

#[tokio::test]
async fn what_is_said_too_often_is_dropped_in_silence() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (ann, bob) = (user_of(0, 0), user_of(0, 1));
    members(&world, &[(ann, true), (bob, true)]).await;
    let (mut anns, mut bobs) = (hearing(&world, &node, ann).await, hearing(&world, &node, bob).await);
    readers_stand(&mut anns, &mut bobs, ann).await;
    let before = node.count(&fate("sent"));
    for _ in 0..100 {
        anns.say(&types()).await;
    }
    until("they are dropped", || node.count(&fate("too_often")) >= 99).await;
    assert!(node.count(&fate("sent")) <= before + 1);
    // The sender gets no answer for the dropped signals, and its socket stays open.
    world.deliver(&[ann], 1).await;
    assert_eq!(anns.messages(1).await.0, [1]);
    node.stop().await;
}

#[tokio::test]
async fn who_was_removed_hears_nothing_from_the_moment_on_that_the_feed_says_so() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (ann, bob, eve) = (user_of(0, 0), user_of(0, 1), user_of(0, 2));
    members(&world, &[(ann, true), (bob, true), (eve, true)]).await;
    let mut anns = hearing(&world, &node, ann).await;
    let (mut bobs, mut eves) = (hearing(&world, &node, bob).await, hearing(&world, &node, eve).await);
    readers_stand(&mut anns, &mut bobs, ann).await;
    assert_eq!(eves.hear_news().await, typing(ann));
    // Eve is removed. The cached members are dropped, and looked up again.
    members(&world, &[(eve, false)]).await;
    let left = FeedFrame::Event {
        conversation: conversation(),
        seq: Seq::try_from(7).unwrap(),
        id: command_id(7),
        author: ann,
        time: 0,
        ordinal: Some(1),
        what: FeedKind::Left { user: eve, owner: None },
    };
    let (recipients, frame) = (vec![ann, bob, eve], serde_json::to_string(&left).unwrap());
    let delivery = Delivery { recipients, event_key: left.event_key(), frame };
    append_to(&*world.log, DELIVERIES, partition_of_user(ann), world.codec.delivery(&delivery)).await;
    for device in [&mut anns, &mut bobs, &mut eves] {
        assert_eq!(device.feed().await.frame, left);
    }
    sleep(Duration::from_secs(3)).await; // the rate limit of Ann's signals; no metric shows when it has passed
    anns.say(&types()).await;
    assert_eq!(bobs.hear_news().await, typing(ann));
    let not_member = node.count(&fate("not_member"));
    eves.say(&types()).await;
    until("who was removed is not heard", || node.count(&fate("not_member")) > not_member).await;
    world.deliver(&[bob, eve], 9).await;
    assert_eq!(eves.messages(1).await.0, [9], "and hears nothing");
    assert_eq!(bobs.messages(1).await.0, [9]);
    node.stop().await;
}

/// A frame about somebody's presence.
fn presence(user: UserId, status: Status) -> (UserId, Status) {
    (user, status)
}

/// The next signal, which is about presence.
async fn next_presence(device: &mut Device) -> (UserId, Status) {
    match device.hear_news().await {
        Said::Signal(SignalFrame::Presence { user, status, .. }) => (user, status.into()),
        other => panic!("not about presence: {other:?}"),
    }
}

fn watches(users: &[UserId]) -> String {
    json!({ "type": "watch", "users": users }).to_string()
}

fn is(status: &str) -> String {
    json!({ "type": "presence", "status": status }).to_string()
}

/// Two nodes: what a device says of itself is shown at the other one, and only to who shares a conversation.
#[tokio::test]
async fn presence_is_told_across_nodes_to_who_shares_a_conversation() {
    let world = World::new().await;
    let (here, there) = (world.node(quick()).await, world.node(quick()).await);
    let (ann, bob, eve) = (user_of(0, 0), user_of(1, 1), user_of(2, 2));
    members(&world, &[(ann, true), (bob, true)]).await;
    let (mut anns, mut bobs) = (hearing(&world, &here, ann).await, hearing(&world, &there, bob).await);
    let mut eves = hearing(&world, &here, eve).await;
    anns.say(&watches(&[ann, bob, eve])).await;
    eves.say(&watches(&[ann])).await;
    // At first the nodes are quiet. Then Ann is told of each, in any order, and Eve of nobody.
    let mut told = BTreeMap::new();
    while told.len() < 3 {
        let (user, status) = next_presence(&mut anns).await;
        told.insert(user, status);
    }
    assert_eq!(told, BTreeMap::from([(ann, Status::Online), (bob, Status::Online), (eve, Status::Offline)]));
    assert_eq!(next_presence(&mut eves).await, presence(ann, Status::Offline));
    bobs.say(&is("dnd")).await;
    assert_eq!(next_presence(&mut anns).await, presence(bob, Status::Dnd));
    // Another device of Bob's at the other node is weaker, and counts once the first one has left.
    let mut second = hearing(&world, &here, bob).await;
    second.say(&is("idle")).await;
    bobs.say(&is("idle")).await;
    assert_eq!(next_presence(&mut anns).await, presence(bob, Status::Idle));
    // Presence is not asked for by a device without signals.
    let (mut old, _) = world.fresh_device(&here, eve).await;
    old.say(&watches(&[ann])).await;
    until("it is not told", || here.count(&fate("not_asked")) >= 1).await;
    here.stop().await;
    there.stop().await;
}

/// Who hides is offline to others at once, and they to them; until they show themselves again.
#[tokio::test]
async fn who_hides_is_offline_and_sees_nobody() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (ann, bob) = (user_of(0, 0), user_of(1, 1));
    members(&world, &[(ann, true), (bob, true)]).await;
    let (mut anns, mut bobs) = (hearing(&world, &node, ann).await, hearing(&world, &node, bob).await);
    anns.say(&watches(&[bob])).await;
    bobs.say(&watches(&[ann])).await;
    assert_eq!(next_presence(&mut anns).await, presence(bob, Status::Online));
    assert_eq!(next_presence(&mut bobs).await, presence(ann, Status::Online));
    let hidden = Privacy { invisible: true, ..Privacy::default() };
    for (privacy, status) in [(hidden, Status::Offline), (Privacy::default(), Status::Online)] {
        // As the user service and the fan-out do it: first the row, then the event.
        let change = PrivacyUpdate { presence: Some(privacy.presence), invisible: Some(privacy.invisible) };
        world.store.set_privacy(bob, change).await.unwrap();
        let frame = FeedFrame::Account { event: "privacy_changed".into(), time: 1 };
        let frame = serde_json::to_string(&frame).unwrap();
        let delivery = Delivery { recipients: vec![bob], event_key: None, frame };
        append_to(&*world.log, DELIVERIES, partition_of_user(bob), world.codec.delivery(&delivery)).await;
        assert_eq!(next_presence(&mut anns).await, presence(bob, status));
        let mut told = Vec::new();
        while told.len() < 2 {
            told.push(bobs.hear_news().await);
        }
        let shown = |said: &Said| matches!(said, Said::Signal(frame) if is_presence(frame, ann, status));
        assert!(told.iter().any(shown), "{told:?}");
        assert!(told.iter().any(|said| matches!(said, Said::Feed(_))), "{told:?}");
    }
    node.stop().await;
}

fn is_presence(frame: &SignalFrame, of: UserId, is: Status) -> bool {
    matches!(frame, SignalFrame::Presence { user, status, .. } if *user == of && Status::from(*status) == is)
}

/// A flood of signals is shed; commands and the feed of the same socket go on.
#[tokio::test]
async fn a_flood_of_presence_touches_no_durable_frame() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (ann, bob) = (user_of(0, 0), user_of(0, 1));
    members(&world, &[(ann, true), (bob, true)]).await;
    let (mut anns, mut bobs) = (hearing(&world, &node, ann).await, hearing(&world, &node, bob).await);
    let crowd: Vec<UserId> = (0..600).map(|number| user_of(3, number)).collect();
    for number in 0..600 {
        anns.say(&is(["dnd", "idle"][number % 2])).await;
        anns.say(&types()).await;
        if number % 20 == 0 {
            anns.say(&watches(&crowd)).await;
            world.deliver(&[ann, bob], 1 + number as u64 / 20).await;
        }
    }
    let numbers: Vec<u64> = (1..=30).collect();
    for device in [&mut anns, &mut bobs] {
        let mut received = Vec::new();
        while received.len() < 30 {
            match device.hear_news().await {
                Said::Feed(feed) => received.push(number_of(&feed.frame)),
                Said::Signal(_) => {}
                other => panic!("neither a frame of the feed nor a signal: {other:?}"),
            }
        }
        assert_eq!(received, numbers);
    }
    until("they are shed", || node.count(&fate("too_often")) >= 1_000).await;
    node.stop().await;
}

/// The topic does not exist yet, as before the operator runs `topics apply`: this is logged as a warning, and
/// everything else works.
#[tokio::test]
async fn without_the_topic_of_signals_everything_else_works() {
    let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
    let (codec, entropy) = (Codec::compiled_in(), Entropy::seeded(1));
    for topic in topics::durable() {
        log.create(topic).await.unwrap();
        for partition in 0..topic.partitions {
            append_to(&*log, &topic.name, partition, codec.genesis(entropy.bytes(), topic.generation)).await;
        }
    }
    let world = World::on(Arc::clone(&log)).await;
    let node = world.node(quick()).await;
    until("it is ready", || node.readiness.is_ready()).await;
    let (ann, bob) = (user_of(0, 0), user_of(0, 1));
    members(&world, &[(ann, true), (bob, true)]).await;
    let (mut anns, mut bobs) = (hearing(&world, &node, ann).await, hearing(&world, &node, bob).await);
    anns.say(&types()).await;
    until("it is dropped", || node.count(&fate("not_taken")) >= 1).await;
    until("its reader says so", || node.count("socket_signal_reader_faults_total") >= 1).await;
    world.deliver(&[ann, bob], 1).await;
    assert_eq!((anns.messages(1).await.0, bobs.messages(1).await.0), (vec![1], vec![1]));
    assert!(node.readiness.is_ready());
    log.create(spec_of(SIGNALS)).await.unwrap();
    let heard = async { readers_stand(&mut anns, &mut bobs, ann).await };
    tokio::time::timeout(PATIENCE, heard).await.expect("once it is there, signals come");
    node.stop().await;
}
