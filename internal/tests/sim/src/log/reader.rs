//! A partition's reader with faults: records that arrive late, errors, a broker that is down.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventlog::{LogError, PartitionReader, Record};

use super::before;
use crate::life::Life;

/// A reader of a process.
pub(super) struct SimReader {
    inner: Box<dyn PartitionReader>,
    life: Arc<Life>,
    /// Records that were read and not returned yet. They are kept here because a call may be dropped, and must then
    /// lose nothing.
    arriving: Vec<Record>,
    /// Whether the present fetch has passed its delays and faults.
    asked: bool,
}

impl SimReader {
    pub(super) fn new(inner: Box<dyn PartitionReader>, life: Arc<Life>) -> Self {
        Self { inner, life, arriving: Vec::new(), asked: false }
    }
}

#[async_trait]
impl PartitionReader for SimReader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        if self.arriving.is_empty() {
            if !self.asked {
                before(&self.life).await?;
                self.asked = true;
            }
            // Sometimes fetches are small, so that batches have every size.
            let most = if self.life.chance(300) { 1 + self.life.below(3) } else { u64::MAX };
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(records_max);
            self.arriving = self.inner.next(most).await?;
            self.asked = false;
            let rates = self.life.weather.rates();
            self.life.delay(Duration::from_millis(rates.log_ms)).await;
        }
        self.life.weather.broker_up().await;
        self.life.gate().await;
        let later = self.arriving.split_off(records_max.min(self.arriving.len()));
        Ok(std::mem::replace(&mut self.arriving, later))
    }
}
