//! The client crate against a `klatsch`: its example bot while the server is killed, and its view of the feed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use client::{
    Client, ClientEvent, CommandFrame, CommandId, CommandKind, ConversationId, Endpoints, FeedFrame, Http, Secret, View,
};
use testkit::programs::{Program, Single};
use tokio::time::{sleep, timeout};

#[path = "../../../client/examples/echo.rs"]
#[allow(dead_code)] // its `main`
mod echo;

/// The longest that an answer may take, including a restart of the server.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_bot_answers_each_message_once_whatever_is_killed() -> Result<()> {
    let mut single = Single::new().await?;
    single.program.start().await?;
    let (url, password) = (single.program.url(), Secret::new("correct horse battery"));
    let http = Http::new(Endpoints::new(&url, None, None)?)?;
    let echo = http.register("echo", &password).await?.id;
    http.register("ann", &password).await?;
    let bot = {
        let (url, password) = (url.clone(), password.clone());
        tokio::spawn(async move { echo::echo(&url, "echo", &password).await })
    };
    let mut ann = Client::sign_in(&url, "ann", &password).await?;
    // A new device receives what is sent after its `welcome`; earlier messages are in the history only.
    timeout(PATIENCE, a_device_is_new(&single.program)).await.context("the bot is not welcomed")??;
    let conversation = ConversationId::direct(ann.identity().user, echo);
    ann.http().create(ann.mint(), "direct", None, &[echo]).await?;
    ask(&mut ann, conversation, echo, "hello").await?;
    single.program.kill().await?;
    let said = ann.send(conversation, "said while the server was gone")?;
    single.program.start().await?;
    answered(&mut ann, echo, said).await?;
    ask(&mut ann, conversation, echo, "and again").await?;
    let page = ann.http().history(conversation, client::HistoryQuery::default()).await?;
    let by_bot: Vec<_> = page.entries.iter().filter(|entry| entry.author == echo && entry.kind == "message").collect();
    let bodies: Vec<_> = by_bot.iter().filter_map(|entry| entry.body.as_ref()).map(|body| body.reveal()).collect();
    ensure!(bodies == ["hello", "said while the server was gone", "and again"], "{bodies:?}");
    ensure!(!bot.is_finished(), "the bot has ended: {:?}", bot.await);
    bot.abort();
    Ok(())
}

/// Waits until the server has welcomed a device that had no cursor.
async fn a_device_is_new(program: &Program) -> Result<()> {
    loop {
        let metrics = program.metrics().await?;
        if metrics.lines().any(|line| line.starts_with("klatsch_socket_resets_total{") && line.ends_with(" 1")) {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn ask(ann: &mut Client, conversation: ConversationId, echo: client::UserId, body: &str) -> Result<()> {
    let said = ann.send(conversation, body)?;
    answered(ann, echo, said).await
}

/// Waits for the bot's answer to that message.
async fn answered(ann: &mut Client, echo: client::UserId, said: CommandId) -> Result<()> {
    let waiting = async {
        loop {
            let event = ann.next().await;
            if let ClientEvent::Fate { fate: client::Fate::Rejected { .. } | client::Fate::Refused { .. }, .. } = event
            {
                anyhow::bail!("{event:?}");
            }
            if event.message().is_some_and(|message| message.author == echo && message.reply_to == Some(said)) {
                return Ok(());
            }
        }
    };
    timeout(PATIENCE, waiting).await.context("no answer comes")?
}

/// The view that a client builds from frames has the same entries as the history that the server reads from its
/// rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_of_frames_alone_is_what_history_has() -> Result<()> {
    let mut single = Single::new().await?;
    single.program.start().await?;
    let (url, password) = (single.program.url(), Secret::new("correct horse battery"));
    let http = Http::new(Endpoints::new(&url, None, None)?)?;
    let bob = http.register("bob", &password).await?.id;
    let carl = http.register("carl", &password).await?.id;
    http.register("ann", &password).await?;
    let mut ann = Client::sign_in(&url, "ann", &password).await?;
    let synced = until(&mut ann, |event| matches!(event, ClientEvent::Synced { .. }));
    timeout(PATIENCE, synced).await.context("no sync")?;
    let (creation, members) = (ann.mint(), vec![bob]);
    let what = CommandKind::Create { kind: "group".into(), title: Some("Tea".into()), members };
    ann.submit(CommandFrame::new(creation, None, what))?;
    let conversation = ConversationId::group(ann.identity().user, creation);
    let mut view = View::new(conversation, ann.identity().user);
    follow(&mut ann, &mut view, creation).await?;
    // Nothing was sent before the creation.
    view.read([]);
    let first = ann.send(conversation, "first")?;
    follow(&mut ann, &mut view, first).await?;
    let second = ann.reply(conversation, first, "second")?;
    follow(&mut ann, &mut view, second).await?;
    for what in [
        CommandKind::React { target: first, emoji: "+1".into() },
        CommandKind::React { target: second, emoji: "+1".into() },
        CommandKind::edit(first, "first!".into()),
        CommandKind::Delete { target: second },
        CommandKind::Unreact { target: first, emoji: "+1".into() },
        CommandKind::ChangeTitle { title: "Coffee".into() },
        CommandKind::AddMembers { members: vec![carl] },
        CommandKind::ChangeRole { user: carl, role: "admin".into() },
        CommandKind::RemoveMember { user: bob },
    ] {
        let id = ann.submit(CommandFrame::new(ann.mint(), conversation, what))?;
        follow(&mut ann, &mut view, id).await?;
    }
    let at_least = ann.state().highest.get(&conversation).copied();
    let query = client::HistoryQuery { at_least, ..client::HistoryQuery::default() };
    let rows = ann.http().history(conversation, query).await?.entries;
    let shown: Vec<_> = view.entries().cloned().collect();
    ensure!(shown == rows, "shown: {shown:#?}\nhistory: {rows:#?}");
    ensure!(rows.len() == 6, "{rows:#?}");
    Ok(())
}

/// Applies frames to the view, up to the event of that command.
async fn follow(ann: &mut Client, view: &mut View, until_id: CommandId) -> Result<()> {
    let coming = until(ann, |event| {
        let ClientEvent::Feed(frame) = event else { return false };
        view.apply(frame);
        matches!(**frame, FeedFrame::Event { id, .. } if id == until_id)
    });
    timeout(PATIENCE, coming).await.context("the event does not come")
}

async fn until(client: &mut Client, mut last: impl FnMut(&ClientEvent) -> bool) {
    while !last(&client.next().await) {}
}

/// Bot authors copy the example from the crate's documentation.
#[test]
fn the_documentation_has_the_example_that_is_run() {
    let example = include_str!("../../../client/examples/echo.rs");
    let (_, body) = example.split_once("-> Result<(), ClientError> {\n").unwrap_or_default();
    let (body, _) = body.split_once("\n}\n").unwrap_or_default();
    let wanted: Vec<&str> = body.lines().map(str::trim).collect();
    let documented: Vec<&str> = include_str!("../../../client/src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! ").map(str::trim))
        .collect();
    assert!(wanted.len() == 10 && documented.windows(wanted.len()).any(|lines| lines == wanted), "{wanted:#?}");
}
