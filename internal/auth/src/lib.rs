//! Access tokens: signed by the user service, verified locally by all others.
//!
//! A token is a JWT signed with Ed25519 (`EdDSA`). Verifying it takes only the public keys, a small JSON document
//! (JWKS) that the user service publishes; no token is ever sent anywhere to be checked. Expiry is judged by the clock
//! that was passed in.

mod ended;
mod jwks;
mod key;
mod key_file;
mod ring;
mod ring_file;
mod source;
mod term;
mod verifier;

use domain::UserId;

pub use ended::{ENDED_KEPT, ENDED_POLL, EndedSessions, SessionWatch};
pub use jwks::{Jwk, Jwks, JwksError};
pub use key::{KeyError, SigningKey};
pub use key_file::{KeyFile, KeyRow, PUBLISHED_BEFORE_USE};
pub use ring::{KNOWN_BEFORE_USE, KeyRing, RING_READ_EVERY};
pub use term::{KeyState, VERIFIED_AFTER};
pub use verifier::{LEEWAY, REFRESH_EVERY, Verifier};

/// The issuer and the audience of every token: `iss` and `aud`.
const REALM: &str = "klatsch";

/// The bytes of a session's id.
pub type SessionId = [u8; 16];

/// The content of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The token's user.
    pub user: UserId,
    /// The session that it was made in, if any.
    pub session: Option<SessionId>,
    /// When it ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
    /// Not a token, not signed by a known key, or not for this service.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// Its session was ended.
    #[error("the token's session was ended")]
    SessionEnded,
    /// The keys to verify it with are not available at the moment: ask again.
    #[error("the keys to verify the token with are not there yet")]
    KeysUnavailable,
}

/// The claims in the token's JSON.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct WireClaims {
    iss: String,
    aud: String,
    sub: UserId,
    /// When it was made, seconds since the Unix epoch, as `exp`.
    iat: i64,
    exp: i64,
    jti: String,
    /// The session, as unpadded base64url.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sid: Option<String>,
}
