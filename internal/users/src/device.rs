//! Known devices: each device that signed in before has sign-in attempts of its own, which no stranger can use up.
//!
//! A sign-in answers with a device token: a random id and a seal over it and the name, which only this service can make.
//! The device keeps it and shows it at the next sign-in to that name. It proves nothing but that; nothing is stored.
//! The seal is made with the newest key of the ring and valid under every key that is in it: a token whose key was
//! removed is worth nothing, and the next sign-in gives another one.
//!
//! Unlike refresh tokens, it is sealed with the keys that sign access tokens, because it is no credential. When those keys
//! are lost, a device counts as unknown for one sign-in; whoever has stolen one of them can sign access tokens, and needs
//! no sign-in attempts.

use auth::KeyRing;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secret::Secret;

/// Bytes of an id, and of a seal.
const BYTES: usize = 16;

/// A device's id.
pub(crate) type DeviceId = [u8; BYTES];

/// The token of a device that signed in to `name`.
pub(crate) fn token(id: DeviceId, name: &str, keys: &KeyRing) -> Secret {
    let seal = seals(&id, name, keys).next().expect("a ring has keys");
    Secret::new(URL_SAFE_NO_PAD.encode([id, seal].concat()))
}

/// The device's id, if the token is one for this name. An invalid token counts like none.
pub(crate) fn of_token(token: &Secret, name: &str, keys: &KeyRing) -> Option<DeviceId> {
    let bytes = URL_SAFE_NO_PAD.decode(token.expose()).ok()?;
    let (id, given) = bytes.split_first_chunk::<BYTES>()?;
    // All bytes of all seals are compared, so that the time tells nothing.
    let differing = |right: [u8; BYTES]| {
        given.iter().zip(right).fold(given.len() ^ BYTES, |all, (one, other)| all | usize::from(one ^ other))
    };
    let good = seals(id, name, keys).map(differing).filter(|differing| *differing == 0).count();
    (good > 0).then_some(*id)
}

/// The seal of every key, that of the newest one first.
fn seals(id: &DeviceId, name: &str, keys: &KeyRing) -> impl Iterator<Item = [u8; BYTES]> {
    let derived = keys.derive("device token", &[&id[..], name.as_bytes()].concat());
    derived.into_iter().map(|derived| *derived.first_chunk().expect("a seal is shorter than what is derived"))
}

#[cfg(test)]
mod tests {
    use auth::SigningKey;
    use environment::{Clock, Entropy};

    use super::*;

    #[test]
    fn a_token_is_good_for_its_name_and_cannot_be_made_up() {
        let entropy = Entropy::seeded(1);
        let ring = || KeyRing::of(SigningKey::generate(&entropy).unwrap(), &Clock::from_fn(|| 0), &entropy).unwrap();
        let (key, other) = (ring(), ring());
        let given = token([7; 16], "ann", &key);
        assert_eq!(of_token(&given, "ann", &key), Some([7; 16]));
        assert_eq!((of_token(&given, "bob", &key), of_token(&given, "ann", &other)), (None, None));
        let bytes = URL_SAFE_NO_PAD.decode(given.expose()).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(of_token(&Secret::new(URL_SAFE_NO_PAD.encode(bytes)), "ann", &key), None, "byte {at}");
        }
        for wrong in ["", "!", "AAAA", &format!("{}AA", given.expose())] {
            assert_eq!(of_token(&Secret::new(wrong), "ann", &key), None, "{wrong}");
        }
    }
}
