//! The Kafka driver, used as its documentation says.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// What consumers and producers have in common.
pub(crate) fn client() -> Result<ClientConfig> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", std::env::var("KLATSCH_KAFKA").context("KLATSCH_KAFKA")?);
    Ok(client)
}

/// A producer's settings: records are durable when they are acknowledged, and are sent at once.
pub(crate) fn producer() -> Result<ClientConfig> {
    let mut client = client()?;
    client.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "0");
    Ok(client)
}

/// A consumer of all partitions of the topic from their ends.
pub(crate) fn at_the_end(topic: &str) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = client()?.set("group.id", "bare").set("enable.auto.commit", "false").create()?;
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_WAIT)?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (_, end) = consumer.fetch_watermarks(topic, partition.id(), REQUEST_WAIT)?;
        partitions.add_partition_offset(topic, partition.id(), Offset::Offset(end))?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

/// Calls `take` with the key and the body of every record, for ever.
pub(crate) fn each(consumer: &BaseConsumer, mut take: impl FnMut(&[u8], &[u8])) {
    while let Some(polled) = consumer.poll(None) {
        let Ok(record) = polled else { continue };
        take(record.key().unwrap_or_default(), record.payload().unwrap_or_default());
    }
}
