//! Reading the history back at the end, over HTTP, as any member would.

use std::sync::Arc;
use std::time::Duration;

use client::{ClientError, HistoryQuery, Http, Seq};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::accounts::Accounts;
use crate::exit::SetupError;
use crate::oracle::Stored;
use crate::world::World;

/// Conversations that are read at the same time.
const AT_ONCE: usize = 8;
/// Entries of a page: the server's most.
const PAGE: usize = 200;
/// How long one page may take, with all that the server asks to wait.
const PAGE_WITHIN: Duration = Duration::from_secs(60);
/// The pause before a page is asked for again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The messages in each conversation since the run began, whoever sent them, in the order in which the server returned
/// them.
///
/// # Errors
/// When the server does not answer.
pub(crate) async fn read(
    world: &Arc<World>,
    accounts: &Accounts,
    heads: &[Option<Seq>],
) -> Result<Vec<Vec<Stored>>, SetupError> {
    let mut histories = vec![Vec::new(); heads.len()];
    // Also those of which nothing is known to stand: there may be more in them than anybody was told.
    let mut open = heads.iter().copied().enumerate();
    let mut running: JoinSet<Result<(usize, Vec<Stored>), ClientError>> = JoinSet::new();
    loop {
        while running.len() < AT_ONCE {
            let Some((number, head)) = open.next() else { break };
            let (world, member) = (Arc::clone(world), world.conversations[number].members[0]);
            let http = Arc::clone(&accounts.users[member].http);
            running.spawn(async move { Ok((number, one(&world, &http, number, head).await?)) });
        }
        match running.join_next().await {
            None => return Ok(histories),
            Some(Ok(Ok((number, history)))) => histories[number] = history,
            Some(Ok(Err(error))) => return Err(SetupError::server("reading the history")(error)),
            Some(Err(error)) => return Err(SetupError::Other(format!("a history was lost: {error}"))),
        }
    }
}

async fn one(world: &World, http: &Http, number: usize, head: Option<Seq>) -> Result<Vec<Stored>, ClientError> {
    let id = world.conversations[number].id;
    let mut after = u32::try_from(number).ok().and_then(|number| world.start_of(number));
    let mut stored = Vec::new();
    loop {
        let query =
            HistoryQuery { after: after.or(Some(Seq::default())), limit: Some(PAGE), at_least: head, before: None };
        let page = page(http, id, query).await?;
        for entry in page.entries.iter().filter(|entry| entry.kind == "message") {
            let number = world.ledger.named_in(entry.body.as_ref());
            stored.push(Stored { seq: entry.seq, id: entry.id, number });
        }
        let last = page.entries.last().map(|entry| entry.seq);
        // A page that goes no further would be read for ever.
        if !page.more || last <= after {
            return Ok(stored);
        }
        after = last;
    }
}

async fn page(
    http: &Http,
    id: client::ConversationId,
    query: HistoryQuery,
) -> Result<client::HistoryPage, ClientError> {
    let until = Instant::now() + PAGE_WITHIN;
    loop {
        match http.history(id, query).await {
            Err(error) if Instant::now() < until => {
                tracing::debug!(%error, "a page is asked for again");
                sleep(error.retry_after().unwrap_or(AGAIN_AFTER)).await;
            }
            answer => return answer,
        }
    }
}
