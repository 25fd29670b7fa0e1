//! Converts a message of Kafka to a record of the log.

use bytes::BytesMut;
use eventlog::Record;
use events::header_name;
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Timestamp};

/// Room for the values of our own headers; a record with more costs one more allocation.
const HEADERS_BYTES: usize = 128;

/// Records share buffers of about this size, so that one allocation serves many. A record that is kept keeps its whole
/// buffer: nothing keeps records for long.
const SHARED_BYTES: usize = 64 * 1024;

/// Copies the message out of the consumer's memory: key, header values and body into `buffer`, which it leaves for the
/// next record.
pub(super) fn to_record(message: &BorrowedMessage<'_>, buffer: &mut BytesMut) -> Record {
    let (key, payload) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
    let found = || message.headers().into_iter().flat_map(|headers| headers.iter());
    let bytes = key.len() + HEADERS_BYTES + payload.len();
    if buffer.capacity() < bytes {
        *buffer = BytesMut::with_capacity(bytes.max(SHARED_BYTES));
    }
    buffer.extend_from_slice(key);
    found().for_each(|header| buffer.extend_from_slice(header.value.unwrap_or_default()));
    buffer.extend_from_slice(payload);
    let mut rest = buffer.split().freeze();
    let key = rest.split_to(key.len());
    let header =
        |header: Header<'_, &[u8]>| (header_name(header.key), rest.split_to(header.value.unwrap_or_default().len()));
    let headers = found().map(header).collect();
    // Readiness refuses a topic that keeps its producers' timestamps; its records are still read as they are.
    let append_time_ms = match message.timestamp() {
        Timestamp::LogAppendTime(time_ms) | Timestamp::CreateTime(time_ms) => time_ms,
        Timestamp::NotAvailable => 0,
    };
    Record { offset: u64::try_from(message.offset()).unwrap_or(0), append_time_ms, key, headers, payload: rest }
}
