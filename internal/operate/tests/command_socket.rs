//! Operators' commands through the socket of a running `klatsch` (issue 10, item 16).
#![allow(clippy::unwrap_used)]

mod support;

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use operate::{COMMANDS_MAX, CommandClient, CommandSocket, SOCKET};
use ops::OpsError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use support::{Client, World};

/// Shows the only record, and waits for more.
const FOLLOW: &str = "tail chat.messages --from start -f";
const UNAVAILABLE: u8 = 69;
const USAGE: u8 = 64;
const STOPPED: u8 = 130;
const REPLAY: &str = "replay storage --from-start --yes";

#[tokio::test]
async fn a_command_says_and_does_beside_what_it_does_alone() {
    let world = World::new(3).await;
    for words in [
        "topics check",
        "topics apply",
        "groups list",
        "groups set chat.messages 99 0",
        "holds list",
        "holds list --json",
        "holds dropped",
        "holds show 01890a5d-ac96-774b-bcce-b302099a8057",
        "holds drop 01890a5d-ac96-774b-bcce-b302099a8057 --at 3 --by ann --why so",
        "incarnations list",
        "incarnations back --yes",
        "incarnations drop 1 --yes",
        "replay storage --from-start",
        "checksum",
        "checksum --compare sums",
        "migrate",
        "schemas check",
        "tail chat.messages --from start",
        "tail no.topic",
    ] {
        let (beside, alone) = (Client::new(), Client::new());
        let ended = world.run(words, &beside, &CancellationToken::new()).await.unwrap();
        assert_eq!(ended, world.alone(words, &alone).await, "{words}");
        assert_eq!(beside.said(), alone.said(), "{words}");
        assert!(!beside.said().is_empty() || ended.error.is_some() || words == "holds dropped", "{words}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_replay_and_a_rebuild_beside_come_to_the_same_rows() {
    let world = World::new(3).await;
    let sums = async || {
        let client = Client::new();
        world.run("checksum", &client, &CancellationToken::new()).await.unwrap();
        client
            .said()
            .pop()
            .unwrap()
            .split_once("  total, at incarnation ")
            .map(|(sum, at)| (sum.to_owned(), at.to_owned()))
    };
    let (empty, mut built) = (sums().await.unwrap().0, None);
    for (words, wanted) in [
        ("replay storage --from-start --yes", "27 records replayed"),
        ("replay storage --into-new-incarnation --yes", "at incarnation 2; programs turn to it"),
        ("incarnations back --yes", "at incarnation 1; programs turn to it"),
        ("incarnations switch 2 --yes", "at incarnation 2; programs turn to it"),
        ("incarnations drop 1 --yes", "done"),
    ] {
        let client = Client::new();
        let ended = world.run(words, &client, &CancellationToken::new()).await.unwrap();
        assert_eq!((ended.exit, ended.error), (0, None), "{words}");
        assert!(client.said().iter().any(|line| line.starts_with(wanted)), "{words}: {:?}", client.said());
        let now = sums().await.unwrap().0;
        assert_eq!(*built.get_or_insert(now.clone()), now, "{words}");
        assert_ne!(now, empty);
    }
    assert_eq!(sums().await.unwrap().1, "2");
    let words = "replay storage --partition 1 --from-offset 0 --into-new-incarnation --yes";
    let ended = world.run(words, &Client::new(), &CancellationToken::new()).await.unwrap();
    assert_eq!(ended.exit, USAGE);
    assert!(ended.error.unwrap().contains("is always filled from the start"));
    world.end().await;
}

#[tokio::test]
async fn files_are_read_and_written_where_the_client_is() {
    let world = World::new(3).await;
    let client = Client::new();
    let words = "audit --state state --metrics metrics";
    let ended = world.run(words, &client, &CancellationToken::new()).await.unwrap();
    assert_eq!(ended.error, None);
    let names: Vec<_> = client.files.lock().unwrap().keys().cloned().collect();
    assert_eq!(names, [Path::new("metrics"), Path::new("state")]);
    let state = client.files.lock().unwrap()[Path::new("state")].clone();
    assert!(state.starts_with("{\"next\":{"), "{state}");

    client.files.lock().unwrap().insert("state".into(), "{".into());
    let ended = world.run(words, &client, &CancellationToken::new()).await.unwrap();
    assert_eq!(ended.exit, USAGE, "{ended:?}");
    assert!(ended.error.unwrap().starts_with("state is not from an audit"));
    let ended = world.run("checksum --compare nowhere", &client, &CancellationToken::new()).await.unwrap();
    assert!(ended.error.unwrap().starts_with("nowhere: No such file"));
    world.end().await;
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_goes_with_its_door() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SOCKET);
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists() && CommandClient::connect(folder.path()).is_none(), "one that was killed has left it");
    let door = CommandSocket::open(folder.path()).unwrap();
    let found = std::fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert!(CommandClient::connect(folder.path()).is_some());
    drop(door);
    assert!(!path.exists());

    std::fs::write(&path, "a person's file").unwrap();
    assert_eq!(CommandSocket::open(folder.path()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(path.exists());
}

#[tokio::test]
async fn a_folder_whose_path_is_too_long_for_an_address_has_a_socket_all_the_same() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("d".repeat(120));
    std::fs::create_dir(&folder).unwrap();
    let door = CommandSocket::open(&folder).unwrap();
    assert!(CommandClient::connect(&folder).is_some());
    drop(door);
    assert!(!folder.join(SOCKET).exists());
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends() {
    let world = World::new(0).await;
    for begun in ["", "{\"version\":"] {
        let mut silent = UnixStream::connect(world.folder.path().join(SOCKET)).await.unwrap();
        silent.write_all(begun.as_bytes()).await.unwrap();
        assert_eq!(silent.read(&mut [0; 64]).await.unwrap(), 0, "closed without a word");
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_in_words() {
    let world = World::new(0).await;
    let mut stranger = UnixStream::connect(world.folder.path().join(SOCKET)).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut answer = String::new();
    stranger.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"exit\":64") && answer.contains("klatsch does not understand it"), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn so_many_commands_run_at_once_and_the_next_is_told_so() {
    let world = World::new(1).await;
    let (stop, clients) = (CancellationToken::new(), vec![(); COMMANDS_MAX].into_iter().map(|()| Client::new()));
    let clients: Vec<Client> = clients.collect();
    let running: Vec<_> = clients.iter().map(|client| world.spawn(FOLLOW, client, &stop)).collect();
    for client in &clients {
        client.until(1).await;
    }
    let ended = world.run("holds list", &Client::new(), &CancellationToken::new()).await.unwrap();
    assert_eq!(ended.exit, UNAVAILABLE);
    assert!(ended.error.unwrap().contains("wait until one has ended"));
    stop.cancel();
    for command in running {
        assert_eq!(command.await.unwrap().unwrap().exit, 0, "told to stop, a tail has done what it should");
    }
    assert_eq!(world.run("holds list", &Client::new(), &CancellationToken::new()).await.unwrap().exit, 0);
    world.end().await;
}

/// As with `klatschctl tail -f
/// head -1`, or a client that is killed.
#[tokio::test]
async fn a_client_that_is_gone_leaves_no_command_behind() {
    let world = World::new(3).await;
    for _ in 0..2 * COMMANDS_MAX {
        let gone = Client::with_enough_after(1);
        let outcome = world.run(FOLLOW, &gone, &CancellationToken::new()).await;
        assert!(matches!(outcome, Err(OpsError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe));
        assert_eq!(gone.said().len(), 1);
        // The permit is free again.
        while world.run("holds list", &Client::new(), &CancellationToken::new()).await.unwrap().exit == UNAVAILABLE {}
    }
    world.end().await;
}

#[tokio::test]
async fn commands_end_in_order_when_klatsch_stops_and_the_socket_goes() {
    let world = World::new(1).await;
    let (client, path) = (Client::new(), world.folder.path().join(SOCKET));
    let command = world.spawn(FOLLOW, &client, &CancellationToken::new());
    client.until(1).await;
    world.stop.cancel();
    assert_eq!(command.await.unwrap().unwrap().exit, 0);
    let folder = world.folder.path().to_owned();
    world.end().await;
    assert!(!path.exists() && CommandClient::connect(&folder).is_none());
}

/// As Ctrl-C does, at any moment: no answer claims that `klatsch` is gone.
#[tokio::test]
async fn a_command_that_is_stopped_ends_beside_as_alone() {
    let world = World::new(3).await;
    let (client, stop) = (Client::new(), CancellationToken::new());
    for _ in 0..20 {
        let stop = CancellationToken::new();
        let command = world.spawn(REPLAY, &client, &stop);
        tokio::task::yield_now().await;
        stop.cancel();
        match command.await.unwrap() {
            Ok(ended) => assert!([0, STOPPED].contains(&ended.exit), "{ended:?}"),
            Err(error) => assert!(matches!(error, OpsError::Stopped(_)), "{error}"),
        }
    }
    stop.cancel();
    let error = world.run(REPLAY, &client, &stop).await.unwrap_err();
    assert_eq!(error.exit() as u8, STOPPED, "{error}");
    for words in [REPLAY, "replay storage --into-new-incarnation --yes"] {
        let ended = world.alone_until(words, &client, &stop).await;
        assert_eq!(ended.exit, STOPPED, "{ended:?}");
        assert!(ended.error.unwrap().starts_with("stopped before it was done: "));
    }
    world.end().await;
}

#[tokio::test]
async fn who_stops_a_command_hears_that_klatsch_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
    let (beside, stop) = (CommandClient::connect(folder.path()).unwrap(), CancellationToken::new());
    let told = stop.clone();
    let klatsch = tokio::task::spawn_blocking(move || {
        let mut stream = std::io::BufReader::new(listener.accept().unwrap().0);
        std::io::BufRead::read_line(&mut stream, &mut String::new()).unwrap();
        told.cancel();
        assert_eq!(std::io::Read::read(&mut stream, &mut [0]).unwrap(), 0, "nothing more is said");
        let ended = "{\"Ended\":{\"exit\":130,\"error\":\"stopped before it was done: so\"}}\n";
        std::io::Write::write_all(stream.get_mut(), ended.as_bytes()).unwrap();
    });
    let ended = beside.run(support::command(REPLAY), None, Client::new(), &stop).await.unwrap();
    klatsch.await.unwrap();
    assert_eq!(ended.exit, STOPPED);
    assert_eq!(ended.error.unwrap(), "stopped before it was done: so; the 'klatsch' that ran it goes on");
}

/// The command waits for a service that does not answer, and does not check whether it is to stop.
#[tokio::test]
async fn a_command_that_does_not_stop_is_given_up() {
    let world = World::new(0).await;
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let words = format!("doctor --url http://{}", service.local_addr().unwrap());
    let command = world.spawn(&words, &Client::new(), &CancellationToken::new());
    let _asked = service.accept().await.unwrap();
    world.stop.cancel();
    let ended = command.await.unwrap().unwrap();
    let error = ended.error.unwrap();
    assert!(ended.exit == UNAVAILABLE && error.contains("was stopped before it was done"), "{error}");
    world.end().await;
}

/// The output is more than the operating system buffers for it.
#[tokio::test]
async fn a_client_that_takes_nothing_does_not_hold_up_the_end() {
    let world = World::new(3000).await;
    // A request as the client writes it, recorded on its way.
    let other = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(other.path().join(SOCKET)).unwrap();
    let beside = CommandClient::connect(other.path()).unwrap();
    let sending = tokio::spawn(async move {
        beside
            .run(support::command("tail chat.messages --from start"), None, Client::new(), &CancellationToken::new())
            .await
    });
    let request = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        let (stream, _) = listener.accept().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line).unwrap();
        line
    });
    let request = request.await.unwrap();
    assert!(matches!(sending.await.unwrap(), Err(OpsError::Busy(_))), "that klatsch ended before the command");

    let mut lazy = UnixStream::connect(world.folder.path().join(SOCKET)).await.unwrap();
    lazy.write_all(request.as_bytes()).await.unwrap();
    lazy.readable().await.unwrap();
    world.end().await;
    let mut taken = Vec::new();
    let _ = lazy.read_to_end(&mut taken).await;
    assert!(!String::from_utf8_lossy(&taken).contains("Ended"), "it came to no end");
}
