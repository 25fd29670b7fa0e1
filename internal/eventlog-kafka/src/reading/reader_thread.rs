//! A reader thread: one consumer that reads partitions assigned by hand, each from its own offset.
//!
//! A consumer has only one position in a partition, so two readers of a partition need two threads. All calls to a
//! consumer are made on its thread: assigning, polling, pausing. So a record that was polled before a reader left
//! never reaches the next reader of the same partition.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use eventlog::{Record, TopicPartition};
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::Taken;
use super::record::to_record;
use super::shelf::{Failure, Shelf};
use crate::context::Quiet;
use crate::errors::{Kind, kind_of};
use crate::requests::{REQUEST_WAIT, count_partitions};
use crate::threads::Mailbox;

/// Records that are polled before the thread checks its mailbox again.
const BURST: usize = 1000;
/// The longest wait for records. The consumer normally wakes the thread; this covers lost wake-ups.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// A command to the reader thread.
pub(crate) enum Command {
    Open { at: TopicPartition, from: u64, shelf: Arc<Shelf>, turn: OwnedSemaphorePermit },
    Resume(TopicPartition),
    Close(TopicPartition),
}

pub(crate) struct ReaderThread {
    pub(crate) consumer: Arc<BaseConsumer<Quiet>>,
    pub(crate) mailbox: Arc<Mailbox<Command>>,
    /// Shared with [`super::Readers`], which assigns partitions to threads.
    pub(crate) taken: Arc<Mutex<Taken>>,
    pub(crate) reading: BTreeMap<String, BTreeMap<i32, Reading>>,
    /// Room for the bytes of the next records.
    pub(crate) buffer: BytesMut,
}

/// A partition that is being read.
pub(crate) struct Reading {
    shelf: Arc<Shelf>,
    /// The lowest offset that the next record may have.
    next: u64,
    paused: bool,
    /// Dropping it lets another reader read the partition.
    _turn: OwnedSemaphorePermit,
}

impl ReaderThread {
    /// Runs until `closing`.
    pub(crate) fn run(mut self, closing: &CancellationToken) {
        while !closing.is_cancelled() {
            while let Some(command) = self.mailbox.take() {
                self.obey(command);
            }
            let consumer = Arc::clone(&self.consumer);
            let mut polled = 0;
            while polled < BURST {
                match consumer.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => self.shelve(&message),
                    Some(Err(error)) => self.fault(&error),
                }
                polled += 1;
            }
            if polled < BURST {
                self.mailbox.wait(WAIT_MAX);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open { at, from, shelf, turn } => {
                if let Err(error) = self.assign(&at, from) {
                    shelf.fail(Failure::Broken(error.to_string()));
                }
                let reading = Reading { shelf, next: from, paused: false, _turn: turn };
                self.reading.entry(at.topic).or_default().insert(number(at.partition), reading);
            }
            Command::Resume(at) => {
                if let Some(reading) = self.find(&at.topic, number(at.partition)) {
                    reading.paused = false;
                }
                self.log_failure("resume", self.consumer.resume(&list(&at)));
            }
            Command::Close(at) => {
                let partition = number(at.partition);
                let Some(of_topic) = self.reading.get_mut(&at.topic) else { return };
                let reading = of_topic.remove(&partition);
                if of_topic.is_empty() {
                    self.reading.remove(&at.topic);
                }
                // librdkafka keeps the pause with the partition: without this, its next reader would begin paused.
                if reading.as_ref().is_some_and(|reading| reading.paused) {
                    self.log_failure("resume", self.consumer.resume(&list(&at)));
                }
                self.log_failure("unassign", self.consumer.incremental_unassign(&list(&at)));
                self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
                drop(reading);
            }
        }
    }

    fn assign(&self, at: &TopicPartition, from: u64) -> Result<(), KafkaError> {
        let mut partitions = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        partitions.add_partition_offset(&at.topic, number(at.partition), offset)?;
        self.consumer.incremental_assign(&partitions)
    }

    fn shelve(&mut self, message: &BorrowedMessage<'_>) {
        let record: Record = to_record(message, &mut self.buffer);
        let (topic, partition) = (rdkafka::Message::topic(message), rdkafka::Message::partition(message));
        let Some(reading) = self.find(topic, partition) else { return };
        if record.offset < reading.next {
            return;
        }
        reading.next = record.offset + 1;
        if reading.shelf.push(record) {
            reading.paused = true;
            let paused = self.consumer.pause(&list_of(topic, partition));
            self.log_failure("pause", paused);
        }
    }

    fn find(&mut self, topic: &str, partition: i32) -> Option<&mut Reading> {
        self.reading.get_mut(topic)?.get_mut(&partition)
    }

    /// Handles an error of the consumer, which does not say which partition it is about.
    fn fault(&mut self, error: &KafkaError) {
        match kind_of(error) {
            Kind::OutOfRange => self.find_out_of_range(),
            Kind::NoTopic => self.find_missing(),
            Kind::Broken | Kind::TooLarge | Kind::Fenced => {
                tracing::error!(%error, "reading failed");
                self.fail_all(&Failure::Transient(error.to_string()));
            }
            // The consumer reconnects by itself.
            Kind::Transient | Kind::TimedOut | Kind::QueueFull => tracing::debug!(%error, "reading goes on"),
        }
    }

    fn find_out_of_range(&mut self) {
        let mut found = false;
        for (topic, partitions) in &self.reading {
            for (partition, reading) in partitions {
                let range = self.consumer.fetch_watermarks(topic, *partition, REQUEST_WAIT);
                let Ok((low, high)) = range else { continue };
                let next = i64::try_from(reading.next).unwrap_or(i64::MAX);
                if next < low || next > high {
                    reading.shelf.fail(Failure::OutOfRange(reading.next));
                    found = true;
                }
            }
        }
        if !found {
            // The partition cannot be identified, or is in range again: librdkafka has stopped reading it, so all
            // readers restart.
            self.fail_all(&Failure::Transient("an offset was out of range for a moment".to_owned()));
        }
    }

    fn find_missing(&mut self) {
        let topics: Vec<String> = self.reading.keys().cloned().collect();
        for topic in topics {
            // Metadata with an error says nothing about partitions: it lists none while brokers elect or start.
            let partitions = count_partitions(&self.consumer, &topic, REQUEST_WAIT);
            for (partition, reading) in self.reading.get(&topic).into_iter().flatten() {
                match &partitions {
                    Ok(count) if u32::try_from(*partition).is_ok_and(|partition| partition >= *count) => {
                        reading.shelf.fail(Failure::NoTopic);
                    }
                    // The partition cannot be identified, and librdkafka may have stopped reading it.
                    _ => reading.shelf.fail(Failure::Transient("a broker did not know a partition".to_owned())),
                }
            }
        }
    }

    fn fail_all(&self, failure: &Failure) {
        for reading in self.reading.values().flat_map(BTreeMap::values) {
            reading.shelf.fail(failure.clone());
        }
    }

    fn log_failure(&self, what: &str, result: Result<(), KafkaError>) {
        if let Err(error) = result {
            tracing::warn!(%error, what, "the kafka consumer refused");
        }
    }
}

impl Drop for ReaderThread {
    fn drop(&mut self) {
        self.fail_all(&Failure::Transient("the log was closed".to_owned()));
    }
}

fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn list(at: &TopicPartition) -> TopicPartitionList {
    list_of(&at.topic, number(at.partition))
}

fn list_of(topic: &str, partition: i32) -> TopicPartitionList {
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition(topic, partition);
    partitions
}
