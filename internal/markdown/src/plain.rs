//! A message as plain text, where nothing else can be shown.

use crate::{Block, Span};

/// The blocks as plain text, for notifications, lists and terminals. It has every character that a reader would see;
/// a quote's lines begin with `> `, and behind a label stands where its link leads.
#[must_use]
pub fn plain(blocks: &[Block<'_>]) -> String {
    lines_of(blocks).join("\n")
}

fn lines_of(blocks: &[Block<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    for block in blocks {
        match block {
            Block::Paragraph(spans) => lines.extend(text_of(spans).split('\n').map(str::to_owned)),
            Block::Code { text, .. } => lines.extend(text.split('\n').map(str::to_owned)),
            Block::List(items) => {
                lines.extend(items.iter().map(|item| format!("{} {}", item.mark, text_of(&item.spans))));
            }
            Block::Quote(inside) => lines.extend(lines_of(inside).iter().map(|line| format!("> {line}"))),
        }
    }
    lines
}

fn text_of(spans: &[Span<'_>]) -> String {
    let mut text = String::new();
    add_spans(&mut text, spans);
    text
}

fn add_spans(text: &mut String, spans: &[Span<'_>]) {
    for span in spans {
        match span {
            Span::Text(more) => text.push_str(more),
            Span::Code(code) => text.push_str(code),
            Span::Strong(inside) | Span::Emphasis(inside) | Span::Struck(inside) => add_spans(text, inside),
            Span::Link { target, label } => {
                let start = text.len();
                add_spans(text, label);
                if &text[start..] != *target {
                    text.push_str(&format!(" ({target})"));
                }
            }
        }
    }
}
