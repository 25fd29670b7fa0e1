//! The store with faults, as a process sees it: slow, down, failing before or after the effect, writing later than
//! it answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::{CommandId, ConversationId, IdRow, Seq};
use store::wrapper::StoreWrapper;
use store::{Applied, CellWrites, Consumer, Dropped, Hold, Malformed, Phase, SharedStore, Source, StoreError};
use tokio::time::sleep;

use crate::life::Life;

/// How long a request takes to fail while the store is down.
const AWAY: Duration = Duration::from_millis(200);
/// The longest pause between two parts of a write.
const BETWEEN_PARTS: Duration = Duration::from_millis(80);
/// How much later a late write takes effect, at most, in milliseconds.
const LATE_MS: u64 = 20_000;

/// The store of one run of a process.
pub(crate) struct SimStore {
    inner: SharedStore,
    life: Arc<Life>,
}

#[derive(Debug, thiserror::Error)]
#[error("made by the simulation: {0}")]
struct Made(&'static str);

fn failed(what: &'static str) -> StoreError {
    StoreError::Transient(Box::new(Made(what)))
}

impl SimStore {
    pub(crate) fn over(inner: SharedStore, life: Arc<Life>) -> SharedStore {
        Arc::new(Self { inner, life })
    }

    async fn change<T, F>(&self, call: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.before().await?;
        let (life, rates) = (&self.life, self.life.weather.rates());
        if life.chance(rates.store_late) {
            life.fault("store writes done later");
            let (weather, later) = (Arc::clone(&life.weather), Duration::from_millis(life.below(LATE_MS)));
            weather.begin_late();
            tokio::spawn(async move {
                sleep(later).await;
                let _ = call.await;
                weather.end_late();
            });
            return Err(failed("done later"));
        }
        let outcome = call.await;
        life.gate().await;
        if outcome.is_ok() && life.chance(rates.store_done) {
            life.fault("store writes done and answered with an error");
            return Err(failed("done"));
        }
        outcome
    }

    /// Fails while this kind of process cannot read the conversation's rows.
    fn readable(&self, conversation: ConversationId) -> Result<(), StoreError> {
        if self.life.weather.is_garbled(conversation, self.life.kind) {
            self.life.fault("rows that cannot be read");
            return Err(Malformed { table: "ids", column: "stands" }.into());
        }
        Ok(())
    }

    async fn before(&self) -> Result<(), StoreError> {
        let (life, rates) = (&self.life, self.life.weather.rates());
        life.gate().await;
        life.delay(Duration::from_millis(rates.store_ms) + life.weather.slowness(life.kind)).await;
        life.gate().await;
        if life.weather.store_is_down() {
            life.trace.count("store calls during an outage");
            sleep(AWAY).await;
            life.gate().await;
            return Err(failed("away"));
        }
        if life.chance(rates.store_error) {
            life.fault("store errors without effect");
            return Err(failed("not done"));
        }
        Ok(())
    }
}

/// Splits a write into parts that a store may write one after the other: phase by phase, the writes of a phase in
/// any order.
fn split(writes: &[CellWrites], life: &Life) -> Vec<Vec<CellWrites>> {
    let mut parts = Vec::new();
    for phase in Phase::ALL {
        let of_phase = writes.iter().filter(|write| write.phase() == phase).cloned();
        let (some, others): (Vec<_>, Vec<_>) = of_phase.partition(|_| life.below(2) == 0);
        parts.extend([some, others]);
    }
    parts
}

async fn write_in_parts(store: SharedStore, life: Arc<Life>, parts: Vec<Vec<CellWrites>>) -> Result<(), StoreError> {
    for part in parts {
        if !part.is_empty() {
            store.write(part).await?;
            life.delay(BETWEEN_PARTS).await;
            // A process that has died meanwhile writes no other part. The gate alone is not enough, as it never
            // returns for a dead process: a caller may wait for the end of a late write.
            tokio::select! {
                biased;
                () = life.gate() => {}
                () = life.died() => return Ok(()),
            }
        }
    }
    Ok(())
}

/// The methods that write are written out here: they may take effect later than they answer, or answer with an error
/// although they took effect. All others only read, except for those about accounts, which are created outside the
/// simulation.
#[async_trait]
impl StoreWrapper for SimStore {
    fn inner(&self) -> SharedStore {
        Arc::clone(&self.inner)
    }

    async fn each<T: Send, F: Future<Output = Result<T, StoreError>> + Send>(&self, call: F) -> Result<T, StoreError> {
        self.before().await?;
        let outcome = call.await;
        self.life.gate().await;
        outcome
    }

    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError> {
        let (inner, life) = (Arc::clone(&self.inner), Arc::clone(&self.life));
        if life.chance(life.weather.rates().store_split) {
            life.fault("store writes done in two parts");
            let parts = split(&writes, &life);
            return self.change(async move { write_in_parts(inner, life, parts).await }).await;
        }
        self.change(async move { inner.write(writes).await }).await
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        self.readable(conversation)?;
        self.each(self.inner.ids_from(conversation, from_stamp_ms, as_of)).await
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.change(async move { inner.set_applied(source, applied).await }).await
    }

    /// Half of the batches are written as a CQL store writes them: the rows first, possibly in parts, and then, by another
    /// request, the progress. The others are one commit, as on the embedded engine: it fails before its effect, after it,
    /// or takes effect later than it is answered, but always as a whole.
    async fn write_and_apply(
        &self,
        writes: Vec<CellWrites>,
        source: Source,
        applied: Applied,
    ) -> Result<(), StoreError> {
        if self.life.below(2) == 0 {
            StoreWrapper::write(self, writes).await?;
            return StoreWrapper::set_applied(self, source, applied).await;
        }
        let (inner, trace) = (Arc::clone(&self.inner), Arc::clone(&self.life.trace));
        let committed = self.change(async move {
            inner.write_and_apply(writes, source, applied).await?;
            trace.count("batches committed with their progress");
            Ok(())
        });
        let outcome = committed.await;
        if outcome.is_err() {
            self.life.trace.count("batches whose commit was answered with an error");
        }
        outcome
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.change(async move { inner.put_hold(consumer, partition, conversation, hold).await }).await
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        let (inner, dropped) = (Arc::clone(&self.inner), dropped.clone());
        self.change(async move { inner.put_drop(partition, &dropped).await }).await
    }

    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        let inner = self.each(self.inner.at(incarnation)).await?;
        Ok(Self::over(inner, Arc::clone(&self.life)))
    }
}
