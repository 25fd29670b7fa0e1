//! The protocol between `klatschctl` and a running `klatsch`: a request, one line of JSON, then frames, a line of JSON
//! each, until [`Frame::Ended`].
//!
//! The client sends nothing after its request. To stop the command it closes its writing half, and still gets the
//! answer; when it is gone, both halves are closed.

use std::io::{self, BufRead, Read as _};
use std::path::PathBuf;

use ops::OpsError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::command::Command;
use crate::output::{Output, text_of};

/// Bytes of a request, with the files that its command reads.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Bytes of a frame. The largest is a record that `tail` shows, far smaller than this.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// The program's version, and that of the messages here: both programs must have the same.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// The wrapper of a request. It never changes, so that other versions can be recognized.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    version: String,
    request: Box<RawValue>,
}

/// A command to run, with what the client knows and `klatsch` does not.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// The registry in the client's options.
    pub(crate) registry: Option<String>,
    /// Whether the client's standard error is a terminal.
    pub(crate) terminal: bool,
    /// The files that the command reads.
    pub(crate) files: Vec<Attached>,
    /// The command.
    pub(crate) command: Command,
}

/// The content of a file on the client's side, or the number of the operating system's error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attached {
    pub(crate) file: PathBuf,
    pub(crate) read: Result<String, i32>,
}

/// A piece of a command's output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// [`Output::say`].
    Say(String),
    /// [`Output::stream_line`].
    Insist(String),
    /// [`Output::tell`].
    Tell(String),
    /// [`Output::replace`].
    Replace {
        /// The file, which must be one that the command names.
        file: PathBuf,
        /// The whole new text.
        text: String,
    },
    /// The last frame. Its form never changes.
    Ended(Ended),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The exit code.
    pub exit: u8,
    /// The error in words.
    pub error: Option<String>,
}

impl Request {
    pub(crate) fn new(command: Command, registry: Option<String>, output: &dyn Output) -> Self {
        let attached = command.reads().into_iter().map(|file| {
            let read = output.read(file).and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
            Attached { file: file.to_owned(), read: read.map_err(|error| code_of(&error)) }
        });
        let files = attached.collect();
        Self { registry, terminal: output.is_terminal(), files, command: command.with_whole_paths() }
    }

    /// The request as a line.
    pub(crate) fn line(&self) -> Result<String, OpsError> {
        let request = RawValue::from_string(text_of(self)?).map_err(|error| OpsError::Failed(error.to_string()))?;
        let line = text_of(&Envelope { version: VERSION.to_owned(), request })? + "\n";
        if line.len() > REQUEST_BYTES_MAX {
            return Err(OpsError::Usage(format!(
                "the files that the command reads are too large to be handed to the running 'klatsch': with them it has \
                 {} bytes, and at most {REQUEST_BYTES_MAX} are taken",
                line.len()
            )));
        }
        Ok(line)
    }

    /// Parses a line; the error says why it is no request.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, OpsError> {
        let wrong = |error: serde_json::Error| OpsError::Usage(format!("klatsch does not understand it: {error}"));
        let envelope: Envelope = serde_json::from_slice(line).map_err(wrong)?;
        if envelope.version != VERSION {
            return Err(OpsError::Usage(format!(
                "the running 'klatsch' is of version {VERSION}, this 'klatschctl' of version {}: use the one that came \
                 with it, or stop 'klatsch' first",
                envelope.version.escape_debug()
            )));
        }
        serde_json::from_str(envelope.request.get()).map_err(wrong)
    }
}

/// The number of the error, or `EINVAL` for content that is no text.
fn code_of(error: &io::Error) -> i32 {
    /// `EINVAL`, on every system that this runs on.
    const INVALID: i32 = 22;
    error.raw_os_error().unwrap_or(INVALID)
}

impl Frame {
    /// The next frame; `None` at the end.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = Vec::new();
        let most = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX);
        from.take(most).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return if line.len() < FRAME_BYTES_MAX { Ok(None) } else { Err(io::Error::other("a frame is too long")) };
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }

    /// The frame as a line.
    pub(crate) fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches as _, Subcommand as _};

    use super::*;
    use crate::output::Console;

    fn command(words: &str) -> Command {
        let parser = Command::augment_subcommands(clap::Command::new("klatschctl"));
        let words = std::iter::once("klatschctl").chain(words.split(' '));
        Command::from_arg_matches(&parser.try_get_matches_from(words).unwrap()).unwrap()
    }

    #[test]
    fn every_command_comes_over_as_it_was_given() {
        for words in [
            "topics apply --yes",
            "schemas register",
            "migrate",
            "replay storage --partition 3 --from-offset 17",
            "replay storage --from-start --into-new-incarnation --yes",
            "incarnations switch 2 --yes",
            "checksum --table heads --json",
            "audit --from 0:17,3:200 --to 400 --rate 7 --sample 3",
            "audit --follow --listen 127.0.0.1:9000 --metrics m.prom",
            "holds drop 01890a5d-ac96-774b-bcce-b302099a8057 --at 3 --by ann --why so",
            "groups set chat.messages 3 17 --yes",
            "doctor --url http://a,http://b --jwks http://a/keys --json",
            "tail chat.deliveries --partition 1 --from -3 --bodies -f",
        ] {
            let request = Request::new(command(words), Some("http://r".into()), &Console);
            let (line, shown) = (request.line().unwrap(), format!("{request:?}"));
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(format!("{:?}", Request::parse(line.as_bytes()).unwrap()), shown);
        }
    }

    #[test]
    fn files_are_read_where_the_client_is() {
        let folder = tempfile::tempdir().unwrap();
        let (there, missing) = (folder.path().join("sums"), folder.path().join("state"));
        std::fs::write(&there, "{}").unwrap();
        let read = |words: &str| Request::new(command(words), None, &Console).files.pop().unwrap().read;
        assert_eq!(read(&format!("checksum --compare {}", there.display())), Ok("{}".to_owned()));
        assert_eq!(read(&format!("audit --state {}", missing.display())), Err(2), "no such file");
        let jwks = Request::new(command("doctor --jwks keys.json"), None, &Console).line().unwrap();
        let whole = std::path::absolute("keys.json").unwrap();
        assert!(jwks.contains(whole.to_str().unwrap()), "{jwks}");
    }

    #[test]
    fn other_versions_and_unknown_options_are_refused_in_words() {
        let line = Request::new(command("topics apply"), None, &Console).line().unwrap();
        let refused = |line: String| match Request::parse(line.as_bytes()) {
            Err(OpsError::Usage(words)) => words,
            other => panic!("{other:?}"),
        };
        let words = refused(line.replace(VERSION, "9.9.9/7"));
        assert!(words.contains("9.9.9/7") && words.contains(VERSION), "{words}");
        let words = refused(line.replace("\"yes\":false", "\"yes\":false,\"not_really\":true"));
        assert!(words.contains("not_really"), "{words}");
        refused("hello".into());
    }

    #[test]
    fn a_request_that_is_too_large_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sums");
        std::fs::write(&file, vec![b' '; REQUEST_BYTES_MAX]).unwrap();
        let request = Request::new(command(&format!("checksum --compare {}", file.display())), None, &Console);
        assert!(matches!(request.line(), Err(OpsError::Usage(_))));
    }

    #[test]
    fn a_frame_that_is_cut_short_is_none() {
        let line = Frame::Say("a\nb".into()).line().unwrap();
        assert!(matches!(Frame::read(&mut &line[..]).unwrap(), Some(Frame::Say(text)) if text == "a\nb"));
        assert!(Frame::read(&mut &line[..line.len() - 1]).unwrap().is_none());
        assert!(Frame::read(&mut &b"no frame\n"[..]).is_err());
    }
}
