//! Signing in, and finding or creating the conversation.

use std::io::Write;
use std::time::Duration;

use domain::{CommandId, ConversationId};
use environment::{Clock, Entropy};
use protocol::{ErrorCode, UserBody};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::TerminalError;
use crate::{ChatOptions, Target, say};
use client::{ClientError, Http, Identity};

/// How often to check whether the other user has registered.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most pages of the conversation list that are searched for a title.
const LIST_PAGES_MAX: usize = 20;

/// Signs in. With `register`, the account is registered first if the name is new.
pub(crate) async fn enter(
    http: &Http,
    options: &ChatOptions,
    output: &mut (dyn Write + Send),
) -> Result<Identity, TerminalError> {
    let (name, password) = (&options.name, &options.password);
    if options.register {
        match http.register(name, password).await {
            Ok(user) => say(output, &format!("-- registered {}", user.name))?,
            Err(error) if error.code() == Some(ErrorCode::NameTaken) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match http.sign_in(name, password).await {
        Ok(user) => Ok(Identity { user: user.id, name: user.name }),
        Err(error) if error.code() == Some(ErrorCode::WrongCredentials) => {
            let hint = if options.register {
                "the name is taken, with another password"
            } else {
                "a new name needs --register"
            };
            Err(TerminalError::Usage(format!("the name or the password is wrong ({hint})")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The conversation to talk in; `None` when the other user did not register in time, or `stop` was cancelled.
pub(crate) async fn open(
    http: &Http,
    me: &Identity,
    options: &ChatOptions,
    clock: &Clock,
    entropy: &Entropy,
    stop: &CancellationToken,
    output: &mut (dyn Write + Send),
) -> Result<Option<ConversationId>, TerminalError> {
    let mint = || {
        let id = CommandId::try_from(entropy.uuid_v7(clock));
        id.map_err(|error| TerminalError::Failed(error.to_string()))
    };
    match &options.target {
        Target::Conversation(conversation) => Ok(Some(*conversation)),
        Target::With(name) => {
            let Some(other) = find(http, name, options.wait, stop, output).await? else { return Ok(None) };
            let conversation = ConversationId::direct(me.user, other.id);
            match http.conversation(conversation).await {
                Ok(_) => return Ok(Some(conversation)),
                Err(error) if is_unsure(&error) => {}
                Err(error) => return Err(error.into()),
            }
            match http.create(mint()?, "direct", None, &[other.id]).await {
                Ok(_) => Ok(Some(conversation)),
                Err(error) if error.code() == Some(ErrorCode::Exists) => Ok(Some(conversation)),
                Err(error) => Err(error.into()),
            }
        }
        Target::Group { title, members } => {
            if let Some(conversation) = titled(http, title).await? {
                return Ok(Some(conversation));
            }
            let mut ids = Vec::new();
            for name in members {
                let Some(other) = find(http, name, options.wait, stop, output).await? else { return Ok(None) };
                ids.push(other.id);
            }
            let accepted = http.create(mint()?, "group", Some(title), &ids).await?;
            say(output, &format!("-- a new group, {}", accepted.conversation))?;
            Ok(Some(accepted.conversation))
        }
    }
}

/// Whether the error leaves it open if the conversation exists. Then the command to create it, which the log
/// decides, finds out.
fn is_unsure(error: &ClientError) -> bool {
    use ErrorCode::{Held, NotFound, NotMember, Retry};
    matches!(error.code(), Some(NotMember | NotFound | Retry | Held))
}

/// The user of that name. Waits up to `wait` until there is one.
async fn find(
    http: &Http,
    name: &str,
    wait: Duration,
    stop: &CancellationToken,
    output: &mut (dyn Write + Send),
) -> Result<Option<UserBody>, TerminalError> {
    let (begun, mut said) = (Instant::now(), false);
    loop {
        match http.user_by_name(name).await {
            Ok(user) => return Ok(Some(user)),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        if !said {
            let (minutes, seconds) = (wait.as_secs() / 60, wait.as_secs() % 60);
            say(
                output,
                &format!("-- nobody is called {name} yet: waiting {minutes}:{seconds:02} for them to register"),
            )?;
            said = true;
        }
        if begun.elapsed() >= wait {
            say(output, &format!("-- {name} did not come: is that their name?"))?;
            return Ok(None);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// The most recently active group of that title that the user is in.
async fn titled(http: &Http, title: &str) -> Result<Option<ConversationId>, TerminalError> {
    let mut page: Option<String> = None;
    for _ in 0..LIST_PAGES_MAX {
        let list = http.conversations(page.as_deref()).await?;
        let mut groups = list.conversations.iter().filter(|one| one.kind == "group" && one.role.is_some());
        if let Some(found) = groups.find(|group| group.title == title) {
            return Ok(Some(found.id));
        }
        match list.next {
            Some(next) => page = Some(next),
            None => break,
        }
    }
    Ok(None)
}
