//! Refresh tokens that an earlier version has given out, or a replica that still runs it. There, a token's successor
//! was derived from it with the key that signs access tokens, and a seal made with that key stood where the family is
//! now.
//!
//! Such a token is judged by its hash like any other, even if the key is gone; its successor has the form of today. The
//! key is only needed to give a successor again and to tell a token that was used from one that was made up. None of
//! these lives longer than a session without a refresh ([`crate::REFRESH_TTL`]); then this module can go.

use auth::{KeyRing, SessionId};

use crate::refresh_token::{FAMILY_BYTES, RefreshToken};

/// The successor that the earlier version gave for this token.
pub(crate) fn successor(token: &RefreshToken, keys: &KeyRing) -> Option<RefreshToken> {
    let at = key_of(token, keys)?;
    let material = [&token.session[..], &token.secret[..]].concat();
    let secret = *keys.derive("refresh token", &material).get(at)?;
    let family = *seals(&token.session, &secret, keys).get(at)?;
    Some(RefreshToken { session: token.session, secret, family })
}

/// Whether the earlier version gave the token out, under a key of the ring.
pub(crate) fn is_genuine(token: &RefreshToken, keys: &KeyRing) -> bool {
    key_of(token, keys).is_some()
}

/// The key that made its seal, counted as [`KeyRing::derive`] does.
fn key_of(token: &RefreshToken, keys: &KeyRing) -> Option<usize> {
    // All bytes are compared, so that the time tells nothing.
    let same = |right: &[u8; FAMILY_BYTES]| {
        token.family.iter().zip(right).fold(0, |differing, (one, other)| differing | (one ^ other)) == 0
    };
    seals(&token.session, &token.secret, keys).iter().position(same)
}

/// The seal of every key.
fn seals(session: &SessionId, secret: &[u8; 32], keys: &KeyRing) -> Vec<[u8; FAMILY_BYTES]> {
    let derived = keys.derive("refresh token seal", &[&session[..], &secret[..]].concat());
    let seal = |derived: &[u8; 32]| *derived.first_chunk().expect("a seal is shorter than what is derived");
    derived.iter().map(seal).collect()
}

#[cfg(test)]
mod tests {
    use auth::SigningKey;
    use domain::UserId;
    use environment::{Clock, Entropy};
    use secret::Secret;
    use store::Session;

    use super::*;

    /// A key that everybody knows (RFC 8032, section 7.1, test 1).
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                       -----END PRIVATE KEY-----\n";
    /// Two tokens of a session, one after the other, as the earlier version made them with that key.
    const FIRST: &str = "BwcHBwcHBwcHBwcHBwcHBwkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJGk7MKU4p7C5MjddNEh3FOg";
    const SECOND: &str = "BwcHBwcHBwcHBwcHBwcHB4abDl9ydVzM3Fi9Nyu7F41V77Kjd-PSu9dHPIVByUa3WTFTO4mjphbyL9AdUHKyGw";

    fn of_file(text: &str) -> KeyRing {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        KeyRing::open(file.path(), &Clock::from_fn(|| 0), &Entropy::seeded(1)).unwrap()
    }

    fn another() -> KeyRing {
        let entropy = Entropy::seeded(1);
        KeyRing::of(SigningKey::generate(&entropy).unwrap(), &Clock::from_fn(|| 0), &entropy).unwrap()
    }

    #[test]
    fn tokens_of_the_earlier_version_are_known_by_its_key() {
        let (key, other) = (of_file(KEY), another());
        let parse = |text: &str| RefreshToken::parse(&Secret::new(text)).unwrap();
        let (first, second) = (parse(FIRST), parse(SECOND));
        let user = UserId::try_from(uuid::Uuid::from_bytes([7; 16])).unwrap();
        let secret_hash = second.secret_hash();
        let session = Session { id: [7; 16], user, secret_hash, expires_ms: 0, family: None };
        assert_eq!(first.successor(&session, &key).unwrap().to_text().expose(), SECOND);
        assert!(first.is_genuine(&session, &key) && !first.is_genuine(&session, &other));
        assert!(first.successor(&session, &other).is_none());
        assert!(second.is_current(&session) && second.is_genuine(&session, &other), "known by its hash");
        // Its successor is one of today, of a family of its own.
        let entropy = Entropy::seeded(2);
        let third = second.next(&session, &entropy);
        let replaced = Some(second.replaced_by(&third));
        let family = Some(store::TokenFamily { replaced, ..third.family() });
        let now = Session { secret_hash: third.secret_hash(), family, ..session };
        assert_eq!(second.successor(&now, &other).unwrap().to_text().expose(), third.to_text().expose());
        assert!(third.is_genuine(&now, &other) && third.next(&now, &entropy).family == third.family);
        // A token that was used before is found out, as long as the key is there.
        assert!(first.is_genuine(&now, &key) && !first.is_current(&now) && first.successor(&now, &key).is_none());
    }
}
