//! Tests that code and schemas agree, and that everything written by earlier programs can be read.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;

use crate::samples::{delivery_in_full, events, in_full, kind_of, records};
use crate::schemas;
use crate::{Codec, DecodeError, Header, MessageRecord, SchemaKind};

/// Decodes the record as the reader of its topic does, and returns the value as text.
fn read(codec: &Codec, kind: SchemaKind, headers: &[Header], payload: &[u8]) -> String {
    match kind {
        SchemaKind::ReadMarkV1 => format!("{:?}", codec.read_receipt(headers, payload).unwrap()),
        SchemaKind::DeliveryV1 => {
            let delivery = codec.read_delivery(headers, payload).unwrap().unwrap();
            format!("Some({})", delivery_in_full(&delivery))
        }
        SchemaKind::UserRegisteredV1
        | SchemaKind::SessionStartedV1
        | SchemaKind::SessionEndedV1
        | SchemaKind::PrivacyChangedV1 => {
            format!("{:?}", codec.read_user_event(headers, payload).unwrap())
        }
        SchemaKind::TypingV1 | SchemaKind::TypingV2 | SchemaKind::WatchV1 | SchemaKind::PresenceV1 => {
            format!("{:?}", codec.read_signal(headers, payload).unwrap())
        }
        SchemaKind::QuarantinedV1 => String::new(),
        _ => match codec.read_message(headers, payload).unwrap() {
            MessageRecord::Event(event) => format!("Event({})", in_full(&event)),
            MessageRecord::Marker => "Marker".to_owned(),
        },
    }
}

#[test]
fn every_record_type_comes_back_as_it_went() {
    let codec = Codec::compiled_in();
    let mut seen = BTreeSet::new();
    for (encoded, expected) in records(&codec) {
        let kind = kind_of(&encoded);
        assert_eq!(read(&codec, kind, &encoded.headers, &encoded.payload), expected);
        // Without headers, the schema id decides.
        assert_eq!(read(&codec, kind, &[], &encoded.payload), expected);
        seen.insert(kind);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), SchemaKind::ALL, "a sample of every kind");
}

/// Every `.avsc` file is compiled in, has the name of its record, and describes every field.
#[test]
fn the_schema_files_are_those_of_the_code() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/avro");
    let files: BTreeSet<String> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let named: BTreeSet<String> = SchemaKind::ALL.iter().map(|kind| format!("{}.avsc", kind.record_name())).collect();
    assert_eq!(files, named);
    for known in schemas::all() {
        let json: serde_json::Value = serde_json::from_str(known.kind.text()).unwrap();
        assert_eq!(json["name"], known.kind.record_name());
        for field in json["fields"].as_array().unwrap() {
            assert!(field["doc"].is_string(), "{}: {} has no doc", known.full_name, field["name"]);
        }
    }
}

/// Without a registry, the position in the list is the id in every record: a program of an earlier release must read
/// what this one writes. Append new ones here, too.
#[test]
fn the_ids_without_a_registry_stay_as_they_are() {
    let names: Vec<&str> = SchemaKind::ALL.iter().map(|kind| kind.record_name()).collect();
    let pinned = [
        "ConversationCreatedV1",
        "MembersAddedV1",
        "MemberRemovedV1",
        "MemberLeftV1",
        "RoleChangedV1",
        "TitleChangedV1",
        "MessageSentV1",
        "MessageEditedV1",
        "MessageDeletedV1",
        "ReactionAddedV1",
        "ReactionRemovedV1",
        "IdWithdrawnV1",
        "ReadMarkV1",
        "DeliveryV1",
        "QuarantinedV1",
        "GenesisV1",
        "TickV1",
        "UserRegisteredV1",
        "SessionStartedV1",
        "SessionEndedV1",
        "ConversationCreatedV2",
        "MembersAddedV2",
        "TypingV1",
        "ReactionRemovedV2",
        "TypingV2",
        "WatchV1",
        "PresenceV1",
        "PrivacyChangedV1",
        "MessageSentV2",
        "MessagePinnedV1",
        "MessageUnpinnedV1",
        "MessageEditedV2",
    ];
    assert_eq!(names, pinned);
}

/// Bytes as the first program of each version wrote them. Add lines (`KLATSCH_BLESS=1`), never change their bytes:
/// a log that is years old must read the same. (When a type of the domain gains a field, that field is added to
/// their text.)
#[test]
fn golden_bytes_of_every_version_still_decode() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/golden/records.tsv");
    let codec = Codec::compiled_in();
    let mut golden = std::fs::read_to_string(path).unwrap_or_default();
    if std::env::var_os("KLATSCH_BLESS").is_some() {
        for (encoded, expected) in records(&codec) {
            let known = schemas::of(kind_of(&encoded));
            let hex = encoded.payload[5..].iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            let line = format!("{}\t{}\t{hex}\t{expected:?}\n", known.kind.record_name(), known.fingerprint);
            if !golden.contains(&line) {
                golden.push_str(&line);
            }
        }
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &golden).unwrap();
    }
    let mut seen = BTreeSet::new();
    for line in golden.lines() {
        let [name, fingerprint, hex, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let kind = *SchemaKind::ALL.iter().find(|kind| kind.record_name() == name).unwrap();
        let datum = hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap());
        let payload: Vec<u8> = [0; 5].into_iter().chain(datum).collect();
        let headers = [("schema".into(), Bytes::from(fingerprint.to_owned()))];
        assert_eq!(format!("{:?}", read(&codec, kind, &headers, &payload)), expected, "{name}");
        seen.insert(kind);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), SchemaKind::ALL, "golden bytes of every kind");
}

/// No program will ever know version 0 of the rules: such a record is refused, not held for an upgrade that never
/// comes.
#[test]
fn an_event_under_no_rules_is_corrupt() {
    let codec = Codec::compiled_in();
    for event in events() {
        let encoded = codec.event(&domain::Event { rules: 0, ..event });
        let read = codec.read_message(&encoded.headers, &encoded.payload);
        assert!(matches!(read, Err(DecodeError::Corrupt(_))), "{read:?}");
    }
}

#[test]
fn a_registry_that_numbers_anew_makes_no_record_unreadable() {
    let old = Codec::compiled_in();
    let new = Codec::with_ids((101..).take(SchemaKind::ALL.len()).collect());
    for event in events() {
        let encoded = old.event(&event);
        assert_eq!(new.read_message(&encoded.headers, &encoded.payload), Ok(MessageRecord::Event(Box::new(event))));
    }
}

#[test]
fn an_unknown_schema_is_told_from_corrupt_bytes() {
    let codec = Codec::compiled_in();
    let encoded = codec.event(&events()[7]);
    let unknown = [("schema".into(), Bytes::from_static(b"0123456789abcdef"))];
    assert!(matches!(codec.read_message(&unknown, &encoded.payload), Err(DecodeError::UnknownSchema(_))));
    let mut renumbered = encoded.payload.to_vec();
    renumbered[4] = 250;
    assert!(matches!(codec.read_message(&[], &renumbered), Err(DecodeError::UnknownSchema(_))));
    for cut in 0..encoded.payload.len() {
        let read = codec.read_message(&encoded.headers, &encoded.payload[..cut]);
        assert!(matches!(read, Err(DecodeError::Corrupt(_))), "{cut}: {read:?}");
    }
    let mut longer = encoded.payload.to_vec();
    longer.push(0);
    assert!(matches!(codec.read_message(&encoded.headers, &longer), Err(DecodeError::Corrupt(_))));
    // Records of another producer (issue 10, item 5): these headers name no schema, so no conversation is held for
    // one.
    let header = |value: &'static [u8]| vec![("schema".into(), Bytes::from_static(value))];
    let json = b"{\"hello\":\"I am JSON\"}";
    for headers in [vec![], header(b"0123456789abcdef"), header(b"greeting/v1")] {
        let read = codec.read_message(&headers, json);
        assert!(matches!(read, Err(DecodeError::Corrupt(_))), "{headers:?}: {read:?}");
    }
    // A `schema` header that is no fingerprint is ignored.
    assert!(codec.read_message(&header(b"greeting/v1"), &encoded.payload).is_ok());
    assert!(matches!(codec.read_message(&header(b"greeting/v1"), &renumbered), Err(DecodeError::UnknownSchema(_))));
    let (delivery, _) =
        &records(&codec).into_iter().find(|(record, _)| kind_of(record) == SchemaKind::DeliveryV1).unwrap();
    assert!(matches!(codec.read_message(&delivery.headers, &delivery.payload), Err(DecodeError::Corrupt(_))));
}
