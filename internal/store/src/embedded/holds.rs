//! Hold rows. Those of storage belong to the incarnation, those of the fan-out do not.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use domain::{ConversationId, Seq};
use kv::Durability;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::embedded::change::RankedTable;
use crate::embedded::derived::Derived;
use crate::embedded::{EmbeddedStore, Kept, broken};
use crate::{Consumer, DROPS_MAX, Dropped, Hold, HoldStore, Malformed, StoreError};

/// Hold rows that are read at once.
const READ_ROWS_MAX: usize = 512;

#[async_trait]
impl HoldStore for EmbeddedStore {
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError> {
        let table = slot(self.read().await?, self.kept()?, consumer);
        let found = self.get(table, &key(consumer, partition, conversation))?;
        found.map_or(Ok(Hold::default()), |value| decode(&value))
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        let (tables, kept) = (Arc::clone(self.read().await?), self.kept()?.clone());
        let change = self.change(Durability::Power, move |changes| {
            tables.check(changes.incarnation())?;
            let (slot, key) = (slot(&tables, &kept, consumer), key(consumer, partition, conversation));
            let old = changes.get(slot, &key)?.map_or(Ok(Hold::default()), |value| decode(&value))?;
            // The cells' timestamps are their values, so the higher value is the later one.
            let raised = Hold {
                skipped_to: old.skipped_to.max(hold.skipped_to),
                done_through: old.done_through.max(hold.done_through),
            };
            if raised != old {
                changes.put(slot, key, encode(raised));
            }
            Ok(())
        });
        change.await
    }

    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError> {
        let table = slot(self.read().await?, self.kept()?, consumer);
        let prefix = prefix(consumer, partition);
        let end = kv::end_of_prefix(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let begin =
            after.map_or(Bound::Included(prefix.to_vec()), |after| Bound::Excluded(key(consumer, partition, after)));
        let (mut from, mut held) = (begin, Vec::new());
        loop {
            let pairs = self.scan(table, from.as_ref().map(Vec::as_slice), to, READ_ROWS_MAX)?;
            for (key, value) in &pairs {
                let hold = decode(value)?;
                if held.len() < limit && hold.is_held() {
                    held.push((conversation(key)?, hold));
                }
            }
            match pairs.last() {
                Some((last, _)) if held.len() < limit => from = Bound::Excluded(last.to_vec()),
                _ => return Ok(held),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        let slot = self.kept()?.drops.clone();
        let key = [&partition.to_be_bytes()[..], &dropped.seq.get().to_be_bytes()].concat();
        let value = serde_json::to_vec(&Noted {
            conversation: dropped.conversation.uuid(),
            by: dropped.by.clone(),
            why: dropped.why.clone(),
            time_ms: dropped.time_ms,
        });
        let value = value.map_err(broken)?;
        let change = self.change(Durability::Power, move |changes| {
            if changes.get(&slot, &key)?.is_none() {
                changes.put(&slot, key, value);
            }
            Ok(())
        });
        change.await
    }

    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError> {
        let prefix = partition.to_be_bytes();
        let end = kv::end_of_prefix(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let pairs = self.scan(&self.kept()?.drops, Bound::Included(&prefix[..]), to, DROPS_MAX)?;
        pairs.iter().map(|(key, value)| drop_of(key, value)).collect()
    }
}

fn slot<'a>(tables: &'a Derived, kept: &'a Kept, consumer: Consumer) -> &'a RankedTable {
    match consumer {
        Consumer::Storage | Consumer::Marks => &tables.holds,
        Consumer::Fanout | Consumer::MarksRelay | Consumer::AccountsRelay => &kept.fanout_holds,
    }
}

/// The key prefix of a consumer's partition. For holds of messages, which came first, it is just the partition's
/// number; no partition's number is large enough to collide with another consumer's prefix.
fn prefix(consumer: Consumer, partition: u32) -> [u8; 4] {
    let beyond = match consumer {
        Consumer::Storage | Consumer::Fanout => 0,
        Consumer::Marks | Consumer::MarksRelay => 1 << 31,
        Consumer::AccountsRelay => 1 << 30,
    };
    (partition | beyond).to_be_bytes()
}

/// The value of a dropped event's row, beside its seq.
#[derive(Serialize, Deserialize)]
struct Noted {
    conversation: Uuid,
    by: String,
    why: String,
    time_ms: i64,
}

fn drop_of(key: &[u8], value: &[u8]) -> Result<Dropped, StoreError> {
    let malformed = |column| Malformed { table: "drops", column };
    let seq = key.get(4..).and_then(|seq| seq.try_into().ok()).map(u64::from_be_bytes).map(Seq::try_from);
    let seq = seq.and_then(Result::ok).ok_or(malformed("seq"))?;
    let Noted { conversation, by, why, time_ms } =
        serde_json::from_slice(value).map_err(|_| malformed("conversation"))?;
    let conversation = ConversationId::try_from(conversation).map_err(|_| malformed("conversation"))?;
    Ok(Dropped { seq, conversation, by, why, time_ms })
}

fn key(consumer: Consumer, partition: u32, conversation: ConversationId) -> Vec<u8> {
    let mut key = prefix(consumer, partition).to_vec();
    key.extend(conversation.as_bytes());
    key
}

fn conversation(key: &[u8]) -> Result<ConversationId, StoreError> {
    let uuid = key.get(4..).and_then(|id| Uuid::from_slice(id).ok());
    uuid.and_then(|uuid| ConversationId::try_from(uuid).ok()).ok_or_else(|| malformed("conversation").into())
}

/// Two numbers, each the seq plus one; 0 for none.
fn encode(hold: Hold) -> Vec<u8> {
    let number = |seq: Option<Seq>| seq.map_or(0, |seq| seq.get() + 1).to_be_bytes();
    [number(hold.skipped_to), number(hold.done_through)].concat()
}

fn decode(value: &[u8]) -> Result<Hold, StoreError> {
    let ([skipped_to, done_through], []) = value.as_chunks::<8>() else { return Err(malformed("skipped_to").into()) };
    let seq = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes).checked_sub(1).map(Seq::try_from).transpose();
    Ok(Hold { skipped_to: seq(skipped_to).map_err(broken)?, done_through: seq(done_through).map_err(broken)? })
}

fn malformed(column: &'static str) -> Malformed {
    Malformed { table: "holds", column }
}
