//! The connection settings of the CQL server.

use std::num::NonZeroUsize;
use std::str::FromStr;

use secret::Secret;
use store::observer::Observer;

/// The longest name of a keyspace in bytes: both servers allow 48, and incarnations append to it.
const KEYSPACE_BYTES_MAX: usize = 36;

/// The connection settings of the CQL server.
#[derive(Debug, Clone)]
pub struct ScyllaConfig {
    /// `host:port` of some nodes; the driver finds the others through them.
    pub contact_points: Vec<String>,
    /// The base keyspace. Each incarnation has a keyspace of its own beside it.
    pub keyspace: Keyspace,
    /// The datacenter whose nodes are used, and whose quorum counts. `None` is allowed only with a single
    /// datacenter: each session then stays with the one that it found.
    pub datacenter: Option<String>,
    /// The number of replicas of every row, for keyspaces that are created.
    pub replication_factor: u8,
    /// The number of connections.
    pub pool: Pool,
    /// The credentials, if the server requires them.
    pub credentials: Option<Credentials>,
    /// Is told of every request.
    pub observer: Observer,
}

impl ScyllaConfig {
    /// Three copies, one connection per shard, no credentials.
    #[must_use]
    pub fn new(contact_points: Vec<String>, keyspace: Keyspace) -> Self {
        Self {
            contact_points,
            keyspace,
            datacenter: None,
            replication_factor: 3,
            pool: Pool::PerShard(NonZeroUsize::MIN),
            credentials: None,
            observer: Observer::default(),
        }
    }
}

/// The number of connections to each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// For ScyllaDB. A node of Cassandra counts as one shard.
    PerShard(NonZeroUsize),
    /// For Cassandra.
    PerHost(NonZeroUsize),
}

/// The credentials of this program.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The role.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// Incomplete credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCredentials {
    /// A role without a password.
    #[error("a role for the store was given without its password")]
    NoPassword,
    /// A password without a role.
    #[error("a password for the store was given without the role that it belongs to")]
    NoRole,
}

impl Credentials {
    /// Both or none.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn parse(username: Option<&str>, password: Option<&Secret>) -> Result<Option<Self>, BadCredentials> {
        match (username, password) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(BadCredentials::NoPassword),
            (None, Some(_)) => Err(BadCredentials::NoRole),
            (Some(username), Some(password)) => {
                Ok(Some(Self { username: username.to_owned(), password: password.clone() }))
            }
        }
    }
}

/// The name of a keyspace; it can be used in a statement without quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspace(String);

/// A text that cannot be the name of a keyspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' cannot name a keyspace: up to {KEYSPACE_BYTES_MAX} lower-case letters, digits and underscores, \
     beginning with a letter and not ending like an incarnation ('_i' and digits)"
)]
pub struct BadKeyspace(String);

impl Keyspace {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The name of an incarnation's keyspace.
    #[must_use]
    pub fn incarnation(&self, number: u32) -> String {
        format!("{}_i{number}", self.0)
    }

    /// The incarnation whose keyspace has that name.
    #[must_use]
    pub fn number_of(&self, name: &str) -> Option<u32> {
        name.strip_prefix(self.name())?.strip_prefix("_i")?.parse().ok()
    }
}

impl FromStr for Keyspace {
    type Err = BadKeyspace;

    fn from_str(text: &str) -> Result<Self, BadKeyspace> {
        let letters = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        let digits_off = text.trim_end_matches(|last: char| last.is_ascii_digit());
        let like_incarnation = digits_off.len() < text.len() && digits_off.ends_with("_i");
        if letters && begins && !like_incarnation && text.len() <= KEYSPACE_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadKeyspace(text.chars().take(64).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_need_no_quotes_and_cannot_be_mistaken_are_taken() {
        for good in ["klatsch", "k_2", "chat_iv"] {
            assert_eq!(good.parse::<Keyspace>().unwrap().incarnation(2), format!("{good}_i2"));
        }
        for bad in ["", "Klatsch", "2k", "a b", "a;drop", "klatsch_i7", &"a".repeat(37)] {
            assert!(bad.parse::<Keyspace>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_role_and_its_password_come_together() {
        assert!(Credentials::parse(None, None).unwrap().is_none());
        let both = Credentials::parse(Some("klatsch"), Some(&Secret::new("hidden"))).unwrap().unwrap();
        assert_eq!((both.username.as_str(), both.password.expose()), ("klatsch", "hidden"));
        assert_eq!(Credentials::parse(Some("klatsch"), None).unwrap_err(), BadCredentials::NoPassword);
        assert_eq!(Credentials::parse(None, Some(&Secret::new("hidden"))).unwrap_err(), BadCredentials::NoRole);
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = ScyllaConfig {
            credentials: Some(Credentials { username: "u".into(), password: Secret::new("hidden") }),
            ..ScyllaConfig::new(vec![], "k".parse().unwrap())
        };
        assert!(!format!("{config:?}").contains("hidden"));
    }
}
