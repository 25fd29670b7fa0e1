//! The example bot of the client crate, against a `klatsch` that is killed meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use client::{Client, ClientEvent, CommandId, ConversationId, Endpoints, Http, Secret};
use testkit::programs::Single;
use tokio::time::timeout;

#[path = "../../client/examples/echo.rs"]
#[allow(dead_code)] // its `main`
mod echo;

/// The longest that an answer may take; a server that was killed starts meanwhile.
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
    let bodies: Vec<_> = by_bot.iter().filter_map(|entry| entry.body.as_deref()).collect();
    ensure!(bodies == ["hello", "said while the server was gone", "and again"], "{bodies:?}");
    ensure!(!bot.is_finished(), "the bot has ended: {:?}", bot.await);
    bot.abort();
    Ok(())
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
