//! The chat terminal against a scripted server.
#![allow(clippy::unwrap_used)]

#[path = "../../client/tests/support/server.rs"]
mod server;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use client::{Endpoints, Http};
use domain::{CommandId, Seq, UserId};
use environment::{Clock, Entropy};
use protocol::{CommandFrame, CommandKind, DoingName, FeedFrame, SignalFrame};
use secret::Secret;
use server::{Did, Fault, Server, is_message};
use terminal::{ChatOptions, Ended, StatePath, Target, TerminalError, run};
use tokio::io::BufReader;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The timeout of every wait in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Registers the account.
async fn registered(server: &Server, name: &str) -> UserId {
    let http = Http::new(Endpoints::new(&server.url(), None, None).unwrap()).unwrap();
    http.register(name, &Secret::new("password")).await.unwrap().id
}

fn seq(n: u64) -> Seq {
    Seq::try_from(n).unwrap()
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
        wait: Duration::ZERO,
        colour: false,
        keys: std::sync::Arc::default(),
    }
}

async fn talk(options: ChatOptions, lines: &str) -> (Result<Ended, TerminalError>, String) {
    let (mut output, stop) = (Vec::new(), CancellationToken::new());
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let talking = run(options, lines.as_bytes(), &mut output, &clock, &entropy, &stop);
    let outcome = timeout(PATIENCE, talking).await.expect("it ends in time");
    (outcome, String::from_utf8(output).unwrap())
}

#[tokio::test]
async fn lines_that_are_piped_in_are_sent_settled_and_shown() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    registered(&server, "bob").await;
    let script = "hello\nsecond\n/edit last changed\n/react 1 +1\n/dance\n";
    let (outcome, shown) = talk(chat(&server, "ann", "bob", folder.path()), script).await;
    assert_eq!(outcome.unwrap(), Ended::NotAccepted, "/dance is no command");
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

    // Bob answers while Ann is away. With her state, she is shown the old lines and then what she missed.
    let (outcome, _) = talk(chat(&server, "bob", "ann", folder.path()), "hi ann\n").await;
    assert_eq!(outcome.unwrap(), Ended::Done);
    let (outcome, shown) = talk(chat(&server, "ann", "bob", folder.path()), "back\n").await;
    assert_eq!(outcome.unwrap(), Ended::Done);
    let texts: Vec<&str> = shown.lines().filter(|line| line.starts_with('#')).collect();
    let wanted = [
        "#1 00:00:01 ann: hello [ann +1]",
        "#2 00:00:01 ann: changed (edited)",
        "#3 00:00:01 bob: hi ann",
        "#4 00:00:01 ann: back",
    ];
    assert_eq!(texts, wanted, "{shown}");
}

/// Issue 10, item 16: an unknown name is reported, and the wait for it is bounded.
#[tokio::test]
async fn somebody_who_does_not_come_is_not_waited_for_longer_than_asked() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let (outcome, shown) = talk(chat(&server, "ann", "nobody", folder.path()), "hello\n").await;
    assert_eq!(outcome.unwrap(), Ended::Unsettled);
    assert!(shown.ends_with("-- nobody did not come: is that their name?\n"), "{shown}");
    registered(&server, "bob").await;
    let (outcome, shown) = talk(chat(&server, "ann", "bob", folder.path()), "/add nobody\n/reply 1 x\n").await;
    assert_eq!(outcome.unwrap(), Ended::NotAccepted);
    let sentences: Vec<&str> = shown.lines().filter(|line| line.starts_with("!!")).collect();
    assert_eq!(sentences, ["!! nobody is called nobody", "!! there is no such message here"], "{shown}");
}

/// Leaving a direct conversation is refused.
#[tokio::test]
async fn who_may_not_leave_stays_and_who_has_left_says_nothing_more() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    registered(&server, "bob").await;
    let script = "one\n/leave\ntwo\n";
    let (outcome, shown) = talk(chat(&server, "ann", "bob", folder.path()), script).await;
    assert_eq!(outcome.unwrap(), Ended::NotAccepted);
    assert!(shown.contains("!! not accepted: scripted -- /leave\n"), "{shown}");
    assert_eq!(texts(&shown), ["one", "two"], "{shown}");

    server.world.lock().unwrap().may_be_left = true;
    let (outcome, shown) = talk(chat(&server, "ann", "bob", folder.path()), "/leave\nthree\n").await;
    assert_eq!(outcome.unwrap(), Ended::Done);
    assert_eq!(texts(&shown), ["one", "two"], "{shown}");
    let said = server.world.lock().unwrap().log.iter().filter(|frame| is_message(frame)).count();
    assert_eq!(said, 2, "nothing was sent behind the leaving");
}

/// Runs the terminal without input until `until` resolves.
async fn listen(options: ChatOptions, until: impl Future<Output = ()>) -> String {
    let (_typed, input) = tokio::io::duplex(1);
    let (mut output, stop) = (Vec::new(), CancellationToken::new());
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let listening = run(options, BufReader::new(input), &mut output, &clock, &entropy, &stop);
    let stopping = async {
        until.await;
        stop.cancel();
    };
    let (outcome, ()) = timeout(PATIENCE, async { tokio::join!(listening, stopping) }).await.expect("it ends in time");
    outcome.unwrap();
    String::from_utf8(output).unwrap()
}

/// Ann has sent a message to Bob, at seq 2, and has seen it. Returns what makes Bob's messages.
async fn one_has_spoken(server: &Server, folder: &Path) -> impl Fn(&str) -> (UserId, CommandFrame) + use<> {
    let bob = registered(server, "bob").await;
    assert_eq!(talk(chat(server, "ann", "bob", folder), "one\n").await.0.unwrap(), Ended::Done);
    let conversation = server.world.lock().unwrap().log[0].event_key().unwrap().0;
    let next = AtomicI64::new(1);
    move |body| {
        let id = CommandId::first_at(next.fetch_add(1, Ordering::SeqCst));
        (bob, CommandFrame::new(id, conversation, CommandKind::send(body.into(), None)))
    }
}

fn texts(shown: &str) -> Vec<&str> {
    let messages = shown.lines().filter(|line| line.starts_with('#'));
    messages.filter_map(|line| line.rsplit(' ').next()).collect()
}

/// Asserts that nothing beyond `seen` was marked as read before the rows up to `newest` were read.
fn assert_marked_behind_the_rows(server: &Server, seen: Seq, newest: Seq) {
    let did = server.world.lock().unwrap().did.clone();
    let marked = did.iter().position(|did| matches!(did, Did::Mark(seq) if *seq > seen)).unwrap();
    let read = did.iter().position(|did| matches!(did, Did::Read(seq) if *seq >= newest)).unwrap();
    assert!(read < marked, "{did:?}");
}

#[tokio::test]
async fn what_a_reset_has_left_out_is_shown_before_what_comes_after_it() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let says = one_has_spoken(&server, folder.path()).await;
    for body in ["two", "three"] {
        let (bob, command) = says(body);
        server.judge(bob, command);
    }
    server.fail_with(Fault::Reset);
    server.fail_with(Fault::NoRows);
    server.world.lock().unwrap().meanwhile = vec![says("four")];
    let (seen, newest) = (seq(2), seq(5));
    let shown = listen(chat(&server, "ann", "bob", folder.path()), server.is_marked(newest)).await;
    assert_eq!(texts(&shown), ["one", "two", "three", "four"], "{shown}");
    assert_marked_behind_the_rows(&server, seen, newest);
}

#[tokio::test]
async fn what_a_reset_has_left_out_of_older_messages_is_shown_too() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let says = one_has_spoken(&server, folder.path()).await;
    let (conversation, target) = {
        let world = server.world.lock().unwrap();
        let FeedFrame::Event { conversation, id, .. } = world.log[1] else { panic!("no event") };
        (conversation, id)
    };
    let (bob, two) = says("two");
    let id = CommandId::first_at;
    server.judge(bob, two);
    server.fail_with(Fault::Reset);
    server.world.lock().unwrap().unready = true;
    let shown = listen(chat(&server, "ann", "bob", folder.path()), async {
        // The rows can be read before the conversation is synced; frames that come until then are not given to the
        // view.
        server.is_marked(seq(3)).await;
        server.judge(bob, CommandFrame::new(id(100), conversation, CommandKind::edit(target, "changed".into())));
        let react = CommandFrame::new(id(101), conversation, CommandKind::React { target, emoji: "+1".into() });
        server.world.lock().unwrap().meanwhile = vec![(bob, react), says("three")];
        server.is_marked(seq(6)).await;
    })
    .await;
    let lines: Vec<&str> = shown.lines().filter(|line| line.contains('#')).collect();
    let wanted = [
        "#1 00:00:01 ann: one",
        "#2 00:00:01 bob: two",
        "*#1 00:00:01 ann: changed (edited) [bob +1]",
        "#3 00:00:01 bob: three",
    ];
    assert_eq!(lines, wanted, "{shown}");
}

#[tokio::test]
async fn what_was_said_during_an_absence_is_shown_before_what_comes_after_it() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let says = one_has_spoken(&server, folder.path()).await;
    let (ann, conversation) = {
        let mut world = server.world.lock().unwrap();
        world.untold.extend([2, 3]);
        (world.accounts["ann"].0, world.log[0].event_key().unwrap().0)
    };
    for body in ["two", "three"] {
        let (bob, command) = says(body);
        server.judge(bob, command);
    }
    server.fail_with(Fault::NoRows);
    let (bob, four) = says("four");
    let id = CommandId::first_at(100);
    server.judge(bob, CommandFrame::new(id, conversation, CommandKind::AddMembers { members: vec![ann] }));
    server.judge(bob, four);
    let (seen, newest) = (seq(2), seq(6));
    let options = chat(&server, "ann", "bob", folder.path());
    let shown = listen(options, server.is_marked(newest)).await;
    assert_eq!(texts(&shown), ["one", "two", "three", "four"], "{shown}");
    assert_marked_behind_the_rows(&server, seen, newest);
}

/// Bob types twice before each of two messages. Returns what Ann's terminal shows.
async fn bob_types(server: &Server, interactive: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let says = one_has_spoken(server, folder.path()).await;
    let (bob, two) = says("two");
    let (conversation, doing, thread) = (two.conversation.unwrap(), DoingName::Text, None);
    let signal = SignalFrame::Typing { conversation, user: bob, doing, thread };
    let options = ChatOptions { interactive, ..chat(server, "ann", "bob", folder.path()) };
    listen(options, async {
        server.judge(bob, two);
        server.is_marked(seq(3)).await;
        for (body, newest) in [("three", seq(4)), ("four", seq(5))] {
            for _ in 0..2 {
                server.signals.send(signal).unwrap();
            }
            server.judge(bob, says(body).1);
            server.is_marked(newest).await;
        }
    })
    .await
}

#[tokio::test]
async fn who_is_typing_is_shown_once_until_they_have_said_it() {
    let shown = bob_types(&Server::start().await, true).await;
    let wanted = ["two", "typing", "three", "typing", "four"];
    let lines = shown.lines().filter(|line| line.contains('#') || line.contains("is typing"));
    let last: Vec<_> = lines.filter_map(|line| line.rsplit(' ').next()).filter(|word| *word != "one").collect();
    assert_eq!(last, wanted, "{shown}");
    assert!(shown.contains("-- bob is typing\n"), "{shown}");
    let shown = bob_types(&Server::start().await, false).await;
    assert!(shown.contains("four") && !shown.contains("typing"), "no affair of a script's:\n{shown}");
}

#[tokio::test]
async fn keys_that_are_pressed_tell_the_others_that_somebody_is_typing() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let says = one_has_spoken(&server, folder.path()).await;
    let (bob, two) = says("two");
    let options = ChatOptions { interactive: true, ..chat(&server, "ann", "bob", folder.path()) };
    let keys = std::sync::Arc::clone(&options.keys);
    listen(options, async {
        server.judge(bob, two);
        server.is_marked(seq(3)).await;
        keys.notify_one();
        server.typed.subscribe().wait_for(|typed| *typed > 0).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn once_shows_what_there_is_and_ends() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    registered(&server, "bob").await;
    talk(chat(&server, "ann", "bob", folder.path()), "hello\n").await.0.unwrap();
    let once = ChatOptions { once: true, ..chat(&server, "bob", "ann", folder.path()) };
    let (outcome, shown) = talk(once, "").await;
    assert_eq!(outcome.unwrap(), Ended::Done);
    assert!(shown.contains("#1 00:00:01 ann: hello\n"), "{shown}");
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    registered(&server, "ann").await;
    let wrong = ChatOptions { password: Secret::new("other"), ..chat(&server, "ann", "bob", folder.path()) };
    let (outcome, _) = talk(wrong, "").await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, TerminalError::Usage(_)), "{error:?}");
    assert!(error.to_string().contains("the name is taken"), "{error}");
}
