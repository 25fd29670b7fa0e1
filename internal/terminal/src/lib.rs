//! The chat terminal of `klatschctl chat`. It reads and writes plain lines, without a drawn screen: people use it
//! through a line editor, scripts through pipes.
//!
//! It is built on the `client` crate alone. `command.rs` is the program around it (options, password, editor);
//! [`run`] is the terminal itself: signing in (`enter.rs`), showing one conversation (`room.rs`), handling typed
//! lines (`line.rs`, `typed.rs`), and formatting (`render.rs`).

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

/// The most devices of one user in one folder, when no state file is named.
const DEVICES_MAX: usize = 16;

/// How long a script waits for a user who has not registered yet, by default.
const SCRIPT_WAIT: Duration = Duration::from_secs(60);
/// The same for an interactive terminal. It is bounded because the name may be mistyped.
const PERSON_WAIT: Duration = Duration::from_secs(300);

/// The conversation to talk in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A direct conversation with the user of that name.
    With(String),
    /// The group with this title that the user is in, or else a new one with these members.
    Group {
        /// Its title.
        title: String,
        /// The names of the first members of a new group.
        members: Vec<String>,
    },
    /// An existing conversation, by id.
    Conversation(ConversationId),
}

/// Where the device's state is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatePath {
    /// In exactly this file.
    File(PathBuf),
    /// In a file of this folder, named after the server and the user: the first one that no other device uses.
    Folder(PathBuf),
}

/// The options of the terminal.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// The base URLs of the services.
    pub endpoints: Endpoints,
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: Secret,
    /// Whether to register the account if the name is new.
    pub register: bool,
    /// The conversation to talk in.
    pub target: Target,
    /// Where the device's state is stored.
    pub state: StatePath,
    /// Whether to show the newest messages, send the input and end, instead of staying until the input ends.
    pub once: bool,
    /// Whether a person uses the terminal, rather than a script.
    pub interactive: bool,
    /// How long to wait for a user who has not registered yet.
    pub wait: Duration,
    /// Whether the output may be coloured.
    pub colour: bool,
    /// Notified at each key of a message, if there is an editor: others are then told that the user is typing.
    pub keys: Arc<Notify>,
}

/// How the terminal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was sent was accepted.
    Done,
    /// A command was not accepted, or a line was invalid.
    NotAccepted,
    /// The other user did not register in time, or commands are still open.
    Unsettled,
}

/// Runs the terminal until its input has ended and all commands are settled, until `/quit`, or until `stop` is
/// cancelled.
///
/// # Errors
/// When signing in or opening the conversation fails, the client stops for good, or the terminal is closed.
/// [`Ended::NotAccepted`] is returned instead when a command was not accepted, [`Ended::Unsettled`] when some are
/// still open.
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
