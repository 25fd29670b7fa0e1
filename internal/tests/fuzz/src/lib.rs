//! Entry points for fuzzing: one function for each kind of input from outside.
//!
//! Each takes arbitrary bytes, passes them to the product's own decoders as a client, a broker or an operator would,
//! and checks what must hold for all of them: nothing panics, an accepted value is unchanged after it is written and
//! read again, and a refusal has a message for the client. `tests/corpus.rs` runs them on stable Rust with the
//! corpus and mutations of it; the targets in `targets/` run them with libFuzzer (see README.md).

mod http;
mod options;
mod records;
mod sockets;
mod texts;

/// An entry point.
pub type Target = fn(&[u8]);

/// Every entry point, with the name that its corpus folder and its fuzz target have.
pub const TARGETS: [(&str, Target); 7] = [
    ("socket_frame", sockets::socket_frame),
    ("http_body", http::http_body),
    ("avro_record", records::avro_record),
    ("row", records::row),
    ("cursor", texts::cursor),
    ("page_token", texts::page_token),
    ("configuration", options::configuration),
];

/// Runs the entry point of that name.
///
/// # Panics
/// When there is no entry point of that name, or when it has found a fault.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.expect("a target of the list").1(bytes);
}

/// Checks that a value is unchanged after it is written as JSON and read again.
fn comes_back<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("what was read can be written");
    let again: T = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(&again, value, "{text}");
}
