//! The log and the store, opened directly for the oracle.

use std::path::Path;

use anyhow::{Context as _, Result};
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{Commit, NewRecord, SharedLog, TopicPartition, append};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use events::Codec;
use events::topics::{self, GROUP_FANOUT, MESSAGES, RECEIPTS, USERS, spec_of};
use store::SharedStore;
use store::embedded::EmbeddedStore;
use store_scylla::{ScyllaConfig, ScyllaStore};

use crate::programs::Cluster;

/// A log, a store, and the codec of their records.
#[derive(Clone)]
pub struct Engines {
    /// The log.
    pub log: SharedLog,
    /// The store.
    pub store: SharedStore,
    /// Decodes records by the fingerprints of their schemas, so it needs no registry.
    pub codec: Codec,
}

impl Engines {
    /// Opens the embedded engines in the data folder of a `klatsch` that is not running.
    ///
    /// # Errors
    /// When it is running, or the folder is no data folder.
    pub async fn embedded(data: &Path) -> Result<Self> {
        let database = kv::Database::open(&data.join("db")).context("opening the data folder")?;
        let log = EmbeddedLog::open(database.clone(), Clock::system()).await.context("opening the log")?;
        let store = EmbeddedStore::open(database, Clock::system()).await.context("opening the store")?;
        Ok(Self { log, store, codec: Codec::compiled_in() })
    }

    /// Opens the engines of a cluster, whose programs may be running.
    ///
    /// # Errors
    /// When the servers cannot be reached.
    pub async fn cluster(cluster: &Cluster) -> Result<Self> {
        let config = KafkaConfig { dev: true, ..KafkaConfig::new(cluster.kafka(), "klatsch-oracle") };
        let log = KafkaLog::connect(config).await.context("connecting to Kafka")?;
        let (address, keyspace) = cluster.cql();
        let config = ScyllaConfig::new(vec![address.to_owned()], keyspace.parse()?);
        let store = ScyllaStore::connect(config).await.context("connecting to the store")?;
        Ok(Self { log, store, codec: Codec::compiled_in() })
    }

    /// Closes both.
    pub async fn close(self) {
        self.log.close().await;
        self.store.close().await;
    }
}

/// Writes the genesis records and the fan-out's first commits to topics that exist, as `topics apply` does: for logs
/// without administration, or that need none.
///
/// # Errors
/// When the log cannot be written.
pub async fn lay_out(log: &SharedLog, codec: &Codec, entropy: &Entropy) -> Result<()> {
    for spec in topics::all() {
        for partition in 0..spec.partitions {
            let encoded = codec.genesis(entropy.bytes(), spec.generation);
            let (headers, payload) = (encoded.headers, encoded.payload);
            let record = NewRecord { key: "genesis".into(), partition: Some(partition), headers, payload };
            append(&**log, &spec.name, record).await?;
        }
    }
    let begin = Commit { next: 0, metadata: String::new() };
    let of = |topic: &'static str| (0..spec_of(topic).partitions).map(move |one| TopicPartition::new(topic, one));
    let commits: Vec<_> = [MESSAGES, RECEIPTS, USERS].into_iter().flat_map(of).map(|at| (at, begin.clone())).collect();
    log.commit_offline(GROUP_FANOUT, &commits).await.context("committing the fan-out's first positions")
}
