//! Pieces become a tree of spans, in which neighbouring texts are one.

use std::borrow::Cow;
use std::ops::Range;

use crate::Span;
use crate::source::Source;
use crate::spans::{Mark, Piece};

/// The tree of these pieces, whose beginnings and ends are in pairs.
pub(crate) fn build<'a>(source: &Source<'a>, pieces: Vec<Piece>) -> Vec<Span<'a>> {
    let mut tree = Tree { source, spans: Vec::new(), open: Vec::new(), text_start: 0 };
    for piece in pieces {
        match piece {
            Piece::Text(range) | Piece::Unpaired(range) => tree.text(range),
            Piece::Code(range) => tree.spans.push(Span::Code(source.slice(range))),
            Piece::Bare(range) => {
                let target = source.slice(range);
                tree.spans.push(Span::Link { target, label: vec![Span::Text(Cow::Borrowed(target))] });
            }
            Piece::Begin(mark) => tree.begin(Around::Mark(mark)),
            Piece::BeginLink(target) => tree.begin(Around::Link(source.slice(target))),
            Piece::End => tree.end(),
        }
    }
    tree.spans
}

struct Tree<'a, 's> {
    source: &'s Source<'a>,
    /// The spans of the innermost span that is open.
    spans: Vec<Span<'a>>,
    /// The spans that are open, each with the spans before it.
    open: Vec<(Around<'a>, Vec<Span<'a>>)>,
    /// Where the last text begins in the source, as long as it is borrowed.
    text_start: usize,
}

/// What is around the spans inside.
enum Around<'a> {
    Mark(Mark),
    Link(&'a str),
}

impl<'a> Tree<'a, '_> {
    /// Adds a text to the last one. As long as the two are neighbours in the source, too, nothing is copied.
    fn text(&mut self, range: Range<usize>) {
        match self.spans.last_mut() {
            Some(Span::Text(Cow::Borrowed(before))) if self.text_start + before.len() == range.start => {
                *before = self.source.slice(self.text_start..range.end);
            }
            Some(Span::Text(before)) => before.to_mut().push_str(self.source.slice(range)),
            _ => {
                self.text_start = range.start;
                self.spans.push(Span::Text(Cow::Borrowed(self.source.slice(range))));
            }
        }
    }

    fn begin(&mut self, around: Around<'a>) {
        self.open.push((around, std::mem::take(&mut self.spans)));
    }

    fn end(&mut self) {
        let (around, before) = self.open.pop().expect("an end has a beginning before it");
        let inside = std::mem::replace(&mut self.spans, before);
        self.spans.push(match around {
            Around::Mark(Mark::Strong) => Span::Strong(inside),
            Around::Mark(Mark::Emphasis) => Span::Emphasis(inside),
            Around::Mark(Mark::Struck) => Span::Struck(inside),
            Around::Link(target) => Span::Link { target, label: inside },
        });
    }
}
