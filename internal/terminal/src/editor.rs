//! The interactive terminal: a line editor with history and cursor keys. Output appears above the line being
//! typed.
//!
//! The editor's thread reads lines and writes them into a pipe, from which the chat reads as it does from a
//! script. What the chat writes appears above the line being typed. An entered line is erased from the screen: the
//! chat shows the message again, with its number, once it is in the log, so that it is on the screen once.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::TerminalError;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, ExternalPrinter, Helper};
use tokio::io::{AsyncWriteExt as _, BufReader, DuplexStream, duplex};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use unicode_width::UnicodeWidthStr;

/// Bytes of typed lines that the chat has not read yet. At the bound the editor waits.
const TYPED_BYTES_MAX: usize = 64 << 10;
/// Lines in the editor's history. They are kept in memory only, so that no message is written to a history file.
const HISTORY_LINES: usize = 500;
/// How long an entered line waits until output that is being written above it is complete.
const WRITTEN_WITHIN: Duration = Duration::from_millis(200);
/// The line that ends the chat; the editor reads no other line after it.
const QUIT: &str = "/quit";

/// Whether input and output are an interactive terminal that can move its cursor.
pub(crate) fn is_possible() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    stdin().is_terminal() && stdout().is_terminal() && !dumb
}

/// The terminal while the editor uses it. Dropping it restores the terminal's settings.
pub(crate) struct Terminal {
    before: Option<Termios>,
}

/// The typed lines.
pub(crate) type Typed = BufReader<DuplexStream>;

/// Starts the editor with this prompt. `keys` is notified while a message is typed. Ctrl-C cancels `stop`, as it
/// does without an editor; Ctrl-D ends the input.
pub(crate) fn start(
    prompt: String,
    stop: CancellationToken,
    keys: Arc<Notify>,
) -> Result<(Terminal, Typed, impl Write + Send), TerminalError> {
    let failed = |error: ReadlineError| TerminalError::Failed(format!("the terminal cannot be edited on: {error}"));
    let terminal = Terminal { before: tcgetattr(stdin()).ok() };
    let config = Config::builder().max_history_size(HISTORY_LINES).map_err(failed)?.auto_add_history(true).build();
    let lines = MemHistory::with_config(&config);
    let mut editor = Editor::<Entering, MemHistory>::with_history(config, lines).map_err(failed)?;
    let screen = Screen::default();
    editor.set_helper(Some(Entering { screen: screen.clone(), keys }));
    let printer = editor.create_external_printer().map_err(failed)?;
    let above = Above { printer, text: Vec::new(), screen: screen.clone() };
    let (typed, reader) = duplex(TYPED_BYTES_MAX);
    let runtime = Handle::current();
    thread::spawn(move || {
        edit(&mut editor, &prompt, &screen, typed, &runtime, &stop);
    });
    Ok((terminal, BufReader::new(reader), above))
}

fn edit(
    editor: &mut Editor<Entering, MemHistory>,
    prompt: &str,
    screen: &Screen,
    mut typed: DuplexStream,
    runtime: &Handle,
    stop: &CancellationToken,
) {
    loop {
        match editor.readline(prompt) {
            Ok(line) => {
                let columns = editor.dimensions().map_or(80, |(columns, _)| usize::from(columns));
                screen.erase(rows(prompt, &line, columns));
                // Writing fails when the chat has ended and no longer reads.
                if runtime.block_on(typed.write_all(format!("{line}\n").as_bytes())).is_err() || line.trim() == QUIT {
                    return;
                }
            }
            Err(ReadlineError::Eof) => return,
            // The window was resized: the line is read again.
            Err(ReadlineError::Signal(_)) => {}
            Err(_) => return stop.cancel(),
        }
    }
}

/// The rows of the screen that a line takes, with its prompt.
fn rows(prompt: &str, line: &str, columns: usize) -> usize {
    let columns = columns.max(1);
    let mut first = prompt.width();
    let mut rows = 0;
    for part in line.split('\n') {
        rows += 1 + (first + part.width()).saturating_sub(1) / columns;
        first = 0;
    }
    rows
}

/// Synchronizes output with entered lines: while an entered line is on the screen and not erased yet, output is
/// held back. The lock is not held while something is written, because the editor may have to read a line before
/// it accepts output.
#[derive(Clone, Default)]
struct Screen(Arc<(Mutex<Below>, Condvar)>);

#[derive(Default)]
struct Below {
    /// Whether output is being written above the line.
    writing: bool,
    /// Whether a line was entered and is not erased yet.
    entered: bool,
    /// The output that is held back meanwhile.
    waiting: String,
}

impl Screen {
    fn below(&self) -> MutexGuard<'_, Below> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds back output from now on, unless output is still being written after the wait: that write waits for
    /// the editor, which calls this.
    fn enter(&self) {
        let written = self.0.1.wait_timeout_while(self.below(), WRITTEN_WITHIN, |below| below.writing);
        let (mut below, _) = written.unwrap_or_else(PoisonError::into_inner);
        below.entered = !below.writing;
    }

    /// Erases the entered line, which takes `rows` rows, and shows the output that was held back. A line is not
    /// erased if output may have been written next to it.
    fn erase(&self, rows: usize) {
        let mut below = self.below();
        if !std::mem::take(&mut below.entered) {
            return;
        }
        let waiting = std::mem::take(&mut below.waiting);
        let mut out = stdout().lock();
        // A closed terminal is noticed at the next output.
        let _ = write!(out, "\x1b[{rows}A\r\x1b[J{waiting}").and_then(|()| out.flush());
    }

    /// Writes the text above the line, or holds it back until the entered line is erased.
    fn write(&self, text: String, print: impl FnOnce(String) -> rustyline::Result<()>) -> std::io::Result<()> {
        let mut below = self.below();
        if below.entered {
            below.waiting.push_str(&text);
            return Ok(());
        }
        below.writing = true;
        drop(below);
        let printed = print(text);
        self.below().writing = false;
        self.0.1.notify_all();
        printed.map_err(std::io::Error::other)
    }
}

/// Hooks into the editor. Its validator is called when a line is entered, before the editor releases the terminal,
/// and notifies the screen. Its hinter is called at every key, and notifies `keys` while a message is typed.
struct Entering {
    screen: Screen,
    keys: Arc<Notify>,
}

impl Validator for Entering {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.screen.enter();
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for Entering {
    type Candidate = String;
}

impl Hinter for Entering {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &rustyline::Context<'_>) -> Option<String> {
        if !line.trim().is_empty() && !line.starts_with('/') {
            self.keys.notify_one();
        }
        None
    }
}

impl Highlighter for Entering {}
impl Helper for Entering {}

/// Buffers output, and writes whole lines above the one being typed.
struct Above<P> {
    printer: P,
    text: Vec<u8>,
    screen: Screen,
}

impl<P: ExternalPrinter> Write for Above<P> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.text)).into_owned();
        self.screen.write(text, |text| self.printer.print(text))
    }
}

impl Drop for Terminal {
    /// The editor's thread may still wait for a key, with the terminal in its own mode: so the settings are
    /// restored here.
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Errors are ignored: the terminal may be closed.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
            let mut out = stdout().lock();
            let _ = write!(out, "\r\x1b[K\x1b[?2004l").and_then(|()| out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_as_many_rows_as_the_screen_is_narrow() {
        assert_eq!(rows("> ", "", 80), 1);
        assert_eq!(rows("> ", &"x".repeat(78), 80), 1);
        assert_eq!(rows("> ", &"x".repeat(79), 80), 2);
        assert_eq!(rows("> ", &"本".repeat(40), 80), 2);
        assert_eq!(rows("> ", "one\ntwo", 80), 2);
        assert_eq!(rows("> ", "x", 0), 3);
    }

    #[test]
    fn what_is_said_while_an_entered_line_stands_there_waits() {
        let screen = Screen::default();
        let mut above = String::new();
        let mut write = |text: &str| {
            let printed = screen.write(text.to_owned(), |text| {
                above += &text;
                Ok(())
            });
            printed.unwrap();
        };
        write("before");
        screen.enter();
        write("meanwhile");
        assert_eq!((screen.below().waiting.as_str(), above.as_str()), ("meanwhile", "before"));
    }
}
