//! The delivery records of a judged event: one for each delivery partition with recipients, and further ones where there
//! are more of them than a record lists.

use std::collections::BTreeMap;

use domain::limits::RECIPIENTS_PER_RECORD_MAX;
use domain::{Effects, Event, UserId};
use environment::seeded_bugs::{Bug, seeded};
use eventlog::{DecodedRecord, NewRecord, partition_of_id};
use events::{Codec, Delivery, HEADER_TRACE};

/// A delivery record.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The delivery partition.
    pub(crate) partition: u32,
    pub(crate) record: NewRecord,
    /// When the event was appended, milliseconds since the Unix epoch.
    pub(crate) appended_ms: i64,
    /// The number of recipients.
    pub(crate) recipients: u64,
}

/// Makes the records of one source partition.
#[derive(Clone)]
pub(crate) struct Records {
    pub(crate) codec: Codec,
    /// The number of partitions of `chat.deliveries`.
    pub(crate) partitions: u32,
    /// For a follower, its delivery partition; none: all of them.
    pub(crate) only: Option<u32>,
}

impl Records {
    /// The records of an event.
    pub(crate) fn of(&self, event: &Event, message: &DecodedRecord, effects: &Effects) -> Vec<Outgoing> {
        let frame = protocol::FeedFrame::of(event, message.appended, effects);
        let (blind, seeing): (Vec<UserId>, Vec<UserId>) =
            effects.recipients.iter().partition(|user| effects.blind.binary_search(user).is_ok());
        let mut records = self.with_frame(event, message, &seeing, &render(&frame));
        if !blind.is_empty() {
            records.extend(self.with_frame(event, message, &blind, &render(&frame.withheld())));
        }
        records
    }

    /// The records with one frame, in order of the delivery partitions: each user is listed in one of them.
    fn with_frame(&self, event: &Event, message: &DecodedRecord, recipients: &[UserId], frame: &str) -> Vec<Outgoing> {
        let outgoing = |(partition, recipients): (u32, Vec<UserId>)| {
            let (key, count) = (recipients[0].to_string(), recipients.len() as u64);
            let event_key = Some((event.conversation, message.appended.seq));
            let encoded = self.codec.delivery(&Delivery { recipients, event_key, frame: frame.to_owned() });
            let mut headers = encoded.headers;
            headers.extend(message.trace.clone().map(|trace| (HEADER_TRACE.into(), trace)));
            let record = NewRecord { key, partition: Some(partition), headers, payload: encoded.payload };
            let appended_ms = message.appended.append_time_ms;
            Outgoing { partition, record, appended_ms, recipients: count }
        };
        let mut by_partition = by_partition(recipients, self.partitions);
        by_partition.retain(|partition, _| self.only.is_none_or(|only| only == *partition));
        lists(by_partition).map(outgoing).collect()
    }
}

/// The socket frame, rendered once for all its recipients.
fn render(frame: &protocol::FeedFrame) -> String {
    serde_json::to_string(frame).expect("a feed frame has string keys only")
}

/// The lists of recipients, each short enough for a record.
fn lists(by_partition: BTreeMap<u32, Vec<UserId>>) -> impl Iterator<Item = (u32, Vec<UserId>)> {
    by_partition.into_iter().flat_map(|(partition, users)| {
        let lists: Vec<_> = users.chunks(RECIPIENTS_PER_RECORD_MAX).map(<[UserId]>::to_vec).collect();
        lists.into_iter().map(move |users| (partition, users))
    })
}

/// The recipients of each delivery partition, in order.
pub(crate) fn by_partition(recipients: &[UserId], partitions: u32) -> BTreeMap<u32, Vec<UserId>> {
    let mut by: BTreeMap<u32, Vec<UserId>> = BTreeMap::new();
    for user in recipients {
        let mut partition = partition_of_id(user.uuid(), partitions);
        if seeded(Bug::WrongPartitionHash) {
            partition = (partition + 1) % partitions;
        }
        by.entry(partition).or_default().push(*user);
    }
    by
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Issue 10, item 4.
    #[test]
    fn lists_of_recipients_are_bounded_and_name_everybody_once() {
        let user = |number: u32| UserId::try_from(Uuid::from_u128(u128::from(number))).unwrap();
        let crowd: Vec<UserId> = (0..9_990).map(user).collect();
        let found: Vec<_> = lists(BTreeMap::from([(0, vec![user(1)]), (3, crowd.clone())])).collect();
        assert_eq!(found[0], (0, vec![user(1)]));
        assert!(found[1..].iter().all(|(at, users)| *at == 3 && users.len() <= RECIPIENTS_PER_RECORD_MAX));
        let named: Vec<UserId> = found[1..].iter().flat_map(|(_, users)| users.clone()).collect();
        assert_eq!(named, crowd);
    }
}
