//! Apicurio Registry, which implements the API of Confluent's schema registry.

use std::ops::{Deref, DerefMut};

use anyhow::Result;

use super::process::{Launch, Question, Server, fresh_folder, write_jvm_options};
use super::{fetch, java, ports};

const JVM_OPTIONS: &str = include_str!("../../../../../deploy/local/registry/jvm.options");
/// The path of its Confluent-compatible API.
const API: &str = "/apis/ccompat/v7";

/// A schema registry of this process. See [`Server`] for how to stop, kill, pause and restart it.
///
/// It keeps schemas in memory: a restart empties it, and schemas then get new ids, as after an operator's mistake.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    url: String,
}

impl Registry {
    /// Starts an empty registry on a free port.
    ///
    /// # Errors
    /// When it cannot be fetched, no suitable Java is found, or it is not ready in time.
    pub async fn start() -> Result<Self> {
        let files = fetch::fetch(&fetch::REGISTRY).await?;
        let folder = fresh_folder("registry")?;
        write_jvm_options(folder.path(), JVM_OPTIONS)?;
        let port = ports::free()?;
        let url = format!("http://127.0.0.1:{port}{API}");
        let launch = Launch {
            name: "registry",
            program: java::find(21..=u32::MAX)?,
            arguments: vec![
                "@jvm.options".into(),
                format!("-Dquarkus.http.port={port}").into(),
                format!("-Dquarkus.management.port={}", ports::free()?).into(),
                "-jar".into(),
                files.join("quarkus-run.jar").into(),
            ],
            question: Question::Registry { url: url.clone() },
        };
        Ok(Self { server: Server::start(launch, folder).await?, url })
    }

    /// The base URL of its Confluent-compatible API, for clients.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Deref for Registry {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Registry {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
