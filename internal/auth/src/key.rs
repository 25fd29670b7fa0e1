//! A key that tokens are signed with.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::UserId;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use environment::Entropy;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sha2::{Digest as _, Sha256};

use crate::{Jwk, Jwks, REALM, SessionId, WireClaims};

/// A signing key. Its secret shows in no debug output.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    encoding: EncodingKey,
    /// Makes the tokens' ids.
    entropy: Entropy,
    jwk: Jwk,
}

/// A key that could not be loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the key file {} cannot be read or written", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The file has other content.
    #[error("the key file {} holds no ring of Ed25519 keys in PKCS#8 PEM form: {words}", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        words: String,
    },
    /// The change would refuse tokens that are valid, or is not possible.
    #[error("{0}")]
    Refused(String),
    /// No key signs now.
    #[error("no signing key signs now: add one with 'klatschctl keys add'")]
    NoneSigns,
    /// A key of ours that cannot be serialized or signed with.
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

    pub(crate) fn new(key: ed25519_dalek::SigningKey, entropy: &Entropy) -> Result<Self, KeyError> {
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
        // No token begins with a zero byte, so no signature of a token is ever the same.
        let message = [&[0][..], label.as_bytes(), &[0], material].concat();
        Sha256::digest(self.key.sign(&message).to_bytes()).into()
    }

    /// Its id: the `kid` of its tokens.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.jwk.kid
    }

    pub(crate) fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// The key as PKCS#8 in PEM form: a secret.
    pub(crate) fn to_pem(&self) -> Result<String, KeyError> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError::Unusable(error.to_string()))?;
        Ok(pem.to_string())
    }

    /// The key set of this key alone.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        Jwks { keys: vec![self.jwk.clone()] }
    }

    /// Writes the key to a file beside `path`, synced, and renames it to `path` unless that exists by then.
    pub(crate) fn store(&self, path: &Path) -> Result<(), KeyError> {
        let file = |cause| KeyError::File { path: path.to_owned(), cause };
        let (beside, folder) = beside(path, &self.entropy);
        let stored =
            write_new(&beside, self.to_pem()?.as_bytes()).and_then(|()| match std::fs::hard_link(&beside, path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            });
        let removed = std::fs::remove_file(&beside);
        stored.and(removed).and_then(|()| File::open(folder)?.sync_all()).map_err(file)
    }
}

/// Replaces the file's text atomically, synced.
pub(crate) fn replace(path: &Path, text: &str, entropy: &Entropy) -> Result<(), KeyError> {
    let file = |cause| KeyError::File { path: path.to_owned(), cause };
    let (beside, folder) = beside(path, entropy);
    let replaced = write_new(&beside, text.as_bytes()).and_then(|()| std::fs::rename(&beside, path));
    if replaced.is_err() {
        // A file that is left behind is readable by its owner only.
        let _ = std::fs::remove_file(&beside);
    }
    replaced.and_then(|()| File::open(folder)?.sync_all()).map_err(file)
}

/// An unused name beside the file, and the folder.
fn beside<'a>(path: &'a Path, entropy: &Entropy) -> (PathBuf, &'a Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let suffix = URL_SAFE_NO_PAD.encode(entropy.bytes::<9>());
    (folder.join(format!(".signing-key-{suffix}")), folder)
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

/// A warning only: mounted secrets often cannot have narrower permissions.
pub(crate) fn warn_if_open(path: &Path) -> io::Result<()> {
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
    fn the_secret_of_a_key_shows_in_no_debug_output() {
        let key = SigningKey::generate(&Entropy::seeded(1)).unwrap();
        let secret = URL_SAFE_NO_PAD.encode(key.key.to_bytes());
        assert!(!format!("{key:?}").contains(&secret));
        assert!(format!("{key:?}").contains(key.id()));
    }
}
