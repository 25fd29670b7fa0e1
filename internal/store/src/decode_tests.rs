//! Tests that `decode` reads every cell that is written.

use domain::{CommandId, Refusal, Role, Said, Seq};
use uuid::Uuid;

use crate::rows::{KIND_JOINED, KIND_MESSAGE, KIND_TITLE, STANDS_MESSAGE};
use crate::tables::{Column, ColumnType, TIMELINE, Table};
use crate::{ANNOTATING, Annotations, CELL_SETS, RowValues, Value};

/// Cells that are written but not read, and why they are kept.
const UNREAD: [(&str, &str); 1] = [
    // The time, for people who look at the table; the cells' timestamp is the same.
    ("invitations", "seq"),
];

/// A whole row; `more` replaces the default values of columns.
fn row(table: &'static Table, more: &[(&str, Value)]) -> Vec<Option<Value>> {
    let id = || Value::from(CommandId::first_at(1).as_bytes().to_vec());
    let value = |column: &Column| match (column.name, column.kind) {
        (name, _) if more.iter().any(|(other, _)| *other == name) => {
            more.iter().find(|(other, _)| *other == name).unwrap().1.clone()
        }
        ("role", _) => Role::Member.name().into(),
        ("reason", _) => Refusal::Full.name().into(),
        ("hash", _) => vec![1; 16].into(),
        ("id" | "reply_to" | "thread", ColumnType::Blob) => id(),
        ("pins", _) => pin(),
        ("quote", _) => vec![1; 8].into(),
        ("mentions" | "edited_mentions", _) => vec![1; 17].into(),
        (_, ColumnType::Uuid) => Uuid::from_u128(7).into(),
        (_, ColumnType::Bigint) => 5_i64.into(),
        (_, ColumnType::Text) => "text".into(),
        (_, ColumnType::Boolean) => true.into(),
        (_, ColumnType::Blob) => vec![7; 16].into(),
    };
    table.columns().map(value).map(Some).collect()
}

/// One pinned message: its id, seq and slot.
fn pin() -> Value {
    let mut bytes = CommandId::first_at(1).as_bytes().to_vec();
    bytes.extend([5_u64.to_be_bytes(), 6_u64.to_be_bytes()].concat());
    bytes.into()
}

/// Everything that `decode` reads from a row of that table, as text.
fn read(table: &'static Table, values: &[Option<Value>]) -> String {
    let row = || RowValues::new(table, values.to_vec());
    match table.name {
        "timeline" => format!("{:?}", row().entry()),
        "buckets" => format!("{:?}", row().bucket()),
        "members" => format!("{:?}", row().member_version()),
        "user_conversations" => format!("{:?}", row().user_conversation()),
        "settings" => format!("{:?}", row().settings()),
        "pins" => format!("{:?}", row().pins()),
        "message_emojis" => format!("{:?}", row().message_emoji(Seq::new(0, 9).unwrap())),
        "thread_messages" => format!("{:?}", row().thread_message(Seq::new(0, 9).unwrap())),
        "threads" => format!("{:?} {}", row().thread_root(), annotated(row())),
        "message_extras" => {
            let mut said = Said::default();
            format!("{:?} {said:?}", row().add_to(&mut said))
        }
        "message_versions" => format!("{:?}", row().version()),
        "mentions" => format!("{:?}", row().mention()),
        "mentions_of_all" => format!("{:?}", row().mention_of_all()),
        "deletions" => format!("{:?}", row().deletion()),
        "sent" | "marks" => format!("{:?}", row().mark()),
        "invitations" => format!("{:?}", row().invitation()),
        "refusals" => format!("{:?}", row().refusal()),
        "ids" => format!("{:?}", row().id_row(Seq::new(0, 9).unwrap())),
        "heads" => format!("{:?} {:?}", row().head(), row().newest_stamp_ms()),
        _ if ANNOTATING.contains(&table) => annotated(row()),
        other => panic!("say how a row of {other} is read"),
    }
}

/// The entry that the row annotates.
fn annotated(annotation: RowValues) -> String {
    let values = row(&TIMELINE, &[("kind", KIND_MESSAGE.into()), ("deleted", false.into())]);
    let mut entries = [RowValues::new(&TIMELINE, values).entry().unwrap().unwrap()];
    let mut annotations = Annotations::new(&mut entries);
    let put = annotations.put(annotation);
    annotations.finish();
    format!("{put:?} {entries:?}")
}

/// Issue 11, item 2. For every written cell, another value must change what `decode` returns.
#[test]
fn every_cell_that_is_written_is_read() {
    let mut unread = Vec::new();
    for set in CELL_SETS {
        let table = set.table;
        let variants: &[&[(&str, Value)]] = match table.name {
            "timeline" => {
                &[&[("kind", KIND_MESSAGE.into())], &[("kind", KIND_JOINED.into())], &[("kind", KIND_TITLE.into())]]
            }
            "settings" => &[&[("kind", "group".into())]],
            "ids" => &[&[("stands", STANDS_MESSAGE.into())]],
            _ => &[&[]],
        };
        for cell in set.cells {
            let at = table.columns().position(|column| column.name == *cell).unwrap();
            let reads = variants.iter().any(|variant| {
                let whole = row(table, variant);
                let mut other = whole.clone();
                other[at] = Some(match &whole[at] {
                    Some(Value::Text(_)) => Value::from(1_i64),
                    _ => Value::from("of another type"),
                });
                assert!(!read(table, &whole).contains("Err"), "{}: {}", table.name, read(table, &whole));
                read(table, &whole) != read(table, &other)
            });
            unread.extend((!reads).then_some((table.name, *cell)));
        }
    }
    unread.sort_unstable();
    unread.dedup();
    assert_eq!(unread, UNREAD, "written for nobody: read these, or say why they are kept");
}
