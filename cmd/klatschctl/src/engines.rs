//! Choosing and opening the engines. No other file of this program names them.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use backends::scylla_config;
use clap::Args;
use environment::Clock;
use eventlog::SharedLog;
use eventlog::embedded::EmbeddedLog;
use eventlog_kafka::{KafkaConfig, KafkaLog};
use kv::{Database, KvError};
use operate::migrates_when_opened;
use ops::OpsError;
use process::options::KeyspaceOptions;
use store::SharedStore;
use store::embedded::EmbeddedStore;
use store_scylla::{ScyllaConfig, ScyllaStore};

/// The heading of the options that name the engines.
const ENGINES: &str = "Which Klatsch: a data folder, or servers";

/// The engines to work on: the data folder of a 'klatsch', or servers.
#[derive(Debug, Clone, Args)]
pub(crate) struct EngineOptions {
    /// The data folder of 'klatsch'. If 'klatsch' is running, it executes the command
    #[arg(long, global = true, help_heading = ENGINES, env = "KLATSCH_DATA", value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Kafka brokers to begin with
    #[arg(long, global = true, help_heading = ENGINES, env = "KLATSCH_KAFKA", value_name = "HOST:PORT,...")]
    pub(crate) kafka: Option<String>,
    /// ScyllaDB or Cassandra nodes to begin with
    #[arg(long, global = true, help_heading = ENGINES, env = "KLATSCH_CQL", value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub(crate) cql: Vec<String>,
    #[command(flatten, next_help_heading = ENGINES)]
    pub(crate) keyspace: KeyspaceOptions,
    /// Confluent-compatible schema registry
    #[arg(long, global = true, help_heading = ENGINES, env = "KLATSCH_REGISTRY", value_name = "URL", value_parser = operate::base_url)]
    pub(crate) registry: Option<String>,
    /// For development on one broker and one node: allow topics and tables without replicas
    #[arg(long, global = true, help_heading = ENGINES, env = "KLATSCH_DEV")]
    pub(crate) dev: bool,
}

/// The engines that the options name, opened when they are first needed.
pub(crate) struct Engines {
    which: Which,
    /// The URL of the schema registry, if there is one.
    registry: Option<String>,
    dev: bool,
    clock: Clock,
    log: Option<SharedLog>,
    store: Option<SharedStore>,
}

enum Which {
    Embedded {
        folder: PathBuf,
        /// The database that both engines share, once it is open.
        database: Option<Database>,
    },
    Servers {
        kafka: Option<String>,
        /// The store's configuration, if the options name its nodes.
        cql: Option<ScyllaConfig>,
    },
}

impl Engines {
    /// Checks the options, and opens nothing yet.
    pub(crate) fn new(options: &EngineOptions, clock: &Clock) -> Result<Self, OpsError> {
        let EngineOptions { data, kafka, cql, keyspace, registry, dev } = options.clone();
        let which = match data {
            Some(_) if kafka.is_some() || !cql.is_empty() => {
                return Err(OpsError::Usage(
                    "--data is for one machine, --kafka and --cql for servers: not both".into(),
                ));
            }
            Some(folder) => Which::Embedded { folder, database: None },
            None => {
                let config = scylla_config(&cql, &keyspace, dev).map_err(|error| OpsError::Usage(error.to_string()))?;
                Which::Servers { kafka, cql: (!cql.is_empty()).then_some(config) }
            }
        };
        Ok(Self { which, registry, dev, clock: clock.clone(), log: None, store: None })
    }

    /// The data folder, if another process has it open.
    pub(crate) fn in_use(&mut self) -> Option<PathBuf> {
        let Which::Embedded { folder, database } = &mut self.which else { return None };
        matches!(opened(folder, database), Err(OpsError::Busy(_))).then(|| folder.clone())
    }

    fn cql(&self) -> Result<ScyllaConfig, OpsError> {
        let Which::Servers { cql, .. } = &self.which else {
            return Err(OpsError::Usage("the embedded store has no CQL server".into()));
        };
        cql.clone().ok_or_else(|| OpsError::Usage("where is the store? --data FOLDER or --cql HOST:PORT".into()))
    }
}

#[async_trait]
impl operate::Engines for Engines {
    fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    fn name_log(&self) -> bool {
        !matches!(&self.which, Which::Servers { kafka: None, .. })
    }

    fn name_store(&self) -> bool {
        !matches!(&self.which, Which::Servers { cql: None, .. })
    }

    async fn log(&mut self) -> Result<SharedLog, OpsError> {
        if let Some(log) = &self.log {
            return Ok(log.clone());
        }
        let log: SharedLog = match &mut self.which {
            Which::Embedded { folder, database } => {
                EmbeddedLog::open(opened(folder, database)?, self.clock.clone()).await?
            }
            Which::Servers { kafka, .. } => {
                let missing = || OpsError::Usage("where is the log? --data FOLDER or --kafka HOST:PORT".into());
                let bootstrap = kafka.clone().ok_or_else(missing)?;
                KafkaLog::connect(KafkaConfig { dev: self.dev, ..KafkaConfig::new(bootstrap, "klatschctl") }).await?
            }
        };
        self.log = Some(log.clone());
        Ok(log)
    }

    async fn store(&mut self) -> Result<SharedStore, OpsError> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let config = self.cql();
        let shared: SharedStore = match &mut self.which {
            Which::Embedded { folder, database } => {
                EmbeddedStore::open(opened(folder, database)?, self.clock.clone()).await?
            }
            Which::Servers { .. } => ScyllaStore::connect(config?).await?,
        };
        self.store = Some(shared.clone());
        Ok(shared)
    }

    async fn migrate(&mut self) -> Result<Vec<String>, OpsError> {
        if matches!(self.which, Which::Embedded { .. }) {
            return Ok(vec![migrates_when_opened(self.store().await?.incarnation())]);
        }
        let report = store_scylla::migrate(&self.cql()?).await?;
        let mut lines: Vec<String> = report.applied.iter().map(|migration| format!("applied {migration}")).collect();
        lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
        let minted = if report.minted { "new" } else { "as before" };
        lines.push(format!("at incarnation {} ({minted})", report.incarnation));
        Ok(lines)
    }

    async fn close(&self) {
        if let Some(log) = &self.log {
            log.close().await;
        }
        if let Some(store) = &self.store {
            store.close().await;
        }
    }
}

/// The database in `folder`, opened once. A missing folder is an error, because only `klatsch` creates one.
fn opened(folder: &Path, database: &mut Option<Database>) -> Result<Database, OpsError> {
    if let Some(database) = database {
        return Ok(database.clone());
    }
    let path = folder.join("db");
    if !path.is_dir() {
        return Err(OpsError::Absent(format!("{} is no data folder: 'klatsch' makes one", folder.display())));
    }
    let opened = Database::open(&path).map_err(|error| match error {
        KvError::Locked(_) => OpsError::Busy(format!(
            "the data folder {} is in use by another process, which takes no commands through {}: a 'klatsch' does so once \
             it is ready; stop anything else first",
            folder.display(),
            operate::SOCKET
        )),
        KvError::Folder { source, .. } => OpsError::Absent(format!("the data folder {}: {source}", folder.display())),
        KvError::Engine(_) => OpsError::Failed(error.to_string()),
    })?;
    *database = Some(opened.clone());
    Ok(opened)
}
