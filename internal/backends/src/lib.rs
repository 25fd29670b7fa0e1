//! The backends of a program in a cluster: Kafka, the CQL store and the schema registry.
//!
//! The engines may be slow to start, or down: a program waits for them with back-off, serves its health routes
//! meanwhile and reports there what it waits for. A fault that waiting cannot mend (topics that cannot keep the
//! promises, missing tables, a registry that refuses a schema) ends the program at once with an error. Only
//! `cmd/*` uses this crate.

mod bootstrap;
mod engine_metrics;
mod keys;
mod reader_metrics;

use std::time::Duration;

use anyhow::Context;
use environment::ErrorKind;
use eventlog::{LogError, SharedLog};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use events::{Codec, RegistryError};
use process::options::{KeyspaceOptions, LogOptions, StoreOptions};
use process::{Condition, ConfigFault, RetryError, retry_until_stopped};
use store::{Following, SharedStore, StoreError};
use store_scylla::{BadCredentials, BadKeyspace, Credentials, ScyllaConfig, ScyllaStore};

pub use bootstrap::Bootstrap;
pub use engine_metrics::EngineMetrics;
pub use keys::follow_keys;

/// How long the chat and socket services wait for an acknowledgement before they answer `unknown`.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long brokers hold a fetch of a service for which there is nothing new: a service to which nothing comes asks each
/// broker ten times a second. A partition that it begins to read waits as long at most.
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// The engines of a program.
#[derive(Clone)]
pub struct Engines {
    /// The event log.
    pub log: SharedLog,
    /// The store, as a handle that follows the current incarnation.
    pub store: SharedStore,
    /// Encodes records with the schema ids of the registry.
    pub codec: Codec,
}

impl Engines {
    /// Waits for all three, checks them and returns them; `None` when the program is asked to end meanwhile.
    ///
    /// # Errors
    /// A fault that waiting cannot mend.
    pub async fn connect(
        bootstrap: &Bootstrap,
        log: &LogOptions,
        store: &StoreOptions,
        delivery_timeout: Option<Duration>,
    ) -> anyhow::Result<Option<Self>> {
        let condition = bootstrap.readiness.condition("engines", "connecting");
        let connected = connect(bootstrap, &condition, log, store, delivery_timeout).await?;
        if connected.is_some() {
            condition.ready();
        }
        Ok(connected)
    }

    /// Finishes pending work and closes the engines, the log first, because nothing is written to it any more.
    pub async fn close(&self) {
        self.log.close().await;
        self.store.close().await;
    }
}

async fn connect(
    bootstrap: &Bootstrap,
    condition: &Condition,
    log: &LogOptions,
    store: &StoreOptions,
    delivery_timeout: Option<Duration>,
) -> anyhow::Result<Option<Engines>> {
    let (entropy, stop) = (&bootstrap.entropy, &bootstrap.stop);
    condition.not_ready("waiting for the schema registry");
    let codec = match &log.registry {
        None => Codec::compiled_in(),
        Some(url) => {
            match retry_until_stopped("reach the schema registry", entropy, stop, unreachable, || Codec::register(url))
                .await
            {
                Ok(codec) => codec,
                Err(RetryError::Stopped) => return Ok(None),
                Err(RetryError::Failed(error)) => return Err(ConfigFault::caused(error.to_string(), error).into()),
            }
        }
    };
    condition.not_ready(format!("waiting for Kafka at {}", log.kafka));
    let metrics = EngineMetrics::new(&bootstrap.metrics);
    let config = KafkaConfig {
        dev: log.dev,
        observers: metrics.kafka(),
        delivery_timeout,
        fetch_wait: FETCH_WAIT,
        ..KafkaConfig::new(log.kafka.clone(), format!("klatsch-{}", bootstrap.name))
    };
    let transient = LogError::is_transient;
    let kafka = match retry_until_stopped("reach Kafka", entropy, stop, transient, || KafkaLog::connect(config.clone()))
        .await
    {
        Ok(log) => log,
        Err(RetryError::Stopped) => return Ok(None),
        Err(RetryError::Failed(error)) => return Err(error).context("connecting to Kafka"),
    };
    let faults = match retry_until_stopped("look at the topics", entropy, stop, transient, || {
        ops::topics::check_topics(&*kafka)
    })
    .await
    {
        Ok(faults) => faults,
        Err(RetryError::Stopped) => return Ok(None),
        Err(RetryError::Failed(error)) => return Err(error).context("looking at the topics"),
    };
    ConfigFault::all(&faults)?;
    condition.not_ready(format!("waiting for the store at {}", store.cql.join(",")));
    let config = scylla_config(&store.cql, &store.keyspace, log.dev);
    let config = config.map_err(|error| ConfigFault::caused(error.to_string(), error))?;
    let config = ScyllaConfig { observer: ops::observers::store_requests(&bootstrap.metrics), ..config };
    let transient = StoreError::is_transient;
    let store =
        match retry_until_stopped("reach the store", entropy, stop, transient, || ScyllaStore::connect(config.clone()))
            .await
        {
            Ok(store) => store,
            Err(RetryError::Stopped) => return Ok(None),
            Err(RetryError::Failed(error)) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Misconfigured) => {
                return Err(ConfigFault::caused(error.to_string(), error).into());
            }
            Err(RetryError::Failed(error)) => return Err(error).context("connecting to the store"),
        };
    let store: SharedStore = Following::new(store);
    ops::versions::register(&bootstrap.metrics, &store);
    Ok(Some(Engines { log: kafka, store, codec }))
}

/// A fault in the options of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreOptionsError {
    /// The keyspace has no valid name.
    #[error(transparent)]
    Keyspace(#[from] BadKeyspace),
    /// Only one of role and password is given.
    #[error(transparent)]
    Credentials(#[from] BadCredentials),
}

/// The store's configuration with these nodes; in development one replica of every row is enough.
///
/// # Errors
/// When the keyspace has no valid name, or only one of role and password is given.
pub fn scylla_config(
    nodes: &[String],
    options: &KeyspaceOptions,
    dev: bool,
) -> Result<ScyllaConfig, StoreOptionsError> {
    let KeyspaceOptions { keyspace, cql_datacenter, cql_user, cql_password } = options;
    let credentials = Credentials::parse(cql_user.as_deref(), cql_password.as_ref())?;
    let config = ScyllaConfig::new(nodes.to_vec(), keyspace.parse()?);
    let replication_factor = if dev { 1 } else { config.replication_factor };
    Ok(ScyllaConfig { replication_factor, datacenter: cql_datacenter.clone(), credentials, ..config })
}

fn unreachable(error: &RegistryError) -> bool {
    match error {
        RegistryError::Unreachable { .. } => true,
        RegistryError::NotOne { .. } | RegistryError::Incompatible { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        store: StoreOptions,
    }

    #[test]
    fn the_store_is_used_as_the_options_say() {
        let given = ["program", "--cql", "s1:9042,s2:9042", "--cql-datacenter", "south"];
        let options = Options::parse_from(given).store;
        let config = scylla_config(&options.cql, &options.keyspace, false).unwrap();
        assert_eq!(config.contact_points, ["s1:9042", "s2:9042"]);
        assert_eq!((config.datacenter.as_deref(), config.replication_factor), (Some("south"), 3));
        assert!(config.credentials.is_none());
        // The role without its password, which has no command-line flag.
        let alone = KeyspaceOptions { cql_user: Some("klatsch".into()), cql_password: None, ..options.keyspace };
        assert!(scylla_config(&options.cql, &alone, false).unwrap_err().to_string().contains("without its password"));
    }
}
