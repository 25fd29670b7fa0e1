//! The base of every case: a store, randomness from a seed, and helpers that make ids and writes.

use std::sync::Arc;

use domain::{CommandId, Content, ConversationId, IdRow, PayloadHash, Role, Seq, Stands, UserId};
use environment::Entropy;

use crate::conformance::Subject;
use crate::tables::{self, Table};
use crate::{CellWrites, Direction, Entry, HistoryStore, Mark, Page, Row, SharedStore, StoreAdmin, canonical};

/// 2025-01-01T00:00:00Z, for stamps.
pub(super) const NEW_YEAR_MS: i64 = 1_735_689_600_000;

pub(super) struct Fixture {
    pub(super) subject: Arc<dyn Subject>,
    pub(super) store: SharedStore,
    pub(super) entropy: Entropy,
}

impl Fixture {
    pub(super) async fn new(subject: Arc<dyn Subject>, seed: u64) -> Self {
        let store = subject.open().await.unwrap();
        Self { subject, store, entropy: Entropy::seeded(seed) }
    }

    pub(super) fn user(&self) -> UserId {
        uuid::Builder::from_random_bytes(self.entropy.bytes()).into_uuid().try_into().unwrap()
    }

    pub(super) fn conversation(&self) -> ConversationId {
        uuid::Builder::from_custom_bytes(self.entropy.bytes()).into_uuid().try_into().unwrap()
    }

    /// A command id with that stamp.
    pub(super) fn id_at(&self, stamp_ms: i64) -> CommandId {
        let stamp_ms = u64::try_from(stamp_ms).unwrap();
        let uuid = uuid::Builder::from_unix_timestamp_millis(stamp_ms, &self.entropy.bytes()).into_uuid();
        uuid.try_into().unwrap()
    }

    pub(super) fn id(&self) -> CommandId {
        self.id_at(NEW_YEAR_MS)
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.entropy.below(bound as u64)).unwrap()
    }

    pub(super) fn one_of<'a, T>(&self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub(super) fn shuffle<T>(&self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }

    pub(super) async fn write(&self, conversation: ConversationId, rows: Vec<Stamped>) {
        self.store.write(cells(conversation, rows)).await.unwrap();
    }

    /// The timeline entry of a message with a text of its own.
    pub(super) fn message(&self, seq: Seq, slot: u64, ordinal: u64) -> Entry {
        Entry {
            seq,
            slot,
            ordinal,
            id: self.id(),
            author: self.user(),
            time_ms: NEW_YEAR_MS + i64::try_from(seq.offset()).unwrap(),
            content: Content::Message {
                body: format!("message {}", seq.offset()).into(),
                reply_to: None,
                thread: None,
            },
            changed: seq,
            edited_ms: None,
            deleted: false,
            deleted_by: None,
            reactions: Vec::new(),
            replies: None,
            original: None,
        }
    }

    /// The canonical bytes of a conversation's rows in every derived table, sorted.
    pub(super) async fn rows_of(&self, conversation: ConversationId) -> Vec<(&'static str, Vec<u8>)> {
        let mut found = self.all_rows().await;
        found.retain(|(_, row)| belongs(row, conversation));
        found
    }

    /// The canonical bytes of all rows in every derived table, sorted.
    pub(super) async fn all_rows(&self) -> Vec<(&'static str, Vec<u8>)> {
        all_rows(&*self.store).await
    }
}

pub(super) async fn all_rows(store: &(impl StoreAdmin + ?Sized)) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    for table in store.derived_tables() {
        let mut after = None;
        loop {
            let (rows, next) = store.scan(table, after).await.unwrap();
            found.extend(rows.into_iter().map(|row| (table, row)));
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    found.sort();
    found
}

pub(super) fn belongs(row: &[u8], conversation: ConversationId) -> bool {
    let columns = canonical::decode(row).expect("canonical bytes");
    columns.contains(&("conversation", canonical::Part::Key(conversation.as_bytes())))
}

/// The names of every derived table, sorted.
pub(super) fn table_names() -> Vec<&'static str> {
    let mut names: Vec<_> = tables::ALL.iter().map(|table: &&Table| table.name).collect();
    names.sort_unstable();
    names
}

pub(super) fn at(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

/// A row and the event that writes it.
pub(super) type Stamped = (Seq, Row);

pub(super) fn stamped(seq: Seq, row: Row) -> Stamped {
    (seq, row)
}

/// The cell writes of these rows.
pub(super) fn cells(conversation: ConversationId, rows: Vec<Stamped>) -> Vec<CellWrites> {
    rows.into_iter().map(|(seq, row)| row.write(conversation, seq)).collect()
}

/// The cell writes of a read mark.
pub(super) fn mark(user: UserId, conversation: ConversationId, mark: Mark) -> Vec<CellWrites> {
    cells(conversation, vec![(mark.seq, Row::Mark { user, mark })])
}

/// The write of a new entry.
pub(super) fn entry_row(entry: &Entry) -> Stamped {
    let Entry { seq, slot, ordinal, id, author, time_ms, content, .. } = entry.clone();
    stamped(seq, Row::Entry { seq, slot, ordinal, id, author, time_ms, content })
}

pub(super) fn member(user: UserId, seq: Seq, role: Option<Role>) -> Stamped {
    stamped(seq, Row::Member { user, seq, role })
}

pub(super) fn id_row(author: UserId, seq: Seq, stands: Stands) -> IdRow {
    IdRow { author, seq, hash: PayloadHash([7; 16]), stands, thread: None, deleted: None }
}

/// Reads a timeline page by page in both directions, in pages of several sizes, and expects these entries.
pub(super) async fn expect_timeline(store: &(impl HistoryStore + ?Sized), of: ConversationId, entries: &[Entry]) {
    for direction in [Direction::After, Direction::Before] {
        let mut expected = entries.to_vec();
        if direction == Direction::Before {
            expected.reverse();
        }
        for limit in [1, 3, entries.len().max(1), 100] {
            let (mut anchor, mut read) = (None, Vec::new());
            loop {
                let page = store.timeline(of, Page { anchor, direction, limit }).await.unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                anchor = Some(last.seq);
                read.extend(page);
                assert!(read.len() <= expected.len(), "{direction:?} in pages of {limit}: more than there is");
            }
            assert_eq!(read, expected, "{direction:?} in pages of {limit}");
        }
    }
}
