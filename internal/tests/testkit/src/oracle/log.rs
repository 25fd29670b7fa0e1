//! Reads the whole log.

use anyhow::{Result, ensure};
use eventlog::{DecodedRecord, EventLog, LogError, Meaning, Record};
use events::topics::{DELIVERIES, MESSAGES, RECEIPTS, USERS, spec_of};
use events::{Codec, DecodeError, Delivery, ReadMark, UserEvent};

use super::again::again;

/// Records that are read at once.
const CHUNK: usize = 1000;

/// The content of the topics that the oracle compares.
#[derive(Debug, Default)]
pub struct Logged {
    /// `chat.messages`, by partition.
    pub messages: Vec<Vec<DecodedRecord>>,
    /// `chat.receipts`, in the order of each partition.
    pub marks: Vec<ReadMark>,
    /// `users.events`, in the order of each partition.
    pub accounts: Vec<UserEvent>,
    /// `chat.deliveries`, by partition, with offsets.
    pub deliveries: Vec<Vec<(u64, Delivery)>>,
    /// Descriptions of records that cannot be read.
    pub strange: Vec<String>,
}

impl Logged {
    /// Reads everything up to the present end.
    ///
    /// # Errors
    /// When the log cannot be read, or has a record that cannot be decoded.
    pub async fn read(log: &dyn EventLog, codec: &Codec) -> Result<Self> {
        let logged = Self::read_with_foreign(log, codec).await?;
        ensure!(logged.strange.is_empty(), "records that cannot be read: {}", logged.strange.join("; "));
        Ok(logged)
    }

    /// As [`Self::read`], for a log that other producers write to: records that cannot be decoded are only noted.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn read_with_foreign(log: &dyn EventLog, codec: &Codec) -> Result<Self> {
        let mut logged = Self::default();
        let spec = spec_of(MESSAGES);
        for partition in 0..spec.partitions {
            let records = records(log, MESSAGES, partition).await?;
            let read = |record| DecodedRecord::read(codec, spec.generation, partition, spec.partitions, record);
            let messages: Vec<DecodedRecord> = records.iter().map(read).collect::<Result<_, _>>()?;
            for message in &messages {
                if let Meaning::Corrupt(reason) | Meaning::Unknown(reason) = &message.meaning {
                    logged.strange.push(format!("{MESSAGES}/{partition} at {:?}: {reason}", message.appended.seq));
                }
            }
            logged.messages.push(messages);
        }
        for partition in 0..spec_of(RECEIPTS).partitions {
            for record in records(log, RECEIPTS, partition).await? {
                let mark = codec.read_receipt(&record.headers, &record.payload);
                let mark = logged.readable(RECEIPTS, partition, &record, mark);
                logged.marks.extend(mark);
            }
        }
        for partition in 0..spec_of(USERS).partitions {
            for record in records(log, USERS, partition).await? {
                let event = codec.read_user_event(&record.headers, &record.payload);
                let event = logged.readable(USERS, partition, &record, event);
                logged.accounts.extend(event);
            }
        }
        for partition in 0..spec_of(DELIVERIES).partitions {
            let mut deliveries = Vec::new();
            for record in records(log, DELIVERIES, partition).await? {
                let delivery = codec.read_delivery(&record.headers, &record.payload);
                let delivery = logged.readable(DELIVERIES, partition, &record, delivery);
                deliveries.extend(delivery.map(|delivery| (record.offset, delivery)));
            }
            logged.deliveries.push(deliveries);
        }
        Ok(logged)
    }

    /// Decodes the record; notes it and returns `None` when that fails, or when it has no content of that kind.
    fn readable<T>(
        &mut self,
        topic: &str,
        partition: u32,
        record: &Record,
        read: Result<Option<T>, DecodeError>,
    ) -> Option<T> {
        read.unwrap_or_else(|error| {
            self.strange.push(format!("{topic}/{partition} at {}: {error}", record.offset));
            None
        })
    }
}

async fn records(log: &dyn EventLog, topic: &str, partition: u32) -> Result<Vec<Record>> {
    again(&format!("reading {topic}/{partition}"), async || all(log, topic, partition).await).await
}

async fn all(log: &dyn EventLog, topic: &str, partition: u32) -> Result<Vec<Record>, LogError> {
    let marks = log.watermarks(topic, partition).await?;
    let (mut records, mut at) = (Vec::new(), marks.low);
    let mut reader = log.reader(topic, partition, at).await?;
    while at < marks.next {
        for record in reader.next(CHUNK).await? {
            at = record.offset + 1;
            records.push(record);
        }
    }
    Ok(records)
}
