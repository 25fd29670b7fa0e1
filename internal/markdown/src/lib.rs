//! The text of a message as blocks and spans: what a client shows of bold words, code, quotes, lists and links.
//!
//! `schemas/MARKDOWN.md` defines the grammar and `schemas/markdown.json` has its fixtures, which every client runs,
//! in whatever language it is written. This crate is the grammar in Rust. A server never parses a text.
//!
//! Every text has exactly one tree, and there are no errors: what is malformed or unclosed is text. A tree is at most
//! [`DEPTH_MAX`] deep, and the work is linear in the length of the text.

mod blocks;
mod links;
mod plain;
#[cfg(test)]
mod properties;
mod source;
mod spans;
mod tree;

use std::borrow::Cow;

pub use links::is_link;
pub use plain::plain;

use source::Source;

/// How many quotes are inside one another at most; a further `> ` is text.
pub const QUOTES_MAX: usize = 4;
/// How many spans are around a text at most. No rule has to enforce this: each of the three marks and the link can be
/// around a text only once.
pub const SPANS_MAX: usize = 4;
/// How many quotes and spans together are around a text at most.
pub const DEPTH_MAX: usize = QUOTES_MAX + SPANS_MAX;

/// A part of a message that begins on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block<'a> {
    /// Lines of text. The line breaks between them are `\n` in the texts of the spans.
    Paragraph(Vec<Span<'a>>),
    /// What somebody else said.
    Quote(Vec<Block<'a>>),
    /// Lines between two fences.
    Code {
        /// The word behind the opening fence; empty when there is none.
        language: &'a str,
        /// The lines, with `\n` between them.
        text: Cow<'a, str>,
    },
    /// Neighbouring lines that begin with `- ` or a number. Lists are not nested.
    List(Vec<Item<'a>>),
}

/// An item of a list: one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// What the line begins with: `-`, or a number and a full stop. It is shown as it was written, so that an item
    /// keeps the number that its author gave it.
    pub mark: &'a str,
    /// The rest of the line.
    pub spans: Vec<Span<'a>>,
}

/// A part of the text of a block. Neighbouring texts are always merged into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span<'a> {
    /// Text as it is shown.
    Text(Cow<'a, str>),
    /// `**strong**`
    Strong(Vec<Span<'a>>),
    /// `*emphasis*`
    Emphasis(Vec<Span<'a>>),
    /// `~~struck~~`
    Struck(Vec<Span<'a>>),
    /// `` `code` ``
    Code(&'a str),
    /// `[label](target)`, or a target in the text, which is its own label.
    Link {
        /// Where the link leads: for this, [`is_link`] is true.
        target: &'a str,
        /// What is shown of it; no link is inside.
        label: Vec<Span<'a>>,
    },
}

/// The blocks of a message's text.
#[must_use]
pub fn parse(text: &str) -> Vec<Block<'_>> {
    blocks::parse(&Source::new(text))
}
