//! The published keys: a JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::term::{self, Term};

/// More keys than this are not a key set of ours.
const KEYS_MAX: usize = 16;

/// A key set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys; tokens are signed with one of them.
    pub keys: Vec<Jwk>,
}

/// A public key. Members that Klatsch does not use are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    #[serde(default)]
    pub crv: String,
    /// The key's 32 bytes, unpadded base64url.
    #[serde(default)]
    pub x: String,
    /// Its id: the thumbprint of RFC 7638.
    #[serde(default)]
    pub kid: String,
    /// `EdDSA`.
    #[serde(default)]
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use", default)]
    pub usage: String,
    /// The time from which tokens are signed with it, seconds since the Unix epoch; absent where it has no beginning.
    /// For operators: verifiers accept every published key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_from: Option<i64>,
    /// The time until which tokens are signed with it, unless another key follows before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_until: Option<i64>,
}

/// A key set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// It could not be fetched: it may be there later.
    #[error("the keys at {location} cannot be fetched")]
    Unreachable {
        /// The URL or path.
        location: String,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is there is not a key set with a usable key.
    #[error("not a usable key set: {0}")]
    Malformed(String),
    /// The location is neither a URL nor a path that keys can be fetched from.
    #[error("{0}")]
    Location(String),
}

/// Keys ready to verify with, by id.
pub(crate) type Keys = BTreeMap<String, DecodingKey>;

impl Jwk {
    pub(crate) fn of(key: &VerifyingKey) -> Self {
        let x = URL_SAFE_NO_PAD.encode(key.as_bytes());
        Self {
            kid: thumbprint(&x),
            x,
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            alg: "EdDSA".into(),
            usage: "sig".into(),
            use_from: None,
            use_until: None,
        }
    }

    /// This key, with its term.
    pub(crate) fn of_term(&self, term: Term) -> Self {
        let seconds = |ms: i64| ms.div_euclid(1000);
        Self { use_from: term.begins_ms().map(seconds), use_until: term.until_ms.map(seconds), ..self.clone() }
    }

    fn is_ours(&self) -> bool {
        self.kty == "OKP" && self.crv == "Ed25519" && !self.kid.is_empty() && self.usage != "enc"
    }

    /// Checks the key: jsonwebtoken takes any bytes, and panics on too few of them when it verifies.
    pub(crate) fn decoding_key(&self) -> Result<DecodingKey, JwksError> {
        let fault = |what: &str| JwksError::Malformed(format!("the key '{}' {what}", self.kid));
        let bytes = URL_SAFE_NO_PAD.decode(&self.x).map_err(|_| fault("is not base64url"))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| fault("has not 32 bytes"))?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| fault("is not a point of Ed25519"))?;
        if key.is_weak() {
            return Err(fault("is a weak one"));
        }
        Ok(DecodingKey::from_ed_der(&bytes))
    }
}

impl Jwks {
    /// The keys that tokens can be verified with; keys of other kinds are left out.
    pub(crate) fn keys(&self) -> Result<Keys, JwksError> {
        if self.keys.len() > KEYS_MAX {
            return Err(JwksError::Malformed(format!("{} keys are too many", self.keys.len())));
        }
        let ours = self.keys.iter().filter(|key| key.is_ours());
        let keys: Keys =
            ours.map(|key| Ok((key.kid.clone(), key.decoding_key()?))).collect::<Result<_, JwksError>>()?;
        if keys.is_empty() {
            return Err(JwksError::Malformed("there is no Ed25519 key with an id in it".into()));
        }
        Ok(keys)
    }

    /// The time from which on none of the published keys signs, milliseconds since the Unix epoch; `None` when one
    /// always does. In the past where none signs now.
    #[must_use]
    pub fn signs_until_ms(&self, now_ms: i64) -> Option<i64> {
        let ms = |seconds: i64| seconds.saturating_mul(1000);
        let mut terms: Vec<Term> = self
            .keys
            .iter()
            .map(|key| Term { from_ms: key.use_from.map_or(Term::ALWAYS.from_ms, ms), until_ms: key.use_until.map(ms) })
            .collect();
        terms.sort_by_key(|term| term.from_ms);
        term::signs_until_ms(&terms, now_ms)
    }
}

/// RFC 7638: the hash of the key's required members in alphabetical order.
fn thumbprint(x: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8037, appendix A.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn key(x: &str) -> Jwk {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(X).unwrap().try_into().unwrap();
        Jwk { x: x.into(), ..Jwk::of(&VerifyingKey::from_bytes(&bytes).unwrap()) }
    }

    #[test]
    fn the_id_of_a_key_is_the_thumbprint_of_the_rfc() {
        assert_eq!(thumbprint(X), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let json = serde_json::to_value(Jwks { keys: vec![key(X)] }).unwrap();
        assert_eq!(json["keys"][0]["use"], "sig");
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused_with_the_reason() {
        assert_eq!(Jwks { keys: vec![key(X)] }.keys().unwrap().len(), 1);
        for (x, reason) in [("AAAA", "32 bytes"), ("?", "base64url"), (&"A".repeat(43), "weak")] {
            let error = Jwks { keys: vec![key(x)] }.keys().err().unwrap();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let other = Jwk { kty: "RSA".into(), ..key(X) };
        assert!(Jwks { keys: vec![other] }.keys().is_err());
    }
}
