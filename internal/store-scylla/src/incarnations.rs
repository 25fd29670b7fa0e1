//! [`IncarnationStore`]: a keyspace for each incarnation, and the number of the current one.

use std::sync::Arc;

use async_trait::async_trait;
use store::{IncarnationStore, Incarnations, SharedStore, StoreError, no_incarnation};

use crate::cql::Tie;
use crate::{ScyllaStore, incarnation, migrate};

#[async_trait]
impl IncarnationStore for ScyllaStore {
    async fn incarnations(&self) -> Result<Incarnations, StoreError> {
        self.open_still()?;
        migrate::all(self.cql.session(), &self.config.keyspace).await
    }

    async fn at(&self, number: u32) -> Result<SharedStore, StoreError> {
        let there = self.incarnations().await?;
        let beside = there.current != number;
        if beside && there.find(number).is_none() {
            return Err(no_incarnation(number));
        }
        let session = Arc::clone(self.cql.session());
        migrate::check_at(&session, &self.config.keyspace, number).await?;
        // Closing this handle closes the handles that were made from it, because they share the session.
        let tie = Tie { pinned: number, beside, closing: self.closing.child_token() };
        Ok(Arc::new(Self::over(session, self.config.clone(), tie).await?))
    }

    async fn make_incarnation(&self) -> Result<u32, StoreError> {
        self.open_still()?;
        migrate::make(self.cql.session(), &self.config, false).await
    }

    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError> {
        let there = self.incarnations().await?;
        if there.current != to && there.find(to).is_none() {
            return Err(no_incarnation(to));
        }
        if there.current != from {
            return Ok(false);
        }
        if from == to {
            return Ok(true);
        }
        let session = self.cql.session();
        migrate::mark_left(session, &self.config, from).await?;
        incarnation::advance(session, &self.config.keyspace, Some(from), to).await
    }

    async fn drop_incarnation(&self, number: u32) -> Result<(), StoreError> {
        if self.incarnations().await?.current == number {
            return Err(StoreError::Misconfigured(format!("incarnation {number} is the current one")));
        }
        migrate::remove(self.cql.session(), &self.config, number).await
    }
}

impl ScyllaStore {
    fn open_still(&self) -> Result<(), StoreError> {
        if self.closing.is_cancelled() { Err(StoreError::Closed) } else { Ok(()) }
    }
}
