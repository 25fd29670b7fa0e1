//! Argon2id with reused memory. Each hash takes 19 MiB; allocated and freed by many threads, that can make an allocator
//! hold a gigabyte.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, CustomizedPasswordHasher};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Computes hashes. The number of hashes at the same time bounds the memory that is kept; one that is late counts twice.
/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hasher {
    params: Params,
    idle: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl Hasher {
    /// New hashes are made with these parameters.
    pub(crate) fn new(params: Params) -> Self {
        Self { params, idle: Arc::default() }
    }

    /// The hash to keep.
    pub(crate) fn hash(&self, password: &[u8], salt: &[u8]) -> password_hash::Result<PasswordHash> {
        self.hash_password_customized(password, salt, None, None, self.params.clone())
    }

    /// A block of memory that was used before, if there is one, in the size that `params` need.
    fn take(&self, params: &Params) -> Vec<Block> {
        let mut blocks = self.try_idle().and_then(|mut idle| idle.pop()).unwrap_or_default();
        blocks.resize(params.block_count(), Block::default());
        blocks
    }

    fn give_back(&self, blocks: Vec<Block>) {
        if let Some(mut idle) = self.try_idle() {
            idle.push(blocks);
        }
    }

    /// The blocks that are not in use. `None` while another thread takes or returns one: it may be a thread that gives
    /// way to all others, for which nobody else should wait.
    fn try_idle(&self) -> Option<MutexGuard<'_, Vec<Vec<Block>>>> {
        match self.idle.try_lock() {
            Ok(idle) => Some(idle),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Checking a password is left to the library: it computes the hash with the parameters of the known one.
impl CustomizedPasswordHasher<PasswordHash> for Hasher {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> password_hash::Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or(Algorithm::Argon2id);
        let version = version.map(Version::try_from).transpose()?.unwrap_or(Version::V0x13);
        let (salt, mut buffer) = (Salt::new(salt)?, [0; Output::MAX_LENGTH]);
        let out = &mut buffer[..params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
        let mut blocks = self.take(&params);
        let hashed = Argon2::new(algorithm, version, params.clone()).hash_password_into_with_memory(
            password,
            &salt,
            out,
            &mut blocks[..],
        );
        self.give_back(blocks);
        hashed?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(salt),
            hash: Some(Output::new(out)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn a_hash_is_the_librarys_in_fresh_memory_and_in_used() {
        let params = Params::new(64, 2, 1, None).unwrap();
        let (hasher, salt) = (Hasher::new(params.clone()), [7; 16]);
        let library = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        for password in [b"one", b"two", b"one"] {
            let hash = hasher.hash(password, &salt).unwrap();
            assert_eq!(hash, library.hash_password_with_salt(password, &salt).unwrap());
            hasher.verify_password(password, &hash).unwrap();
        }
        // A hash that was made at another cost, and is longer.
        let params = Params::new(128, 1, 1, Some(48)).unwrap();
        let other = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let other = other.hash_password_with_salt(b"one", &salt).unwrap();
        hasher.verify_password(b"one", &other).unwrap();
        assert_eq!(hasher.verify_password(b"two", &other), Err(password_hash::Error::PasswordInvalid));
        assert_eq!(hasher.idle.lock().unwrap().len(), 1, "one at a time needs one");
    }
}
