//! Every field of every event has a class for data protection (`schemas/README.md`).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// The classes that `schemas/README.md` explains. No event has a secret.
const CLASSES: [&str; 4] = ["content", "identity", "metadata", "technical"];

/// Collects the fields that are not records themselves, with their class.
fn fields(schema: &Value, found: &mut Vec<(String, Option<String>)>) {
    for field in schema["fields"].as_array().unwrap() {
        if field["type"]["type"] == "record" {
            fields(&field["type"], found);
        } else {
            let class = field["class"].as_str().map(str::to_owned);
            found.push((field["name"].as_str().unwrap().to_owned(), class));
        }
    }
}

#[test]
fn every_field_of_every_event_has_a_class() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/avro");
    let mut classes: BTreeMap<String, String> = BTreeMap::new();
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let mut found = Vec::new();
        fields(&schema, &mut found);
        files += 1;
        for (name, class) in found {
            let at = format!("{name} in {}", path.display());
            let class = class.unwrap_or_else(|| panic!("{at} has no \"class\": one of {CLASSES:?}"));
            assert!(CLASSES.contains(&&*class), "{at}: {class} is none of {CLASSES:?}");
            // A field name has one meaning, so it has the same class in every record.
            let known = classes.entry(name).or_insert_with(|| class.clone());
            assert_eq!(*known, class, "{at}");
        }
    }
    assert!(files >= 22 && classes.len() >= 25, "{files} files with {} names", classes.len());
    // Text of users has the class `content`, whatever the name of its field.
    for name in ["body", "title", "emoji", "frame", "payload"] {
        assert_eq!(classes[name], "content", "{name}");
    }
}
