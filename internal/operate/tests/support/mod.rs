//! A `klatsch` without services: open engines and the operators' socket; and a client that records its output.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::{FromArgMatches as _, Subcommand as _};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{NewRecord, SharedLog, append};
use events::Codec;
use events::topics::MESSAGES;
use kv::Database;
use operate::{Command, CommandClient, CommandSocket, Context, Ended, Output, Running};
use ops::OpsError;
use store::embedded::EmbeddedStore;
use store::{Following, SharedStore};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workload::{Reference, Stories, StoryConfig};

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) log: SharedLog,
    pub(crate) store: SharedStore,
    pub(crate) stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl World {
    /// Creates one with all topics, `records` records in `chat.messages`, and a listening socket.
    pub(crate) async fn new(records: usize) -> Self {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let database = Database::in_memory();
        let log: SharedLog = EmbeddedLog::open(database.clone(), Clock::system()).await.unwrap();
        let store: SharedStore = Following::new(EmbeddedStore::open(database, Clock::system()).await.unwrap());
        let codec = Codec::compiled_in();
        ops::topics::apply(&*log, &codec, &Entropy::seeded(1), |_| {}).await.unwrap();
        let event =
            Stories::new(1, StoryConfig::default(), 1_750_000_000_000).next(1_750_000_000_000, &Reference::default());
        for _ in 0..records {
            let (key, payload) = (event.conversation.to_string(), codec.event(&event).payload);
            append(&*log, MESSAGES, NewRecord { key, partition: None, headers: Vec::new(), payload }).await.unwrap();
        }
        let door = CommandSocket::open(folder.path()).unwrap();
        let serving = door.serve(log.clone(), store.clone(), Clock::system(), Entropy::seeded(2), stop.clone());
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Self { folder, log, store, stop, serving }
    }

    /// Runs a command through the socket.
    pub(crate) async fn run(&self, words: &str, client: &Client, stop: &CancellationToken) -> Result<Ended, OpsError> {
        let beside = CommandClient::connect(self.folder.path()).unwrap();
        beside.run(command(words), None, client.clone(), stop).await
    }

    /// The same in the background.
    pub(crate) fn spawn(
        &self,
        words: &str,
        client: &Client,
        stop: &CancellationToken,
    ) -> JoinHandle<Result<Ended, OpsError>> {
        let beside = CommandClient::connect(self.folder.path()).unwrap();
        let (command, client, stop) = (command(words), client.clone(), stop.clone());
        tokio::spawn(async move { beside.run(command, None, client, &stop).await })
    }

    /// Runs a command in this process, without the socket.
    pub(crate) async fn alone(&self, words: &str, client: &Client) -> Ended {
        self.alone_until(words, client, &CancellationToken::new()).await
    }

    /// The same, until `stop` is cancelled.
    pub(crate) async fn alone_until(&self, words: &str, client: &Client, stop: &CancellationToken) -> Ended {
        let mut engines = Running::new(self.log.clone(), self.store.clone(), None);
        let (clock, entropy) = (Clock::system(), Entropy::seeded(3));
        let cx = Context { output: client, clock: &clock, entropy: &entropy, stop };
        match operate::run(command(words), &mut engines, &cx).await {
            Ok(exit) => Ended { exit: exit as u8, error: None },
            Err(error) => Ended { exit: error.exit() as u8, error: Some(error.to_string()) },
        }
    }

    /// Ends it as a `klatsch` does.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
        self.log.close().await;
        self.store.close().await;
    }
}

pub(crate) fn command(words: &str) -> Command {
    let parser = Command::augment_subcommands(clap::Command::new("klatschctl"));
    let words = std::iter::once("klatschctl").chain(words.split(' '));
    Command::from_arg_matches(&parser.try_get_matches_from(words).unwrap()).unwrap()
}

/// Records lines and files.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) lines: Arc<watch::Sender<Vec<String>>>,
    pub(crate) files: Arc<Mutex<BTreeMap<PathBuf, String>>>,
    /// Closes its output after so many lines.
    enough: usize,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { lines: Arc::default(), files: Arc::default(), enough: usize::MAX }
    }

    pub(crate) fn with_enough_after(lines: usize) -> Self {
        Self { enough: lines, ..Self::new() }
    }

    pub(crate) fn said(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits until so many lines have come.
    pub(crate) async fn until(&self, lines: usize) {
        self.lines.subscribe().wait_for(|said| said.len() >= lines).await.unwrap();
    }
}

impl Output for Client {
    fn say(&self, line: &str) -> Result<(), OpsError> {
        self.lines.send_modify(|lines| lines.push(line.to_owned()));
        Ok(())
    }

    fn stream_line(&self, line: &str) -> Result<(), OpsError> {
        if self.said().len() >= self.enough {
            return Err(OpsError::io("writing the output", ErrorKind::BrokenPipe.into()));
        }
        self.say(line)
    }

    fn tell(&self, text: &str) {
        let _ = self.say(&format!("stderr: {text}"));
    }

    fn is_terminal(&self) -> bool {
        false
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let files = self.files.lock().unwrap();
        files.get(file).map(|text| text.clone().into_bytes()).ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn replace(&self, file: &Path, text: &str) -> Result<(), OpsError> {
        self.files.lock().unwrap().insert(file.to_owned(), text.to_owned());
        Ok(())
    }
}
