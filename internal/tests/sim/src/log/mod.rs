//! The log with faults, as a process sees it: slow, unavailable, failing before or after the effect, with rebalances
//! at any time.

mod group;
mod outbound;
mod owners;
mod reader;
mod recorder;
mod switch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventlog::{
    AppendError, AppendReceipt, Commit, EventLog, GroupMember, LogError, NewRecord, PartitionReader, SharedLog,
    TopicFound, TopicPartition, Watermarks,
};
use events::topics::TopicSpec;
use tokio::time::timeout;

use crate::life::Life;
use group::SimMember;
use outbound::Outbound;
use reader::SimReader;

pub(crate) use outbound::append_as;
pub(crate) use owners::Owners;
pub(crate) use recorder::Recorder;
pub(crate) use switch::Switch;

/// How long a call waits for a broker that is down, before it fails.
const AWAY: Duration = Duration::from_millis(1500);

/// The log of one run of a process.
pub(crate) struct SimLog {
    inner: SharedLog,
    life: Arc<Life>,
    outbound: Outbound,
}

#[derive(Debug, thiserror::Error)]
#[error("made by the simulation: {0}")]
struct Made(&'static str);

impl SimLog {
    pub(crate) fn over(inner: SharedLog, life: Arc<Life>) -> SharedLog {
        let outbound = Outbound::begin(Arc::clone(&inner), Arc::clone(&life));
        Arc::new(Self { inner, life, outbound })
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, LogError>>) -> Result<T, LogError> {
        before(&self.life).await?;
        let outcome = call.await;
        self.life.gate().await;
        outcome
    }
}

/// Delays and faults of every call except appends.
async fn before(life: &Life) -> Result<(), LogError> {
    let rates = life.weather.rates();
    life.gate().await;
    life.delay(Duration::from_millis(rates.log_ms)).await;
    life.gate().await;
    if timeout(AWAY, life.weather.broker_up()).await.is_err() {
        life.trace.count("log calls during an outage");
        return Err(LogError::Transient(Box::new(Made("away"))));
    }
    if life.chance(rates.log_error) {
        life.fault("log errors");
        return Err(LogError::Transient(Box::new(Made("not done"))));
    }
    Ok(())
}

#[async_trait]
impl EventLog for SimLog {
    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        self.life.gate().await;
        self.outbound.enqueue(topic, record)
    }

    /// Sends a signal: sometimes it is lost or sent twice; while the broker is down it is always lost.
    fn send_lossy(&self, topic: &str, record: NewRecord) -> bool {
        let (life, rates) = (&self.life, self.life.weather.rates());
        if life.is_dead() || life.weather.broker_is_down() || life.chance(rates.busy + rates.unknown) {
            life.trace.count("signals lost");
            return false;
        }
        life.trace.count("signals sent");
        if life.chance(rates.late) {
            life.trace.count("signals sent twice");
            self.inner.send_lossy(topic, record.clone());
        }
        self.inner.send_lossy(topic, record)
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let inner = self.call(self.inner.reader(topic, partition, from)).await?;
        Ok(Box::new(SimReader::new(inner, Arc::clone(&self.life))))
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        self.call(self.inner.watermarks(topic, partition)).await
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        self.call(self.inner.offset_at(topic, partition, time_ms)).await
    }

    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        // No faults here: Kafka's client joins in the background and reports errors through the member.
        self.life.gate().await;
        let inner = self.inner.join(group, topics).await?;
        Ok(Box::new(SimMember::new(inner, group, Arc::clone(&self.life))))
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        self.life.gate().await;
        self.inner.committed(group, at).await
    }

    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        self.inner.commit_offline(group, commits).await
    }

    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        self.call(self.inner.describe(topic)).await
    }

    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError> {
        self.inner.create(topic).await
    }

    async fn close(&self) {
        self.outbound.close().await;
    }
}
