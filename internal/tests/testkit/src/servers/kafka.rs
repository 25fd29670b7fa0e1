//! Apache Kafka: one node that is broker and controller (KRaft).

use std::ffi::OsString;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::process::{Launch, Question, Server, fresh_folder, write_filled, write_jvm_options};
use super::{fetch, java, ports};

const SETTINGS: &str = include_str!("../../../../../deploy/local/kafka/server.properties");
const JVM_OPTIONS: &str = include_str!("../../../../../deploy/local/kafka/jvm.options");
const LOGGING: &str = include_str!("../../../../../deploy/local/kafka/log4j2.xml");

/// A Kafka broker of this process. See [`Server`] for how to stop, kill, pause and restart it.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    bootstrap: String,
}

impl Kafka {
    /// Starts a broker with no topics on a free port.
    ///
    /// # Errors
    /// When it cannot be fetched, no suitable Java is found, or it is not ready in time.
    pub async fn start() -> Result<Self> {
        let files = fetch::fetch(&fetch::KAFKA).await?;
        let folder = fresh_folder("kafka")?;
        let port = ports::free()?;
        let bootstrap = format!("127.0.0.1:{port}");
        write_filled(
            &folder.path().join("server.properties"),
            SETTINGS,
            &[
                ("PORT", &port.to_string()),
                ("CONTROLLER_PORT", &ports::free()?.to_string()),
                ("DATA", &folder.path().join("data").to_string_lossy()),
            ],
        )?;
        write_jvm_options(folder.path(), JVM_OPTIONS)?;
        write_filled(&folder.path().join("log4j2.xml"), LOGGING, &[])?;
        let launch = Launch {
            name: "kafka",
            program: java::find(17..=u32::MAX)?,
            arguments: arguments(&files, "kafka.Kafka", &["server.properties"]),
            question: Question::Kafka { address: bootstrap.clone() },
        };
        format_data(&launch.program, &files, folder.path())?;
        Ok(Self { server: Server::start(launch, folder).await?, bootstrap })
    }

    /// `host:port`, for clients.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

/// The arguments of the JVM. Relative paths in them start at the server's own folder.
fn arguments(files: &Path, main_class: &str, rest: &[&str]) -> Vec<OsString> {
    let mut classes = files.as_os_str().to_owned();
    classes.push("/*");
    let mut arguments: Vec<OsString> = vec![
        "@jvm.options".into(),
        "-Dlog4j2.configurationFile=log4j2.xml".into(),
        "-cp".into(),
        classes,
        main_class.into(),
    ];
    arguments.extend(rest.iter().map(OsString::from));
    arguments
}

/// Formats the data folder, which gives the cluster its id. Done once: a restart finds the folder formatted.
fn format_data(java: &Path, files: &Path, folder: &Path) -> Result<()> {
    let cluster = BASE64_URL_SAFE_NO_PAD.encode(Uuid::now_v7());
    let output = Command::new(java)
        .args(arguments(files, "kafka.tools.StorageTool", &["format", "-t", &cluster, "-c", "server.properties"]))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("running Kafka's storage tool")?;
    ensure!(
        output.status.success(),
        "Kafka's storage tool could not format the data folder:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(())
}

impl Deref for Kafka {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Kafka {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
