//! Password hashes: expensive on purpose, so computed off the async threads, a few at a time, in fair turns, in the time
//! that messages leave.

use std::sync::Arc;

use api::ApiError;
use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordVerifier};
use environment::Entropy;
use protocol::ErrorCode;
use secret::Secret;

use crate::fields::Password;
use crate::hasher::Hasher;
use crate::metrics::UsersMetrics;
use crate::queue::{FairQueue, Full, Share, Turn};
use crate::spare_time::SpareTime;
use crate::{Config, UsersError};

/// What one hash costs, in argon2id's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl PasswordCost {
    /// What OWASP's Password Storage Cheat Sheet asks for: 19 MiB, two passes; about 20 ms.
    pub const STANDARD: Self = Self { memory_kib: 19 * 1024, passes: 2 };
    /// The least that argon2id allows: for tests and simulations, never for people.
    pub const LEAST: Self = Self { memory_kib: Params::MIN_M_COST, passes: 1 };
}

/// Whether a password is the account's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    /// It is right by a hash from before passwords were normalised; this is the hash to keep from now on.
    RightAsTyped(String),
    Wrong,
}

/// Computes and checks hashes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    hasher: Hasher,
    /// A hash of no account: checking against it takes as long as checking against any.
    nobodys: Arc<str>,
    queue: FairQueue,
    spare_time: SpareTime,
    entropy: Entropy,
    metrics: UsersMetrics,
}

impl Passwords {
    pub(crate) fn new(config: &Config, entropy: Entropy, metrics: UsersMetrics) -> Result<Self, UsersError> {
        let PasswordCost { memory_kib, passes } = config.password_cost;
        let params = Params::new(memory_kib, passes, 1, None).map_err(|e| UsersError::PasswordCost(e.to_string()))?;
        // Sixteen bytes of salt and thirty-two of hash, in the form of PHC strings.
        let (salt, hash) = ("A".repeat(22), "A".repeat(43));
        Ok(Self {
            hasher: Hasher::new(params),
            nobodys: format!("$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${hash}").into(),
            queue: FairQueue::new(config.hashes_at_once),
            spare_time: SpareTime::default(),
            entropy,
            metrics,
        })
    }

    /// Waits for a turn to compute one hash.
    pub(crate) async fn turn(&self, share: Share, name: &str) -> Result<Turn, ApiError> {
        let busy =
            |Full(wait)| ApiError::new(ErrorCode::Busy, "too many people sign in at the moment: try again").after(wait);
        self.queue.turn(share, name).await.map_err(busy)
    }

    /// The hash to keep, as a PHC string.
    pub(crate) async fn hash(&self, turn: Turn, password: Password) -> Result<String, ApiError> {
        let salt = self.entropy.bytes::<16>();
        let hash = move |hasher: &Hasher| hash(hasher, &password.normal, &salt);
        self.work(turn, hash).await?.map_err(ApiError::internal)
    }

    /// Whether the password is the one that was hashed. Without a hash it is wrong, and that takes equally long to
    /// find.
    pub(crate) async fn verify(&self, turn: Turn, password: Password, hash: Option<&str>) -> Result<Verdict, ApiError> {
        let known = hash.is_some();
        let (hash, salt) = (hash.unwrap_or(&self.nobodys).to_owned(), self.entropy.bytes::<16>());
        let judge = move |hasher: &Hasher| judge(hasher, &password, &hash, &salt);
        let verdict = self.work(turn, judge).await?.map_err(ApiError::internal)?;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    async fn work<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl Fn(&Hasher) -> T + Send + Sync + 'static,
    ) -> Result<T, ApiError> {
        let begun = tokio::time::Instant::now();
        let (hasher, spare_time) = (self.hasher.clone(), self.spare_time.clone());
        // The turn moves with the work: a request that is given up does not make room before its hash is done.
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            spare_time.run(move || work(&hasher))
        });
        let done = done.await.map_err(ApiError::internal)?;
        self.metrics.password_seconds.observe(begun.elapsed());
        Ok(done)
    }
}

fn hash(hasher: &Hasher, password: &Secret, salt: &[u8]) -> password_hash::Result<String> {
    Ok(hasher.hash(password.expose().as_bytes(), salt)?.to_string())
}

fn judge(hasher: &Hasher, password: &Password, known: &str, salt: &[u8]) -> password_hash::Result<Verdict> {
    let known = PasswordHash::new(known)?;
    let fits = |password: &Secret| match hasher.verify_password(password.expose().as_bytes(), &known) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error),
    };
    if fits(&password.normal)? {
        return Ok(Verdict::Right);
    }
    // The time that this takes depends on what was typed, not on the account.
    match &password.typed {
        Some(typed) if fits(typed)? => Ok(Verdict::RightAsTyped(hash(hasher, &password.normal, salt)?)),
        _ => Ok(Verdict::Wrong),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use process::Metrics;

    use super::*;

    fn passwords(cost: PasswordCost) -> Passwords {
        let config = Config { password_cost: cost, hashes_at_once: 1, ..Config::default() };
        Passwords::new(&config, Entropy::seeded(1), UsersMetrics::new(&Metrics::new())).unwrap()
    }

    async fn turn(passwords: &Passwords) -> Turn {
        passwords.turn(Share::Address(IpAddr::from([192, 0, 2, 1])), "ada").await.unwrap()
    }

    fn typed(text: &str) -> Password {
        Password::new(Secret::new(text))
    }

    #[tokio::test]
    async fn a_hash_says_what_it_cost_and_fits_its_password_only() {
        let passwords = passwords(PasswordCost::STANDARD);
        let hash = passwords.hash(turn(&passwords).await, typed("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        for (text, verdict) in [("correct horse", Verdict::Right), ("correct hors", Verdict::Wrong)] {
            let judged = passwords.verify(turn(&passwords).await, typed(text), Some(&hash)).await.unwrap();
            assert_eq!(judged, verdict, "{text}");
        }
    }

    #[tokio::test]
    async fn nobodys_hash_is_a_real_one_that_no_password_fits() {
        let passwords = passwords(PasswordCost::LEAST);
        let nobodys = passwords.verify(turn(&passwords).await, typed("anything"), None).await.unwrap();
        assert_eq!(nobodys, Verdict::Wrong);
        let broken = passwords.verify(turn(&passwords).await, typed("anything"), Some("not a hash")).await;
        assert_eq!(broken.unwrap_err().code, ErrorCode::Internal, "a corrupt row is no wrong password");
    }

    #[tokio::test]
    async fn a_hash_of_the_bytes_as_typed_is_good_once_more_and_replaced() {
        let passwords = passwords(PasswordCost::LEAST);
        let earlier = passwords.hasher.hash("ﬁligrane pass".as_bytes(), &[7; 16]).unwrap().to_string();
        let judged = passwords.verify(turn(&passwords).await, typed("ﬁligrane pass"), Some(&earlier)).await.unwrap();
        let Verdict::RightAsTyped(newer) = judged else { panic!("{judged:?}") };
        for text in ["ﬁligrane pass", "filigrane pass"] {
            let judged = passwords.verify(turn(&passwords).await, typed(text), Some(&newer)).await.unwrap();
            assert_eq!(judged, Verdict::Right, "{text}");
        }
    }
}
