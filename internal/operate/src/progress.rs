//! The progress of a long command, on standard error: a line that is overwritten on a terminal, a line now and then
//! anywhere else.

use std::time::Duration;

use tokio::time::Instant;

use crate::output::Output;

/// How often a terminal's line is overwritten.
const TERMINAL_EVERY: Duration = Duration::from_millis(200);
/// How often a line is printed anywhere else.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A shorter time is no measure for the time that is left.
const MEASURED_FROM: Duration = Duration::from_secs(1);

/// The progress line of one command.
pub(crate) struct Progress<'a> {
    output: &'a dyn Output,
    what: String,
    begun: Instant,
    shown_at: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(output: &'a dyn Output, what: impl Into<String>) -> Self {
        Self { output, what: what.into(), begun: Instant::now(), shown_at: None }
    }

    /// Shows that `done` of `of` are done.
    pub(crate) fn tell(&mut self, done: u64, of: u64) {
        let left = left(self.begun.elapsed(), done, of);
        self.line(|what| format!("{what}: {} % ({done} of {of}), {left}", percent(done, of)));
    }

    /// Shows that `done` are done, where the total is unknown.
    pub(crate) fn count(&mut self, done: u64, detail: &str) {
        self.line(|what| format!("{what}: {detail} ({done})"));
    }

    /// Ends the line, so that further output begins a new one.
    pub(crate) fn end(&self) {
        if self.output.is_terminal() && self.shown_at.is_some() {
            self.output.tell("\r\x1b[K");
        }
    }

    fn line(&mut self, text: impl FnOnce(&str) -> String) {
        let every = if self.output.is_terminal() { TERMINAL_EVERY } else { LINE_EVERY };
        // A short command shows no progress.
        if self.shown_at.unwrap_or(self.begun).elapsed() < every {
            return;
        }
        self.shown_at = Some(Instant::now());
        let text = text(&self.what);
        let line = if self.output.is_terminal() { format!("\r{text}\x1b[K") } else { format!("{text}\n") };
        self.output.tell(&line);
    }
}

fn percent(done: u64, of: u64) -> u64 {
    done.saturating_mul(100).checked_div(of).unwrap_or(100)
}

/// The time left, if the rest takes as long as what is done.
fn left(taken: Duration, done: u64, of: u64) -> String {
    if taken < MEASURED_FROM || done == 0 {
        return "time left not known yet".to_owned();
    }
    let seconds = u128::from(of.saturating_sub(done)) * taken.as_millis() / u128::from(done) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02} left"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02} left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_and_time_left_are_those_of_an_even_pace() {
        assert_eq!((percent(0, 0), percent(1, 3), percent(3, 3)), (100, 33, 100));
        assert_eq!(left(Duration::from_millis(10), 5, 10), "time left not known yet");
        assert_eq!(left(Duration::from_secs(30), 100, 400), "1:30 left");
        assert_eq!(left(Duration::from_secs(3600), 100, 400), "3:00:00 left");
        assert_eq!(left(Duration::from_secs(9), 10, 10), "0:00 left");
    }
}
