//! The chat terminal of `klatschctl chat`: lines in, lines out, nothing drawn. People type into it, through an editor of
//! lines; scripts pipe into it.
//!
//! It is built on the `client` crate alone. `command.rs` is the program around it (options, password, editor), [`run`]
//! the terminal itself: signing in (`enter.rs`), one conversation on the screen (`room.rs`), what is typed (`line.rs`,
//! `typed.rs`) and how it looks (`render.rs`).

mod command;
mod editor;
mod enter;
mod error;
mod line;
mod options;
mod render;
mod room;
mod typed;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ClientOptions, Endpoints, Http, StateFile};
use domain::ConversationId;
use environment::{Clock, Entropy};
use secret::Secret;
use tokio::io::AsyncBufRead;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use enter::{enter, open};
use room::Room;

pub use command::chat;
pub use error::TerminalError;
pub use options::ChatArguments;

/// A user has so many devices on one machine without naming state files.
const DEVICES_MAX: usize = 16;

/// How long a script waits for somebody who has not registered yet, unless told otherwise.
const SCRIPT_WAIT: Duration = Duration::from_secs(60);
/// How long a person does, who may have mistyped the name.
const PERSON_WAIT: Duration = Duration::from_secs(300);

/// With whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One other, by name.
    With(String),
    /// The group of this title that the user is in, or else a new one with these members.
    Group {
        /// Its title.
        title: String,
        /// Whom to begin it with, by name.
        members: Vec<String>,
    },
    /// A conversation that is there.
    Conversation(ConversationId),
}

/// Where the device keeps what it needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatePath {
    /// In exactly this file.
    File(PathBuf),
    /// In a file of this folder, named for the user: the first that no other device uses.
    Folder(PathBuf),
}

/// What the terminal is to do.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// Where the services are.
    pub endpoints: Endpoints,
    /// The user's name.
    pub name: String,
    /// And password.
    pub password: Secret,
    /// Make the account if the name is new.
    pub register: bool,
    /// With whom to talk.
    pub target: Target,
    /// What the device keeps.
    pub state: StatePath,
    /// Show what there is, send what is piped in, and end; otherwise stay until the input ends.
    pub once: bool,
    /// A person sits there, who can wait for others to come.
    pub interactive: bool,
    /// How long to wait for somebody who has not registered yet.
    pub wait: Duration,
    /// The output may be coloured.
    pub colour: bool,
    /// Notified whenever a key is pressed, where an editor sees that: the others are told that the user is typing.
    pub keys: Arc<Notify>,
}

/// How the terminal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was sent was accepted.
    Done,
    /// A command was not accepted, or a line was none.
    NotAccepted,
    /// Nobody came to talk with, or commands are still open.
    Unsettled,
}

/// Runs the terminal until its input has ended and everything sent is settled, `/quit`, or `stop`.
///
/// # Errors
/// When signing in or opening the conversation fails, the server says not to come back, or the terminal is gone.
/// Otherwise [`Ended::NotAccepted`] says that a command was not accepted, [`Ended::Unsettled`] that some are still open.
pub async fn run(
    options: ChatOptions,
    input: impl AsyncBufRead + Unpin + Send,
    mut output: impl Write + Send,
    clock: &Clock,
    entropy: &Entropy,
    stop: &CancellationToken,
) -> Result<Ended, TerminalError> {
    let http = Arc::new(Http::new(options.endpoints.clone())?);
    let identity = enter(&http, &options, &mut output).await?;
    let file = lock_state(&options.state, &http, &identity.name)?;
    let state = file.load()?;
    let conversation = open(&http, &identity, &options, clock, entropy, stop, &mut output).await?;
    let Some(conversation) = conversation else { return Ok(Ended::Unsettled) };
    let resumes = state.user == Some(identity.user) && state.cursor.is_some();
    let (clock, entropy) = (clock.clone(), entropy.clone());
    let client = Client::new(ClientOptions { http, identity, state, clock, entropy });
    let mut room = Room::new(client, conversation, file, &options);
    room.begin(resumes, &mut output).await?;
    let outcome = room.stay(input, &mut output, stop).await;
    room.leave(&mut output, outcome).await
}

fn lock_state(path: &StatePath, http: &Http, name: &str) -> Result<StateFile, TerminalError> {
    let folder = match path {
        StatePath::File(path) => {
            let in_use = || TerminalError::Usage(format!("{} is in use by another device", path.display()));
            return StateFile::lock(path)?.ok_or_else(in_use);
        }
        StatePath::Folder(folder) => folder,
    };
    let host: String = http.endpoints().chat.trim_start_matches("http://").replace(|c: char| !c.is_alphanumeric(), "_");
    for device in 1..=DEVICES_MAX {
        let file = folder.join(format!("{host}-{name}-{device}.json"));
        if let Some(file) = StateFile::lock(&file)? {
            return Ok(file);
        }
    }
    let folder = folder.display();
    Err(TerminalError::Usage(format!("{name} has {DEVICES_MAX} devices in {folder} already: name a file with --state")))
}

/// Writes a line.
fn say(output: &mut dyn Write, line: &str) -> Result<(), TerminalError> {
    let written = writeln!(output, "{line}").and_then(|()| output.flush());
    written.map_err(|source| TerminalError::io("writing to the terminal", source))
}
