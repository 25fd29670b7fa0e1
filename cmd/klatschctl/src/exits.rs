//! Tests that every command ends with the exit code of the table.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{CommandFactory as _, Parser as _};
use kv::Database;
use ops::Exit;
use tokio_util::sync::CancellationToken;

use crate::commands;
use crate::options::Options;

/// A command line, and its exit codes: without options for log and store; on a missing folder; and on a folder
/// with all topics and no messages. `None` where that case is not tested.
type Row = (&'static str, Option<Exit>, Option<Exit>, Option<Exit>);

/// A row of a command that works on log and store.
const fn on_engines(words: &'static str, fresh: Exit) -> Row {
    (words, Some(Exit::Usage), Some(Exit::Unavailable), Some(fresh))
}

/// Every command at least once, in an order in which each finds the state that it needs.
const COMMANDS: &[Row] = &[
    on_engines("topics check", Exit::Differs),
    on_engines("topics apply", Exit::Ok),
    on_engines("topics apply --yes", Exit::Ok),
    on_engines("topics check", Exit::Ok),
    ("schemas check", Some(Exit::Usage), Some(Exit::Usage), Some(Exit::Usage)),
    ("schemas register", Some(Exit::Usage), Some(Exit::Usage), Some(Exit::Usage)),
    on_engines("migrate", Exit::Ok),
    on_engines("replay storage --from-start --yes", Exit::Ok),
    on_engines("replay storage --partition 99 --from-offset 0", Exit::Usage),
    // A new incarnation is filled from the start of every partition, so the options are refused before anything is
    // opened.
    (
        "replay storage --partition 1 --from-offset 0 --into-new-incarnation",
        Some(Exit::Usage),
        Some(Exit::Usage),
        Some(Exit::Usage),
    ),
    on_engines("incarnations list", Exit::Ok),
    on_engines("incarnations switch 1", Exit::Usage),
    on_engines("incarnations switch 9", Exit::Usage),
    on_engines("incarnations drop 1", Exit::Usage),
    on_engines("incarnations drop 9", Exit::Usage),
    on_engines("incarnations back", Exit::Usage),
    on_engines("replay storage --into-new-incarnation --yes", Exit::Ok),
    on_engines("incarnations back", Exit::Ok),
    on_engines("checksum", Exit::Ok),
    on_engines("checksum --table nowhere", Exit::Usage),
    on_engines("audit", Exit::Ok),
    on_engines("audit --partition 99", Exit::Usage),
    on_engines("holds list", Exit::Ok),
    on_engines("holds dropped", Exit::Ok),
    on_engines("holds show 01890a5d-ac96-774b-bcce-b302099a8057", Exit::Ok),
    on_engines("holds redrive 01890a5d-ac96-774b-bcce-b302099a8057", Exit::Ok),
    on_engines("holds drop 01890a5d-ac96-774b-bcce-b302099a8057 --at 3 --by ann --why so", Exit::Differs),
    on_engines("groups list", Exit::Ok),
    on_engines("groups set chat.messages 0 0", Exit::Ok),
    on_engines("groups set chat.messages 99 0", Exit::Usage),
    on_engines("doctor", Exit::Ok),
    on_engines("doctor --json", Exit::Ok),
    ("doctor --url nonsense", Some(Exit::Usage), Some(Exit::Usage), Some(Exit::Usage)),
    // Nobody listens on that port.
    ("doctor --url http://127.0.0.1:1", Some(Exit::Differs), Some(Exit::Unavailable), Some(Exit::Differs)),
    // Only the service creates the file.
    ("keys list", Some(Exit::Usage), Some(Exit::Unavailable), Some(Exit::Unavailable)),
    ("keys add", Some(Exit::Usage), Some(Exit::Unavailable), Some(Exit::Unavailable)),
    ("keys retire kid", Some(Exit::Usage), Some(Exit::Unavailable), Some(Exit::Unavailable)),
    ("ledger check /nowhere/ledger.jsonl", Some(Exit::Failed), Some(Exit::Failed), Some(Exit::Failed)),
    ("ledger check", Some(Exit::Usage), Some(Exit::Usage), Some(Exit::Usage)),
    on_engines("tail chat.messages", Exit::Ok),
    on_engines("tail nowhere", Exit::Usage),
    ("chat --name ann --password x --with bob --url nonsense", Some(Exit::Usage), None, None),
    ("chat --name ann --password x --with bob --url http://127.0.0.1:1", Some(Exit::Unavailable), None, None),
    ("completions bash", Some(Exit::Ok), None, None),
    ("nonsense", Some(Exit::Usage), None, None),
];

/// The exit code and error of a command line, as `main` would report them.
async fn exit(words: &str, data: Option<&Path>) -> (u8, Option<String>) {
    let data = data.map(|folder| ["--data".to_owned(), folder.display().to_string()]);
    let words = std::iter::once("klatschctl").chain(words.split(' ')).map(str::to_owned);
    let options = match Options::try_parse_from(words.chain(data.into_iter().flatten())) {
        Ok(options) => options,
        Err(error) => return (Exit::Usage as u8, Some(error.to_string())),
    };
    match commands::run(options, &CancellationToken::new()).await {
        Ok(ended) => (ended.exit, ended.error),
        Err(error) => (error.exit() as u8, Some(error.to_string())),
    }
}

#[tokio::test]
async fn every_command_ends_by_the_table() {
    let folder = tempfile::tempdir().unwrap();
    drop(Database::open(&folder.path().join("db")).unwrap());
    let missing = folder.path().join("missing");
    for (words, unnamed, absent, fresh) in COMMANDS {
        for (wanted, data) in [(unnamed, None), (absent, Some(&*missing)), (fresh, Some(folder.path()))] {
            let Some(wanted) = wanted else { continue };
            let (code, error) = exit(words, data).await;
            assert_eq!(code, *wanted as u8, "{words}, in {data:?}: {error:?}");
        }
    }
}

#[test]
fn the_table_of_commands_has_all_of_them() {
    let tried: BTreeSet<String> = COMMANDS.iter().filter_map(|(words, ..)| path(words)).collect();
    let mut all = BTreeSet::new();
    collect(&Options::command(), "", &mut all);
    assert_eq!(tried, all);
}

/// The subcommands that a line names.
fn path(line: &str) -> Option<String> {
    let known = Options::command();
    let (mut command, mut path) = (&known, String::new());
    for word in line.split(' ') {
        let Some(next) = command.find_subcommand(word) else { break };
        path = format!("{path} {word}");
        command = next;
    }
    (!path.is_empty()).then_some(path)
}

fn collect(command: &clap::Command, path: &str, all: &mut BTreeSet<String>) {
    if !command.has_subcommands() {
        all.insert(path.to_owned());
    }
    for next in command.get_subcommands() {
        collect(next, &format!("{path} {}", next.get_name()), all);
    }
}

#[test]
fn the_help_has_the_table() {
    let help = Options::command().render_help().to_string();
    for (exit, meaning) in Exit::TABLE {
        assert!(help.contains(&format!("\n  {:<3}  {meaning}", exit as u8)), "{exit:?}: {help}");
    }
}
