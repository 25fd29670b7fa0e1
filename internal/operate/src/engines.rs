//! The engines that a command works on, opened by the program that runs it.

use async_trait::async_trait;
use eventlog::SharedLog;
use events::Codec;
use ops::OpsError;
use store::SharedStore;

/// The engines that a command works on. The program that runs it opens them when they are asked for.
#[async_trait]
pub trait Engines: Send + Sync {
    /// The log.
    async fn log(&mut self) -> Result<SharedLog, OpsError>;

    /// The store, pinned to the incarnation that is current now.
    async fn store(&mut self) -> Result<SharedStore, OpsError>;

    /// Creates the tables; returns lines that say what was done.
    async fn migrate(&mut self) -> Result<Vec<String>, OpsError>;

    /// The schema registry, where there is one.
    fn registry(&self) -> Option<&str>;

    /// Whether the options say where the log is.
    fn name_log(&self) -> bool;

    /// Whether the options say where the store is.
    fn name_store(&self) -> bool;

    /// Finishes pending work and closes what was opened.
    async fn close(&self);

    /// The codec: writes records with the registry's ids where there is one, and reads records without headers by these
    /// ids, as the services do.
    async fn codec(&self) -> Result<Codec, OpsError> {
        match self.registry() {
            Some(url) => Ok(Codec::register(url).await?),
            None => Ok(Codec::compiled_in()),
        }
    }
}

/// The message of a store that migrates itself when it is opened.
#[must_use]
pub fn migrates_when_opened(incarnation: u32) -> String {
    format!("the embedded store migrates when it is opened: at incarnation {incarnation}")
}

/// The engines of a running program: open already, and left open.
pub struct Running {
    log: SharedLog,
    /// The handle that follows from incarnation to incarnation.
    following: SharedStore,
    registry: Option<String>,
    /// The pinned handle, as a program of its own would have it.
    pinned: Option<SharedStore>,
}

impl Running {
    /// The engines for one command.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore, registry: Option<String>) -> Self {
        Self { log, following: store, registry, pinned: None }
    }
}

#[async_trait]
impl Engines for Running {
    async fn log(&mut self) -> Result<SharedLog, OpsError> {
        Ok(self.log.clone())
    }

    async fn store(&mut self) -> Result<SharedStore, OpsError> {
        if let Some(store) = &self.pinned {
            return Ok(store.clone());
        }
        let store = store::pinned(&*self.following).await?;
        self.pinned = Some(store.clone());
        Ok(store)
    }

    async fn migrate(&mut self) -> Result<Vec<String>, OpsError> {
        Ok(vec![migrates_when_opened(self.store().await?.incarnation())])
    }

    fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    fn name_log(&self) -> bool {
        true
    }

    fn name_store(&self) -> bool {
        true
    }

    /// The log is the program's; the pinned handle is the command's own.
    async fn close(&self) {
        if let Some(store) = &self.pinned {
            store.close().await;
        }
    }
}
