//! A reader thread: one consumer, whose partitions are assigned by hand, each from its own offset and with a queue of
//! its own.
//!
//! A consumer has only one position in a partition, so two readers of a partition need two threads. Partitions are
//! assigned and unassigned on this thread, one after another, and it serves what is about the consumer as a whole.
//! Records never come here: their readers take them from the partitions' queues.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventlog::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::Taken;
use super::handover::{Failure, Handover};
use crate::context::Quiet;
use crate::errors::{Kind, kind_of};
use crate::requests::{REQUEST_WAIT, count_partitions};
use crate::threads::Mailbox;

/// The longest wait for commands and events. Both normally wake the thread; this covers lost wake-ups.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// A command to the reader thread.
pub(crate) enum Command {
    Open {
        at: TopicPartition,
        from: u64,
        handover: Arc<Handover>,
        turn: OwnedSemaphorePermit,
    },
    /// The partition's queue had an error when its reader was at `next`.
    Fault {
        at: TopicPartition,
        next: u64,
        error: KafkaError,
    },
    Close(TopicPartition),
}

pub(crate) struct ReaderThread {
    pub(crate) consumer: Arc<BaseConsumer<Quiet>>,
    pub(crate) mailbox: Arc<Mailbox<Command>>,
    /// Shared with [`super::Readers`], which assigns partitions to threads.
    pub(crate) taken: Arc<Mutex<Taken>>,
    pub(crate) reading: BTreeMap<TopicPartition, Reading>,
}

/// A partition that is being read.
pub(crate) struct Reading {
    handover: Arc<Handover>,
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
            while let Some(event) = consumer.poll(Duration::ZERO) {
                match event {
                    // It was meant for the queue of its partition, whose reader lacks it now.
                    Ok(message) => {
                        let reason = format!("a record of {}/{} went astray", message.topic(), message.partition());
                        self.fail_all(&Failure::Transient(reason));
                    }
                    Err(error) => self.fault(&error),
                }
            }
            self.mailbox.wait(WAIT_MAX);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open { at, from, handover, turn } => {
                if let Err(reason) = self.open(&at, from, &handover) {
                    handover.fail(Failure::Broken(reason));
                }
                self.reading.insert(at, Reading { handover, _turn: turn });
            }
            Command::Fault { at, next, error } => self.fault_of(&at, next, &error),
            Command::Close(at) => {
                let reading = self.reading.remove(&at);
                // The queue of a reader that has gone before it took it.
                drop(reading.as_ref().and_then(|reading| reading.handover.take()));
                self.log_failure("unassign", self.consumer.incremental_unassign(&list(&at)));
                self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
                drop(reading);
            }
        }
    }

    /// Separates the partition's queue from the consumer's, then begins to read: no record comes before.
    fn open(&self, at: &TopicPartition, from: u64, handover: &Handover) -> Result<(), String> {
        let queue = self.consumer.split_partition_queue(&at.topic, number(at.partition));
        let mut queue = queue.ok_or_else(|| format!("{at} has no queue"))?;
        let changed = Arc::clone(&handover.changed);
        queue.set_nonempty_callback(move || changed.notify_one());
        self.assign(at, from).map_err(|error| error.to_string())?;
        handover.give(queue);
        Ok(())
    }

    fn assign(&self, at: &TopicPartition, from: u64) -> Result<(), KafkaError> {
        let mut partitions = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        partitions.add_partition_offset(&at.topic, number(at.partition), offset)?;
        self.consumer.incremental_assign(&partitions)
    }

    /// Handles an error of the consumer, which does not say which partition it is about.
    fn fault(&self, error: &KafkaError) {
        if is_passing(error) {
            return tracing::debug!(%error, "reading goes on");
        }
        tracing::error!(%error, "reading failed");
        self.fail_all(&Failure::Transient(error.to_string()));
    }

    /// Handles an error of one partition, whose reader has halted.
    fn fault_of(&self, at: &TopicPartition, next: u64, error: &KafkaError) {
        let Some(reading) = self.reading.get(at) else { return };
        let failure = match kind_of(error) {
            Kind::OutOfRange => self.out_of_range(at, next),
            Kind::NoTopic => self.missing(at),
            _ => {
                tracing::error!(%error, partition = %at, "reading failed");
                Failure::Transient(error.to_string())
            }
        };
        reading.handover.fail(failure);
    }

    fn out_of_range(&self, at: &TopicPartition, next: u64) -> Failure {
        let range = self.consumer.fetch_watermarks(&at.topic, number(at.partition), REQUEST_WAIT);
        let offset = i64::try_from(next).unwrap_or(i64::MAX);
        match range {
            Ok((low, high)) if offset < low || offset > high => Failure::OutOfRange(next),
            // In range again, or unknown: librdkafka has stopped reading it, so the reader restarts.
            _ => Failure::Transient("an offset was out of range for a moment".to_owned()),
        }
    }

    fn missing(&self, at: &TopicPartition) -> Failure {
        // Metadata with an error says nothing about partitions: it lists none while brokers elect or start.
        match count_partitions(&self.consumer, &at.topic, REQUEST_WAIT) {
            Ok(count) if at.partition >= count => Failure::NoTopic,
            // librdkafka may have stopped reading it.
            _ => Failure::Transient("a broker did not know a partition".to_owned()),
        }
    }

    fn fail_all(&self, failure: &Failure) {
        for reading in self.reading.values() {
            reading.handover.fail(failure.clone());
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

/// Whether the consumer gets over it by itself, and nothing is missing behind it.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    match kind_of(error) {
        Kind::Transient | Kind::TimedOut | Kind::QueueFull => true,
        Kind::OutOfRange | Kind::NoTopic | Kind::Broken | Kind::TooLarge | Kind::Fenced => false,
    }
}

fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn list(at: &TopicPartition) -> TopicPartitionList {
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition(&at.topic, number(at.partition));
    partitions
}
