//! Wrappers that inject faults reach every way on which rows are written.
#![allow(clippy::unwrap_used)]

use std::future::Future;

use async_trait::async_trait;
use domain::{CommandId, Content, ConversationId, Fingerprint, Seq, UserId};
use environment::Clock;
use kv::Database;
use store::embedded::EmbeddedStore;
use store::wrapper::StoreWrapper;
use store::{Applied, CellWrites, ChatStore, Direction, Page, Row, SharedStore, Source, StoreError};
use uuid::Uuid;

const SOURCE: Source = Source { topic: "chat.messages", partition: 2 };
const ROWS: u64 = 5;

/// When every call fails.
#[derive(Clone, Copy)]
enum Fails {
    Before,
    After,
}

struct Failing {
    inner: SharedStore,
    fails: Fails,
}

#[async_trait]
impl StoreWrapper for Failing {
    fn inner(&self) -> SharedStore {
        self.inner.clone()
    }

    async fn each<T: Send, F: Future<Output = Result<T, StoreError>> + Send>(&self, call: F) -> Result<T, StoreError> {
        if let Fails::After = self.fails {
            call.await?;
        }
        Err(StoreError::Transient("made by the test".into()))
    }
}

fn at(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

fn user(number: u128) -> UserId {
    Uuid::from_u128(number).try_into().unwrap()
}

fn conversation() -> ConversationId {
    ConversationId::direct(user(1), user(2))
}

fn batch() -> Vec<CellWrites> {
    let row = |offset: u64| {
        let content = Content::Message { body: format!("message {offset}").into(), reply_to: None, thread: None };
        let id = CommandId::first_at(1 + i64::try_from(offset).unwrap());
        Row::Entry { seq: at(offset), slot: offset, ordinal: offset + 1, id, author: user(1), time_ms: 5, content }
            .write(conversation(), at(offset))
    };
    let bucket = Row::Bucket { bucket: 0, start: at(0) }.write(conversation(), at(0));
    (0..ROWS).map(row).chain([bucket]).collect()
}

/// I5, I6: a batch counts as applied together with all of its rows, or not at all, whenever its commit fails.
#[tokio::test]
async fn a_batch_and_its_progress_meet_a_fault_together() {
    let page = Page { anchor: None, direction: Direction::After, limit: 100 };
    let applied = Applied { seq: at(ROWS - 1), fingerprint: Fingerprint(1) };
    for (fails, expected) in [(Fails::Before, None), (Fails::After, Some(applied))] {
        let inner: SharedStore = EmbeddedStore::open(Database::in_memory(), Clock::system()).await.unwrap();
        let failing = Failing { inner: inner.clone(), fails };
        let failed = ChatStore::write_and_apply(&failing, batch(), SOURCE, applied).await;
        assert!(matches!(failed, Err(StoreError::Transient(_))), "{failed:?}");
        assert_eq!(inner.applied(SOURCE).await.unwrap(), expected);
        let rows = inner.timeline(conversation(), page).await.unwrap().len() as u64;
        assert_eq!(rows, if expected.is_some() { ROWS } else { 0 });
    }
}
