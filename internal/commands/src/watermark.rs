//! Reads the end of a partition once for all callers that ask at the same time.
//!
//! When thousands of devices reconnect, all of them sync, and each sync reads the end of every partition. One
//! request to the broker at a time serves all callers that asked before it was sent, so the load on the broker
//! does not grow with the number of clients.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use api::ApiError;
use domain::Seq;
use eventlog::SharedLog;
use events::topics;
use store::Source;
use tokio::sync::Mutex;

use crate::faults;

/// The ends of all source partitions, as the log reports them.
pub(crate) struct Watermarks {
    log: SharedLog,
    gates: BTreeMap<Source, Gate>,
}

/// The requests of one partition: one at a time.
#[derive(Default)]
struct Gate {
    /// The number of requests so far.
    put: AtomicU64,
    /// The last answer; locked while a request is in progress.
    last: Mutex<Option<Answer>>,
    /// The last record before an end: the end that was asked for, and the record's seq.
    last_record: Mutex<Option<(Seq, Option<Seq>)>>,
}

struct Answer {
    /// The number of its request.
    number: u64,
    /// `None` when the request failed; the caller that made it gets the cause.
    end: Option<Option<Seq>>,
}

impl Watermarks {
    pub(crate) fn new(log: SharedLog) -> Self {
        let sources = [topics::MESSAGES, topics::RECEIPTS]
            .into_iter()
            .flat_map(|topic| (0..topics::spec_of(topic).partitions).map(move |partition| Source { topic, partition }));
        Self { log, gates: sources.map(|source| (source, Gate::default())).collect() }
    }

    /// The seq of the last position in the partition at some moment during this call; `None` for an empty
    /// partition.
    pub(crate) async fn end(&self, source: Source) -> Result<Option<Seq>, ApiError> {
        match self.gates.get(&source) {
            Some(gate) => gate.pass(self.ask(source)).await,
            None => self.ask(source).await,
        }
    }

    /// The seq of the last record at or before `end`, which must be an end that the log reported. Calls with the
    /// same `end` share one request.
    pub(crate) async fn last_record(&self, source: Source, end: Seq) -> Result<Option<Seq>, ApiError> {
        let Some(gate) = self.gates.get(&source) else { return Ok(Some(end)) };
        let mut found = gate.last_record.lock().await;
        if let Some((of, last)) = *found
            && of == end
        {
            return Ok(last);
        }
        let last = self.log.last_before(source.topic, source.partition, end.offset() + 1).await;
        let seq_of = |offset| Seq::new(topics::spec_of(source.topic).generation, offset);
        let last = last.map_err(faults::of_log)?.map(seq_of).transpose().map_err(ApiError::internal)?;
        *found = Some((end, last));
        Ok(last)
    }

    async fn ask(&self, source: Source) -> Result<Option<Seq>, ApiError> {
        let marks = self.log.watermarks(source.topic, source.partition).await.map_err(faults::of_log)?;
        let seq_of = |offset| Seq::new(topics::spec_of(source.topic).generation, offset);
        marks.next.checked_sub(1).map(seq_of).transpose().map_err(ApiError::internal)
    }
}

impl Gate {
    /// The answer to a request that was sent after this call began: its own, or that of another waiting caller.
    async fn pass(
        &self,
        question: impl Future<Output = Result<Option<Seq>, ApiError>>,
    ) -> Result<Option<Seq>, ApiError> {
        let before = self.put.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(Answer { end, .. }) = last.as_ref().filter(|answer| answer.number > before) {
            return end.ok_or_else(|| ApiError::unavailable("the log did not answer a question that was shared"));
        }
        let number = self.put.fetch_add(1, Ordering::SeqCst) + 1;
        let end = question.await;
        *last = Some(Answer { number, end: end.as_ref().ok().copied() });
        end
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn who_asks_together_is_answered_together_and_never_with_an_older_end() {
        let (gate, end, asked) = (Gate::default(), AtomicU64::new(0), AtomicU64::new(0));
        // The end is read when the request is sent; the answer comes later.
        let question = async || {
            let end = Seq::new(0, end.load(Ordering::SeqCst)).unwrap();
            asked.fetch_add(1, Ordering::SeqCst);
            yield_now().await;
            Ok(Some(end))
        };
        let ask = async |_: u32| {
            let least = Seq::new(0, end.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
            for _ in 0..least.get() % 7 {
                yield_now().await;
            }
            let least = least.max(Seq::new(0, end.load(Ordering::SeqCst)).unwrap());
            assert!(gate.pass(question()).await.unwrap() >= Some(least));
        };
        join_all((0..500).map(ask)).await;
        assert!(asked.load(Ordering::SeqCst) < 50, "{asked:?} questions");
    }

    #[tokio::test]
    async fn a_question_that_fails_or_is_dropped_keeps_nobody_waiting() {
        let gate = Gate::default();
        let failing = || async {
            yield_now().await;
            Err(ApiError::unavailable("the broker is away"))
        };
        assert!(join_all((0..20).map(|_| gate.pass(failing()))).await.iter().all(Result::is_err));
        let (dropped, answered) = tokio::join!(
            tokio::time::timeout(std::time::Duration::from_millis(10), gate.pass(std::future::pending())),
            gate.pass(async { Ok(None) }),
        );
        assert!(dropped.is_err());
        assert_eq!(answered.unwrap(), None);
    }
}
