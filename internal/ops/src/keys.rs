//! The ring of signing keys, as operators list and change it: a file that user services reload.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use auth::{KeyError, KeyFile, KeyRow, KeyState};
use environment::{Clock, Entropy};
use serde_json::json;

use crate::OpsError;

/// How long before the ring has no signing key left the doctor warns.
pub const WARNED_BEFORE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The ring in that file.
#[derive(Debug)]
pub struct Keys {
    file: KeyFile,
    clock: Clock,
}

impl Keys {
    /// The ring in this file.
    #[must_use]
    pub fn new(file: PathBuf, clock: &Clock, entropy: &Entropy) -> Self {
        Self { file: KeyFile::new(file, entropy.clone()), clock: clock.clone() }
    }

    /// A line for each key: its id and state, from when on it signs, and until when.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self, as_json: bool) -> Result<Vec<String>, OpsError> {
        let now_ms = self.clock.now_ms();
        let rows = self.file.list(now_ms).map_err(failed)?;
        if as_json {
            let row = |row: &KeyRow| {
                let state = word(row.state);
                json!({ "kid": row.id, "state": state, "use_from": seconds(row.from_ms), "use_until": seconds(row.ends_ms) })
            };
            return Ok(vec![json!({ "keys": rows.iter().map(row).collect::<Vec<_>>() }).to_string()]);
        }
        Ok(rows.iter().map(|row| line(row, now_ms)).collect())
    }

    /// Adds a new key that signs after `minutes`, and for `days` if they are given. Returns what was done or,
    /// without `yes`, what would be done.
    ///
    /// # Errors
    /// When that is refused, or the file cannot be read or written.
    pub fn add(&self, minutes: u64, days: Option<u64>, yes: bool) -> Result<String, OpsError> {
        let (after, lasts) = (of_minutes(minutes), days.map(|days| of_minutes(days.saturating_mul(24 * 60))));
        let id = self.file.add(self.clock.now_ms(), after, lasts, !yes).map_err(failed)?;
        let end = days.map_or_else(String::new, |days| format!(", for {days} days"));
        Ok(match yes {
            true => format!("added {id}: it signs in {minutes} minutes{end}"),
            false => format!("would add a key that signs in {minutes} minutes{end}: do it with --yes"),
        })
    }

    /// Removes a key. Returns what was done or, without `yes`, what would be done.
    ///
    /// # Errors
    /// When that is refused, or the file cannot be read or written.
    pub fn retire(&self, id: &str, at_once: bool, yes: bool) -> Result<String, OpsError> {
        self.file.retire(id, self.clock.now_ms(), at_once, !yes).map_err(failed)?;
        Ok(match yes {
            true => format!("took {id} out"),
            false => format!("would take {id} out: do it with --yes"),
        })
    }
}

fn failed(error: KeyError) -> OpsError {
    match error {
        KeyError::Refused(words) => OpsError::Refused(vec![words]),
        KeyError::File { path, cause } if cause.kind() == ErrorKind::NotFound => OpsError::Absent(format!(
            "there is no key file {}: a user service makes one when it starts",
            path.display()
        )),
        KeyError::File { path, cause } => OpsError::io(format!("the key file {}", path.display()), cause),
        KeyError::Malformed { .. } | KeyError::Unusable(_) | KeyError::NoneSigns => OpsError::Failed(error.to_string()),
    }
}

fn line(row: &KeyRow, now_ms: i64) -> String {
    let when = |ms: i64| {
        let minutes = (ms - now_ms) / 60_000;
        let (minutes, of) = (minutes.unsigned_abs(), if ms > now_ms { "in" } else { "ago" });
        let amount = match minutes {
            0..120 => format!("{minutes} min"),
            120..2880 => format!("{} h", minutes / 60),
            _ => format!("{} d", minutes / 1440),
        };
        if of == "in" { format!("in {amount}") } else { format!("{amount} ago") }
    };
    let from = row.from_ms.map_or_else(|| "the beginning".to_owned(), when);
    let ends = row.ends_ms.map_or_else(|| "another follows".to_owned(), when);
    format!("{}  {:<9}  from: {from}  until: {ends}", row.id, word(row.state))
}

fn word(state: KeyState) -> &'static str {
    match state {
        KeyState::Next => "next",
        KeyState::Signing => "signing",
        KeyState::Verifying => "verifying",
        KeyState::Retired => "retired",
    }
}

fn seconds(ms: Option<i64>) -> Option<i64> {
    ms.map(|ms| ms.div_euclid(1000))
}

fn of_minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes.saturating_mul(60))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn an_operator_adds_a_key_and_takes_the_old_one_out() {
        let folder = tempfile::tempdir().unwrap();
        let (path, now) = (folder.path().join("keys.pem"), Arc::new(AtomicI64::new(1_750_000_000_000)));
        let (clock, entropy) = (Clock::manual(now.clone()), Entropy::seeded(1));
        let keys = Keys::new(path.clone(), &clock, &entropy);
        assert!(matches!(keys.list(false), Err(OpsError::Absent(_))), "no file");
        let old = auth::KeyRing::open(&path, &clock, &entropy).unwrap().jwks().keys[0].kid.clone();
        assert!(keys.add(10, None, false).unwrap().contains("--yes"));
        assert_eq!(keys.list(false).unwrap().len(), 1);
        keys.add(10, Some(90), true).unwrap();
        assert!(matches!(keys.add(1, None, true), Err(OpsError::Refused(_))));
        let rows = keys.list(false).unwrap();
        assert_eq!(rows[0], format!("{old}  signing    from: the beginning  until: in 10 min"));
        assert!(rows[1].ends_with("next       from: in 10 min  until: in 90 d"), "{}", rows[1]);
        assert!(matches!(keys.retire(&old, false, true), Err(OpsError::Refused(_))));
        now.fetch_add(30 * 60_000, Ordering::SeqCst);
        keys.retire(&old, false, true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&keys.list(true).unwrap()[0]).unwrap();
        assert_eq!((json["keys"].as_array().unwrap().len(), &json["keys"][0]["state"]), (1, &json!("signing")));
        assert_eq!(json["keys"][0]["use_from"], 1_750_000_600);
    }
}
