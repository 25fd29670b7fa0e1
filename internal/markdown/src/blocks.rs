//! Lines become blocks: the first half of the grammar.

use std::borrow::Cow;

use crate::source::{Line, Source};
use crate::{Block, Item, QUOTES_MAX, spans};

/// What a fence is made of.
const FENCE: usize = 3;
/// The longest word for the language of a block of code, in bytes.
const LANGUAGE_BYTES_MAX: usize = 32;
/// Digits of an item's number at most.
const NUMBER_DIGITS_MAX: usize = 9;

/// The blocks of a whole text.
pub(crate) fn parse<'a>(source: &Source<'a>) -> Vec<Block<'a>> {
    Blocks { source, lines: &source.lines(), quotes: 0, no_fence: false }.parse()
}

/// The lines of a text or of a quote, while they become blocks.
struct Blocks<'a, 's> {
    source: &'s Source<'a>,
    lines: &'s [Line],
    /// How many quotes the lines are in.
    quotes: usize,
    /// No closing fence is in the lines that are left. Without this, each opening fence of many would look for it.
    no_fence: bool,
}

/// What begins at a line, and the line behind its last one.
enum Begin<'a> {
    Code { language: &'a str, close: usize },
    Quote { end: usize },
    List { end: usize },
}

impl<'a> Blocks<'a, '_> {
    fn parse(mut self) -> Vec<Block<'a>> {
        let (mut blocks, mut at) = (Vec::new(), 0);
        while let Some(line) = self.lines.get(at).copied() {
            if self.source.is_blank(line, line.start) {
                at += 1;
                continue;
            }
            let block;
            (block, at) = match self.begin(at) {
                Some(Begin::Code { language, close }) => {
                    (Block::Code { language, text: self.join(&self.lines[at + 1..close]) }, close + 1)
                }
                Some(Begin::Quote { end }) => (self.quote(&self.lines[at..end]), end),
                Some(Begin::List { end }) => (self.list(&self.lines[at..end]), end),
                None => self.paragraph(at),
            };
            blocks.push(block);
        }
        blocks
    }

    /// What begins at line `at`; none when it is text.
    fn begin(&mut self, at: usize) -> Option<Begin<'a>> {
        let line = self.lines[at];
        match self.source.byte(line, line.start) {
            b'`' => {
                let language = self.opening_fence(line)?;
                self.closing_fence(at + 1).map(|close| Begin::Code { language, close })
            }
            b'>' if self.is_quote(line) => {
                let more = self.lines[at + 1..].iter().take_while(|line| self.goes_on_quote(**line)).count();
                Some(Begin::Quote { end: at + 1 + more })
            }
            _ => {
                let items = self.lines[at..].iter().take_while(|line| self.item_mark(**line).is_some()).count();
                (items > 0).then_some(Begin::List { end: at + items })
            }
        }
    }

    /// Lines up to a blank one, or to one at which something else begins.
    fn paragraph(&mut self, start: usize) -> (Block<'a>, usize) {
        let (mut lines, mut at) = (Vec::new(), start);
        while let Some(line) = self.lines.get(at).copied() {
            // The first line is known to be text.
            if at > start && (self.source.is_blank(line, line.start) || self.begin(at).is_some()) {
                break;
            }
            lines.push(if self.is_escaped(line) { line.after(1) } else { line });
            at += 1;
        }
        (Block::Paragraph(spans::parse(self.source, &lines)), at)
    }

    /// Whether the line begins with a backslash before what would begin a block.
    fn is_escaped(&self, line: Line) -> bool {
        let rest = line.after(1);
        self.source.byte(line, line.start) == b'\\'
            && (self.opening_fence(rest).is_some() || self.is_quote(rest) || self.item_mark(rest).is_some())
    }

    /// The language behind an opening fence; empty when there is none.
    fn opening_fence(&self, line: Line) -> Option<&'a str> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'#' | b'.' | b'_' | b'-');
        if self.source.run(line, line.start, |byte| byte == b'`') != FENCE {
            return None;
        }
        let word = line.start + FENCE;
        let bytes = self.source.run(line, word, is_word);
        let fits = bytes <= LANGUAGE_BYTES_MAX && self.source.is_blank(line, word + bytes);
        fits.then(|| self.source.slice(word..word + bytes))
    }

    /// The closing fence from line `from` on, when there is something between to show.
    fn closing_fence(&mut self, from: usize) -> Option<usize> {
        if self.no_fence {
            return None;
        }
        let is_fence = |line: &Line| self.opening_fence(*line).is_some_and(str::is_empty);
        let Some(between) = self.lines[from..].iter().position(is_fence) else {
            self.no_fence = true;
            return None;
        };
        let shown = self.lines[from..from + between].iter().any(|line| !self.source.is_blank(*line, line.start));
        shown.then_some(from + between)
    }

    /// The lines of a block of code as one text, which is borrowed when they are one in the source.
    fn join(&self, lines: &[Line]) -> Cow<'a, str> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Cow::Borrowed("") };
        if lines.windows(2).all(|pair| pair[0].end + 1 == pair[1].start) {
            return Cow::Borrowed(self.source.slice(first.start..last.end));
        }
        let texts: Vec<_> = lines.iter().map(|line| self.source.slice(line.start..line.end)).collect();
        Cow::Owned(texts.join("\n"))
    }

    fn is_quote(&self, line: Line) -> bool {
        self.quotes < QUOTES_MAX
            && self.source.byte(line, line.start) == b'>'
            && self.source.byte(line, line.start + 1) == b' '
            && !self.source.is_blank(line, line.start + 2)
    }

    /// Whether a line behind one of a quote is in it, too: there, `>` may stand alone.
    fn goes_on_quote(&self, line: Line) -> bool {
        self.source.byte(line, line.start) == b'>' && is_space_or_end(self.source.byte(line, line.start + 1))
    }

    fn quote(&self, lines: &[Line]) -> Block<'a> {
        let lines: Vec<_> = lines.iter().map(|line| line.after(2.min(line.end - line.start))).collect();
        Block::Quote(Blocks { source: self.source, lines: &lines, quotes: self.quotes + 1, no_fence: false }.parse())
    }

    /// How many bytes the mark of an item has, when the line is one and says something.
    fn item_mark(&self, line: Line) -> Option<usize> {
        let digits = self.source.run(line, line.start, |byte| byte.is_ascii_digit());
        let end = match (digits, self.source.byte(line, line.start + digits)) {
            (0, b'-') | (1..=NUMBER_DIGITS_MAX, b'.') => line.start + digits + 1,
            _ => return None,
        };
        let says = self.source.byte(line, end) == b' ' && !self.source.is_blank(line, end + 1);
        says.then_some(end - line.start)
    }

    fn list(&self, lines: &[Line]) -> Block<'a> {
        let item = |line: &Line| {
            let bytes = self.item_mark(*line)?;
            let mark = self.source.slice(line.start..line.start + bytes);
            Some(Item { mark, spans: spans::parse(self.source, &[line.after(bytes + 1)]) })
        };
        Block::List(lines.iter().filter_map(item).collect())
    }
}

/// A space, or the line break that stands for the end of the line.
fn is_space_or_end(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n')
}
