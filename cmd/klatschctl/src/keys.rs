//! `klatschctl keys`: the file of signing keys, here or in a data folder. No program need run, and none is asked.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use environment::{Clock, Entropy};
use operate::{Console, Output as _};
use ops::keys::Keys;
use ops::{Exit, OpsError};

use crate::engines::EngineOptions;

/// The name of the file in a data folder.
const IN_FOLDER: &str = "signing-key.pem";

#[derive(Debug, Args)]
pub(crate) struct KeysOptions {
    /// The file of the keys; without, that of the data folder
    #[arg(long, global = true, env = "KLATSCH_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Every key, whether it signs, and from when until when
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a key. It is published at once, and signs later: then everybody knows it
    Add {
        /// From when on it signs
        #[arg(long, value_name = "MINUTES", default_value_t = 10)]
        after: u64,
        /// How long it signs, unless another one follows before
        #[arg(long, value_name = "DAYS")]
        lasts: Option<u64>,
        /// Do it; without, only say what would be done
        #[arg(long)]
        yes: bool,
    },
    /// Take a key out that signs no more
    Retire {
        /// Which, as 'keys list' names it
        #[arg(value_name = "ID")]
        id: String,
        /// Also one that signs, or whose tokens may be good: they are refused within two minutes, and another key signs
        #[arg(long)]
        now: bool,
        /// Do it; without, only say what would be done
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) fn run(
    options: KeysOptions,
    engines: &EngineOptions,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<Exit, OpsError> {
    let of_folder = || engines.data.as_ref().map(|folder| folder.join(IN_FOLDER));
    let file = options.key_file.or_else(of_folder);
    let file = file.ok_or_else(|| OpsError::Usage("which keys? name --key-file FILE or --data FOLDER".into()))?;
    let keys = Keys::new(file, clock, entropy);
    let lines = match options.command {
        KeysCommand::List { json } => keys.list(json)?,
        KeysCommand::Add { after, lasts, yes } => vec![keys.add(after, lasts, yes)?],
        KeysCommand::Retire { id, now, yes } => vec![keys.retire(&id, now, yes)?],
    };
    Console.stream_line(&lines.join("\n")).map(|()| Exit::Ok)
}
