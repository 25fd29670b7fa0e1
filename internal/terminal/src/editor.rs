//! A terminal to type into: an editor of lines with history and cursor keys, and what others say above the line.
//!
//! The editor's thread reads lines and writes them into a pipe that the chat reads from, as it reads from a script. What
//! the chat writes goes above the line that is being typed. A line that was sent is taken off the screen: it comes back
//! with its number once the log has it, and so stands there once.

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

/// Bytes of lines that were typed and not read yet. At the bound the editor waits.
const TYPED_BYTES_MAX: usize = 64 << 10;
/// Lines that the cursor keys bring back. They are kept in memory only: what people say is not written down here.
const HISTORY_LINES: usize = 500;
/// How long a line that is entered waits for what is being written above it.
const WRITTEN_WITHIN: Duration = Duration::from_millis(200);
/// The line that ends the chat, so that no other is asked for.
const QUIT: &str = "/quit";

/// Whether a person sits at both ends, at a terminal that can move its cursor.
pub(crate) fn is_possible() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    stdin().is_terminal() && stdout().is_terminal() && !dumb
}

/// The terminal while it is edited on. Dropped, it is again as it was.
pub(crate) struct Terminal {
    before: Option<Termios>,
}

/// What is typed, a line each.
pub(crate) type Typed = BufReader<DuplexStream>;

/// Begins to edit with this prompt; `keys` hears of what is typed. Ctrl-C cancels `stop`, as it does outside of an editor; Ctrl-D ends what is typed.
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
                // The chat has ended when nobody reads any more.
                if runtime.block_on(typed.write_all(format!("{line}\n").as_bytes())).is_err() || line.trim() == QUIT {
                    return;
                }
            }
            Err(ReadlineError::Eof) => return,
            // The window has another size: the line is asked for again.
            Err(ReadlineError::Signal(_)) => {}
            Err(_) => return stop.cancel(),
        }
    }
}

/// Rows of the screen that a line takes with its prompt.
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

/// The screen between a line that was entered and its being taken away: until then nothing is put below it. Never locked
/// while something is written: the editor may have to read a line before it takes that.
#[derive(Clone, Default)]
struct Screen(Arc<(Mutex<Below>, Condvar)>);

#[derive(Default)]
struct Below {
    /// Something is being written above the line.
    writing: bool,
    /// A line was entered, and stands there yet.
    entered: bool,
    /// What is said meanwhile.
    waiting: String,
}

impl Screen {
    fn below(&self) -> MutexGuard<'_, Below> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds back what is said from now on. Not where something is still being written: that waits for the editor, which
    /// asks this.
    fn enter(&self) {
        let written = self.0.1.wait_timeout_while(self.below(), WRITTEN_WITHIN, |below| below.writing);
        let (mut below, _) = written.unwrap_or_else(PoisonError::into_inner);
        below.entered = !below.writing;
    }

    /// Takes the line that was entered, of so many rows, off the screen, and shows what was held back. A line beside which
    /// something may have been written stays.
    fn erase(&self, rows: usize) {
        let mut below = self.below();
        if !std::mem::take(&mut below.entered) {
            return;
        }
        let waiting = std::mem::take(&mut below.waiting);
        let mut out = stdout().lock();
        // A terminal that is gone is noticed where something is said.
        let _ = write!(out, "\x1b[{rows}A\r\x1b[J{waiting}").and_then(|()| out.flush());
    }

    /// Writes the text above the line, or holds it back until the line that was entered is gone.
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

/// Tells the screen when a line is entered: the editor asks whether it is one, while it still holds the terminal. And says
/// when something is typed that others are to read: the editor asks for a hint at every key.
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

/// Writes whole lines above the one that is being typed.
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
    /// The editor may still wait for a key, with the terminal as it needs it.
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing can be done about a terminal that is gone.
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
