//! `klatschctl keys`: works on the file of signing keys, by itself or in a data folder. It needs no running
//! program.

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
    /// The file of the keys; by default, the one in the data folder
    #[arg(long, global = true, env = "KLATSCH_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List every key: whether it signs, from when and until when
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a key. It is published at once, and signs later, when every service knows it
    Add {
        /// The time until it signs
        #[arg(long, value_name = "MINUTES", default_value_t = 10)]
        after: u64,
        /// How long it signs, unless a newer key replaces it before
        #[arg(long, value_name = "DAYS")]
        lasts: Option<u64>,
        /// Do it; without, only say what would be done
        #[arg(long)]
        yes: bool,
    },
    /// Remove a key that no longer signs
    Retire {
        /// The key's id, as 'keys list' shows it
        #[arg(value_name = "ID")]
        id: String,
        /// Also remove a key that signs, or whose tokens may be valid: they are refused within two minutes, and
        /// another key signs
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
