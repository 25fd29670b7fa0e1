//! The client and the chat terminal against a scripted server.
#![allow(clippy::unwrap_used)]

#[path = "support/server.rs"]
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::{CommandFrame, StandsName};
use auth::Secret;
use domain::{CommandId, ConversationId};
use host::{Clock, Entropy};
use ops::chat::{ChatOptions, StatePath, Target, run};
use ops::client::{Client, ClientEvent, ClientOptions, DeviceState, Endpoints, Fate, Http, Identity};
use ops::{Exit, OpsError};
use server::{Fault, Server, is_message};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A test that waits longer than this waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);

async fn http(server: &Server, name: &str) -> (Arc<Http>, Identity) {
    let http = Http::new(Endpoints::new(&server.url(), None, None).unwrap()).unwrap();
    let password = Secret::new("password");
    // Somebody may have made the account before.
    let _ = http.register(name, &password).await;
    let user = http.sign_in(name, &password).await.unwrap();
    (Arc::new(http), Identity { user: user.id, name: user.name })
}

async fn client(server: &Server, name: &str, state: DeviceState) -> Client {
    let (http, identity) = http(server, name).await;
    Client::new(ClientOptions { http, identity, state, clock: Clock::system(), entropy: Entropy::seeded(7) })
}

/// Pulls events until one is as wanted.
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
    CommandFrame::Send { id: client.mint(), conversation, body: "hello".into(), reply_to: None }
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
async fn a_token_that_has_ended_is_refreshed_on_every_way() {
    let server = Server::start().await;
    let mut ann = client(&server, "ann", DeviceState::default()).await;
    synced(&mut ann).await;
    server.fail_with(Fault::ExpireTokens);
    ann.http().sync().await.unwrap();
    server.fail_with(Fault::ExpireTokens);
    ann.reconnect();
    until(&mut ann, |event| matches!(event, ClientEvent::Connected { .. }).then_some(())).await;
    // One refresh token is good once: calls at the same time share a refresh.
    server.fail_with(Fault::ExpireTokens);
    let (one, two) = tokio::join!(ann.http().sync(), ann.http().sync());
    assert!(one.is_ok() && two.is_ok());
}

fn chat(server: &Server, name: &str, with: &str, state: &Path) -> ChatOptions {
    ChatOptions {
        endpoints: Endpoints::new(&server.url(), None, None).unwrap(),
        name: name.into(),
        password: Secret::new("password"),
        register: true,
        target: Target::With(with.into()),
        state: StatePath::Folder(state.to_owned()),
        once: false,
        interactive: false,
    }
}

async fn talk(options: ChatOptions, lines: &str) -> (Result<Exit, OpsError>, String) {
    let (mut output, stop) = (Vec::new(), CancellationToken::new());
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let talking = run(options, lines.as_bytes(), &mut output, &clock, &entropy, &stop);
    let outcome = timeout(PATIENCE, talking).await.expect("it ends in time");
    (outcome, String::from_utf8(output).unwrap())
}

#[tokio::test]
async fn lines_that_are_piped_in_are_sent_settled_and_shown() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    http(&server, "bob").await;
    let script = "hello\nsecond\n/edit last changed\n/react 1 +1\n/dance\n";
    let (outcome, shown) = talk(chat(&server, "ann", "bob", folder.path()), script).await;
    assert_eq!(outcome.unwrap(), Exit::Differs, "/dance is no command");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "-- registered ann");
    for wanted in [
        "#1 00:00:01 ann: hello",
        "#2 00:00:01 ann: second",
        "*#2 00:00:01 ann: changed (edited)",
        "*#1 00:00:01 ann: hello [ann +1]",
        "!! there is no /dance",
    ] {
        assert_eq!(lines.iter().filter(|line| **line == wanted).count(), 1, "'{wanted}' once in\n{shown}");
    }

    // Somebody answers while ann is away: with her state, she is shown the old lines and then what she missed.
    let (outcome, _) = talk(chat(&server, "bob", "ann", folder.path()), "hi ann\n").await;
    assert_eq!(outcome.unwrap(), Exit::Ok);
    let (outcome, shown) = talk(chat(&server, "ann", "bob", folder.path()), "back\n").await;
    assert_eq!(outcome.unwrap(), Exit::Ok);
    let texts: Vec<&str> = shown.lines().filter(|line| line.starts_with('#')).collect();
    let wanted = [
        "#1 00:00:01 ann: hello [ann +1]",
        "#2 00:00:01 ann: changed (edited)",
        "#3 00:00:01 bob: hi ann",
        "#4 00:00:01 ann: back",
    ];
    assert_eq!(texts, wanted, "{shown}");
}

#[tokio::test]
async fn once_shows_what_there_is_and_ends() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    http(&server, "bob").await;
    talk(chat(&server, "ann", "bob", folder.path()), "hello\n").await.0.unwrap();
    let once = ChatOptions { once: true, ..chat(&server, "bob", "ann", folder.path()) };
    let (outcome, shown) = talk(once, "").await;
    assert_eq!(outcome.unwrap(), Exit::Ok);
    assert!(shown.contains("#1 00:00:01 ann: hello\n"), "{shown}");
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    http(&server, "ann").await;
    let wrong = ChatOptions { password: Secret::new("other"), ..chat(&server, "ann", "bob", folder.path()) };
    let (outcome, _) = talk(wrong, "").await;
    let error = outcome.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("the name is taken"), "{error}");
}
