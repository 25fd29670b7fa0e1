//! The client against a scripted server.
#![allow(clippy::unwrap_used)]

#[path = "support/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ClientEvent, ClientOptions, DeviceState, Endpoints, Fate, Http, HttpPool, Identity};
use domain::{CommandId, ConversationId};
use environment::{Clock, Entropy};
use protocol::{CommandFrame, CommandKind, StandsName};
use secret::Secret;
use server::{Fault, Server, is_message};
use tokio::time::timeout;

/// The timeout of every wait in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

async fn http(server: &Server, name: &str) -> (Arc<Http>, Identity) {
    let http = Http::new(Endpoints::new(&server.url(), None, None).unwrap()).unwrap();
    let password = Secret::new("password");
    // The account may exist already.
    let _ = http.register(name, &password).await;
    let user = http.sign_in(name, &password).await.unwrap();
    (Arc::new(http), Identity { user: user.id, name: user.name })
}

async fn client(server: &Server, name: &str, state: DeviceState) -> Client {
    let (http, identity) = http(server, name).await;
    Client::new(ClientOptions { http, identity, state, clock: Clock::system(), entropy: Entropy::seeded(7) })
}

/// Takes events until `wanted` accepts one.
async fn until<T>(client: &mut Client, mut wanted: impl FnMut(ClientEvent) -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = wanted(client.next().await) {
                return found;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("it happens in time")
}

async fn settled(client: &mut Client, wanted: CommandId) -> Fate {
    until(client, |event| match event {
        ClientEvent::Fate { id, fate, .. } if id == wanted => Some(fate),
        _ => None,
    })
    .await
}

async fn synced(client: &mut Client) {
    until(client, |event| matches!(event, ClientEvent::Synced { .. }).then_some(())).await;
}

fn hello(client: &Client, conversation: ConversationId) -> CommandFrame {
    CommandFrame::new(client.mint(), conversation, CommandKind::send("hello".into(), None))
}

fn messages(server: &Server) -> usize {
    server.world.lock().unwrap().log.iter().filter(|frame| is_message(frame)).count()
}

#[tokio::test]
async fn a_lost_acknowledgement_and_a_lost_command_make_one_message_each() {
    let server = Server::start().await;
    let mut ann = client(&server, "ann", DeviceState::default()).await;
    let conversation = ConversationId::direct(ann.identity().user, ann.identity().user);
    synced(&mut ann).await;
    for (sent, fault) in [(1, Fault::LoseAck), (2, Fault::LoseCommand)] {
        server.fail_with(fault);
        let id = ann.submit(hello(&ann, conversation)).unwrap();
        assert!(matches!(settled(&mut ann, id).await, Fate::Stands { stands: StandsName::Message, .. }), "{fault:?}");
        assert_eq!(messages(&server), sent, "{fault:?}");
    }
    assert_eq!(ann.state().open_commands(), 0);
    ann.close().await;
}

#[tokio::test]
async fn a_command_survives_the_process_and_is_one_message() {
    let server = Server::start().await;
    let mut ann = client(&server, "ann", DeviceState::default()).await;
    let conversation = ConversationId::direct(ann.identity().user, ann.identity().user);
    synced(&mut ann).await;
    server.fail_with(Fault::LoseAck);
    let id = ann.submit(hello(&ann, conversation)).unwrap();
    until(&mut ann, |event| matches!(event, ClientEvent::Disconnected { .. }).then_some(())).await;
    let kept = serde_json::to_string(ann.checkpoint().unwrap()).unwrap();
    drop(ann);
    let mut again = client(&server, "ann", serde_json::from_str(&kept).unwrap()).await;
    assert!(matches!(settled(&mut again, id).await, Fate::Stands { .. }));
    assert_eq!(messages(&server), 1);
}

#[tokio::test]
async fn a_reset_asks_for_outcomes_and_nothing_comes_twice() {
    let server = Server::start().await;
    let mut ann = client(&server, "ann", DeviceState::default()).await;
    let conversation = ConversationId::direct(ann.identity().user, ann.identity().user);
    synced(&mut ann).await;
    server.fail_with(Fault::LoseAck);
    server.fail_with(Fault::Reset);
    let id = ann.submit(hello(&ann, conversation)).unwrap();
    let mut seen = 0;
    until(&mut ann, |event| match event {
        ClientEvent::Feed(_) => {
            seen += 1;
            None
        }
        ClientEvent::Fate { id: settled, .. } => (settled == id).then_some(()),
        _ => None,
    })
    .await;
    assert_eq!((seen, messages(&server)), (0, 1), "the rows have it");
    let id = ann.submit(hello(&ann, conversation)).unwrap();
    settled(&mut ann, id).await;
    assert_eq!((messages(&server), ann.filtered()), (2, 0));
}

#[tokio::test]
async fn a_sync_is_all_its_pages() {
    let server = Server::start().await;
    let mut ann = client(&server, "ann", DeviceState::default()).await;
    let me = ann.identity().user;
    let others: Vec<_> = (1..=5).map(|n| ConversationId::group(me, CommandId::first_at(n))).collect();
    server.world.lock().unwrap().others.clone_from(&others);
    let named = until(&mut ann, |event| match event {
        ClientEvent::Synced { conversations } => Some(conversations.len()),
        _ => None,
    });
    assert_eq!(named.await, 5);
    assert!(!ann.state().incomplete && others.iter().all(|id| ann.state().highest.contains_key(id)));
}

#[tokio::test]
async fn the_close_code_tells_whether_to_come_back() {
    let server = Server::start().await;
    for code in [4000, 4001] {
        server.fail_with(Fault::Close(code));
    }
    let mut ann = client(&server, "ann", DeviceState::default()).await;
    synced(&mut ann).await;
    assert_eq!(server.world.lock().unwrap().hellos, 3);
    server.fail_with(Fault::Close(4100));
    ann.reconnect();
    let code = until(&mut ann, |event| match event {
        ClientEvent::Stopped { code, .. } => Some(code),
        _ => None,
    });
    assert_eq!(code.await, Some(4100));
}

#[tokio::test]
async fn a_client_names_its_partition_and_moves_once_when_asked() {
    let server = Server::start().await;
    server.world.lock().unwrap().faults.extend([Fault::Move, Fault::Move]);
    let mut client = client(&server, "ann", DeviceState::default()).await;
    synced(&mut client).await;
    let connected = |event| matches!(event, ClientEvent::Connected { .. }).then_some(());
    until(&mut client, connected).await;
    let queries = server.world.lock().unwrap().queries.clone();
    assert_eq!(queries, [None, Some("p=0".to_owned())]);
    // The second welcome asked for it, too: the client came with that partition, and stays.
    let beyond = tokio::time::Instant::now() + Duration::from_secs(6);
    while let Ok(event) = tokio::time::timeout_at(beyond, client.next()).await {
        assert!(!matches!(event, ClientEvent::Disconnected { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_turned_away_waits_as_long_as_the_server_says() {
    let server = Server::start().await;
    server.world.lock().unwrap().faults.push(Fault::TurnAway(2));
    let mut client = client(&server, "ann", DeviceState::default()).await;
    let begun = tokio::time::Instant::now();
    synced(&mut client).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(server.world.lock().unwrap().queries.len(), 2);
}

#[tokio::test]
async fn a_token_that_has_ended_is_refreshed_on_every_way() {
    let server = Server::start().await;
    let mut ann = client(&server, "ann", DeviceState::default()).await;
    synced(&mut ann).await;
    server.fail_with(Fault::ExpireTokens);
    ann.http().sync().await.unwrap();
    server.fail_with(Fault::ForgetKey);
    ann.http().sync().await.unwrap();
    server.fail_with(Fault::ExpireTokens);
    ann.reconnect();
    until(&mut ann, |event| matches!(event, ClientEvent::Connected { .. }).then_some(())).await;
    // A refresh token can be used once: concurrent calls share a refresh.
    server.fail_with(Fault::ExpireTokens);
    let (one, two) = tokio::join!(ann.http().sync(), ann.http().sync());
    assert!(one.is_ok() && two.is_ok());
}

/// Issue 10, item 10.
#[tokio::test]
async fn a_socket_is_renewed_before_its_token_ends_and_is_never_connected_again_for_it() {
    let server = Server::start().await;
    server.world.lock().unwrap().tokens_last = Some(1);
    let mut ann = client(&server, "ann", DeviceState::default()).await;
    synced(&mut ann).await;
    let renewed = async {
        server.is_renewed(3).await;
        // A renewal that the server refuses is retried.
        server.fail_with(Fault::NoRenewal);
        server.is_renewed(4).await;
    };
    tokio::select! {
        event = ann.next() => panic!("{event:?}"),
        done = timeout(PATIENCE, renewed) => done.expect("it is renewed in time"),
    }
    let world = server.world.lock().unwrap();
    let different: BTreeSet<&String> = world.renewals.iter().collect();
    // A token may be sent twice when the answer to the first attempt takes long.
    assert!(different.len() >= 3, "{:?}", world.renewals);
    assert_eq!(world.hellos, 1, "no socket but the first");
}

#[tokio::test]
async fn a_client_of_several_nodes_goes_to_the_next_one() {
    let server = Server::start().await;
    let (nobody, there) = ("http://127.0.0.1:1".to_owned(), server.url());
    let mut ann = client(&server, "ann", DeviceState::default()).await.over(vec![there.clone(), nobody.clone()], 3);
    assert_eq!(ann.node(), nobody, "the first is a number modulo their number");
    synced(&mut ann).await;
    assert_eq!(ann.node(), there);
    // It goes on from where it was, by way of the node that is not there.
    ann.reconnect();
    until(&mut ann, |event| matches!(event, ClientEvent::Connected { .. }).then_some(())).await;
    assert_eq!(ann.node(), there);
}

#[tokio::test]
async fn a_session_goes_on_with_the_token_that_was_stored() {
    let server = Server::start().await;
    let (signed_in, identity) = http(&server, "ann").await;
    let stored = signed_in.refresh_token().unwrap();
    let later = Http::sharing(&HttpPool::new().unwrap(), signed_in.endpoints().clone());
    assert!(later.refresh_token().is_none());
    assert_eq!(later.resume(stored).await.unwrap().id, identity.user);
    assert!(later.refresh_token().is_some() && later.sync().await.is_ok());
}
