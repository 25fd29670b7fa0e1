//! The program's options and commands. Their doc comments are the help texts.

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use terminal::ChatArguments;

use crate::engines::EngineOptions;
use crate::keys::KeysOptions;
use crate::ledger::LedgerOptions;

/// Operates Klatsch, and chats over it.
///
/// Commands that change something only say what they would do, unless run with --yes.
#[derive(Debug, Parser)]
#[command(name = "klatschctl", version, after_help = after_help())]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) engines: EngineOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The end of the help: the exit codes, and the environment variables.
fn after_help() -> String {
    format!("{}\n\n{}", ops::Exit::help(), process::telemetry::HELP)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Operate(operate::Command),
    /// List, add and remove the keys that access tokens are signed with. Only the file is changed: running
    /// programs read it again
    Keys(KeysOptions),
    /// The ledgers of load tests
    Ledger(LedgerOptions),
    /// Chat: a small terminal on the public API
    Chat(ChatArguments),
    /// Write a shell's completion script for this program, to be put where the shell looks for it
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
    }

    /// The width of a terminal. clap wraps the texts, but not the usage lines.
    const COLUMNS: usize = 80;

    #[test]
    fn no_help_is_wider_than_a_terminal() {
        let mut command = Options::command();
        command.build();
        let walked = assert_narrow(&command);
        assert!(walked > 30, "{walked}");
    }

    /// Checks the command and all its subcommands; returns how many there are.
    fn assert_narrow(command: &clap::Command) -> usize {
        let mut narrow = command.clone().term_width(COLUMNS);
        for help in [narrow.render_long_help(), narrow.render_help()] {
            let help = help.to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= COLUMNS, "{line}\n\n{help}");
            }
        }
        1 + command.get_subcommands().map(assert_narrow).sum::<usize>()
    }

    #[test]
    fn every_command_of_the_documentation_parses() {
        for line in [
            "topics apply",
            "topics apply --yes --kafka k:9092 --dev",
            "topics check --data data",
            "schemas check --registry http://r",
            "schemas register",
            "migrate --cql a:9042,b:9042 --keyspace chat",
            "replay storage --from-start",
            "replay storage --from-start --into-new-incarnation --yes",
            "replay storage --into-new-incarnation --yes",
            "replay storage --partition 3 --from-offset 17",
            "incarnations list --json",
            "incarnations switch 2 --yes",
            "incarnations back --yes",
            "incarnations drop 1",
            "checksum --json",
            "checksum --table heads --compare before.json",
            "audit",
            "audit --sample 5 --rate 500 --state audit.json --metrics audit.prom --json",
            "audit --from 0:17,3:200 --to 400",
            "audit --partition 1,2 --conversation 01890a5d-ac96-774b-bcce-b302099a8057",
            "audit --follow --listen 127.0.0.1:9000",
            "holds list",
            "holds show 01890a5d-ac96-774b-bcce-b302099a8057",
            "holds redrive 01890a5d-ac96-774b-bcce-b302099a8057",
            "groups list --json",
            "groups set chat.messages 3 17 --yes",
            "doctor --url http://a,http://b --jwks http://a/.well-known/jwks.json",
            "keys list --data data --json",
            "keys add --key-file keys.pem --after 15 --lasts 90 --yes",
            "keys retire kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k --now",
            "ledger check a.jsonl b.jsonl --parts 2 --log log.jsonl --json",
            "tail chat.messages --from -5 -f",
            "tail chat.deliveries --partition 1 --from start --bodies",
            "chat --name ann --register --with bob",
            "chat --name ann --group Tea --members bob,cem --once",
            "chat --name ann --with bob --wait 0",
            "completions bash",
            "chat --name ann --conversation 01890a5d-ac96-774b-bcce-b302099a8057 --state s.json",
        ] {
            let words = std::iter::once("klatschctl").chain(line.split(' '));
            Options::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for wrong in [
            "replay storage",
            "replay storage --partition 3",
            "replay storage --partition 3 --into-new-incarnation",
            "replay storage --from-start --partition 3 --from-offset 1",
            "chat --name ann",
            "chat --name ann --with bob --group Tea",
            "holds show not-an-id",
            "audit --sample 101",
            "audit --listen 127.0.0.1:9000",
        ] {
            let words = std::iter::once("klatschctl").chain(wrong.split(' '));
            assert!(Options::try_parse_from(words).is_err(), "{wrong}");
        }
    }

    /// Messages name commands to run, and are far from the commands in the code.
    #[test]
    fn every_command_that_our_texts_name_is_there() {
        let (known, mut named) = (Options::command(), 0);
        for text in texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")) {
            // Long texts go over several lines.
            let text = text.replace("\\\n", "\n").split_whitespace().collect::<Vec<_>>().join(" ");
            for quote in ['\'', '`'] {
                for rest in text.split(&format!("{quote}klatschctl ")).skip(1) {
                    let mut command = &known;
                    for word in rest.split(quote).next().unwrap_or_default().split(' ') {
                        if !command.has_subcommands() {
                            break;
                        }
                        let next = command.find_subcommand(word);
                        command =
                            next.unwrap_or_else(|| panic!("no {word}: {}", rest.chars().take(40).collect::<String>()));
                        named += 1;
                    }
                }
            }
        }
        assert!(named > 20, "{named}");
    }

    /// The texts of all sources and documents.
    fn texts(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !["target", ".git", "data"].contains(&name.as_str()) {
                found.extend(texts(&path));
            } else if [".rs", ".md", ".yml", ".yaml"].iter().any(|end| name.ends_with(end)) {
                found.push(std::fs::read_to_string(&path).unwrap());
            }
        }
        found
    }
}
