//! Apache Cassandra, which stands in for ScyllaDB in tests: one node on loopback.

use std::ffi::OsString;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::process::{Launch, Question, Server, fresh_folder, write_filled, write_jvm_options};
use super::{fetch, java, ports};

const SETTINGS: &str = include_str!("../../../../../deploy/local/cassandra/cassandra.yaml");
const JVM_OPTIONS: &str = include_str!("../../../../../deploy/local/cassandra/jvm.options");
const LOGGING: &str = include_str!("../../../../../deploy/local/cassandra/logback.xml");

/// A CQL server of this process. See [`Server`] for how to stop, kill, pause and restart it.
#[derive(Debug)]
pub struct Cassandra {
    server: Server,
    address: String,
}

impl Cassandra {
    /// Starts a server with no keyspaces on a free port.
    ///
    /// # Errors
    /// When it cannot be fetched, no suitable Java is found, or it is not ready in time.
    pub async fn start() -> Result<Self> {
        let files = fetch::fetch(&fetch::CASSANDRA).await?;
        let folder = fresh_folder("cassandra")?;
        let port = ports::free()?;
        let address = format!("127.0.0.1:{port}");
        write_filled(
            &folder.path().join("cassandra.yaml"),
            SETTINGS,
            &[
                ("PORT", &port.to_string()),
                ("STORAGE_PORT", &ports::free()?.to_string()),
                ("DATA", &folder.path().to_string_lossy()),
            ],
        )?;
        write_jvm_options(folder.path(), JVM_OPTIONS)?;
        write_filled(&folder.path().join("logback.xml"), LOGGING, &[])?;
        // Cassandra looks for this folder at start, and logs a stack trace when it is missing.
        fs::create_dir(folder.path().join("triggers"))?;
        let launch = Launch {
            name: "cassandra",
            program: java::find(17..=17)?,
            arguments: arguments(&files, folder.path())?,
            question: Question::Cql { address: address.clone() },
        };
        Ok(Self { server: Server::start(launch, folder).await?, address })
    }

    /// `host:port`, for clients.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

fn arguments(files: &Path, folder: &Path) -> Result<Vec<OsString>> {
    let meter = memory_meter(files)?;
    let folder = folder.display();
    Ok(vec![
        "@jvm.options".into(),
        format!("-javaagent:{}", meter.display()).into(),
        format!("-Dcassandra.config=file://{folder}/cassandra.yaml").into(),
        format!("-Dcassandra.storagedir={folder}").into(),
        format!("-Dlogback.configurationFile=file://{folder}/logback.xml").into(),
        "-cp".into(),
        format!("{}/*", files.display()).into(),
        "org.apache.cassandra.service.CassandraDaemon".into(),
    ])
}

/// The jar of jamm, which measures objects inside the JVM: Cassandra refuses to start without it. Cassandra's POM
/// chooses the version.
fn memory_meter(files: &Path) -> Result<PathBuf> {
    fs::read_dir(files)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jamm-")))
        .with_context(|| format!("no jamm-*.jar in {}", files.display()))
}

impl Deref for Cassandra {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Cassandra {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
