//! The bounds of a page, and of the rate of reads. Issue 10, item 1: pages were bounded in entries only.
#![allow(clippy::unwrap_used)]

mod world;

use chat::Config;
use process::serve::ANSWER_BYTES;
use reqwest::StatusCode;
use world::World;

/// The largest message, made of the characters that take the most room in JSON.
const LARGE: usize = 16 << 10;

#[tokio::test]
async fn a_page_of_history_is_bounded_in_bytes_and_the_rest_follows() {
    let world = World::new().await;
    let (_storage, service) = (world.storage(), world.start().await);
    let ann = world.user(&service, 1);
    let c = ann.group(&[]).await;
    for _ in 0..40 {
        ann.say(c, &"\"".repeat(LARGE)).await;
    }
    for (first, direction) in [("", "before"), ("&after=0", "after")] {
        let (mut seen, mut query, mut pages) = (Vec::new(), first.to_owned(), 0);
        loop {
            let page = ann.history(c, &format!("?limit=200{query}")).await;
            let (seqs, bytes) = (page.seqs(), page.body.to_string().len());
            assert!(bytes <= ANSWER_BYTES && !seqs.is_empty(), "{bytes} bytes, {} entries", seqs.len());
            pages += 1;
            let last = if direction == "before" { seqs[0] } else { seqs[seqs.len() - 1] };
            seen.extend(seqs);
            if page.body["more"] == false {
                break;
            }
            query = format!("&{direction}={last}");
        }
        seen.sort_unstable();
        let count = seen.len();
        seen.dedup();
        assert_eq!((count, seen.len()), (41, 41), "each once, and its beginning: {direction}");
        assert!(pages > 4, "{pages} pages {direction}");
    }
}

#[tokio::test]
async fn a_page_of_the_list_is_bounded_in_bytes_and_the_rest_follows() {
    let world = World::new().await;
    let (_storage, service) = (world.storage(), world.start().await);
    let ann = world.user(&service, 1);
    for _ in 0..20 {
        let c = ann.group(&[]).await;
        ann.say(c, &"\"".repeat(LARGE)).await;
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=100".to_owned());
    loop {
        let page = ann.get(&format!("/v1/conversations{query}")).await;
        let list = page.body["conversations"].as_array().unwrap();
        assert!(page.body.to_string().len() <= ANSWER_BYTES && !list.is_empty());
        seen.extend(list.iter().map(|each| each["id"].to_string()));
        let Some(next) = page.body["next"].as_str() else { break };
        query = format!("?limit=100&page={next}");
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!((count, seen.len()), (20, 20));
}

/// A read that waits for storage does not work on rows: others' reads go on, however few work at the same time.
#[tokio::test]
async fn a_read_that_waits_for_storage_keeps_nobody_from_reading() {
    let world = World::new().await;
    let config = Config { reads_at_work: 1, read_wait: std::time::Duration::from_secs(600), ..Config::default() };
    let (_storage, service) = (world.storage(), world.start_with(config).await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    ann.say(c, "hello").await;
    let beyond = format!("/v1/conversations/{c}/messages?at_least={}", 1_u64 << 41);
    let members = format!("/v1/conversations/{c}/members?limit=1");
    let others = async {
        for path in ["/v1/conversations", "/v1/sync", &format!("/v1/conversations/{c}/messages"), &members] {
            assert_eq!(bob.get(path).await.status, StatusCode::OK, "{path}");
        }
        // One page after another.
        let first = bob.get(&members).await.body;
        let behind = first["members"][0]["user"].as_str().unwrap();
        let second = bob.get(&format!("{members}&after={behind}")).await.body;
        assert_eq!((&first["more"], &second["more"]), (&true.into(), &false.into()), "{first} {second}");
    };
    tokio::select! {
        answer = ann.get(&beyond) => panic!("nothing stands there: {answer:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn reads_of_a_user_are_limited_and_others_go_on() {
    let world = World::new().await;
    let config = Config { read_burst: 3, read_rate: 1, ..Config::default() };
    let (_storage, service) = (world.storage(), world.start_with(config).await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let mut limited = None;
    for _ in 0..50 {
        let answer = ann.get("/v1/conversations").await;
        if answer.status != StatusCode::OK {
            limited = Some(answer);
            break;
        }
    }
    limited.expect("nothing was refused").refused("rate_limited");
    assert_eq!(bob.get("/v1/conversations").await.status, StatusCode::OK);
}
