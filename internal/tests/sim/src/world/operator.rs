//! The operator, who drops events that hold a conversation and that no program can read.

use std::collections::BTreeSet;

use anyhow::Result;
use domain::Seq;
use eventlog::{DecodedRecord, Meaning, SharedLog};
use events::Codec;
use events::topics::{MESSAGES, spec_of};
use ops::drops;
use store::{Dropped, SharedStore};
use testkit::foreign::UNREGISTERED;

/// Finds unreadable events and drops them.
pub(crate) struct Operator {
    pub(crate) log: SharedLog,
    pub(crate) codec: Codec,
}

impl Operator {
    /// Every event of another producer that no program can read, in order. An unreadable event of our own would be a
    /// bug, and stays held.
    pub(crate) async fn unreadable(&self) -> Result<Vec<Dropped>> {
        let (spec, mut found) = (spec_of(MESSAGES), Vec::new());
        for partition in 0..spec.partitions {
            let end = self.log.watermarks(MESSAGES, partition).await?.next;
            let (mut reader, mut at) = (self.log.reader(MESSAGES, partition, 0).await?, 0);
            while at < end {
                for record in reader.next(1000).await? {
                    at = record.offset + 1;
                    let message =
                        DecodedRecord::read(&self.codec, spec.generation, partition, spec.partitions, &record)?;
                    let theirs = record.payload == UNREGISTERED && matches!(message.meaning, Meaning::Unknown(_));
                    let held = theirs.then_some(message.conversation).flatten();
                    let seq: Seq = message.appended.seq;
                    found.extend(held.map(|conversation| Dropped {
                        seq,
                        conversation,
                        by: "the operator".into(),
                        why: "another producer's".into(),
                        time_ms: 0,
                    }));
                }
            }
        }
        Ok(found)
    }

    /// Drops those that both consumers wait at. Returns their number. The others are refused and stay.
    pub(crate) async fn drop(&self, store: &SharedStore, unreadable: &[Dropped]) -> u64 {
        let mut count = 0;
        for dropped in unreadable {
            let plan = drops::plan(&**store, &*self.log, &self.codec, dropped.clone()).await;
            if let Ok(plan) = plan
                && drops::perform(&**store, &*self.log, &self.codec, &plan).await.is_ok()
            {
                count += 1;
            }
        }
        count
    }

    /// Whether all of them are dropped by now.
    pub(crate) async fn has_dropped(&self, store: &SharedStore, unreadable: &[Dropped]) -> Result<bool> {
        let all: BTreeSet<_> =
            drops::list(&**store).await?.into_iter().map(|(_, one)| (one.conversation, one.seq)).collect();
        Ok(unreadable.iter().all(|one| all.contains(&(one.conversation, one.seq))))
    }
}
