//! Tests with texts that nobody would write: what is true of every text.

use std::collections::BTreeMap;

use environment::Entropy;

use crate::source::Source;
use crate::{Block, DEPTH_MAX, Item, Span, blocks, is_link, parse, plain};

/// The longest text of a message.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// How often the parser may look at each byte, on average over a text. Several rules look at the same byte, and those
/// of blocks do so again inside of each quote; of the texts below, none takes 9. Work that is not linear takes
/// many more.
const LOOKS_PER_BYTE_MAX: usize = 12;

/// What random texts are made of: the grammar's marks, and little else.
#[rustfmt::skip]
const PARTS: [&str; 50] = [
    "*", "**", "***", "****", "~~", "~", "`", "``", "```", "````", "[", "]", "(", ")", "](", "](https://a.b)", "[a](https://b/c)",
    "https://", "http://a", "https://a.b/(", "mailto:", "mailto:a@b", "javascript:", "> ", ">", "- ", "1. ", "2", "\n", "\n\n",
    "\r\n", "\r", "\n> ", "\n- ", "\n```\n", "```rs\n", "\\", " ", "\t", "> > > ", "**a *b ~~c [", "a", "é", "谢", "\u{301}", ".", "@", "/", "_", ":",
];

fn random_text(entropy: &Entropy, parts_max: u64) -> String {
    let part = |_| PARTS[usize::try_from(entropy.below(PARTS.len() as u64)).unwrap()];
    (0..=entropy.below(parts_max)).map(part).collect()
}

/// A tree in one line: what it shows, in the order of the source, and the numbers of its nodes.
#[derive(Default)]
struct Seen {
    shown: String,
    strong: usize,
    emphasis: usize,
    struck: usize,
    /// Links with a label of their own.
    links: usize,
    quotes: usize,
    depth_max: usize,
}

impl Seen {
    fn of(blocks: &[Block<'_>]) -> Self {
        let mut seen = Self::default();
        seen.blocks(blocks, 0);
        seen
    }

    fn blocks(&mut self, blocks: &[Block<'_>], depth: usize) {
        for block in blocks {
            match block {
                Block::Paragraph(spans) => self.spans(spans, depth, false),
                Block::Code { language, text } => self.shown.extend([*language, text]),
                Block::Quote(inside) => {
                    self.quotes += 1;
                    assert!(!inside.is_empty(), "a quote says nothing");
                    self.blocks(inside, depth + 1);
                }
                Block::List(items) => items.iter().for_each(|Item { mark, spans }| {
                    self.shown.push_str(mark);
                    self.spans(spans, depth, false);
                }),
            }
        }
    }

    fn spans(&mut self, spans: &[Span<'_>], depth: usize, in_link: bool) {
        assert!(!spans.is_empty(), "something is around nothing");
        self.depth_max = self.depth_max.max(depth);
        let are_texts = |pair: &[Span<'_>]| matches!(pair, [Span::Text(_), Span::Text(_)]);
        assert!(!spans.windows(2).any(are_texts), "two texts are not one");
        for span in spans {
            match span {
                Span::Text(text) => {
                    assert!(!text.is_empty(), "a text is empty");
                    self.shown.push_str(text);
                }
                Span::Code(code) => self.shown.push_str(code),
                Span::Strong(inside) => {
                    self.strong += 1;
                    self.spans(inside, depth + 1, in_link);
                }
                Span::Emphasis(inside) => {
                    self.emphasis += 1;
                    self.spans(inside, depth + 1, in_link);
                }
                Span::Struck(inside) => {
                    self.struck += 1;
                    self.spans(inside, depth + 1, in_link);
                }
                Span::Link { target, label } => {
                    assert!(is_link(target) && !in_link, "{target}");
                    self.spans(label, depth + 1, true);
                    if !matches!(&label[..], [Span::Text(text)] if text == target) {
                        self.links += 1;
                        self.shown.push_str(target);
                    }
                }
            }
        }
    }
}

/// How often each character is in a text.
fn counts(text: &str) -> BTreeMap<char, usize> {
    let mut counts = BTreeMap::new();
    text.chars().for_each(|c| *counts.entry(c).or_default() += 1);
    counts
}

/// What the tree shows is the text without its marks, and as many marks are gone as the tree has nodes for.
fn check_nothing_is_lost(text: &str, seen: &Seen) {
    let mut source = text.chars();
    let in_order = seen.shown.chars().all(|shown| source.any(|written| written == shown));
    assert!(in_order, "{text:?} became {:?}", seen.shown);
    let shown = counts(&seen.shown);
    for (c, written) in counts(text) {
        let gone = written - shown.get(&c).copied().unwrap_or_default();
        let expected = match c {
            '*' => 4 * seen.strong + 2 * seen.emphasis,
            '~' => 4 * seen.struck,
            '[' | ']' | '(' | ')' => seen.links,
            // How many of these a node takes depends on how it was written.
            '>' if seen.quotes > 0 => gone,
            '`' | '\\' | ' ' | '\t' | '\n' | '\r' => gone,
            _ => 0,
        };
        assert_eq!(gone, expected, "{c:?} of {text:?}");
    }
}

/// How many bytes of the text the parser looks at, with repetitions.
fn looks(text: &str) -> usize {
    let source = Source::new(text);
    let _tree = blocks::parse(&source);
    source.looks()
}

#[test]
fn nothing_is_lost_and_nothing_is_too_deep() {
    let entropy = Entropy::seeded(1);
    let (mut nodes, mut depth_max) = (0, 0);
    for parts_max in [4, 12, 40].into_iter().cycle().take(30_000) {
        let text = random_text(&entropy, parts_max);
        let blocks = parse(&text);
        assert_eq!(blocks, parse(&text));
        let seen = Seen::of(&blocks);
        check_nothing_is_lost(&text, &seen);
        assert!(seen.depth_max <= DEPTH_MAX, "{text:?}");
        nodes += seen.strong * seen.emphasis * seen.struck * seen.links * seen.quotes;
        depth_max = depth_max.max(seen.depth_max);
    }
    assert!(nodes > 0 && depth_max > 5, "the texts have too few marks: {nodes} {depth_max}");
}

#[test]
fn plain_text_has_what_the_tree_shows() {
    let entropy = Entropy::seeded(2);
    for _ in 0..5_000 {
        let text = random_text(&entropy, 20);
        let blocks = parse(&text);
        let plain = plain(&blocks);
        let visible = |text: &str| text.chars().filter(|c| c.is_alphabetic() || *c == '@').collect::<String>();
        let mut languages = String::new();
        languages_of(&blocks, &mut languages);
        if languages.is_empty() {
            assert_eq!(visible(&plain), visible(&text), "{text:?}");
        }
    }
}

/// The words behind fences, which are the only letters that the plain text leaves out.
fn languages_of(blocks: &[Block<'_>], languages: &mut String) {
    for block in blocks {
        match block {
            Block::Code { language, .. } => languages.push_str(language),
            Block::Quote(inside) => languages_of(inside, languages),
            Block::Paragraph(_) | Block::List(_) => {}
        }
    }
}

#[test]
fn the_work_is_linear() {
    let check = |text: &str| {
        let (looks, bytes) = (looks(text), text.len());
        let start: String = text.chars().take(40).collect();
        assert!(looks <= LOOKS_PER_BYTE_MAX * bytes, "{looks} looks at {bytes} bytes of {start:?}...");
    };
    for first in PARTS {
        check(&first.repeat(TEXT_BYTES_MAX / first.len()));
        for second in PARTS {
            let both = format!("{first}{second}");
            check(&both.repeat(TEXT_BYTES_MAX / 8 / both.len()));
            check(
                &(first.repeat(TEXT_BYTES_MAX / 16 / first.len()) + &second.repeat(TEXT_BYTES_MAX / 16 / second.len())),
            );
        }
    }
    let entropy = Entropy::seeded(3);
    for _ in 0..200 {
        // Few different parts, repeated, are worse than many.
        let unit = random_text(&entropy, 6);
        check(&unit.repeat(TEXT_BYTES_MAX / unit.len()));
    }
}

/// Texts that make a parser slow which looks for the end of each mark, or which nests whatever it is given.
#[test]
fn a_text_of_the_largest_size_is_nothing_special() {
    for unit in [
        "*",
        "**",
        "[",
        "]",
        "`",
        "~~",
        "> ",
        "**[",
        "*[",
        "[](",
        "](https://a",
        "https://",
        "`a``b```c",
        "```a\n",
        "- ",
        "\\",
    ] {
        let text = unit.repeat(TEXT_BYTES_MAX / unit.len());
        let seen = Seen::of(&parse(&text));
        check_nothing_is_lost(&text, &seen);
        assert!(seen.depth_max <= DEPTH_MAX, "{unit:?}");
    }
}
