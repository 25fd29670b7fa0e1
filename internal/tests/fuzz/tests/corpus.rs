//! Runs the entry points on stable Rust: every file of the corpora unchanged, and thousands of mutations of them.
//!
//! `FUZZ_CASES` sets the number of cases, `FUZZ_SEED` selects other ones. A failing input is printed; once the fault
//! is fixed, the input belongs into the corpus.

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target};
use workload::Random;

/// Mutated inputs for each target, and as many random ones.
const CASES: u64 = 3000;
/// The most changes to one input.
const EDITS_MAX: u64 = 8;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let read = |path: PathBuf| fs::read(&path).map(|bytes| (path, bytes)).ok();
    files.into_iter().filter_map(read).collect()
}

/// Fragments that have a meaning for one of the decoders.
const PIECES: [&[u8]; 20] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b".",
    b"-",
    b"\n",
    "\u{202e}".as_bytes(),
    b"=",
    b",",
    b":",
    b"--",
    &[0xff; 9],
    &[0x80; 10],
];

/// A random index in `bytes`, or their end.
fn point(random: &mut Random, bytes: &[u8]) -> usize {
    usize::try_from(random.below(bytes.len() as u64 + 1)).expect("it is below a length")
}

/// Changes the bytes in one random way.
fn edit(random: &mut Random, bytes: &mut Vec<u8>, corpus: &[(PathBuf, Vec<u8>)]) {
    let at = point(random, bytes);
    match random.below(6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.bits().to_be_bytes()[0],
        2 => drop(bytes.splice(at..at, random.pick(&PIECES).iter().copied())),
        3 => {
            let end = bytes.len().min(at + 1 + point(random, &[0; 20]));
            bytes.drain(at..end);
        }
        4 => bytes.truncate(at),
        _ => {
            // Inserts a part of another input.
            let other = &random.pick(corpus).1;
            let part = other[point(random, other)..].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

/// Passes the bytes to an entry point; a failure shows them.
fn give(name: &str, target: Target, bytes: &[u8]) {
    let outcome = std::panic::catch_unwind(|| target(bytes));
    assert!(outcome.is_ok(), "{name} panics on {:?}, in bytes {bytes:02x?}", String::from_utf8_lossy(bytes));
}

fn drive(name: &str, target: Target) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (_, bytes) in &corpus {
        give(name, target, bytes);
    }
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let mut random = Random::new(number("FUZZ_SEED", 1));
    for _ in 0..number("FUZZ_CASES", CASES) {
        let mut bytes = random.pick(&corpus).1.clone();
        for _ in 0..random.below(EDITS_MAX) {
            edit(&mut random, &mut bytes, &corpus);
        }
        give(name, target, &bytes);
        // A random input, which resembles no valid one.
        let noise: Vec<u8> = (0..random.below(200)).map(|_| random.bits().to_be_bytes()[0]).collect();
        give(name, target, &noise);
    }
}

#[test]
fn nothing_from_outside_makes_a_decoder_panic() {
    for (name, target) in TARGETS {
        drive(name, target);
    }
}

#[test]
fn every_entry_point_is_a_fuzz_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("the targets' manifest");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is missing in targets/Cargo.toml");
        let source = fs::read_to_string(folder.join("fuzz_targets").join(format!("{name}.rs")));
        assert!(source.is_ok_and(|source| source.contains(&format!("\"{name}\""))), "{name} has no fuzz target");
    }
}
