//! The key that tokens are signed with.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::UserId;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use host::Entropy;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sha2::{Digest as _, Sha256};

use crate::{Jwk, Jwks, REALM, SessionId, WireClaims};

/// A signing key. Its secret shows in no debug output.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    encoding: EncodingKey,
    /// For the tokens' ids.
    entropy: Entropy,
    jwk: Jwk,
}

/// A key that could not be loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the key file {} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The file holds something else.
    #[error("the key file {} does not hold an Ed25519 key in PKCS#8 PEM form", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// A key of ours that cannot be written down or signed with.
    #[error("the key cannot be used: {0}")]
    Unusable(String),
}

impl SigningKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`KeyError::Unusable`], which would be a fault of the libraries.
    pub fn generate(entropy: &Entropy) -> Result<Self, KeyError> {
        Self::new(ed25519_dalek::SigningKey::from_bytes(&entropy.bytes::<32>()), entropy)
    }

    /// The key in the file; when there is no such file, a fresh key that is then there, readable by its owner only.
    ///
    /// Processes that start at the same moment end up with the same key.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path, entropy: &Entropy) -> Result<Self, KeyError> {
        match Self::load(path, entropy) {
            Err(KeyError::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                Self::generate(entropy)?.store(path)?;
                // Read back: another process may have been faster.
                Self::load(path, entropy)
            }
            loaded => loaded,
        }
    }

    /// The key in the file, PKCS#8 in PEM form.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn load(path: &Path, entropy: &Entropy) -> Result<Self, KeyError> {
        let file = |cause| KeyError::File { path: path.to_owned(), cause };
        let pem = std::fs::read_to_string(path).map_err(file)?;
        warn_if_open(path).map_err(file)?;
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(&pem)
            .map_err(|_| KeyError::Malformed { path: path.to_owned() })?;
        Self::new(key, entropy)
    }

    fn new(key: ed25519_dalek::SigningKey, entropy: &Entropy) -> Result<Self, KeyError> {
        let der = key.to_pkcs8_der().map_err(|error| KeyError::Unusable(error.to_string()))?;
        let encoding = EncodingKey::from_ed_der(der.as_bytes());
        let jwk = Jwk::of(&key.verifying_key());
        Ok(Self { key, encoding, entropy: entropy.clone(), jwk })
    }

    /// A token for `user`, made in `session`, valid from `now_ms` (milliseconds since the Unix epoch) for `ttl`.
    ///
    /// # Errors
    /// [`KeyError::Unusable`], which would be a fault of the libraries.
    pub fn sign(
        &self,
        user: UserId,
        session: Option<SessionId>,
        now_ms: i64,
        ttl: Duration,
    ) -> Result<String, KeyError> {
        let iat = now_ms.div_euclid(1000);
        let claims = WireClaims {
            iss: REALM.into(),
            aud: REALM.into(),
            sub: user,
            iat,
            exp: iat.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)),
            jti: URL_SAFE_NO_PAD.encode(self.entropy.bytes::<16>()),
            sid: session.map(|id| URL_SAFE_NO_PAD.encode(id)),
        };
        let header = Header { kid: Some(self.jwk.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.encoding).map_err(|error| KeyError::Unusable(error.to_string()))
    }

    /// A secret that only holders of this key can derive, the same one for the same `label` and `material`: an Ed25519
    /// signature is deterministic (RFC 8032, section 5.1.6), and its hash says nothing about it.
    #[must_use]
    pub fn derive(&self, label: &str, material: &[u8]) -> [u8; 32] {
        // No token begins with a zero byte, so nothing that is signed elsewhere is ever the same.
        let message = [&[0][..], label.as_bytes(), &[0], material].concat();
        Sha256::digest(self.key.sign(&message).to_bytes()).into()
    }

    /// The key set to publish.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        Jwks { keys: vec![self.jwk.clone()] }
    }

    /// Writes the key beside the file, synced, and gives it the file's name unless that is taken by then.
    fn store(&self, path: &Path) -> Result<(), KeyError> {
        let file = |cause| KeyError::File { path: path.to_owned(), cause };
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError::Unusable(error.to_string()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let suffix = URL_SAFE_NO_PAD.encode(self.entropy.bytes::<9>());
        let beside = folder.join(format!(".signing-key-{suffix}"));
        let stored = write_new(&beside, pem.as_bytes()).and_then(|()| match std::fs::hard_link(&beside, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
        let removed = std::fs::remove_file(&beside);
        stored.and(removed).and_then(|()| File::open(folder)?.sync_all()).map_err(file)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.jwk.kid).finish_non_exhaustive()
    }
}

/// A new file that only its owner can read.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A warning only: mounted secrets often cannot be had with narrower permissions.
fn warn_if_open(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path)?.permissions());
        if mode & 0o077 != 0 {
            let mode = format!("{:o}", mode & 0o777);
            tracing::warn!(path = %path.display(), mode, "the signing key can be read by others: chmod 600");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_loaded_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.pem");
        let first = SigningKey::load_or_create(&path, &Entropy::seeded(1)).unwrap();
        let second = SigningKey::load_or_create(&path, &Entropy::seeded(2)).unwrap();
        assert_eq!(first.jwks(), second.jwks());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let secret = URL_SAFE_NO_PAD.encode(first.key.to_bytes());
        assert!(!format!("{first:?}").contains(&secret));
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(SigningKey::load(&path, &Entropy::seeded(1)), Err(KeyError::Malformed { .. })));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = SigningKey::load_or_create(Path::new("/nowhere/key.pem"), &Entropy::seeded(1)).unwrap_err();
        assert!(error.to_string().contains("/nowhere/key.pem"), "{error}");
    }
}
