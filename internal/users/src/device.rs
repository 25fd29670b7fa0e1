//! Devices that signed in before: each has a share of sign-ins of its own, which no stranger can use up.
//!
//! A sign-in answers with a device token: a random id and a seal over it and the name, which only this service can make.
//! The device keeps it and shows it at the next sign-in to that name. It proves nothing but that; nothing is stored.

use auth::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secret::Secret;

/// Bytes of an id, and of a seal.
const BYTES: usize = 16;

/// A device's id.
pub(crate) type DeviceId = [u8; BYTES];

/// The token of a device that signed in to `name`.
pub(crate) fn token(id: DeviceId, name: &str, key: &SigningKey) -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode([id, seal(&id, name, key)].concat()))
}

/// The device, if the token is one of this name. Others are as good as none.
pub(crate) fn of_token(token: &Secret, name: &str, key: &SigningKey) -> Option<DeviceId> {
    let bytes = URL_SAFE_NO_PAD.decode(token.expose()).ok()?;
    let (id, given) = bytes.split_first_chunk::<BYTES>()?;
    let right = seal(id, name, key);
    // All bytes are looked at, so that the time says nothing.
    let differing =
        given.iter().zip(right).fold(given.len() ^ BYTES, |all, (one, other)| all | usize::from(one ^ other));
    (differing == 0).then_some(*id)
}

fn seal(id: &DeviceId, name: &str, key: &SigningKey) -> [u8; BYTES] {
    let derived = key.derive("device token", &[&id[..], name.as_bytes()].concat());
    *derived.first_chunk().expect("a seal is shorter than what is derived")
}

#[cfg(test)]
mod tests {
    use host::Entropy;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_name_and_cannot_be_made_up() {
        let entropy = Entropy::seeded(1);
        let (key, other) = (SigningKey::generate(&entropy).unwrap(), SigningKey::generate(&entropy).unwrap());
        let given = token([7; 16], "ann", &key);
        assert_eq!(of_token(&given, "ann", &key), Some([7; 16]));
        assert_eq!((of_token(&given, "bob", &key), of_token(&given, "ann", &other)), (None, None));
        let bytes = URL_SAFE_NO_PAD.decode(given.expose()).unwrap();
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            assert_eq!(of_token(&Secret::new(URL_SAFE_NO_PAD.encode(bytes)), "ann", &key), None, "byte {place}");
        }
        for wrong in ["", "!", "AAAA", &format!("{}AA", given.expose())] {
            assert_eq!(of_token(&Secret::new(wrong), "ann", &key), None, "{wrong}");
        }
    }
}
