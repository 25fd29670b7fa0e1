//! The text form of a ring: keys in PKCS#8 PEM form, each behind lines with the beginning and the end of its term.
//!
//! ```text
//! use-from: 1780000000
//! use-until: 1790000000
//! -----BEGIN PRIVATE KEY-----
//! ...
//! ```
//!
//! Times are seconds since the Unix epoch. A key without `use-from` signs from the beginning, one without `use-until`
//! until a later one does: a file with a single key is a ring, too, as written before there were rings.

use std::collections::BTreeSet;

use ed25519_dalek::pkcs8::DecodePrivateKey;
use environment::Entropy;

use crate::term::Term;
use crate::{KeyError, SigningKey};

/// More keys than this are no ring.
pub(crate) const RING_KEYS_MAX: usize = 16;

const FROM: &str = "use-from:";
const UNTIL: &str = "use-until:";
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// A key of the ring.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: SigningKey,
    pub(crate) term: Term,
}

/// Parses the keys in a text, sorted by the beginning of their terms. Lines that are neither key nor time are ignored.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn parse(text: &str, entropy: &Entropy) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    let mut term = Term::ALWAYS;
    while let Some(line) = lines.next() {
        if let Some(seconds) = line.strip_prefix(FROM) {
            term.from_ms = milliseconds(seconds)?;
        } else if let Some(seconds) = line.strip_prefix(UNTIL) {
            term.until_ms = Some(milliseconds(seconds)?);
        } else if line.starts_with(BEGIN) {
            let mut pem = format!("{line}\n");
            for line in lines.by_ref() {
                pem.push_str(line);
                pem.push('\n');
                if line.starts_with(END) {
                    break;
                }
            }
            let words = |_| format!("key {} is not an Ed25519 key in PKCS#8 PEM form", entries.len() + 1);
            let key = ed25519_dalek::SigningKey::from_pkcs8_pem(&pem).map_err(words)?;
            let key = SigningKey::new(key, entropy).map_err(|error| error.to_string())?;
            entries.push(Entry { key, term: std::mem::replace(&mut term, Term::ALWAYS) });
        }
    }
    entries.sort_by_key(|entry| entry.term.from_ms);
    check(&entries)?;
    Ok(entries)
}

fn check(entries: &[Entry]) -> Result<(), String> {
    if entries.is_empty() {
        return Err("there is no key in it".into());
    }
    if entries.len() > RING_KEYS_MAX {
        return Err(format!("{} keys are too many: {RING_KEYS_MAX} at most", entries.len()));
    }
    let ids: BTreeSet<&str> = entries.iter().map(|entry| entry.key.id()).collect();
    if ids.len() < entries.len() {
        return Err("a key is in it twice".into());
    }
    Ok(())
}

/// The ring as text.
///
/// # Errors
/// [`KeyError::Unusable`], which would be a fault of the libraries.
pub(crate) fn render(entries: &[Entry]) -> Result<String, KeyError> {
    let mut text = String::new();
    for Entry { key, term } in entries {
        let mut line = |name: &str, ms: i64| text.push_str(&format!("{name} {}\n", ms.div_euclid(1000)));
        if let Some(from_ms) = term.begins_ms() {
            line(FROM, from_ms);
        }
        if let Some(until_ms) = term.until_ms {
            line(UNTIL, until_ms);
        }
        text.push_str(&key.to_pem()?);
    }
    Ok(text)
}

fn milliseconds(seconds: &str) -> Result<i64, String> {
    let number: Option<i64> = seconds.trim().parse().ok();
    let ms = number.and_then(|seconds| seconds.checked_mul(1000));
    ms.ok_or_else(|| format!("'{}' is no number of seconds since the Unix epoch", seconds.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_read_as_it_was_written_and_one_key_alone_is_a_ring() {
        let entropy = Entropy::seeded(1);
        let key = || SigningKey::generate(&entropy).unwrap();
        let (old, new) = (key(), key());
        let alone = parse(&old.to_pem().unwrap(), &entropy).unwrap();
        assert_eq!((alone.len(), alone[0].term), (1, Term::ALWAYS));
        let term = Term { from_ms: 5_000, until_ms: Some(9_000) };
        let entries = [Entry { key: new.clone(), term }, Entry { key: old.clone(), term: Term::ALWAYS }];
        let text = format!("# a remark\n{}", render(&entries).unwrap());
        let read = parse(&text, &entropy).unwrap();
        let ids: Vec<&str> = read.iter().map(|entry| entry.key.id()).collect();
        assert_eq!(ids, [old.id(), new.id()], "in the order of their terms");
        assert_eq!((read[0].term, read[1].term), (Term::ALWAYS, term));
    }

    #[test]
    fn what_is_no_ring_is_refused_with_the_reason() {
        let entropy = Entropy::seeded(1);
        let pem = SigningKey::generate(&entropy).unwrap().to_pem().unwrap();
        let many: String = (0..17).map(|_| SigningKey::generate(&entropy).unwrap().to_pem().unwrap()).collect();
        for (text, words) in [
            ("", "no key"),
            ("use-from: soon\n", "'soon'"),
            (&*format!("{pem}{pem}"), "twice"),
            (&*many, "too many"),
            (&pem[..60], "key 1 is not"),
        ] {
            assert!(parse(text, &entropy).unwrap_err().contains(words), "{words}");
        }
    }
}
