//! The text that is parsed. All reading of it goes through [`Source::byte`], which counts, so that a test can show
//! that the work is linear.
//!
//! The grammar's marks are ASCII, so the parser looks at bytes: a byte of another character is never one of theirs.

use std::cell::Cell;
use std::ops::Range;

/// A text and the number of looks at its bytes.
pub(crate) struct Source<'a> {
    text: &'a str,
    looks: Cell<usize>,
}

/// One line of the text, as the bytes from `start` to before `end`: without its line break and without the marks of
/// quotes that it is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Line {
    /// The line without its first `bytes`.
    pub(crate) fn after(self, bytes: usize) -> Self {
        Self { start: self.start + bytes, ..self }
    }
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, looks: Cell::new(0) }
    }

    /// The number of looks so far.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        self.looks.get()
    }

    /// A part of the text, without looking at it.
    pub(crate) fn slice(&self, range: Range<usize>) -> &'a str {
        &self.text[range]
    }

    /// The byte at `at`, or a line break when `at` is outside of `line`: a mark beside the end of a line is beside a
    /// space.
    pub(crate) fn byte(&self, line: Line, at: usize) -> u8 {
        self.looks.set(self.looks.get() + 1);
        if (line.start..line.end).contains(&at) { self.text.as_bytes()[at] } else { b'\n' }
    }

    /// The byte before `at`, as [`Source::byte`].
    pub(crate) fn byte_before(&self, line: Line, at: usize) -> u8 {
        self.byte(line, at.wrapping_sub(1))
    }

    /// The number of bytes from `at` on for which `wanted` is true.
    pub(crate) fn run(&self, line: Line, at: usize, wanted: impl Fn(u8) -> bool) -> usize {
        (at..line.end).take_while(|at| wanted(self.byte(line, *at))).count()
    }

    /// Whether the line has nothing but spaces from `at` on.
    pub(crate) fn is_blank(&self, line: Line, at: usize) -> bool {
        at + self.run(line, at, is_space) >= line.end
    }

    /// The lines of the text. They end with LF or CRLF; a CR alone is a character like others.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let whole = Line { start: 0, end: self.text.len() };
        let (mut lines, mut start) = (Vec::new(), 0);
        loop {
            let end = start + self.run(whole, start, |byte| byte != b'\n');
            let cr = end < whole.end && end > start && self.byte_before(whole, end) == b'\r';
            lines.push(Line { start, end: end - usize::from(cr) });
            if end >= whole.end {
                return lines;
            }
            start = end + 1;
        }
    }

    /// Where the LF of the line break behind `line` is, as a part of the text. Only for lines that are not the last.
    pub(crate) fn line_feed(&self, line: Line) -> Range<usize> {
        let whole = Line { start: 0, end: self.text.len() };
        let at = line.end + usize::from(self.byte(whole, line.end) == b'\r');
        at..at + 1
    }
}

/// Space or tab, or the line break that [`Source::byte`] says for what is outside of a line.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}
