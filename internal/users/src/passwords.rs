//! Password hashes: expensive on purpose, so computed off the async threads, a few at a time, with a bounded queue.

use std::sync::Arc;

use api::{ApiError, ErrorCode};
use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordVerifier};
use auth::Secret;
use host::Entropy;
use tokio::sync::Semaphore;

use crate::hasher::Hasher;
use crate::metrics::UsersMetrics;
use crate::{Config, UsersError};

/// Hashes that wait for their turn. Beyond, the answer is `busy`.
const WAITING_MAX: usize = 64;

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
    /// The least there is: for tests and simulations, never for people.
    pub const LEAST: Self = Self { memory_kib: Params::MIN_M_COST, passes: 1 };
}

/// Computes and checks hashes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    hasher: Hasher,
    /// A hash that is no account's: checking against it takes as long as against any.
    nobodys: Arc<str>,
    /// Places in the queue and at work.
    admitted: Arc<Semaphore>,
    /// Places at work.
    working: Arc<Semaphore>,
    entropy: Entropy,
    metrics: UsersMetrics,
}

impl Passwords {
    pub(crate) fn new(config: &Config, entropy: Entropy, metrics: UsersMetrics) -> Result<Self, UsersError> {
        let PasswordCost { memory_kib, passes } = config.password_cost;
        let params = Params::new(memory_kib, passes, 1, None).map_err(|e| UsersError::PasswordCost(e.to_string()))?;
        let at_once = config.hashes_at_once.max(1);
        // Sixteen bytes of salt and thirty-two of hash, in the form of PHC strings.
        let (salt, hash) = ("A".repeat(22), "A".repeat(43));
        Ok(Self {
            hasher: Hasher::new(params),
            nobodys: format!("$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${hash}").into(),
            admitted: Arc::new(Semaphore::new(at_once + WAITING_MAX)),
            working: Arc::new(Semaphore::new(at_once)),
            entropy,
            metrics,
        })
    }

    /// The hash to keep, as a PHC string.
    pub(crate) async fn hash(&self, password: Secret) -> Result<String, ApiError> {
        let salt = self.entropy.bytes::<16>();
        let hash = move |hasher: &Hasher| hasher.hash(password.expose().as_bytes(), &salt);
        Ok(self.work(hash).await?.map_err(ApiError::internal)?.to_string())
    }

    /// Whether the password is the one that was hashed. Without a hash it is not, and that takes as long to say.
    pub(crate) async fn verify(&self, password: Secret, hash: Option<&str>) -> Result<bool, ApiError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.nobodys).to_owned();
        let verify =
            move |hasher: &Hasher| hasher.verify_password(password.expose().as_bytes(), &PasswordHash::new(&hash)?);
        match self.work(verify).await? {
            Ok(()) => Ok(known),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    /// Takes every place in the queue.
    #[cfg(test)]
    pub(crate) fn fill_queue(&self) -> tokio::sync::OwnedSemaphorePermit {
        let all = u32::try_from(self.admitted.available_permits()).unwrap();
        self.admitted.clone().try_acquire_many_owned(all).unwrap()
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Hasher) -> T + Send + 'static) -> Result<T, ApiError> {
        let busy = || ApiError::new(ErrorCode::Busy, "too many people sign in at the moment: try again");
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| busy())?;
        let working = self.working.clone().acquire_owned().await.map_err(ApiError::internal)?;
        let begun = tokio::time::Instant::now();
        let hasher = self.hasher.clone();
        // The places go with the work: a request that is given up does not make room before its hash is done.
        let done = tokio::task::spawn_blocking(move || {
            let _places = (admitted, working);
            work(&hasher)
        });
        let done = done.await.map_err(ApiError::internal)?;
        self.metrics.password_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use runtime::Metrics;

    use super::*;

    fn passwords(cost: PasswordCost, hashes_at_once: usize) -> Passwords {
        let config = Config { password_cost: cost, hashes_at_once };
        Passwords::new(&config, Entropy::seeded(1), UsersMetrics::new(&Metrics::new())).unwrap()
    }

    #[tokio::test]
    async fn a_hash_says_what_it_cost_and_fits_its_password_only() {
        let passwords = passwords(PasswordCost::STANDARD, 1);
        let hash = passwords.hash(Secret::new("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify(Secret::new("correct horse"), Some(&hash)).await.unwrap());
        assert!(!passwords.verify(Secret::new("correct hors"), Some(&hash)).await.unwrap());
    }

    #[tokio::test]
    async fn nobodys_hash_is_a_real_one_that_no_password_fits() {
        let passwords = passwords(PasswordCost::LEAST, 1);
        assert!(!passwords.verify(Secret::new("anything"), None).await.unwrap());
        let broken = passwords.verify(Secret::new("anything"), Some("not a hash")).await;
        assert_eq!(broken.unwrap_err().code, ErrorCode::Internal, "a corrupt row is no wrong password");
    }

    #[tokio::test]
    async fn beyond_the_queue_the_answer_is_busy() {
        let passwords = passwords(PasswordCost::LEAST, 1);
        let held = passwords.working.clone().acquire_owned().await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..=WAITING_MAX {
            let passwords = passwords.clone();
            waiting.spawn(async move { passwords.hash(Secret::new("password")).await.map(drop) });
        }
        while passwords.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.hash(Secret::new("password")).await.unwrap_err().code, ErrorCode::Busy);
        drop(held);
        for outcome in waiting.join_all().await {
            outcome.unwrap();
        }
        passwords.hash(Secret::new("password")).await.unwrap();
    }
}
