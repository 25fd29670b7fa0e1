//! The fixtures of `schemas/markdown.json`, which all clients share, and the page that explains them.

use std::collections::BTreeSet;

use markdown::{Block, Item, Span, parse};
use serde_json::{Value, json};

const FIXTURES: &str = include_str!("../../../schemas/markdown.json");
const PAGE: &str = include_str!("../../../schemas/MARKDOWN.md");

fn fixtures() -> Vec<Value> {
    serde_json::from_str(FIXTURES).expect("schemas/markdown.json is an array")
}

/// The tree in the form that the page defines.
fn blocks_json(blocks: &[Block<'_>]) -> Value {
    let item = |item: &Item<'_>| json!({ "mark": item.mark, "spans": spans_json(&item.spans) });
    let block = |block: &Block<'_>| match block {
        Block::Paragraph(spans) => json!({ "paragraph": spans_json(spans) }),
        Block::Quote(blocks) => json!({ "quote": blocks_json(blocks) }),
        Block::Code { language, text } => json!({ "code": text, "language": language }),
        Block::List(items) => json!({ "list": items.iter().map(item).collect::<Vec<_>>() }),
    };
    blocks.iter().map(block).collect()
}

fn spans_json(spans: &[Span<'_>]) -> Value {
    let span = |span: &Span<'_>| match span {
        Span::Text(text) => json!(text),
        Span::Strong(spans) => json!({ "strong": spans_json(spans) }),
        Span::Emphasis(spans) => json!({ "emphasis": spans_json(spans) }),
        Span::Struck(spans) => json!({ "struck": spans_json(spans) }),
        Span::Code(code) => json!({ "code": code }),
        Span::Link { target, label } => json!({ "link": target, "spans": spans_json(label) }),
    };
    spans.iter().map(span).collect()
}

#[test]
fn every_fixture_has_the_tree_that_it_says() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 80, "{}", fixtures.len());
    let mut names = BTreeSet::new();
    for fixture in &fixtures {
        let (name, text) = (fixture["name"].as_str().unwrap(), fixture["text"].as_str().unwrap());
        assert!(names.insert(name), "two fixtures are named {name:?}");
        assert_eq!(blocks_json(&parse(text)), fixture["blocks"], "{name}: {text:?}");
    }
}

/// The names of all nodes in a tree.
fn add_names(tree: &Value, names: &mut BTreeSet<String>) {
    let children: Vec<&Value> = match tree {
        Value::Array(nodes) => nodes.iter().collect(),
        Value::Object(node) => {
            let is_name = |key: &&String| !["language", "mark", "spans"].contains(&key.as_str());
            names.extend(node.keys().filter(is_name).cloned());
            node.values().collect()
        }
        _ => return,
    };
    children.into_iter().for_each(|child| add_names(child, names));
}

/// The rows of the page's table: what is written, and the node that it becomes.
fn table() -> Vec<(&'static str, String)> {
    let rows =
        PAGE.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let cells = |row: &'static str| {
        let mut cells = row.trim_start_matches('|').split('|').map(str::trim);
        Some((cells.next()?, cells.next()?.trim_matches('`').to_owned()))
    };
    rows.filter_map(cells).collect()
}

#[test]
fn the_table_of_the_page_names_the_nodes_of_the_fixtures() {
    let mut names = BTreeSet::new();
    fixtures().iter().for_each(|fixture| add_names(&fixture["blocks"], &mut names));
    let table: BTreeSet<String> = table().into_iter().map(|(_, node)| node).collect();
    assert_eq!(names, table);
}

/// Each example in the table is code, which this parser finds.
#[test]
fn the_examples_of_the_page_become_what_it_says() {
    let mut examples = 0;
    for (written, node) in table() {
        let blocks = parse(written);
        let [Block::Paragraph(spans)] = &blocks[..] else { panic!("{written:?} is not a paragraph") };
        for span in spans {
            let Span::Code(example) = span else { continue };
            let mut names = BTreeSet::new();
            add_names(&blocks_json(&parse(example)), &mut names);
            assert!(names.contains(&node), "{example:?} has no {node}: {names:?}");
            examples += 1;
        }
    }
    assert!(examples >= 9, "{examples}");
}
