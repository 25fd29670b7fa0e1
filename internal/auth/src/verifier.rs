//! Verifies tokens locally, with the keys of this process or with keys that are fetched.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use environment::{Clock, Entropy};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::jwks::Keys;
use crate::source::Source;
use crate::{Claims, EndedSessions, Jwks, JwksError, KeyRing, REALM, TokenError, WireClaims};

/// How far the clocks of signer and verifier may be apart.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// A longer text is not a token of ours.
const TOKEN_BYTES_MAX: usize = 2048;
/// Unknown key ids make the keys be fetched at most this often.
const REFETCH_EVERY: Duration = Duration::from_secs(1);
/// How often known keys are fetched again, so that a new one is known before its first token, and one that is no longer
/// published stops counting.
pub const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// Waits between attempts to fetch keys.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
/// The longest of these waits.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Verifies tokens against published keys. Cheap to clone; clones share the keys.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<Shared>,
    /// The ended sessions, whose tokens are refused though they have not expired.
    ended: EndedSessions,
}

struct Shared {
    clock: Clock,
    validation: Validation,
    /// The keys, swapped as a whole. Empty where a ring is used.
    keys: RwLock<Arc<Keys>>,
    origin: Origin,
}

/// The source of the keys.
enum Origin {
    Fixed,
    /// The ring of this process.
    Ring(KeyRing),
    Remote(Remote),
}

struct Remote {
    source: Source,
    entropy: Entropy,
    /// Locked while fetching, so that at most one fetch runs; holds the time at which the last one began, if any.
    last: Mutex<Option<Instant>>,
}

impl Verifier {
    /// Verifies with these keys and no others.
    ///
    /// # Errors
    /// When there is no usable key among them.
    pub fn new(jwks: &Jwks, clock: Clock) -> Result<Self, JwksError> {
        Ok(Self::from_parts(jwks.keys()?, clock, Origin::Fixed))
    }

    /// Verifies with the keys of a ring as they are when a token comes. The caller follows the ring.
    #[must_use]
    pub fn of_ring(ring: KeyRing, clock: Clock) -> Self {
        Self::from_parts(Keys::new(), clock, Origin::Ring(ring))
    }

    /// Verifies with the keys published at `location`, an `http://` URL or the path of a file.
    ///
    /// Nothing is fetched yet: [`Verifier::follow`] does that, or the first token.
    ///
    /// # Errors
    /// [`JwksError::Location`] when nothing can be fetched from there.
    pub fn remote(location: &str, clock: Clock, entropy: Entropy) -> Result<Self, JwksError> {
        let remote = Remote { source: Source::parse(location)?, entropy, last: Mutex::new(None) };
        Ok(Self::from_parts(Keys::new(), clock, Origin::Remote(remote)))
    }

    fn from_parts(keys: Keys, clock: Clock, origin: Origin) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[REALM]);
        validation.set_issuer(&[REALM]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // jsonwebtoken would ask the operating system for the time.
        validation.validate_exp = false;
        let shared = Shared { clock, validation, keys: RwLock::new(Arc::new(keys)), origin };
        Self { shared: Arc::new(shared), ended: EndedSessions::default() }
    }

    /// This verifier, refusing the tokens of these sessions. The caller follows them.
    #[must_use]
    pub fn without(self, ended: EndedSessions) -> Self {
        Self { ended, ..self }
    }

    /// The sessions whose tokens are refused.
    #[must_use]
    pub fn ended(&self) -> &EndedSessions {
        &self.ended
    }

    /// Verifies the token and returns its content.
    ///
    /// # Errors
    /// When the token is not valid now, or when that cannot be decided.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid("too long".into()));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| invalid(&error))?;
        if header.alg != Algorithm::EdDSA {
            return Err(TokenError::Invalid("not signed with EdDSA".into()));
        }
        let kid = header.kid.ok_or_else(|| TokenError::Invalid("it names no key".into()))?;
        let key = match self.key(&kid) {
            Some(key) => key,
            None => self.unknown_key(&kid).await?,
        };
        let claims = jsonwebtoken::decode::<WireClaims>(token, &key, &self.shared.validation);
        self.judge(claims.map_err(|error| invalid(&error))?.claims)
    }

    fn judge(&self, wire: WireClaims) -> Result<Claims, TokenError> {
        let expires_ms = wire.exp.saturating_mul(1000);
        let leeway_ms = i64::try_from(LEEWAY.as_millis()).unwrap_or(0);
        if self.shared.clock.now_ms() >= expires_ms.saturating_add(leeway_ms) {
            return Err(TokenError::Expired);
        }
        let session = wire.sid.map(|sid| {
            let bytes = URL_SAFE_NO_PAD.decode(sid).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| TokenError::Invalid("its session is malformed".into()))
        });
        let session = session.transpose()?;
        if session.is_some_and(|session| self.ended.contains(&session)) {
            return Err(TokenError::SessionEnded);
        }
        Ok(Claims { user: wire.sub, session, expires_ms })
    }

    fn key(&self, kid: &str) -> Option<DecodingKey> {
        self.keys().get(kid).cloned()
    }

    fn keys(&self) -> Arc<Keys> {
        self.shared.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks for an unknown key at the source of the keys.
    async fn unknown_key(&self, kid: &str) -> Result<DecodingKey, TokenError> {
        match &self.shared.origin {
            Origin::Fixed => Err(unknown()),
            Origin::Ring(ring) => ring.verifying(kid).await.ok_or_else(unknown),
            Origin::Remote(remote) => self.fetched_key(remote, kid).await,
        }
    }

    /// The key after fetching the keys again, unless that was done a moment ago.
    async fn fetched_key(&self, remote: &Remote, kid: &str) -> Result<DecodingKey, TokenError> {
        let arrived = Instant::now();
        let mut last = remote.last.lock().await;
        if let Some(key) = self.key(kid) {
            return Ok(key);
        }
        if last.is_some_and(|begun| begun.elapsed() < REFETCH_EVERY) {
            // Only a fetch that began after the token came can prove that its key does not exist.
            let conclusive = last.is_some_and(|begun| begun >= arrived) && !self.keys().is_empty();
            return Err(if conclusive { unknown() } else { TokenError::KeysUnavailable });
        }
        match self.fetch(remote, &mut last).await {
            Ok(()) => self.key(kid).ok_or_else(unknown),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "keys not fetched");
                Err(TokenError::KeysUnavailable)
            }
        }
    }

    async fn fetch(&self, remote: &Remote, last: &mut Option<Instant>) -> Result<(), JwksError> {
        *last = Some(Instant::now());
        let keys = remote.source.fetch().await?.keys()?;
        *self.shared.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// Fetches the keys, with back-off until they are there, and again every few minutes, until `shutdown` is
    /// cancelled. With fixed keys there is nothing to do but wait.
    ///
    /// `report` is called with each outcome: readiness requires that the keys were fetched once; later failures keep
    /// the old ones.
    pub async fn follow(&self, shutdown: CancellationToken, report: impl Fn(Result<(), &JwksError>) + Send) {
        match &self.shared.origin {
            Origin::Remote(remote) => {
                shutdown.run_until_cancelled(self.fetch_for_ever(remote, report)).await;
            }
            Origin::Fixed | Origin::Ring(_) => {
                report(Ok(()));
                shutdown.cancelled().await;
            }
        }
    }

    async fn fetch_for_ever(&self, remote: &Remote, report: impl Fn(Result<(), &JwksError>) + Send) {
        let mut attempt = 0;
        loop {
            let fetched = {
                let mut last = remote.last.lock().await;
                self.fetch(remote, &mut last).await
            };
            report(fetched.as_ref().copied());
            let wait = if fetched.is_ok() {
                attempt = 0;
                REFRESH_EVERY
            } else {
                attempt += 1;
                remote.entropy.backoff(attempt - 1, BACKOFF_BASE, BACKOFF_MAX)
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether there are keys to verify with.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        matches!(self.shared.origin, Origin::Ring(_)) || !self.keys().is_empty()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("kids", &self.keys().keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

fn unknown() -> TokenError {
    TokenError::Invalid("not signed by a known key".into())
}

fn invalid(error: &jsonwebtoken::errors::Error) -> TokenError {
    let words = match error.kind() {
        ErrorKind::InvalidSignature => "the signature does not match",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidIssuer => "it is from another issuer",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "not signed with EdDSA",
        _ => "malformed",
    };
    TokenError::Invalid(words.into())
}
