//! What the rows on Kafka run on: a cluster, its users, and the log.

use anyhow::Result;
use eventlog::SharedLog;
use eventlog_kafka::{KafkaConfig, KafkaLog};
use testkit::numbered::{self, Cluster, Users};
use testkit::programs::Program;

use crate::wishes::Wishes;

/// The floor of the websocket service.
pub(crate) const BARE: &str = "bare";
pub(crate) const SOCKETS: &str = "websocket-service";

/// A cluster for several rounds.
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) users: Users,
    pub(crate) log: SharedLog,
    limits: String,
    _folder: tempfile::TempDir,
}

impl Ground {
    pub(crate) async fn new(wishes: &Wishes) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let jwks = folder.path().join("jwks.json");
        let users = Users::new(&jwks)?;
        let cluster = Cluster::start(&jwks).await?;
        let config = KafkaConfig { dev: true, ..KafkaConfig::new(cluster.kafka.bootstrap(), "bench") };
        let log = KafkaLog::connect(config).await?;
        Ok(Self { cluster, users, log, limits: wishes.cores.limits(), _folder: folder })
    }

    /// Starts what serves the sockets.
    pub(crate) async fn node(&self, contestant: &'static str) -> Result<Program> {
        self.program(contestant, if contestant == BARE { &["deliveries"] } else { &[] }).await
    }

    /// Starts a program on the cores of contestants.
    pub(crate) async fn program(&self, program: &'static str, arguments: &[&str]) -> Result<Program> {
        self.cluster.program(program, arguments, &self.limits).await
    }

    /// The bearer tokens of the devices: the bare loop checks none, and takes the user's id.
    pub(crate) fn tokens(&self, contestant: &str, devices: usize) -> Result<Vec<String>> {
        match contestant {
            BARE => Ok((0..devices).map(|index| numbered::user(index).to_string()).collect()),
            _ => self.users.tokens(devices),
        }
    }
}
