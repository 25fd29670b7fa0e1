//! The engine passes the conformance suite on a real server.

mod support;

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use store::conformance::{Factory, Subject, run};
use store::{SharedStore, StoreError};
use store_scylla::{ScyllaConfig, ScyllaStore, migrate};

struct Server(String);

struct FreshKeyspace(ScyllaConfig);

#[async_trait]
impl Factory for Server {
    async fn store(&self) -> Result<Arc<dyn Subject>, StoreError> {
        let config = support::fresh(&self.0).map_err(|error| StoreError::Broken(error.into()))?;
        migrate(&config).await?;
        Ok(Arc::new(FreshKeyspace(config)))
    }
}

#[async_trait]
impl Subject for FreshKeyspace {
    async fn open(&self) -> Result<SharedStore, StoreError> {
        ScyllaStore::connect(self.0.clone()).await
    }
}

#[tokio::test]
async fn the_engine_passes_the_suite() -> Result<()> {
    if let Some(server) = support::server()? {
        run(&Server(server)).await;
    }
    Ok(())
}
