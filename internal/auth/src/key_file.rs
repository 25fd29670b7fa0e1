//! The operators' commands on the file of a ring: list, add a key, take one out. Running processes read the file again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use environment::Entropy;

use crate::ring::{self, KNOWN_BEFORE_USE};
use crate::ring_file::{self, Entry, RING_KEYS_MAX};
use crate::term::{self, KeyState, Term};
use crate::{KeyError, SigningKey, VERIFIED_AFTER};

/// How long a key is published before it signs, unless told otherwise; at least [`KNOWN_BEFORE_USE`].
pub const PUBLISHED_BEFORE_USE: Duration = Duration::from_secs(600);

/// The file of a key ring.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
    entropy: Entropy,
}

/// A key of the file, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id: the `kid` of its tokens.
    pub id: String,
    /// Its state now.
    pub state: KeyState,
    /// The time from which it signs, milliseconds since the Unix epoch; `None`: from the beginning.
    pub from_ms: Option<i64>,
    /// The time at which it stops signing, if that is known.
    pub ends_ms: Option<i64>,
}

impl KeyFile {
    /// The ring in that file.
    #[must_use]
    pub fn new(path: PathBuf, entropy: Entropy) -> Self {
        Self { path, entropy }
    }

    /// The keys, in the order in which they sign.
    ///
    /// # Errors
    /// When the file cannot be read, or has other content.
    pub fn list(&self, now_ms: i64) -> Result<Vec<KeyRow>, KeyError> {
        let entries = self.entries()?;
        let terms = terms(&entries);
        let row = |(at, entry): (usize, &Entry)| KeyRow {
            id: entry.key.id().to_owned(),
            state: term::state(&terms, at, now_ms),
            from_ms: entry.term.begins_ms(),
            ends_ms: term::ends_ms(&terms, at),
        };
        Ok(entries.iter().enumerate().map(row).collect())
    }

    /// Adds a fresh key that signs from `after` on, for `lasts` if it is named. With `dry`, it only checks whether the
    /// key could be added. Returns the key's id; of a dry run, none.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when others could not know the key in time, or there are too many; or when the file cannot be
    /// read or written.
    pub fn add(&self, now_ms: i64, after: Duration, lasts: Option<Duration>, dry: bool) -> Result<String, KeyError> {
        if after < KNOWN_BEFORE_USE {
            let least = KNOWN_BEFORE_USE.as_secs().div_ceil(60);
            return Err(KeyError::Refused(format!("a key is published {least} minutes before it signs, or longer")));
        }
        self.change(dry, |entries, entropy| {
            if entries.len() >= RING_KEYS_MAX {
                let words =
                    format!("the ring has {RING_KEYS_MAX} keys: take retired ones out with 'klatschctl keys retire'");
                return Err(KeyError::Refused(words));
            }
            let key = SigningKey::generate(entropy)?;
            let id = key.id().to_owned();
            // Whole seconds, as in the file.
            let from_ms = now_ms.saturating_add(milliseconds(after)).div_euclid(1000) * 1000;
            let until_ms = lasts.map(|lasts| from_ms.saturating_add(milliseconds(lasts)));
            entries.push(Entry { key, term: Term { from_ms, until_ms } });
            Ok(id)
        })
    }

    /// Takes a key out. A key that signs, or whose tokens may still be valid, is only taken out `at_once`: its tokens
    /// are refused then, and the next key begins to sign, or a fresh one.
    ///
    /// # Errors
    /// [`KeyError::Refused`] in that case, or when there is no such key; also when the file cannot be read or written.
    pub fn retire(&self, id: &str, now_ms: i64, at_once: bool, dry: bool) -> Result<(), KeyError> {
        self.change(dry, |entries, entropy| {
            let Some(at) = entries.iter().position(|entry| entry.key.id() == id) else {
                return Err(KeyError::Refused(format!("there is no key {id}: see 'klatschctl keys list'")));
            };
            let terms = terms(entries);
            let state = term::state(&terms, at, now_ms);
            if !at_once {
                check_retired(state, term::ends_ms(&terms, at), now_ms)?;
            }
            entries.remove(at);
            if state == KeyState::Signing {
                match entries.iter_mut().find(|entry| entry.term.from_ms > now_ms) {
                    Some(next) => next.term.from_ms = now_ms,
                    None => {
                        let term = Term { from_ms: now_ms, until_ms: None };
                        entries.push(Entry { key: SigningKey::generate(entropy)?, term });
                    }
                }
            }
            Ok(())
        })
    }

    /// Makes one change under the lock, so that concurrent changes do not overwrite one another.
    fn change<T>(
        &self,
        dry: bool,
        change: impl FnOnce(&mut Vec<Entry>, &Entropy) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        // Where there is no ring, no lock file is left behind.
        self.entries()?;
        let _lock = self.lock()?;
        let mut entries = self.entries()?;
        let changed = change(&mut entries, &self.entropy)?;
        if !dry {
            entries.sort_by_key(|entry| entry.term.from_ms);
            crate::key::replace(&self.path, &ring_file::render(&entries)?, &self.entropy)?;
        }
        Ok(changed)
    }

    /// Locks a file beside the ring: the ring's own file is replaced by each change.
    fn lock(&self) -> Result<File, KeyError> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|cause| KeyError::File { path, cause })
    }

    fn entries(&self) -> Result<Vec<Entry>, KeyError> {
        let path: &Path = &self.path;
        ring::entries(path, &ring::read(path)?, &self.entropy)
    }
}

fn check_retired(state: KeyState, ends_ms: Option<i64>, now_ms: i64) -> Result<(), KeyError> {
    let words = match state {
        KeyState::Next | KeyState::Retired => return Ok(()),
        KeyState::Signing => {
            "this key signs: add another one with 'klatschctl keys add' and wait until that signs, or \
                              name --now to have its tokens refused at once, and everybody fetch a new one"
                .to_owned()
        }
        KeyState::Verifying => {
            let left_ms = ends_ms.unwrap_or(now_ms).saturating_add(milliseconds(VERIFIED_AFTER)) - now_ms;
            let minutes = left_ms.max(0) / 60_000 + 1;
            format!(
                "tokens of this key may be good for {minutes} minutes yet: wait, or name --now to have them refused"
            )
        }
    };
    Err(KeyError::Refused(words))
}

fn terms(entries: &[Entry]) -> Vec<Term> {
    entries.iter().map(|entry| entry.term).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
