//! Refresh tokens: the session's id, a secret that is good for one refresh, and a seal over both.
//!
//! A token's successor is derived from it with the server's key, so that a client that lost the answer to a refresh is
//! given the same one again. The seal tells a token that was given out once from one that was made up: a session's id
//! stands in its access tokens for everybody to read, so the id alone must not be enough to end the session.

use api::ApiError;
use auth::{SessionId, SigningKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use host::Entropy;
use protocol::ErrorCode;
use secret::Secret;
use sha2::{Digest, Sha256};

/// Bytes of a seal: as many as nobody guesses.
const SEAL_BYTES: usize = 16;

type Seal = [u8; SEAL_BYTES];

/// A refresh token. The store keeps a hash of its secret only.
pub(crate) struct RefreshToken {
    pub(crate) session: SessionId,
    secret: [u8; 32],
    /// As it came, or as it must be.
    seal: Seal,
}

impl RefreshToken {
    /// The first token of a session.
    pub(crate) fn new(session: SessionId, entropy: &Entropy, key: &SigningKey) -> Self {
        Self::sealed(session, entropy.bytes(), key)
    }

    fn sealed(session: SessionId, secret: [u8; 32], key: &SigningKey) -> Self {
        Self { session, secret, seal: seal(&session, &secret, key) }
    }

    /// The same token, with the seal that it must have.
    pub(crate) fn again(&self, key: &SigningKey) -> Self {
        Self::sealed(self.session, self.secret, key)
    }

    /// The token that is given for this one.
    pub(crate) fn next(&self, key: &SigningKey) -> Self {
        let secret = key.derive("refresh token", &[&self.session[..], &self.secret[..]].concat());
        Self::sealed(self.session, secret, key)
    }

    /// Whether it was given out under this key, be it long ago.
    pub(crate) fn is_genuine(&self, key: &SigningKey) -> bool {
        let right = seal(&self.session, &self.secret, key);
        // All bytes are looked at, so that the time says nothing.
        self.seal.iter().zip(right).fold(0, |differing, (one, other)| differing | (one ^ other)) == 0
    }

    /// A token by its form; whether it is one, [`Self::is_genuine`] and the store's hash tell.
    pub(crate) fn parse(text: &Secret) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.expose()).unwrap_or_default();
        let parts = bytes.split_first_chunk().and_then(|(session, rest)| {
            let (secret, seal) = rest.split_first_chunk()?;
            Some(Self { session: *session, secret: *secret, seal: seal.try_into().ok()? })
        });
        parts.ok_or_else(no_token)
    }

    /// What the store keeps. The secret has 256 random bits: a plain hash cannot be searched.
    pub(crate) fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    pub(crate) fn to_text(&self) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode([&self.session[..], &self.secret[..], &self.seal[..]].concat()))
    }
}

fn seal(session: &SessionId, secret: &[u8; 32], key: &SigningKey) -> Seal {
    let derived = key.derive("refresh token seal", &[&session[..], &secret[..]].concat());
    *derived.first_chunk().expect("a seal is shorter than what is derived")
}

/// What is presented was never given out.
pub(crate) fn no_token() -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, "this is not a refresh token: sign in again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_successor_is_the_same_one_every_time_and_under_this_key_only() {
        let entropy = Entropy::seeded(1);
        let (key, other) = (SigningKey::generate(&entropy).unwrap(), SigningKey::generate(&entropy).unwrap());
        let token = RefreshToken::new([7; 16], &entropy, &key);
        let next = token.next(&key);
        assert_eq!((next.session, next.secret), (token.session, token.next(&key).secret));
        assert_ne!(next.secret, token.secret);
        assert_ne!(next.secret, next.next(&key).secret);
        assert_ne!(next.secret, token.next(&other).secret);
    }

    #[test]
    fn a_token_can_be_parsed_and_others_cannot() {
        let entropy = Entropy::seeded(1);
        let token = RefreshToken::new([7; 16], &entropy, &SigningKey::generate(&entropy).unwrap());
        let parsed = RefreshToken::parse(&token.to_text()).unwrap();
        assert_eq!((parsed.session, parsed.secret_hash()), ([7; 16], token.secret_hash()));
        for wrong in ["", "!", "AAAA", &format!("{}AAAA", token.to_text().expose())] {
            assert!(RefreshToken::parse(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_that_was_given_out_is_told_from_one_that_was_made_up() {
        let entropy = Entropy::seeded(1);
        let (key, other) = (SigningKey::generate(&entropy).unwrap(), SigningKey::generate(&entropy).unwrap());
        let token = RefreshToken::new([7; 16], &entropy, &key);
        for genuine in [RefreshToken::parse(&token.to_text()).unwrap(), token.next(&key), token.next(&key).next(&key)] {
            assert!(genuine.is_genuine(&key) && !genuine.is_genuine(&other));
        }
        let bytes = URL_SAFE_NO_PAD.decode(token.to_text().expose()).unwrap();
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            let forged = RefreshToken::parse(&Secret::new(URL_SAFE_NO_PAD.encode(bytes))).unwrap();
            assert!(!forged.is_genuine(&key), "byte {place}");
        }
    }
}
