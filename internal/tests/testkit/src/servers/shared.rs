//! One server of each kind for all tests of a process, or the one that the environment names.
//!
//! The servers are kept in statics, which are never dropped: the guard of each (see [`super::process`]) ends it when
//! the process ends. Tests share them safely by using fresh names for topics, keyspaces and subjects.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::{Cassandra, GIVEN_CQL, GIVEN_KAFKA, GIVEN_REGISTRY, Kafka, Registry, probe};

/// How long a server named by the environment may take to answer, on a busy machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// `host:port` of a Kafka that tests share.
///
/// # Errors
/// When the named one does not answer, or none can be started.
pub async fn shared_kafka() -> Result<String> {
    static STARTED: OnceCell<Kafka> = OnceCell::const_new();
    if let Some(address) = given(GIVEN_KAFKA) {
        answered(|| probe::kafka(&address)).await.with_context(|| unanswered(GIVEN_KAFKA, &address))?;
        return Ok(address);
    }
    Ok(STARTED.get_or_try_init(Kafka::start).await?.bootstrap().to_owned())
}

/// `host:port` of a CQL server that tests share.
///
/// # Errors
/// When the named one does not answer, or none can be started.
pub async fn shared_cql() -> Result<String> {
    static STARTED: OnceCell<Cassandra> = OnceCell::const_new();
    if let Some(address) = given(GIVEN_CQL) {
        answered(|| probe::cql(&address)).await.with_context(|| unanswered(GIVEN_CQL, &address))?;
        return Ok(address);
    }
    Ok(STARTED.get_or_try_init(Cassandra::start).await?.address().to_owned())
}

/// URL of a schema registry that tests share.
///
/// # Errors
/// When the named one does not answer, or none can be started.
pub async fn shared_registry() -> Result<String> {
    static STARTED: OnceCell<Registry> = OnceCell::const_new();
    if let Some(url) = given(GIVEN_REGISTRY) {
        answered(|| probe::registry(&url)).await.with_context(|| unanswered(GIVEN_REGISTRY, &url))?;
        return Ok(url);
    }
    Ok(STARTED.get_or_try_init(Registry::start).await?.url().to_owned())
}

/// Retries until there is an answer: a server that many tests share may be busy.
async fn answered<T>(ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + ANSWERS_WITHIN;
    loop {
        match ask().await {
            Err(_) if Instant::now() < deadline => sleep(ASK_EVERY).await,
            answer => return answer,
        }
    }
}

fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

fn unanswered(variable: &str, address: &str) -> String {
    format!("{variable} names {address}, which does not answer as it should")
}
