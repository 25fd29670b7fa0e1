//! `klatschctl chat`: turns its options into a [`ChatOptions`] and runs the terminal, with a line editor if a
//! person uses it interactively.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use client::Endpoints;
use environment::{Clock, Entropy};
use secret::Secret;
use tokio::io::BufReader;
use tokio_util::sync::CancellationToken;

use crate::options::{ChatArguments, TargetOptions};
use crate::{ChatOptions, Ended, PERSON_WAIT, SCRIPT_WAIT, StatePath, Target, TerminalError, editor, run};

/// Runs the terminal on this process's standard input and output, with a line editor if both are an interactive
/// terminal. `colour` says whether the output may be coloured.
///
/// # Errors
/// As [`run`], and when there is no password.
pub async fn chat(
    arguments: ChatArguments,
    colour: bool,
    clock: &Clock,
    entropy: &Entropy,
    stop: &CancellationToken,
) -> Result<Ended, TerminalError> {
    let ChatArguments { url, users_url, socket_url, name, password, register, target, members, wait, state, once } =
        arguments;
    let interactive = stdin().is_terminal();
    let password = match password {
        Some(password) => password,
        None if interactive => ask_password(&name)?,
        None => return Err(TerminalError::Usage("a password is needed: KLATSCH_PASSWORD or --password".into())),
    };
    let options = ChatOptions {
        endpoints: Endpoints::new(&url, users_url.as_deref(), socket_url.as_deref())?,
        name,
        password,
        register,
        target: chosen(target, members)?,
        state: state.map_or_else(default_folder, |file| Ok(StatePath::File(file)))?,
        once,
        interactive: interactive && !once,
        wait: wait.map_or(if interactive { PERSON_WAIT } else { SCRIPT_WAIT }, Duration::from_secs),
        colour,
        keys: Arc::default(),
    };
    if once && interactive {
        // No input is piped in, so the terminal shows the conversation and ends.
        return run(options, tokio::io::empty(), stdout(), clock, entropy, stop).await;
    }
    if editor::is_possible() && !once {
        let (terminal, typed, above) =
            editor::start(format!("{}> ", options.name), stop.clone(), Arc::clone(&options.keys))?;
        let outcome = run(options, typed, above, clock, entropy, stop).await;
        drop(terminal);
        return outcome;
    }
    run(options, BufReader::new(tokio::io::stdin()), stdout(), clock, entropy, stop).await
}

fn chosen(target: TargetOptions, members: Vec<String>) -> Result<Target, TerminalError> {
    match target {
        TargetOptions { with: Some(name), .. } => Ok(Target::With(name)),
        TargetOptions { group: Some(title), .. } => Ok(Target::Group { title, members }),
        TargetOptions { conversation: Some(conversation), .. } => Ok(Target::Conversation(conversation)),
        TargetOptions { .. } => Err(TerminalError::Usage("with whom? --with, --group or --conversation".into())),
    }
}

/// The folder `klatsch` in the user's configuration folder.
fn default_folder() -> Result<StatePath, TerminalError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let unknown =
        || TerminalError::Usage("there is no home folder to keep the state in: name a file with --state".into());
    Ok(StatePath::Folder(config.ok_or_else(unknown)?.join("klatsch")))
}

/// Asks for the password, without echoing it if the terminal can do that.
fn ask_password(name: &str) -> Result<Secret, TerminalError> {
    let failed = |source| TerminalError::io("asking for the password", source);
    // The echo is switched off before the question, so that a fast answer is not shown either.
    let hidden = echo("-echo");
    let mut line = String::new();
    let asked = write!(stderr(), "password of {name}: ").and_then(|()| stderr().flush());
    let read = asked.and_then(|()| stdin().read_line(&mut line));
    if hidden {
        echo("echo");
        eprintln!();
    }
    read.map_err(failed)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

/// Switches the terminal's echo; returns whether that worked.
fn echo(setting: &str) -> bool {
    let stty = Command::new("stty").arg(setting).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
    stty.is_ok_and(|status| status.success())
}
