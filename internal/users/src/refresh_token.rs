//! Refresh tokens: the session's id and a secret that is good for one refresh.
//!
//! A token's successor is derived from it with the server's key, so that a client that lost the answer to a refresh is
//! given the same one again.

use api::{ApiError, ErrorCode};
use auth::{Secret, SessionId, SigningKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use host::Entropy;
use sha2::{Digest, Sha256};

/// A refresh token. The store keeps a hash of its secret only.
pub(crate) struct RefreshToken {
    pub(crate) session: SessionId,
    secret: [u8; 32],
}

impl RefreshToken {
    /// The first token of a session.
    pub(crate) fn new(session: SessionId, entropy: &Entropy) -> Self {
        Self { session, secret: entropy.bytes() }
    }

    /// The token that is given for this one.
    pub(crate) fn next(&self, key: &SigningKey) -> Self {
        let secret = key.derive("refresh token", &[&self.session[..], &self.secret[..]].concat());
        Self { session: self.session, secret }
    }

    pub(crate) fn parse(text: &Secret) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.expose()).unwrap_or_default();
        let (Some(session), Some(secret)) = (bytes.first_chunk(), bytes.last_chunk()) else {
            return Err(malformed());
        };
        if bytes.len() != session.len() + secret.len() {
            return Err(malformed());
        }
        Ok(Self { session: *session, secret: *secret })
    }

    /// What the store keeps. The secret has 256 random bits: a plain hash cannot be searched.
    pub(crate) fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    pub(crate) fn to_text(&self) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode([&self.session[..], &self.secret[..]].concat()))
    }
}

fn malformed() -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, "this is not a refresh token: sign in again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_successor_is_the_same_one_every_time_and_under_this_key_only() {
        let entropy = Entropy::seeded(1);
        let (key, other) = (SigningKey::generate(&entropy).unwrap(), SigningKey::generate(&entropy).unwrap());
        let token = RefreshToken::new([7; 16], &entropy);
        let next = token.next(&key);
        assert_eq!((next.session, next.secret), (token.session, token.next(&key).secret));
        assert_ne!(next.secret, token.secret);
        assert_ne!(next.secret, next.next(&key).secret);
        assert_ne!(next.secret, token.next(&other).secret);
    }

    #[test]
    fn a_token_can_be_parsed_and_others_cannot() {
        let token = RefreshToken::new([7; 16], &Entropy::seeded(1));
        let parsed = RefreshToken::parse(&token.to_text()).unwrap();
        assert_eq!((parsed.session, parsed.secret_hash()), ([7; 16], token.secret_hash()));
        for wrong in ["", "!", "AAAA", &format!("{}AAAA", token.to_text().expose())] {
            assert!(RefreshToken::parse(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }
}
