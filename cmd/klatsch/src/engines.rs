//! The embedded engines in the data folder: one database for the log and the store, and the signing keys beside it.

use std::path::Path;

use anyhow::Context;
use auth::KeyRing;
use environment::{Clock, Entropy};
use eventlog::SharedLog;
use eventlog::embedded::EmbeddedLog;
use events::Codec;
use kv::{Database, KvError};
use process::{ConfigFault, Metrics};
use store::embedded::EmbeddedStore;
use store::{Following, SharedStore};

/// The engines that all services use.
pub(crate) struct Engines {
    pub(crate) log: SharedLog,
    pub(crate) store: SharedStore,
    pub(crate) codec: Codec,
    pub(crate) keys: KeyRing,
}

/// Opens everything in `folder`, and creates missing topics.
pub(crate) async fn open(
    folder: &Path,
    clock: &Clock,
    entropy: &Entropy,
    metrics: &Metrics,
) -> anyhow::Result<Engines> {
    let private = process::private::folder(folder);
    private.map_err(|error| {
        let words = format!("the data folder {} cannot be used: {error}", folder.display());
        ConfigFault::caused(words, error)
    })?;
    let database = Database::open(&folder.join("db")).map_err(|error| match error {
        KvError::Locked(_) | KvError::Folder { .. } => {
            anyhow::Error::new(ConfigFault::caused(error.to_string(), error))
        }
        KvError::Engine(_) => anyhow::Error::new(error),
    })?;
    let path = folder.join("signing-key.pem");
    let keys = KeyRing::open(&path, clock, entropy);
    let keys = keys.map_err(|error| ConfigFault::caused(format!("the signing keys cannot be used: {error}"), error))?;
    let log = EmbeddedLog::open_observed(database.clone(), clock.clone(), ops::observers::appends(metrics));
    let log = log.await.context("opening the event log")?;
    let observer = ops::observers::store_requests(metrics);
    let store = EmbeddedStore::open_observed(database, clock.clone(), observer).await.context("opening the store")?;
    let codec = Codec::compiled_in();
    let made = ops::topics::apply(&*log, &codec, entropy, |_| {}).await.context("putting the topics in place")?;
    if made > 0 {
        tracing::info!(steps = made, "topics put in place");
    }
    // All services share one store that follows the current incarnation, so that a switch to another one closes no
    // socket.
    let store: SharedStore = Following::new(store);
    ops::versions::register(metrics, &store);
    Ok(Engines { log, store, codec, keys })
}

impl Engines {
    /// Closes the log first, so that nothing is appended any more when the store closes.
    pub(crate) async fn close(&self) {
        self.log.close().await;
        self.store.close().await;
    }
}
