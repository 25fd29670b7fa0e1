//! Refresh tokens: the session's id, a secret that is valid for one refresh, and a random value that all tokens of the
//! session share, its family. The store keeps hashes of secret and family, and nothing else is needed to judge a token:
//! no key.
//!
//! A client that lost the answer to a refresh gets the same successor again: the store keeps it encrypted with the
//! secret of the token that it replaces, which only the client has. The family tells a token that was given out once
//! from one that was made up: a session's id can be read in its access tokens, so the id alone must not be enough to
//! end the session.

use api::ApiError;
use auth::{KeyRing, SessionId};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use environment::Entropy;
use protocol::ErrorCode;
use secret::Secret;
use sha2::{Digest, Sha256};
use store::{ReplacedToken, Session, TokenFamily};

use crate::earlier_tokens;

/// Bytes of a family: too many to guess.
pub(crate) const FAMILY_BYTES: usize = 16;

/// A refresh token.
#[derive(Clone)]
pub(crate) struct RefreshToken {
    pub(crate) session: SessionId,
    pub(crate) secret: [u8; 32],
    /// In tokens of an earlier version, a seal.
    pub(crate) family: [u8; FAMILY_BYTES],
}

impl RefreshToken {
    /// The first token of a session.
    pub(crate) fn new(session: SessionId, entropy: &Entropy) -> Self {
        Self { session, secret: entropy.bytes(), family: entropy.bytes() }
    }

    /// A successor of this token, in its family if that is the session's. A token of an earlier version has none.
    pub(crate) fn next(&self, session: &Session, entropy: &Entropy) -> Self {
        Self { session: self.session, secret: entropy.bytes(), family: self.family_of_next(session) }
    }

    /// Whether this is the session's current token.
    pub(crate) fn is_current(&self, session: &Session) -> bool {
        session.secret_hash == self.secret_hash()
    }

    /// The session's current token, if this is the one that it replaced.
    pub(crate) fn successor(&self, session: &Session, keys: &KeyRing) -> Option<Self> {
        let replaced = session.family.as_ref().and_then(|family| family.replaced.as_ref());
        let kept = replaced.filter(|replaced| replaced.secret_hash == self.secret_hash());
        let kept = kept.map(|replaced| {
            let (secret, family) = (self.crypt(replaced.successor), self.family_of_next(session));
            Self { session: self.session, secret, family }
        });
        // A replica of an earlier version may have left an outdated successor in the row.
        kept.or_else(|| earlier_tokens::successor(self, keys)).filter(|next| next.is_current(session))
    }

    /// Whether the token was ever given out in this session.
    pub(crate) fn is_genuine(&self, session: &Session, keys: &KeyRing) -> bool {
        self.is_current(session) || self.is_of_family(session) || earlier_tokens::is_genuine(self, keys)
    }

    /// The hash of this token's family that the store keeps.
    pub(crate) fn family(&self) -> TokenFamily {
        TokenFamily { hash: Sha256::digest(self.family).into(), replaced: None }
    }

    /// What the store keeps so that `next` can be given for this token again.
    pub(crate) fn replaced_by(&self, next: &Self) -> ReplacedToken {
        ReplacedToken { secret_hash: self.secret_hash(), successor: self.crypt(next.secret) }
    }

    /// Parses the form of a token; only the session tells whether it is valid.
    pub(crate) fn parse(text: &Secret) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.expose()).unwrap_or_default();
        let parts = bytes.split_first_chunk().and_then(|(session, rest)| {
            let (secret, family) = rest.split_first_chunk()?;
            Some(Self { session: *session, secret: *secret, family: family.try_into().ok()? })
        });
        parts.ok_or_else(no_token)
    }

    /// The hash that the store keeps. The secret has 256 random bits: a plain hash cannot be searched.
    pub(crate) fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    pub(crate) fn to_text(&self) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode([&self.session[..], &self.secret[..], &self.family[..]].concat()))
    }

    /// The family of this token's successor. The successor of a token of an earlier version starts one, derived from
    /// the token's secret.
    fn family_of_next(&self, session: &Session) -> [u8; FAMILY_BYTES] {
        if self.is_of_family(session) {
            return self.family;
        }
        let derived = self.derive("klatsch: the family of a refresh token");
        *derived.first_chunk().expect("a family is shorter than what is derived")
    }

    fn is_of_family(&self, session: &Session) -> bool {
        session.family.as_ref().is_some_and(|family| family.hash == self.family().hash)
    }

    /// Encrypts a successor's secret with this token's, or decrypts it. The pad is used once: a token is replaced once,
    /// and no one sees a successor that is not stored.
    fn crypt(&self, secret: [u8; 32]) -> [u8; 32] {
        let pad = self.derive("klatsch: the successor of a refresh token");
        std::array::from_fn(|at| secret[at] ^ pad[at])
    }

    /// A value that can only be computed with the secret.
    fn derive(&self, label: &str) -> [u8; 32] {
        Sha256::new().chain_update(label).chain_update(self.session).chain_update(self.secret).finalize().into()
    }
}

/// The refusal of a token that was never given out.
pub(crate) fn no_token() -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, "this is not a refresh token: sign in again")
}

#[cfg(test)]
mod tests {
    use auth::SigningKey;
    use domain::UserId;
    use environment::Clock;

    use super::*;

    fn ring(entropy: &Entropy) -> KeyRing {
        KeyRing::of(SigningKey::generate(entropy).unwrap(), &Clock::from_fn(|| 0), entropy).unwrap()
    }

    fn session(token: &RefreshToken) -> Session {
        let user = UserId::try_from(uuid::Uuid::from_bytes([7; 16])).unwrap();
        let family = Some(token.family());
        Session { id: token.session, user, secret_hash: token.secret_hash(), expires_ms: 0, family }
    }

    /// The session after `next` has replaced `token`.
    fn rotated(token: &RefreshToken, next: &RefreshToken) -> Session {
        let family = TokenFamily { replaced: Some(token.replaced_by(next)), ..next.family() };
        Session { family: Some(family), ..session(next) }
    }

    #[test]
    fn only_a_token_that_was_replaced_last_has_its_successor() {
        let entropy = Entropy::seeded(1);
        let key = ring(&entropy);
        let first = RefreshToken::new([7; 16], &entropy);
        let second = first.next(&session(&first), &entropy);
        let after = rotated(&first, &second);
        assert_ne!(first.secret, second.secret);
        assert_eq!(first.successor(&after, &key).unwrap().to_text().expose(), second.to_text().expose());
        assert!(second.successor(&after, &key).is_none());
        let third = second.next(&after, &entropy);
        assert!(first.successor(&rotated(&second, &third), &key).is_none());
        // Reading the store and knowing the session's id does not give a valid token.
        let kept = after.family.unwrap().replaced.unwrap();
        assert!(kept.successor != second.secret && kept.secret_hash != first.secret);
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

    #[test]
    fn a_token_that_was_given_out_is_told_from_one_that_was_made_up() {
        let entropy = Entropy::seeded(1);
        let key = ring(&entropy);
        let first = RefreshToken::new([7; 16], &entropy);
        let second = first.next(&session(&first), &entropy);
        let third = second.next(&rotated(&first, &second), &entropy);
        let now = rotated(&second, &third);
        assert!([&first, &second, &third].iter().all(|token| token.is_genuine(&now, &key)));
        assert!(!RefreshToken::new([7; 16], &entropy).is_genuine(&now, &key));
        for at in 0..FAMILY_BYTES {
            let mut forged = first.clone();
            forged.family[at] ^= 1;
            assert!(!forged.is_genuine(&now, &key), "byte {at}");
        }
    }
}
