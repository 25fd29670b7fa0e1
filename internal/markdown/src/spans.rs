//! The text of a block becomes spans: the second half of the grammar.
//!
//! The text is read once, from left to right, into pieces. A mark that may open a span is a [`Piece::Unpaired`] at
//! first; when its partner is found, the two become the beginning and the end of a span. Whatever stays without a
//! partner is text.

use std::ops::Range;

use crate::links::{Bare, find_bare, find_target};
use crate::source::{Line, Source, is_space};
use crate::{Span, tree};

/// The longest run of backticks that is a mark of code.
const TICKS_MAX: usize = 3;

/// A piece of a block's text; ranges are parts of the source.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(Range<usize>),
    /// A mark or a bracket that is text unless a partner is found.
    Unpaired(Range<usize>),
    Code(Range<usize>),
    /// A target in the text.
    Bare(Range<usize>),
    Begin(Mark),
    /// Begins the label of a link to this target.
    BeginLink(Range<usize>),
    End,
}

/// A mark that stands in pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Strong,
    Emphasis,
    Struck,
}

/// The spans of a block with these lines.
pub(crate) fn parse<'a>(source: &Source<'a>, lines: &[Line]) -> Vec<Span<'a>> {
    let mut reader =
        Reader { source, pieces: Vec::new(), marks: Vec::new(), brackets: Vec::new(), no_code: [false; TICKS_MAX + 1] };
    for (number, line) in lines.iter().enumerate() {
        reader.line(*line);
        if number + 1 < lines.len() {
            let _end = reader.text(source.line_feed(*line));
        }
    }
    tree::build(source, reader.pieces)
}

struct Reader<'a, 's> {
    source: &'s Source<'a>,
    pieces: Vec<Piece>,
    /// Marks without a partner, the innermost last, each with the index of its piece. At most one of each.
    marks: Vec<(Mark, usize)>,
    /// The pieces that are brackets without a partner, the innermost last.
    brackets: Vec<usize>,
    /// By length: no further run of so many backticks is in the line being read. Without this, each run of many would
    /// look for its partner.
    no_code: [bool; TICKS_MAX + 1],
}

/// Where a run of the same mark may stand in a pair.
#[derive(Clone, Copy)]
struct Sides {
    opens: bool,
    closes: bool,
}

impl Reader<'_, '_> {
    fn line(&mut self, line: Line) {
        self.no_code = [false; TICKS_MAX + 1];
        let mut at = line.start;
        while at < line.end {
            at = match self.source.byte(line, at) {
                b'\\' if is_mark(self.source.byte(line, at + 1)) => self.text(at + 1..at + 2),
                b'`' => self.code(line, at),
                b'*' => self.stars(line, at),
                b'~' => self.tildes(line, at),
                b'[' => {
                    self.brackets.push(self.pieces.len());
                    self.unpaired(at..at + 1)
                }
                b']' => self.close_bracket(line, at),
                b'h' | b'H' | b'm' | b'M' => self.scheme(line, at),
                _ => self.text(at..at + 1),
            };
        }
    }

    /// Adds text, and says where it ends; so do the other functions that read a piece.
    fn text(&mut self, range: Range<usize>) -> usize {
        let end = range.end;
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) if before.end == range.start => before.end = end,
            _ => self.pieces.push(Piece::Text(range)),
        }
        end
    }

    fn unpaired(&mut self, range: Range<usize>) -> usize {
        let end = range.end;
        self.pieces.push(Piece::Unpaired(range));
        end
    }

    /// Code between two runs of as many backticks in one line.
    fn code(&mut self, line: Line, at: usize) -> usize {
        let ticks = self.source.run(line, at, |byte| byte == b'`');
        let start = at + ticks;
        let Some(mut range) = self.closing_ticks(line, start, ticks).map(|end| start..end) else {
            return self.text(at..start);
        };
        let close = range.end + ticks;
        if self.source.run(line, start, is_space) >= range.len() {
            return self.text(at..start);
        }
        let is_space_at = |at| self.source.byte(line, at) == b' ';
        if ticks > 1 && is_space_at(range.start) && is_space_at(range.end - 1) {
            // So that code can begin or end with a backtick.
            range = range.start + 1..range.end - 1;
        }
        self.pieces.push(Piece::Code(range));
        close
    }

    /// Where the next run of exactly so many backticks begins.
    fn closing_ticks(&mut self, line: Line, from: usize, ticks: usize) -> Option<usize> {
        if ticks > TICKS_MAX || self.no_code[ticks] {
            return None;
        }
        let mut at = from;
        while at < line.end {
            at += self.source.run(line, at, |byte| byte != b'`');
            let run = self.source.run(line, at, |byte| byte == b'`');
            if run == ticks {
                return Some(at);
            }
            at += run;
        }
        self.no_code[ticks] = true;
        None
    }

    fn stars(&mut self, line: Line, at: usize) -> usize {
        let count = self.source.run(line, at, |byte| byte == b'*');
        let sides = self.sides(line, at, count);
        match count {
            1 => self.mark(Mark::Emphasis, at..at + 1, sides),
            2 => self.mark(Mark::Strong, at..at + 2, sides),
            3 if self.innermost_of_stars() == Some(Mark::Emphasis) => {
                let middle = self.mark(Mark::Emphasis, at..at + 1, sides);
                self.mark(Mark::Strong, middle..middle + 2, sides)
            }
            3 => {
                let middle = self.mark(Mark::Strong, at..at + 2, sides);
                self.mark(Mark::Emphasis, middle..middle + 1, sides)
            }
            _ => self.text(at..at + count),
        }
    }

    fn innermost_of_stars(&self) -> Option<Mark> {
        self.marks.iter().rev().map(|(mark, _)| *mark).find(|mark| *mark != Mark::Struck)
    }

    fn tildes(&mut self, line: Line, at: usize) -> usize {
        let count = self.source.run(line, at, |byte| byte == b'~');
        if count == 2 {
            return self.mark(Mark::Struck, at..at + 2, self.sides(line, at, 2));
        }
        self.text(at..at + count)
    }

    /// Marks stand at the borders of words: in `2*3*4`, and in most code that nobody has marked as such, they are text.
    /// A word is of ASCII letters and digits here. So text without spaces, as in Chinese, can have marks anywhere, and
    /// what is a letter depends on no version of Unicode.
    fn sides(&self, line: Line, at: usize, count: usize) -> Sides {
        let before = self.source.byte_before(line, at);
        let after = self.source.byte(line, at + count);
        Sides {
            opens: !before.is_ascii_alphanumeric() && !is_space(after),
            closes: !is_space(before) && !after.is_ascii_alphanumeric(),
        }
    }

    /// Closes the span of this mark that is open, or opens one when none is.
    fn mark(&mut self, mark: Mark, range: Range<usize>, sides: Sides) -> usize {
        match self.marks.iter().position(|(open, _)| *open == mark) {
            Some(depth) if sides.closes => {
                let begin = self.marks[depth].1;
                // What was opened inside and not closed stays text.
                self.marks.truncate(depth);
                while self.brackets.pop_if(|bracket| *bracket > begin).is_some() {}
                self.pieces[begin] = Piece::Begin(mark);
                self.pieces.push(Piece::End);
                range.end
            }
            None if sides.opens => {
                self.marks.push((mark, self.pieces.len()));
                self.unpaired(range)
            }
            _ => self.text(range),
        }
    }

    /// A bracket closes the last one that is open. The two are a link when a target in parentheses follows.
    fn close_bracket(&mut self, line: Line, at: usize) -> usize {
        let link = self.brackets.pop().zip(self.target(line, at + 1));
        let Some((begin, target)) = link.filter(|(begin, _)| self.says_something(*begin + 1)) else {
            return self.text(at..at + 1);
        };
        while self.marks.pop_if(|(_, piece)| *piece > begin).is_some() {}
        self.brackets.clear();
        let end = target.end + 1;
        self.pieces[begin] = Piece::BeginLink(target);
        self.pieces.push(Piece::End);
        end
    }

    /// The target that stands in parentheses at `at`.
    fn target(&self, line: Line, at: usize) -> Option<Range<usize>> {
        if self.source.byte(line, at) != b'(' {
            return None;
        }
        let end = find_target(self.source, line, at + 1)?;
        (self.source.byte(line, end) == b')').then_some(at + 1..end)
    }

    /// Whether the pieces from `from` on, which are a label, hold anything but spaces.
    fn says_something(&self, from: usize) -> bool {
        let is_blank = |piece: &Piece| match piece {
            Piece::Text(range) => self.source.is_blank(Line { start: range.start, end: range.end }, range.start),
            _ => false,
        };
        !self.pieces[from..].iter().all(is_blank)
    }

    /// A target in the text. No link is inside a link: every bracket that is open becomes text.
    fn scheme(&mut self, line: Line, at: usize) -> usize {
        match find_bare(self.source, line, at) {
            Some(Bare::Link(end)) => {
                self.brackets.clear();
                self.pieces.push(Piece::Bare(at..end));
                end
            }
            Some(Bare::Text(end)) => self.text(at..end),
            None => self.text(at..at + 1),
        }
    }
}

/// What a backslash takes the meaning from.
fn is_mark(byte: u8) -> bool {
    matches!(byte, b'*' | b'~' | b'`' | b'[' | b']')
}
