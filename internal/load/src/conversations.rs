//! The conversations of the load: made once, and used again by later runs with the same accounts.

use std::sync::Arc;
use std::time::Duration;

use client::{ClientError, CommandId, ConversationId, ErrorCode, Http, UserId};
use environment::{Clock, Entropy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::accounts::{Accounts, Group};
use crate::exit::SetupError;

/// Conversations that are made at the same time.
const AT_ONCE: usize = 8;
/// How long the creation of a conversation may take until it is settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// How often its outcome is asked for.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// A conversation of the load.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(crate) id: ConversationId,
    /// The numbers of its users.
    pub(crate) members: Vec<usize>,
}

/// Makes one conversation for each list of users, unless an earlier run has.
///
/// # Errors
/// When the server refuses one.
pub(crate) async fn prepare(
    accounts: &mut Accounts,
    lists: Vec<Vec<usize>>,
    entropy: &Entropy,
) -> Result<Vec<Conversation>, SetupError> {
    let users = |list: &Vec<usize>| -> Vec<UserId> {
        list.iter().map(|number| accounts.users[*number].identity.user).collect()
    };
    let members: Vec<Vec<UserId>> = lists.iter().map(users).collect();
    let mut ids: Vec<Option<ConversationId>> = members.iter().map(|members| accounts.group(members)).collect();
    let missing: Vec<usize> = (0..lists.len()).filter(|list| ids[*list].is_none()).collect();
    let (mut open, mut running) = (missing.into_iter(), JoinSet::new());
    let mut failed = None;
    loop {
        while running.len() < AT_ONCE && failed.is_none() {
            let Some(list) = open.next() else { break };
            let http = Arc::clone(&accounts.users[lists[list][0]].http);
            let (members, entropy) = (members[list].clone(), entropy.clone());
            running.spawn(async move { (list, make(&http, &members, &entropy).await) });
        }
        match running.join_next().await {
            None => break,
            Some(Ok((list, Ok(id)))) => {
                accounts.keep_group(Group { id, members: members[list].clone() });
                ids[list] = Some(id);
            }
            Some(Ok((_, Err(error)))) => failed = Some(error),
            Some(Err(error)) => failed = Some(SetupError::Other(format!("a conversation was lost: {error}"))),
        }
    }
    // What was made is kept, also when something failed.
    accounts.save()?;
    if let Some(error) = failed {
        return Err(error);
    }
    let conversations = ids.into_iter().zip(lists);
    Ok(conversations.filter_map(|(id, members)| id.map(|id| Conversation { id, members })).collect())
}

/// The users of the load cut into lists of each size: everybody is in one conversation of each size. A rest that is too
/// small joins the list before it.
pub(crate) fn cut(users: usize, sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut lists: Vec<Vec<usize>> = Vec::new();
    for size in sizes {
        let first = lists.len();
        let size = (*size).min(users);
        for begin in (0..users).step_by(size) {
            let list: Vec<usize> = (begin..users.min(begin + size)).collect();
            if list.len() >= 2 {
                lists.push(list);
            } else if let Some(last) = lists[first..].last_mut() {
                last.extend(list);
            }
        }
    }
    lists
}

/// Makes one conversation, whose first member creates it, and waits until it is there.
async fn make(http: &Http, users: &[UserId], entropy: &Entropy) -> Result<ConversationId, SetupError> {
    let failed = || SetupError::server(format!("making a conversation of {} members", users.len()));
    let id = CommandId::try_from(entropy.uuid_v7(&Clock::system()));
    let id = id.map_err(|error| SetupError::Other(error.to_string()))?;
    let conversation = match users {
        [_, other] => match create(http, id, "direct", &[*other]).await {
            Err(error) if error.code() == Some(ErrorCode::Exists) => ConversationId::direct(users[0], users[1]),
            answer => answer.map_err(failed())?,
        },
        [_, others @ ..] => create(http, id, "group", others).await.map_err(failed())?,
        [] => return Err(SetupError::Other("a conversation without users".into())),
    };
    settled(http, conversation, id).await.map_err(failed())?;
    Ok(conversation)
}

/// Creates it, and waits where the server's limits ask for a pause: what is named in a command counts.
async fn create(http: &Http, id: CommandId, kind: &str, members: &[UserId]) -> Result<ConversationId, ClientError> {
    let until = Instant::now() + SETTLED_WITHIN;
    let title = (kind == "group").then_some("load");
    loop {
        match http.create(id, kind, title, members).await {
            Ok(accepted) => return Ok(accepted.conversation),
            Err(error) if error.code().is_some_and(is_for_now) && Instant::now() < until => {
                sleep(error.retry_after().unwrap_or(ASKED_EVERY)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the creation has taken effect: from then on everybody may write.
async fn settled(http: &Http, conversation: ConversationId, id: CommandId) -> Result<(), ClientError> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        match http.conversation(conversation).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => {
                tracing::warn!(%conversation, %id, "the creation was not settled in time");
                return Err(error);
            }
            Err(_) => sleep(ASKED_EVERY).await,
        }
    }
}

const fn is_for_now(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::RateLimited | ErrorCode::Busy | ErrorCode::Retry | ErrorCode::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_in_one_conversation_of_each_size() {
        let lists = cut(7, &[2, 5]);
        assert_eq!(lists, [vec![0, 1], vec![2, 3], vec![4, 5, 6], vec![0, 1, 2, 3, 4], vec![5, 6]]);
        assert_eq!(cut(3, &[10]), [vec![0, 1, 2]], "a size is at most all users");
    }
}
