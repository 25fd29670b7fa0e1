//! The separate programs on real servers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::program::{Program, Ran, Setup};
use crate::device::Endpoints;
use crate::servers::{Cassandra, Kafka, Server, shared_cql, shared_registry};

/// A program of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `user-service`.
    Users,
    /// `chat-service`.
    Chat,
    /// `storage-consumer`.
    Storage,
    /// One of the `fanout-consumer`s.
    Fanout(usize),
    /// One of the `websocket-service`s.
    Sockets(usize),
}

/// Every program of a cluster, in the order of their start.
const SERVICES: [Service; 7] = [
    Service::Users,
    Service::Chat,
    Service::Storage,
    Service::Fanout(0),
    Service::Fanout(1),
    Service::Sockets(0),
    Service::Sockets(1),
];

impl Service {
    /// Every program of a cluster.
    pub const ALL: [Self; 7] = SERVICES;

    const fn program(self) -> &'static str {
        match self {
            Self::Users => "user-service",
            Self::Chat => "chat-service",
            Self::Storage => "storage-consumer",
            Self::Fanout(_) => "fanout-consumer",
            Self::Sockets(_) => "websocket-service",
        }
    }
}

/// The separate programs, with their own Kafka and a keyspace of their own in the shared CQL server.
#[derive(Debug)]
pub struct Cluster {
    /// In the order of [`Service::ALL`]. Declared before the servers, because fields are dropped in order.
    programs: Vec<Program>,
    kafka: Kafka,
    /// A CQL server for this cluster alone, so that faults can be caused in it.
    own_store: Option<Cassandra>,
    cql: String,
    registry: String,
    keyspace: String,
}

impl Cluster {
    /// Starts servers where none are given, creates topics, schemas and tables with `klatschctl`, and prepares the
    /// programs without starting them.
    ///
    /// Topics have fixed names, so a cluster has a Kafka of its own.
    ///
    /// # Errors
    /// When a server or program cannot be started.
    pub async fn new() -> Result<Self> {
        let (kafka, cql, registry) = tokio::try_join!(Kafka::start(), shared_cql(), shared_registry())?;
        Self::on(kafka, None, cql, registry).await
    }

    /// As [`Self::new`], with a CQL server of its own, which can be killed and frozen.
    ///
    /// # Errors
    /// When a server or program cannot be started.
    pub async fn with_own_store() -> Result<Self> {
        let (kafka, store, registry) = tokio::try_join!(Kafka::start(), Cassandra::start(), shared_registry())?;
        let cql = store.address().to_owned();
        Self::on(kafka, Some(store), cql, registry).await
    }

    async fn on(kafka: Kafka, own_store: Option<Cassandra>, cql: String, registry: String) -> Result<Self> {
        let keyspace = format!("e2e_{}", &Uuid::now_v7().simple().to_string()[..24]);
        let mut cluster = Self { programs: Vec::new(), kafka, own_store, cql, registry, keyspace };
        for arguments in [&["topics", "apply", "--yes"][..], &["schemas", "register"], &["migrate"]] {
            cluster.klatschctl(arguments).await?.success().with_context(|| arguments.join(" "))?;
        }
        let mut environment = cluster.environment();
        for service in SERVICES {
            let setup = Setup { program: service.program(), environment: environment.clone(), ..Setup::default() };
            let program = Program::new(setup).await?;
            if service == Service::Users {
                environment.push(("KLATSCH_JWKS", format!("{}/.well-known/jwks.json", program.url())));
            }
            cluster.programs.push(program);
        }
        Ok(cluster)
    }

    /// Gives every program a clock of its own, from its next start on.
    ///
    /// # Errors
    /// When libfaketime is not installed.
    pub fn own_clocks(&mut self) -> Result<()> {
        self.programs.iter_mut().try_for_each(Program::own_clock)
    }

    /// Starts every program that is not running and waits until all are ready. Returns how long that took.
    ///
    /// # Errors
    /// When a program does not get ready.
    pub async fn start(&mut self) -> Result<Duration> {
        let begun = tokio::time::Instant::now();
        let mut started = Vec::new();
        for program in self.programs.iter_mut().filter(|program| program.pid().is_none()) {
            program.spawn()?;
            started.push(program);
        }
        for program in started {
            program.ready().await?;
        }
        Ok(begun.elapsed())
    }

    /// Stops every program in order, as an operator would: first those that devices connect to.
    ///
    /// # Errors
    /// When a program does not stop in order.
    pub async fn stop(&mut self) -> Result<()> {
        for program in self.programs.iter_mut().rev().filter(|program| program.pid().is_some()) {
            program.stop().await?;
        }
        Ok(())
    }

    /// One of the programs.
    ///
    /// # Panics
    /// For a service that the cluster does not have.
    pub fn program(&mut self, service: Service) -> &mut Program {
        let at = SERVICES.iter().position(|known| *known == service).expect("a service of the cluster");
        &mut self.programs[at]
    }

    /// All programs.
    #[must_use]
    pub fn programs(&self) -> Vec<&Program> {
        self.programs.iter().collect()
    }

    /// Runs `klatschctl` against the servers.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn klatschctl(&self, arguments: &[&str]) -> Result<Ran> {
        let arguments = arguments.iter().map(Into::into).collect();
        Ran::of(Setup { program: "klatschctl", arguments, environment: self.environment(), ..Setup::default() }).await
    }

    /// The URLs that devices use.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let urls = |program: &str| {
            let programs = self.programs.iter().filter(|known| known.name() == program);
            programs.map(Program::url).collect::<Vec<_>>()
        };
        let users = urls("user-service").pop().unwrap_or_default();
        Endpoints { users, chat: urls("chat-service"), sockets: urls("websocket-service") }
    }

    /// The broker, for causing faults.
    pub fn broker(&mut self) -> &mut Server {
        &mut self.kafka
    }

    /// The store, for causing faults.
    ///
    /// # Errors
    /// When it is shared with others.
    pub fn own_store(&mut self) -> Result<&mut Server> {
        self.own_store.as_deref_mut().context("the store is shared with others: Cluster::with_own_store has its own")
    }

    /// Kafka's address.
    #[must_use]
    pub fn kafka(&self) -> &str {
        self.kafka.bootstrap()
    }

    /// The CQL server's address, and the keyspace.
    #[must_use]
    pub fn cql(&self) -> (&str, &str) {
        (&self.cql, &self.keyspace)
    }

    /// The ends of all programs' logs, for error messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = |program: &Program| format!("--- {} ---\n{}\n", program.name(), program.log_tail());
        self.programs.iter().map(log).collect()
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KLATSCH_KAFKA", self.kafka.bootstrap().to_owned()),
            ("KLATSCH_CQL", self.cql.clone()),
            ("KLATSCH_KEYSPACE", self.keyspace.clone()),
            ("KLATSCH_REGISTRY", self.registry.clone()),
            ("KLATSCH_DEV", "true".to_owned()),
        ]
    }
}
