//! The accounts of the load, kept in a file between runs: making one costs the server a password hash (20 ms), going on
//! with its session hardly anything.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::{ClientError, ConversationId, Endpoints, ErrorCode, Http, HttpPool, Identity, Secret, UserId};
use environment::Entropy;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::exit::SetupError;

/// Accounts that are registered or signed in at the same time.
const AT_ONCE: usize = 8;
/// How often a server that is busy is asked again, and how long each time after.
const ASKED_AGAIN: (u32, Duration) = (20, Duration::from_millis(500));

/// An account in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Account {
    name: String,
    password: Secret,
    /// Its id, once it is registered.
    user: Option<UserId>,
    /// The token with which its session goes on.
    refresh_token: Option<Secret>,
}

/// A group that was made for these members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: ConversationId,
    pub(crate) members: Vec<UserId>,
}

/// The content of the file.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
struct Content {
    /// The server that the accounts are of.
    url: String,
    accounts: Vec<Account>,
    groups: Vec<Group>,
}

/// A user who is signed in.
pub(crate) struct User {
    pub(crate) http: Arc<Http>,
    pub(crate) identity: Identity,
}

/// The file, and who is signed in from it.
pub(crate) struct Accounts {
    path: std::path::PathBuf,
    content: Content,
    pub(crate) users: Vec<User>,
}

impl Accounts {
    /// Signs in the first `count` accounts of the file, registering those that are missing.
    ///
    /// # Errors
    /// When the file is another server's, or cannot be used, or the server refuses.
    pub(crate) async fn sign_in(
        path: &Path,
        endpoints: &Endpoints,
        count: usize,
        entropy: &Entropy,
    ) -> Result<Self, SetupError> {
        let mut content = read(path, &endpoints.users)?;
        while content.accounts.len() < count {
            let [name, password] = [entropy.bytes::<8>(), entropy.bytes::<8>()].map(u64::from_be_bytes);
            let (name, password) = (format!("load-{name:016x}"), Secret::new(format!("{password:016x}")));
            content.accounts.push(Account { name, password, user: None, refresh_token: None });
        }
        // Written before anything is registered: an account whose password nobody has is of no use.
        write(path, &content)?;
        let pool = HttpPool::new().map_err(SetupError::server("starting"))?;
        let mut accounts = Self { path: path.to_owned(), content, users: Vec::new() };
        let signed_in = accounts.all(&pool, endpoints, count).await;
        accounts.save()?;
        signed_in?;
        Ok(accounts)
    }

    /// Signs in all of them, some at a time, and keeps them in their order.
    async fn all(&mut self, pool: &HttpPool, endpoints: &Endpoints, count: usize) -> Result<(), SetupError> {
        // Copied, because the accounts are changed as they sign in.
        let accounts = self.content.accounts[..count].to_vec();
        let mut open = accounts.into_iter().enumerate();
        let (mut running, mut users) = (JoinSet::new(), Vec::new());
        let mut failed = None;
        loop {
            while running.len() < AT_ONCE && failed.is_none() {
                let Some((number, account)) = open.next() else { break };
                let http = Http::sharing(pool, endpoints.clone());
                running.spawn(async move { (number, sign_in(http, account).await) });
            }
            match running.join_next().await {
                None => break,
                Some(Ok((number, Ok(user)))) => {
                    let account = &mut self.content.accounts[number];
                    (account.user, account.refresh_token) = (Some(user.identity.user), user.http.refresh_token());
                    users.push((number, user));
                }
                Some(Ok((_, Err(error)))) => failed = Some(error),
                Some(Err(error)) => failed = Some(SetupError::Other(format!("a sign-in was lost: {error}"))),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        users.sort_unstable_by_key(|(number, _)| *number);
        self.users = users.into_iter().map(|(_, user)| user).collect();
        Ok(())
    }

    /// The group that was made earlier for exactly these members.
    pub(crate) fn group(&self, members: &[UserId]) -> Option<ConversationId> {
        let same = |group: &&Group| group.members == members;
        self.content.groups.iter().find(same).map(|group| group.id)
    }

    pub(crate) fn keep_group(&mut self, group: Group) {
        self.content.groups.push(group);
    }

    /// Writes the file again, with the newest tokens.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&mut self) -> Result<(), SetupError> {
        for (account, user) in self.content.accounts.iter_mut().zip(&self.users) {
            account.refresh_token = user.http.refresh_token();
        }
        let present: BTreeSet<UserId> = self.content.accounts.iter().filter_map(|account| account.user).collect();
        self.content.groups.retain(|group| group.members.iter().all(|member| present.contains(member)));
        write(&self.path, &self.content)
    }
}

/// Goes on with the session, or signs in, or registers: whatever works first.
async fn sign_in(http: Http, account: Account) -> Result<User, SetupError> {
    let Account { name, password, user, refresh_token } = account;
    if let Some(token) = refresh_token {
        match again(|| http.resume(token.clone())).await {
            Ok(found) => return Ok(of(http, found.id, name)),
            Err(error) if error.code().is_some_and(|code| code.status() == 401) => {}
            Err(error) => return Err(refused(&name, error)),
        }
    }
    if user.is_some() {
        match again(|| http.sign_in(&name, &password)).await {
            Ok(found) => return Ok(of(http, found.id, name)),
            // The server has forgotten the account: its data are new.
            Err(error) if error.code() == Some(ErrorCode::WrongCredentials) => {}
            Err(error) => return Err(refused(&name, error)),
        }
    }
    match again(|| http.register(&name, &password)).await {
        Ok(_) => {}
        // An earlier run registered it and was ended before it wrote that down.
        Err(error) if error.code() == Some(ErrorCode::NameTaken) => {}
        Err(error) => return Err(refused(&name, error)),
    }
    let found = again(|| http.sign_in(&name, &password)).await.map_err(|error| refused(&name, error))?;
    Ok(of(http, found.id, name))
}

fn of(http: Http, user: UserId, name: String) -> User {
    User { http: Arc::new(http), identity: Identity { user, name } }
}

/// Calls until the server is not busy any more. Its limits are no such thing: they are told at once.
async fn again<T, F>(mut call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut left = ASKED_AGAIN.0;
    loop {
        match call().await {
            Err(error) if left > 0 && error.code().is_some_and(is_busy) => {
                left -= 1;
                tokio::time::sleep(error.retry_after().unwrap_or(ASKED_AGAIN.1)).await;
            }
            answer => return answer,
        }
    }
}

const fn is_busy(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Busy | ErrorCode::Retry | ErrorCode::Unavailable)
}

fn refused(name: &str, error: ClientError) -> SetupError {
    if error.code() == Some(ErrorCode::RateLimited) {
        return SetupError::Other(format!(
            "the server limits sign-ins and registrations from this address ({error}): run the tool on the server's \
             machine once with the same --accounts, whose loopback address has no such limit, or wait and call it \
             again: it goes on with the accounts that it has"
        ));
    }
    SetupError::Server { what: format!("signing in {name}"), source: error }
}

fn read(path: &Path, url: &str) -> Result<Content, SetupError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Content { url: url.to_owned(), ..Content::default() });
        }
        Err(error) => return Err(SetupError::io(format!("reading {}", path.display()))(error)),
    };
    let content: Content = serde_json::from_slice(&text)
        .map_err(|error| SetupError::Other(format!("{} holds no accounts: {error}", path.display())))?;
    if content.url != url {
        let (path, of) = (path.display(), content.url);
        return Err(SetupError::Other(format!("the accounts in {path} are of {of}: name another file for {url}")));
    }
    Ok(content)
}

fn write(path: &Path, content: &Content) -> Result<(), SetupError> {
    let failed = || SetupError::io(format!("writing {}", path.display()));
    let text = serde_json::to_vec(content).map_err(|error| failed()(error.into()))?;
    let beside = path.with_extension("new");
    let mut file =
        File::options().create(true).write(true).truncate(true).mode(0o600).open(&beside).map_err(failed())?;
    file.write_all(&text).map_err(failed())?;
    fs::rename(&beside, path).map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_its_owner_s_alone_and_of_one_server() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.json");
        let mut content = read(&path, "http://a:1").unwrap();
        let password = Secret::new("wonderful");
        content.accounts.push(Account { name: "load-1".into(), password, user: None, refresh_token: None });
        write(&path, &content).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path, "http://a:1").unwrap().accounts[0].password.expose(), "wonderful");
        let other = read(&path, "http://b:1").unwrap_err();
        assert!(matches!(&other, SetupError::Other(words) if words.contains("http://a:1")), "{other}");
        assert!(!format!("{content:?}").contains("wonderful"));
    }
}
