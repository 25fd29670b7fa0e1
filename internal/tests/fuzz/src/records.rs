//! Records of the log, and rows of the store: anybody with access to the broker or the database may write anything
//! there.

use bytes::Bytes;
use domain::ConversationId;
use eventlog::{DecodedRecord, Meaning, Record};
use events::{Codec, DecodeError, HEADER_SCHEMA, MessageRecord};
use store::canonical::{self, Part};
use store::tables;
use store::{Annotations, RowValues, Value};

/// Number of hexadecimal digits in a schema's fingerprint.
const FINGERPRINT: usize = 16;

/// The input is sixteen digits of a schema's fingerprint (if they are no digits, the record has no header), followed
/// by the record's body.
pub(crate) fn avro_record(bytes: &[u8]) {
    let codec = Codec::compiled_in();
    let (headers, payload) = match bytes.split_at_checked(FINGERPRINT) {
        Some((schema, payload)) if schema.iter().all(u8::is_ascii_hexdigit) => {
            (vec![(HEADER_SCHEMA.into(), Bytes::copy_from_slice(schema))], payload)
        }
        _ => (Vec::new(), bytes),
    };
    let kinds = codec.describe(&headers, payload);
    if let Ok(mark) = codec.read_receipt(&headers, payload) {
        mark.iter().for_each(|mark| {
            let again = codec.read_mark(mark);
            assert_eq!(codec.read_receipt(&again.headers, &again.payload).as_ref(), Ok(&Some(*mark)));
        });
    }
    if let Ok(Some(signal)) = codec.read_signal(&headers, payload) {
        let again = codec.signal(&signal);
        assert_eq!(codec.read_signal(&again.headers, &again.payload), Ok(Some(signal)));
    }
    if let Ok(Some(delivery)) = codec.read_delivery(&headers, payload) {
        let again = codec.delivery(&delivery);
        assert_eq!(codec.read_delivery(&again.headers, &again.payload), Ok(Some(delivery)));
    }
    if let Ok(Some(event)) = codec.read_user_event(&headers, payload) {
        let again = codec.user_event(&event);
        assert_eq!(codec.read_user_event(&again.headers, &again.payload), Ok(Some(event)));
    }
    let genesis = codec.is_genesis(&headers, payload, 0);
    assert!(!genesis || kinds.is_ok(), "a genesis record that cannot be described");
    let read = codec.read_message(&headers, payload);
    let unknown = matches!(read, Err(DecodeError::UnknownSchema(_)));
    assert!(!(unknown && kinds.is_ok()), "a schema that is known and is not");
    let Ok(MessageRecord::Event(event)) = read else { return };
    let again = codec.event(&event);
    assert_eq!(codec.read_message(&again.headers, &again.payload), Ok(MessageRecord::Event(event.clone())));
    message(&codec, event.conversation, headers, payload);
}

/// Decodes the same record as consumers do.
fn message(codec: &Codec, conversation: ConversationId, headers: Vec<events::Header>, payload: &[u8]) {
    let key = Bytes::from(conversation.to_string());
    let partition = eventlog::partition_of(&key, 12);
    let record = Record { offset: 1, append_time_ms: 1, key, headers, payload: Bytes::copy_from_slice(payload) };
    let read = DecodedRecord::read(codec, 0, partition, 12, &record).expect("the offset fits");
    assert!(matches!(read.meaning, Meaning::Event(_)));
    // In another partition than that of its key, it is not an event.
    let read = DecodedRecord::read(codec, 0, (partition + 1) % 12, 12, &record).expect("the offset fits");
    assert!(matches!(read.meaning, Meaning::Corrupt(_)) && read.conversation.is_none());
}

/// The first byte selects the table, the rest is a row in its canonical encoding.
pub(crate) fn row(bytes: &[u8]) {
    let Some((which, row)) = bytes.split_first() else { return };
    let table = tables::ALL[usize::from(*which) % tables::ALL.len()];
    let Some(columns) = canonical::decode(row) else { return };
    // Encoding sorts the columns, and keeps all of them.
    let mut sorted = columns.clone();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(canonical::decode(&canonical::encode(&columns)).map(|columns| columns.len()), Some(sorted.len()));
    let value = |column: &tables::Column| {
        let (_, part) = columns.iter().find(|(name, _)| *name == column.name)?;
        let (Part::Key(bytes) | Part::Cell { value: bytes, .. }) = part;
        Value::decode(column.kind, bytes)
    };
    let values = || RowValues::new(table, table.columns().map(value).collect());
    drop((values().entry(), values().bucket(), values().member_version(), values().user_conversation()));
    drop((values().settings(), values().head(), values().mark(), values().newest_stamp_ms()));
    drop(Annotations::new(&mut []).put(values()));
    drop(values().id_row(domain::Seq::default()));
}
