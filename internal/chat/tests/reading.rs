//! What users may read, and as of when: spans of membership, storage that is behind, holds, syncs, outcomes.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use chat::Config;
use domain::{Content, ConversationId, Fingerprint, Seq};
use eventlog::partition_of_id;
use events::topics;
use process::TaskError;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use store::{Applied, Consumer, Hold, Row};
use world::leaderless::Leaderless;
use world::{User, World, user_id};

/// A service that does not wait long for storage.
fn hasty() -> Config {
    Config { read_wait: Duration::from_millis(50), ..Config::default() }
}

async fn add(by: &User<'_>, c: ConversationId, who: &User<'_>) -> Seq {
    by.done(c, Method::POST, "members", json!({ "members": [who.id] })).await
}

fn conversation(sync: &Value, c: ConversationId) -> Value {
    let all = sync["conversations"].as_array().unwrap_or_else(|| panic!("{sync}"));
    all.iter().find(|each| each["id"] == json!(c)).cloned().unwrap_or_default()
}

#[tokio::test]
async fn history_pages_by_key_in_both_directions() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let ann = world.user(&service, 1);
    let c = ann.group(&[]).await;
    for number in 0..12 {
        ann.say(c, &number.to_string()).await;
    }
    let all = ann.history(c, "?limit=200").await;
    let seqs = all.seqs();
    assert_eq!((seqs.len(), &all.body["more"]), (13, &json!(false)));
    assert!(seqs.is_sorted());
    assert_eq!(all.body["head"], seqs[12]);
    let (mut older, mut query) = (Vec::new(), "?limit=5".to_owned());
    loop {
        let page = ann.history(c, &query).await;
        older.splice(0..0, page.seqs());
        if page.body["more"] == false {
            break;
        }
        query = format!("?limit=5&before={}", older[0]);
    }
    assert_eq!(older, seqs);
    let (mut newer, mut after) = (Vec::new(), 0);
    loop {
        let page = ann.history(c, &format!("?limit=4&after={after}")).await;
        newer.extend(page.seqs());
        after = *newer.last().unwrap();
        if page.body["more"] == false {
            break;
        }
    }
    assert_eq!(newer, seqs);
    assert_eq!(ann.history(c, &format!("?after={after}")).await.seqs(), [0; 0]);
    assert_eq!(ann.history(c, "?before=0").await.seqs(), [0; 0]);
    assert_eq!(ann.history(c, "?before=1125899906842623&limit=1").await.seqs(), seqs[12..]);
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_reader_sees_their_spans_of_membership_both_ends_included() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[]).await;
    let mut seen = Vec::new();
    for round in 0..4 {
        ann.say(c, "behind bob's back").await;
        seen.push(add(&ann, c, &bob).await.get());
        for number in 0..3 {
            seen.push(ann.say(c, &format!("{round}.{number}")).await.get());
        }
        if round == 0 {
            // A member who has written in a group may be added to it again and again.
            seen.push(bob.say(c, "hello").await.get());
        }
        seen.push(bob.done(c, Method::POST, "leave", json!({})).await.get());
    }
    ann.say(c, "behind bob's back").await;
    assert_eq!(bob.history(c, "?limit=100").await.seqs(), seen);
    for limit in [1, 2, 3, 7] {
        let (mut older, mut newer, mut query) = (Vec::new(), Vec::new(), format!("?limit={limit}"));
        loop {
            let page = bob.history(c, &query).await;
            older.splice(0..0, page.seqs());
            if page.body["more"] == false {
                break;
            }
            query = format!("?limit={limit}&before={}", older[0]);
        }
        assert_eq!(older, seen, "limit {limit}");
        let mut after = 0;
        loop {
            let page = bob.history(c, &format!("?limit={limit}&after={after}")).await;
            newer.extend(page.seqs());
            after = *newer.last().unwrap();
            if page.body["more"] == false {
                break;
            }
        }
        assert_eq!(newer, seen, "limit {limit}");
    }
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_message_is_read_by_its_id_by_who_may_read_it() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob, eve) = (world.user(&service, 1), world.user(&service, 2), world.user(&service, 3));
    let c = ann.group(&[]).await;
    let messages = format!("/v1/conversations/{c}/messages");
    let (before, _) = ann.command(Method::POST, &messages, json!({ "body": "before bob" })).await;
    let joined = add(&ann, c, &bob).await;
    // Requested at once: the answer waits for what is in the log.
    let (after, _) = ann.command(Method::POST, &messages, json!({ "body": "for bob" })).await;
    let read = bob.get(&format!("{messages}/{after}")).await;
    assert_eq!((&read.body["body"], &read.body["id"]), (&json!("for bob"), &json!(after)));
    assert_eq!(read.body, bob.history(c, "?limit=1").await.body["entries"][0]);
    bob.get(&format!("{messages}/{before}")).await.refused("no_such_message");
    assert_eq!(ann.get(&format!("{messages}/{before}")).await.body["body"], "before bob");
    // Neither a command that is no message, nor an id that was never used.
    let entries = ann.history(c, "").await.body["entries"].clone();
    let joining = entries.as_array().unwrap().iter().find(|entry| entry["seq"] == json!(joined)).unwrap().clone();
    for id in [joining["id"].as_str().unwrap(), &world.id().to_string()] {
        ann.get(&format!("{messages}/{id}")).await.refused("no_such_message");
    }
    eve.get(&format!("{messages}/{after}")).await.refused("not_member");
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn who_has_left_reads_as_of_the_leaving() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    for text in ["kept", "edited before", "edited later", "deleted later", "reacted later"] {
        ann.say(c, text).await;
    }
    let entries = bob.history(c, "").await.body["entries"].clone();
    let path = |number: usize| format!("messages/{}", entries[number]["id"].as_str().unwrap());
    ann.done(c, Method::PUT, &path(2), json!({ "body": "edited in time" })).await;
    let left = bob.done(c, Method::POST, "leave", json!({})).await;
    ann.done(c, Method::PUT, &path(3), json!({ "body": "secret" })).await;
    let id = world.id();
    ann.call(Method::DELETE, &format!("/v1/conversations/{c}/{}?id={id}", path(4)), Value::Null).await;
    ann.seq_of(c, id).await;
    ann.done(c, Method::PUT, &format!("{}/reaction", path(5)), json!({ "emoji": "!" })).await;
    ann.done(c, Method::PUT, "title", json!({ "title": "without bob" })).await;

    let page = bob.history(c, "").await;
    assert_eq!(page.texts(), ["kept", "edited in time", "-", "-", "reacted later"]);
    let withheld: Vec<_> =
        page.body["entries"].as_array().unwrap().iter().map(|entry| entry.get("withheld").is_some()).collect();
    assert_eq!(withheld, [false, false, false, true, true, true, false]);
    for entry in page.body["entries"].as_array().unwrap().iter().filter(|entry| entry.get("withheld").is_some()) {
        assert_eq!((&entry["changed"], entry.get("reactions")), (&entry["seq"], None));
    }
    let body = bob.get(&format!("/v1/conversations/{c}")).await.body;
    assert_eq!((&body["title"], &body["head"], body.get("role")), (&json!("tea"), &json!(left), None));
    assert_eq!(body["last_message"]["body"], "reacted later");
    assert_eq!(bob.get("/v1/conversations").await.body["conversations"], json!([]));
    let synced = conversation(&bob.get("/v1/sync").await.body, c);
    assert_eq!(
        (&synced["member"], &synced["changed"], &synced["state"]),
        (&json!(false), &json!(left), &json!("ready"))
    );

    // Back again, bob reads what the messages are now, but not what was said in between.
    ann.say(c, "behind bob's back").await;
    add(&ann, c, &bob).await;
    let texts = bob.history(c, "").await.texts();
    assert_eq!(texts, ["kept", "edited in time", "secret", "", "reacted later"]);
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn while_storage_is_behind_reads_ask_again_and_commands_pass() {
    let world = World::new().await;
    let storage = world.storage();
    let service = world.start_with(hasty()).await;
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    let head = ann.say(c, "before").await;
    storage.stop().await;

    let path = format!("/v1/conversations/{c}/messages");
    let (id, sent) = bob.command(Method::POST, &path, json!({ "body": "after" })).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    // A read of what is there does not wait.
    assert_eq!(ann.history(c, "").await.texts(), ["before"]);
    ann.history(c, &format!("?at_least={}", head.get())).await;
    let waiting = ann.history(c, &format!("?at_least={}", head.get() + 1)).await;
    waiting.refused("retry");
    assert!(waiting.retry_after);
    bob.get(&format!("/v1/conversations/{c}/outcome/{id}")).await.refused("retry");
    // A "no" is not final yet, for reads as for commands.
    let cid = world.user(&service, 3);
    cid.history(c, "").await.refused("retry");
    assert_eq!(cid.command(Method::POST, &path, json!({ "body": "hi" })).await.1.status, StatusCode::ACCEPTED);

    // Another partition's conversation is not there yet: the sync says that it is not complete.
    let body = json!({ "id": world.id_apart(bob.id, c), "kind": "group", "members": [ann.id] });
    let other = bob.call(Method::POST, "/v1/conversations", body).await.body["conversation"].clone();
    let sync = ann.get("/v1/sync").await.body;
    assert_eq!((&conversation(&sync, c)["state"], &sync["complete"]), (&json!("retry"), &json!(false)));
    assert_eq!(sync["conversations"].as_array().unwrap().len(), 1);

    let storage = world.storage();
    let service_2 = world.start().await;
    let ann = world.user(&service_2, 1);
    let sync = ann.get("/v1/sync").await.body;
    assert_eq!(sync["complete"], true);
    let other: ConversationId = other.as_str().unwrap().parse().unwrap();
    for c in [c, other] {
        let head = ann.history(c, "").await.body["head"].clone();
        let synced = conversation(&sync, c);
        assert_eq!((&synced["state"], &synced["head"], &synced["member"]), (&json!("ready"), &head, &json!(true)));
    }
    assert_eq!(ann.history(c, "").await.texts(), ["before", "after"]);
    service.stop().await;
    service_2.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_partition_that_fails_at_once_makes_its_own_conversations_retry() {
    let mut world = World::new().await;
    let log = Leaderless::new(world.log.clone());
    world.log = log.clone();
    let storage = world.storage();
    let service = world.start().await;
    let ann = world.user(&service, 1);
    let c = ann.group(&[]).await;
    let body = json!({ "id": world.id_apart(ann.id, c), "kind": "group", "members": [] });
    let other = ann.call(Method::POST, "/v1/conversations", body).await.body["conversation"].clone();
    let other: ConversationId = other.as_str().unwrap().parse().unwrap();
    for topic in [topics::MESSAGES, topics::RECEIPTS] {
        let partitions = topics::spec_of(topic).partitions;
        log.set(vec![(topic, partition_of_id(c.uuid(), partitions))]);
        let sync = ann.get("/v1/sync").await.body;
        assert_eq!((&conversation(&sync, c)["state"], &sync["complete"]), (&json!("retry"), &json!(false)));
        assert_eq!(conversation(&sync, other)["state"], "ready");
    }
    let all = |topic| (0..topics::spec_of(topic).partitions).map(move |partition| (topic, partition));
    log.set([topics::MESSAGES, topics::RECEIPTS].into_iter().flat_map(all).collect());
    ann.get("/v1/sync").await.refused("unavailable");
    log.set(Vec::new());
    assert_eq!(ann.get("/v1/sync").await.body["complete"], true);
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn half_of_a_batch_shows_nothing_that_the_reader_may_have_been_removed_before() {
    let world = World::new().await;
    let storage = world.storage();
    let service = world.start_with(hasty()).await;
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    let (first, head) = (ann.say(c, "first").await, ann.say(c, "second").await);
    storage.stop().await;
    // Storage died in a batch: bob's removal is not written, a later message and an edit are.
    let (removal, later, edit) = (head.next(), head.next().next(), head.next().next().next());
    let write = async |seq: Seq, row: Row| {
        world.store.write(vec![row.write(c, seq)]).await.unwrap();
    };
    let content = Content::Message { body: "secret".into(), reply_to: None, thread: None };
    let (id, author, time_ms) = (world.id(), ann.id, world::NOW_MS);
    write(later, Row::Entry { seq: later, slot: 3, ordinal: 3, id, author, time_ms, content }).await;
    assert_eq!(bob.history(c, "").await.texts(), ["first", "second"]);
    write(edit, Row::Edit { seq: first, slot: 1, body: "secret".into(), whole: false, changed: edit, time_ms }).await;
    bob.history(c, "").await.refused("retry");
    let last = format!("?after={first}");
    assert_eq!(bob.history(c, &last).await.texts(), ["second"], "pages that it does not concern are read");
    // Storage goes on where it was.
    write(removal, Row::Member { user: bob.id, seq: removal, role: None }).await;
    let source = commands::Barrier::source_of(c);
    let applied = Applied { seq: edit, fingerprint: Fingerprint(0) };
    world.store.set_applied(source, applied).await.unwrap();
    assert_eq!(bob.history(c, "").await.texts(), ["-", "second"]);
    assert_eq!(ann.history(c, "").await.texts(), ["secret", "second"]);
    service.stop().await;
}

#[tokio::test]
async fn a_held_conversation_is_held_and_never_absent() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let (c, open) = (ann.group(&[bob.id]).await, ann.group(&[bob.id]).await);
    let head = ann.say(c, "before").await;
    let partition = commands::Barrier::source_of(c).partition;
    let hold = Hold { skipped_to: Some(head.next()), done_through: Some(head) };
    world.store.put_hold(Consumer::Storage, partition, c, hold).await.unwrap();

    let base = format!("/v1/conversations/{c}");
    let id = world.id();
    for path in [base.clone(), format!("{base}/messages"), format!("{base}/members"), format!("{base}/outcome/{id}")] {
        ann.get(&path).await.refused("held");
        world.user(&service, 3).get(&path).await.refused("held");
    }
    let list = bob.get("/v1/conversations").await.body;
    let held: Vec<_> =
        list["conversations"].as_array().unwrap().iter().map(|each| each.get("held").is_some()).collect();
    assert_eq!(held.iter().filter(|held| **held).count(), 1);
    let sync = bob.get("/v1/sync").await.body;
    assert_eq!(conversation(&sync, c)["state"], "held");
    assert_eq!((&conversation(&sync, open)["state"], &sync["complete"]), (&json!("ready"), &json!(true)));
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn an_outcome_tells_what_stands_to_its_author_alone() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    let base = format!("/v1/conversations/{c}");
    let (id, never) = (world.id(), world.id());
    ann.call(Method::POST, &format!("{base}/messages"), json!({ "id": id, "body": "hi" })).await;
    let settled = ann.get(&format!("{base}/outcome/{id}")).await.body;
    assert_eq!((&settled["outcome"], &settled["stands"]), (&json!("settled"), &json!("message")));
    // A retry makes no second message.
    ann.call(Method::POST, &format!("{base}/messages"), json!({ "id": id, "body": "hi" })).await;
    assert_eq!(ann.get(&format!("{base}/outcome/{id}")).await.body, settled);
    assert_eq!(ann.history(c, "").await.texts(), ["hi"]);
    for (who, id) in [(&bob, id), (&ann, never)] {
        let absent = who.get(&format!("{base}/outcome/{id}")).await.body;
        assert_eq!(absent, json!({ "id": id, "outcome": "absent" }));
    }
    let withdrawn = ann.call(Method::POST, &format!("{base}/withdraw"), json!({ "id": never })).await;
    assert_eq!(withdrawn.status, StatusCode::ACCEPTED);
    ann.call(Method::POST, &format!("{base}/messages"), json!({ "id": never, "body": "late" })).await;
    assert_eq!(ann.get(&format!("{base}/outcome/{never}")).await.body["stands"], "withdrawal");
    assert_eq!(ann.history(c, "").await.texts(), ["hi"]);

    // A removed member still learns the outcome of a command, in answer to a retry, too.
    let id = world.id();
    bob.call(Method::POST, &format!("{base}/messages"), json!({ "id": id, "body": "bye" })).await;
    bob.done(c, Method::POST, "leave", json!({})).await;
    assert_eq!(bob.get(&format!("{base}/outcome/{id}")).await.body["outcome"], "settled");
    let again = bob.call(Method::POST, &format!("{base}/messages"), json!({ "id": id, "body": "bye" })).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn an_emptied_store_ends_the_service_so_that_it_starts_anew() {
    let world = World::new().await;
    let service = world.start().await;
    while !service.readiness.is_ready() {
        tokio::task::yield_now().await;
    }
    world.store.new_incarnation().await.unwrap();
    let ended = service.ended().await;
    assert!(matches!(ended, TaskError::Failed { name: "watch on the store", .. }), "{ended}");
}

#[tokio::test]
async fn a_service_that_stops_answers_what_it_has_taken() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let ann = world.user(&service, 1);
    let c = ann.group(&[user_id(2)]).await;
    let (first, second) = (ann.say(c, "one").await, ann.say(c, "two").await);
    let path = format!("/v1/conversations/{c}/mark");
    ann.call(Method::PUT, &path, json!({ "seq": first })).await;
    // The second mark waits for the end of its window, and so does the stopping service.
    let (marked, ()) = tokio::join!(ann.call(Method::PUT, &path, json!({ "seq": second })), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        service.shutdown();
    });
    assert_eq!(marked.body["seq"], json!(second));
    let entries = ann.seqs_of_marks(c).await;
    assert_eq!(entries, [first.get(), second.get()]);
    service.stop().await;
    storage.stop().await;
}

/// Issue 10, item 3: a non-member could count messages by asking for pages that reach so far.
#[tokio::test]
async fn a_page_that_reaches_so_far_tells_nothing_to_who_may_not_read_it() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start_with(hasty()).await);
    let [ann, bob, cid] = [1, 2, 3].map(|number| world.user(&service, number));
    let c = ann.group(&[bob.id]).await;
    let left = bob.done(c, Method::POST, "leave", json!({})).await;
    let last = ann.say(c, "when they were gone").await;
    ann.history(c, &format!("?at_least={last}")).await;
    for at_least in [last.get(), last.get() + 100] {
        for reader in [&bob, &cid] {
            let begun = tokio::time::Instant::now();
            reader.history(c, &format!("?at_least={at_least}")).await.refused("retry");
            assert!(begun.elapsed() >= hasty().read_wait, "the time tells it, too");
        }
    }
    assert_eq!(bob.history(c, &format!("?at_least={left}")).await.body["head"], json!(left));
    // A user who is about to become a member waits for it.
    add(&ann, c, &cid).await;
    service.stop().await;
    storage.stop().await;
}

/// An entry of an earlier membership can be marked; a mark at something said in between counts as one at the leaving.
#[tokio::test]
async fn an_entry_of_an_earlier_membership_can_be_marked() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let [ann, bob, cid] = [1, 2, 3].map(|number| world.user(&service, number));
    let c = ann.group(&[bob.id]).await;
    let early = ann.say(c, "early").await;
    let left = bob.done(c, Method::POST, "leave", json!({})).await;
    let between = ann.say(c, "when they were gone").await;
    let joined = add(&ann, c, &bob).await;
    add(&ann, c, &cid).await;
    let path = format!("/v1/conversations/{c}/mark");
    for (upto, stands) in [(early, early), (left, left), (between, left), (joined, joined)] {
        let marked = bob.call(Method::PUT, &path, json!({ "seq": upto })).await;
        assert_eq!((marked.status, &marked.body["seq"]), (StatusCode::OK, &json!(stands)), "{marked:?}");
    }
    cid.call(Method::PUT, &path, json!({ "seq": early })).await.refused("invalid");
    service.stop().await;
    storage.stop().await;
}
