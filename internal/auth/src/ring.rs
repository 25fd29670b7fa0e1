//! The ring of keys that access tokens are signed with: read from a file, and read again as the file changes.
//!
//! A new key is published before it signs, and one that signs no more is published until its last token has ended, so a
//! change of keys refuses nobody's token. The file says when a key begins ([`crate::KeyFile`] adds one that begins in
//! some minutes). A running process that finds a new key in its file also waits until others can have fetched it from
//! here ([`KNOWN_BEFORE_USE`]), however late it got the file.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::UserId;
use environment::{Clock, Entropy};
use jsonwebtoken::DecodingKey;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ring_file::{self, Entry};
use crate::term::{self, KeyState, Term};
use crate::{Jwks, KeyError, SessionId, SigningKey};

/// How often the file is read again. An unknown key id makes it be read at once, once a second at most.
pub const RING_READ_EVERY: Duration = Duration::from_secs(10);
/// How long a running process publishes a new key before it signs with it, unless it has no other: longer than others
/// cache the published keys.
pub const KNOWN_BEFORE_USE: Duration = Duration::from_secs(180);

/// Unknown key ids make the file be read at most this often.
const REREAD_EVERY: Duration = Duration::from_secs(1);
/// A larger file is no ring.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The keys. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct KeyRing {
    shared: Arc<Shared>,
}

struct Shared {
    /// The file; `None`: the keys are fixed.
    path: Option<PathBuf>,
    clock: Clock,
    entropy: Entropy,
    /// The keys in the order of their terms. Swapped as a whole.
    keys: RwLock<Arc<Vec<Held>>>,
    /// Locked while the file is read; holds the time of the last read for an unknown key, if any.
    last: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Held {
    entry: Entry,
    decoding: DecodingKey,
    /// When this process found it; the keys that it started with need no wait.
    met_ms: i64,
}

impl KeyRing {
    /// Opens the ring in the file. Where there is no such file, creates one with a fresh key, readable by its owner
    /// only. Processes that start at the same moment end up with the same key.
    ///
    /// # Errors
    /// When the file cannot be read or written, or has other content.
    pub fn open(path: &Path, clock: &Clock, entropy: &Entropy) -> Result<Self, KeyError> {
        let text = match read(path) {
            Err(KeyError::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                SigningKey::generate(entropy)?.store(path)?;
                // Read back: another process may have been faster.
                read(path)?
            }
            text => text?,
        };
        crate::key::warn_if_open(path).map_err(|cause| KeyError::File { path: path.to_owned(), cause })?;
        Self::new(Some(path.to_owned()), entries(path, &text, entropy)?, clock, entropy)
    }

    /// A ring of one fixed key.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when no token could be verified with it.
    pub fn of(key: SigningKey, clock: &Clock, entropy: &Entropy) -> Result<Self, KeyError> {
        Self::new(None, vec![Entry { key, term: Term::ALWAYS }], clock, entropy)
    }

    fn new(path: Option<PathBuf>, entries: Vec<Entry>, clock: &Clock, entropy: &Entropy) -> Result<Self, KeyError> {
        let held = entries.into_iter().map(|entry| Held::new(entry, i64::MIN)).collect::<Result<_, _>>()?;
        let (keys, last) = (RwLock::new(Arc::new(held)), tokio::sync::Mutex::default());
        Ok(Self { shared: Arc::new(Shared { path, clock: clock.clone(), entropy: entropy.clone(), keys, last }) })
    }

    /// A token for `user`, made in `session`, valid from now for `ttl`, by the key that signs now.
    ///
    /// # Errors
    /// [`KeyError::NoneSigns`] when the terms of all keys have ended, or none has begun.
    pub fn sign(&self, user: UserId, session: Option<SessionId>, ttl: Duration) -> Result<String, KeyError> {
        let (now_ms, keys) = (self.shared.clock.now_ms(), self.keys());
        let at = term::signing(&terms(&keys, now_ms), now_ms).ok_or(KeyError::NoneSigns)?;
        keys[at].entry.key.sign(user, session, now_ms, ttl)
    }

    /// The key set to publish now.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        let (now_ms, keys) = (self.shared.clock.now_ms(), self.keys());
        let terms = terms(&keys, now_ms);
        let published = (0..keys.len()).filter(|at| term::state(&terms, *at, now_ms) != KeyState::Retired);
        Jwks { keys: published.map(|at| keys[at].entry.key.jwk().of_term(keys[at].entry.term)).collect() }
    }

    /// The secret that each key derives ([`SigningKey::derive`]); that of the newest key that has begun comes first.
    #[must_use]
    pub fn derive(&self, label: &str, material: &[u8]) -> Vec<[u8; 32]> {
        let (now_ms, keys) = (self.shared.clock.now_ms(), self.keys());
        let (begun, next): (Vec<&Held>, Vec<&Held>) = keys.iter().partition(|held| held.entry.term.from_ms <= now_ms);
        begun.into_iter().rev().chain(next).map(|held| held.entry.key.derive(label, material)).collect()
    }

    /// The key of that id, to verify with; an unknown id makes the file be read again, unless that was a moment ago.
    pub(crate) async fn verifying(&self, kid: &str) -> Option<DecodingKey> {
        if let Some(key) = self.known(kid) {
            return Some(key);
        }
        let mut last = self.shared.last.lock().await;
        if last.is_none_or(|begun| begun.elapsed() >= REREAD_EVERY) {
            *last = Some(Instant::now());
            if let Err(error) = self.reread().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the signing keys cannot be read");
            }
        }
        self.known(kid)
    }

    fn known(&self, kid: &str) -> Option<DecodingKey> {
        let (now_ms, keys) = (self.shared.clock.now_ms(), self.keys());
        let at = keys.iter().position(|held| held.entry.key.id() == kid)?;
        (term::state(&terms(&keys, now_ms), at, now_ms) != KeyState::Retired).then(|| keys[at].decoding.clone())
    }

    /// Reads the file again and again until `shutdown` is cancelled. A file that cannot be read changes nothing.
    pub async fn follow(&self, shutdown: CancellationToken, report: impl Fn(Result<(), &KeyError>) + Send) {
        let reading = async {
            loop {
                report(self.reread().await.as_ref().copied());
                tokio::time::sleep(RING_READ_EVERY).await;
            }
        };
        shutdown.run_until_cancelled(reading).await;
    }

    async fn reread(&self) -> Result<(), KeyError> {
        let Some(path) = self.shared.path.clone() else { return Ok(()) };
        let at = path.clone();
        let text = tokio::task::spawn_blocking(move || read(&at)).await;
        let text = text.map_err(|error| KeyError::Unusable(error.to_string()))??;
        let (entries, now_ms) = (entries(&path, &text, &self.shared.entropy)?, self.shared.clock.now_ms());
        let before = self.keys();
        let mut held = Vec::with_capacity(entries.len());
        for entry in entries {
            let met_ms = before.iter().find(|held| held.entry.key.id() == entry.key.id()).map(|held| held.met_ms);
            if met_ms.is_none() {
                tracing::info!(kid = entry.key.id(), "a signing key was added");
            }
            held.push(Held::new(entry, met_ms.unwrap_or(now_ms))?);
        }
        *self.shared.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        Ok(())
    }

    fn keys(&self) -> Arc<Vec<Held>> {
        self.shared.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Held {
    fn new(entry: Entry, met_ms: i64) -> Result<Self, KeyError> {
        let decoding = entry.key.jwk().decoding_key().map_err(|error| KeyError::Unusable(error.to_string()))?;
        Ok(Self { entry, decoding, met_ms })
    }

    /// The key's term in this process: it does not begin before others can know the key.
    fn term(&self) -> Term {
        let known_ms = i64::try_from(KNOWN_BEFORE_USE.as_millis()).unwrap_or(i64::MAX);
        Term { from_ms: self.entry.term.from_ms.max(self.met_ms.saturating_add(known_ms)), ..self.entry.term }
    }
}

/// The keys' terms in this process; those of the file where otherwise no key would sign.
fn terms(keys: &[Held], now_ms: i64) -> Vec<Term> {
    let here: Vec<Term> = keys.iter().map(Held::term).collect();
    match term::signing(&here, now_ms) {
        Some(_) => here,
        None => keys.iter().map(|held| held.entry.term).collect(),
    }
}

pub(crate) fn read(path: &Path) -> Result<String, KeyError> {
    let file = |cause| KeyError::File { path: path.to_owned(), cause };
    if std::fs::metadata(path).map_err(file)?.len() > FILE_BYTES_MAX {
        let words = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(KeyError::Malformed { path: path.to_owned(), words });
    }
    std::fs::read_to_string(path).map_err(file)
}

pub(crate) fn entries(path: &Path, text: &str, entropy: &Entropy) -> Result<Vec<Entry>, KeyError> {
    ring_file::parse(text, entropy).map_err(|words| KeyError::Malformed { path: path.to_owned(), words })
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys();
        f.debug_list().entries(keys.iter().map(|held| (held.entry.key.id(), held.entry.term))).finish()
    }
}
