//! Converts a message of Kafka to a record of the log.

use bytes::Bytes;
use eventlog::Record;
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _, Timestamp};

/// Copies the message out of the consumer's memory.
pub(super) fn to_record(message: &BorrowedMessage<'_>) -> Record {
    let mut headers = Vec::new();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        headers.push((header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default())));
    }
    // Readiness refuses a topic that keeps its producers' timestamps; its records are still read as they are.
    let append_time_ms = match message.timestamp() {
        Timestamp::LogAppendTime(time_ms) | Timestamp::CreateTime(time_ms) => time_ms,
        Timestamp::NotAvailable => 0,
    };
    Record {
        offset: u64::try_from(message.offset()).unwrap_or(0),
        append_time_ms,
        key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
        headers,
        payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    }
}
