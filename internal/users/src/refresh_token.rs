//! Refresh tokens: the session's id and a secret that is good for one refresh.

use api::{ApiError, ErrorCode};
use auth::{Secret, SessionId};
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
    /// A fresh token for a session.
    pub(crate) fn new(session: SessionId, entropy: &Entropy) -> Self {
        Self { session, secret: entropy.bytes() }
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
    fn a_token_can_be_parsed_and_others_cannot() {
        let token = RefreshToken::new([7; 16], &Entropy::seeded(1));
        let parsed = RefreshToken::parse(&token.to_text()).unwrap();
        assert_eq!((parsed.session, parsed.secret_hash()), ([7; 16], token.secret_hash()));
        for wrong in ["", "!", "AAAA", &format!("{}AAAA", token.to_text().expose())] {
            assert!(RefreshToken::parse(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }
}
