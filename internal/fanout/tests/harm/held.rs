//! A held conversation and a delivery partition without a leader, both at once.

use std::collections::BTreeSet;

use domain::RULES_TRIAL;
use tokio::time::{sleep, timeout};

use super::leaderless::{Deliveries, Devices, Leaderless, partition_of};
use super::*;

/// The conversations, all of one partition of `chat.messages`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// It is going to be held, and has a member in the partition of `chat.deliveries` that loses its leader.
    Held,
    /// It has one, too.
    Beside,
    /// It has none.
    Elsewhere,
}
use Room::{Beside, Elsewhere, Held};

impl Room {
    fn pair(self) -> [UserId; 2] {
        let of = |pair: &[UserId; 2]| {
            let key = ConversationId::direct(pair[0], pair[1]).to_string();
            let partition = eventlog::partition_of(key.as_bytes(), spec_of(MESSAGES).partitions);
            let sick = pair.iter().any(|user| partition_of(*user) == partition_of(super::user(2)));
            partition == partition_in(MESSAGES).partition && sick == (self != Elsewhere)
        };
        let others = (3..40).map(user);
        match self {
            Held => [user(2), user(1)],
            Beside => others.map(|other| [user(2), other]).find(of).unwrap(),
            Elsewhere => others.flat_map(|one| (41..80).map(move |other| [one, user(other)])).find(of).unwrap(),
        }
    }
}

/// What is said, and who must hear of it.
struct Talk {
    log: SharedLog,
    expected: Deliveries,
    said: u64,
}

impl Talk {
    fn new(log: SharedLog) -> Self {
        Self { log, expected: Deliveries::new(), said: 0 }
    }

    async fn say(&mut self, room: Room, rules: u32) {
        let [author, other] = room.pair();
        let conversation = ConversationId::direct(author, other);
        let action = if self.expected.contains_key(&(author, conversation)) {
            Action::SendMessage(SendMessage { body: "hello".into(), reply_to: None, thread: None })
        } else {
            Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![other] })
        };
        self.said += 1;
        let id = CommandId::first_at(1_700_000_000_000 + self.said.cast_signed());
        let received_ms = 1_700_000_000_000;
        let event = Event { id, conversation, author, received_ms, rules, key_id: None, looked_up: true, action };
        let encoded = Codec::compiled_in().event(&event);
        let partition = Some(partition_in(MESSAGES).partition);
        let (key, headers, payload) = (conversation.to_string(), encoded.headers, encoded.payload);
        let position = append(&*self.log, MESSAGES, NewRecord { key, partition, headers, payload }).await.unwrap();
        for user in [author, other] {
            self.expected.entry((user, conversation)).or_default().push(Seq::new(0, position.offset).unwrap());
        }
    }

    /// The first two are talked in until the metrics of the fan-out have that line.
    async fn until(&mut self, running: &Running, line: &str) {
        let talking = async {
            while !running.tells(line) {
                self.say(Held, RULES_NEWEST).await;
                self.say(Beside, RULES_NEWEST).await;
                sleep(Duration::from_millis(20)).await; // virtual time: a lively partition
            }
        };
        timeout(Duration::from_secs(120), talking)
            .await
            .unwrap_or_else(|_| panic!("{line}: never\n{}", running.metrics.text()));
    }

    async fn all_delivered(&self) {
        let users: BTreeSet<_> = self.expected.keys().map(|(user, _)| *user).collect();
        for partition in users.into_iter().map(partition_of).collect::<BTreeSet<_>>() {
            Devices::of(partition).all_delivered(&self.log, &self.expected, Duration::from_secs(120)).await;
        }
    }
}

/// Both consumers, of the rules of today, and a log with a partition of `chat.deliveries` that has a leader.
async fn well() -> (Arc<Leaderless>, Arc<EmbeddedStore>, Talk, [Running; 2]) {
    let (inner, store) = (log(1_700_000_000_000).await, new_store().await);
    let leaderless = Arc::new(Leaderless::new(inner, partition_of(user(2))));
    let log: SharedLog = leaderless.clone();
    let storage = Running::storage(&log, &store, RULES_NEWEST);
    let fanout = Running::fanout(&log, &store);
    let mut talk = Talk::new(log);
    for room in [Held, Beside, Elsewhere] {
        talk.say(room, RULES_NEWEST).await;
    }
    (leaderless, store, talk, [storage, fanout])
}

/// The consumers hold a conversation whose second event they do not know; meanwhile a delivery partition lags.
async fn held_beside_a_lag() -> (Arc<Leaderless>, Arc<EmbeddedStore>, Talk, [Running; 2]) {
    let (leaderless, store, mut talk, [storage, fanout]) = well().await;
    talk.say(Held, RULES_TRIAL).await;
    talk.until(&fanout, "fanout_holds_total 1").await;
    leaderless.falls_sick();
    talk.until(&fanout, "fanout_lagging_partitions 1").await;
    (leaderless, store, talk, [storage, fanout])
}

#[tokio::test(start_paused = true)]
async fn a_held_conversation_keeps_no_follower_from_catching_up() {
    let (leaderless, store, mut talk, [storage, fanout]) = held_beside_a_lag().await;
    leaderless.heal().await;
    // While both are talked in, fifty times a second.
    talk.until(&fanout, "fanout_lagging_partitions 0").await;
    storage.stop().await;
    fanout.stop().await;
    let storage = Running::storage(&talk.log, &store, RULES_TRIAL);
    let fanout = Running::fanout_of(&talk.log, &store, RULES_TRIAL);
    talk.all_delivered().await;
    fanout.stop().await;
    storage.stop().await;
}

/// The programs are upgraded while the delivery partition still lags, and it falls sick once more in the re-drive.
#[tokio::test(start_paused = true)]
async fn what_is_held_is_delivered_by_one_loop_whichever_partition_lags() {
    let (leaderless, store, mut talk, [storage, fanout]) = held_beside_a_lag().await;
    storage.stop().await;
    fanout.stop().await;
    leaderless.forget();
    let storage = Running::storage(&talk.log, &store, RULES_TRIAL);
    let fanout = Running::fanout_of(&talk.log, &store, RULES_TRIAL);
    talk.until(&fanout, "fanout_lagging_partitions 1").await;
    leaderless.heal().await;
    talk.until(&fanout, "fanout_lagging_partitions 0").await;
    leaderless.falls_sick();
    talk.until(&fanout, "fanout_lagging_partitions 1").await;
    leaderless.forget();
    leaderless.heal().await;
    talk.all_delivered().await;
    assert!(fanout.tells("fanout_healed_holds_total 1"), "{}", fanout.metrics.text());
    fanout.stop().await;
    storage.stop().await;
}

/// Storage holds the conversation, too: its rows are complete up to there.
#[tokio::test(start_paused = true)]
async fn a_follower_delivers_what_came_before_a_hold() {
    let (leaderless, store, mut talk, [storage, fanout]) = well().await;
    leaderless.falls_sick();
    talk.until(&fanout, "fanout_lagging_partitions 1").await;
    talk.say(Held, RULES_TRIAL).await;
    talk.until(&fanout, "fanout_holds_total 1").await;
    fanout.stop().await;
    leaderless.forget();
    // Its follower has nothing in memory.
    let fanout = Running::fanout(&talk.log, &store);
    talk.until(&fanout, "fanout_lagging_partitions 1").await;
    leaderless.heal().await;
    talk.until(&fanout, "fanout_lagging_partitions 0").await;
    fanout.stop().await;
    storage.stop().await;
}

/// A follower that has nothing else to do waits for what was handed over.
#[tokio::test(start_paused = true)]
async fn a_lag_of_re_driven_events_alone_lasts_until_they_are_acknowledged() {
    let (leaderless, store, mut talk, [storage, fanout]) = well().await;
    talk.say(Held, RULES_TRIAL).await;
    talk.until(&fanout, "fanout_holds_total 1").await;
    for running in [storage, fanout] {
        running.stop().await;
    }
    leaderless.falls_sick();
    let storage = Running::storage(&talk.log, &store, RULES_TRIAL);
    let fanout = Running::fanout_of(&talk.log, &store, RULES_TRIAL);
    sleep(Duration::from_secs(90)).await; // virtual time: it is re-driven, a minute after storage has re-driven it
    talk.say(Elsewhere, RULES_NEWEST).await;
    sleep(Duration::from_secs(90)).await; // virtual time: nobody says anything
    assert!(fanout.tells("fanout_lagging_partitions 1"), "{}", fanout.metrics.text());
    assert!(leaderless.waiting() < 10, "{} records are not acknowledged", leaderless.waiting());
    leaderless.heal().await;
    talk.all_delivered().await;
    fanout.stop().await;
    storage.stop().await;
}
