//! The log as it is, read whole.

use anyhow::{Context as _, Result};
use eventlog::{EventLog, Meaning, Message, Record};
use events::topics::{DELIVERIES, MESSAGES, RECEIPTS, spec_of};
use events::{Codec, Delivery, ReadMark};

/// Records read at a time.
const CHUNK: usize = 1000;

/// What stands in the topics that the oracle looks at.
#[derive(Debug, Default)]
pub struct Logged {
    /// `chat.messages`, by partition.
    pub messages: Vec<Vec<Message>>,
    /// `chat.receipts`, in the order of each partition.
    pub marks: Vec<ReadMark>,
    /// `chat.deliveries`, by partition, with offsets.
    pub deliveries: Vec<Vec<(u64, Delivery)>>,
}

impl Logged {
    /// Reads everything up to the end of now.
    ///
    /// # Errors
    /// When the log cannot be read, or holds what nobody should have written.
    pub async fn read(log: &dyn EventLog, codec: &Codec) -> Result<Self> {
        let mut logged = Self::default();
        let spec = spec_of(MESSAGES);
        for partition in 0..spec.partitions {
            let records = records(log, MESSAGES, partition).await?;
            let read = |record| Message::read(codec, spec.generation, partition, spec.partitions, record);
            let messages: Vec<Message> = records.iter().map(read).collect::<Result<_, _>>()?;
            for message in &messages {
                if let Meaning::Corrupt(reason) | Meaning::Unknown(reason) = &message.meaning {
                    anyhow::bail!("{MESSAGES}/{partition} at {:?}: {reason}", message.placed.seq);
                }
            }
            logged.messages.push(messages);
        }
        for partition in 0..spec_of(RECEIPTS).partitions {
            for record in records(log, RECEIPTS, partition).await? {
                let mark = codec.read_receipt(&record.headers, &record.payload);
                logged.marks.extend(mark.with_context(|| place(RECEIPTS, partition, &record))?);
            }
        }
        for partition in 0..spec_of(DELIVERIES).partitions {
            let mut deliveries = Vec::new();
            for record in records(log, DELIVERIES, partition).await? {
                let delivery = codec.read_delivery(&record.headers, &record.payload);
                let delivery = delivery.with_context(|| place(DELIVERIES, partition, &record))?;
                deliveries.extend(delivery.map(|delivery| (record.offset, delivery)));
            }
            logged.deliveries.push(deliveries);
        }
        Ok(logged)
    }
}

async fn records(log: &dyn EventLog, topic: &str, partition: u32) -> Result<Vec<Record>> {
    let what = || format!("reading {topic}/{partition}");
    let marks = log.watermarks(topic, partition).await.with_context(what)?;
    let (mut records, mut at) = (Vec::new(), marks.low);
    let mut reader = log.reader(topic, partition, at).await.with_context(what)?;
    while at < marks.next {
        for record in reader.next(CHUNK).await.with_context(what)? {
            at = record.offset + 1;
            records.push(record);
        }
    }
    Ok(records)
}

fn place(topic: &str, partition: u32, record: &Record) -> String {
    format!("{topic}/{partition} at {}", record.offset)
}
