//! Where the log ends, asked once for all who want to know it at the same moment.
//!
//! When thousands of devices come back they all sync, and each sync asks for every partition's end. One question to the
//! broker at a time serves all who asked before it was put: so the load on the broker does not grow with the clients.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use api::ApiError;
use domain::Seq;
use eventlog::SharedLog;
use events::topics;
use store::Source;
use tokio::sync::Mutex;

use crate::faults;

/// The ends of all source partitions.
pub(crate) struct Watermarks {
    log: SharedLog,
    gates: BTreeMap<Source, Gate>,
}

/// One partition's questions: one at a time.
#[derive(Default)]
struct Gate {
    /// Questions put so far.
    put: AtomicU64,
    /// Held while a question is under way; the answer to the last one.
    last: Mutex<Option<Answer>>,
    /// The last record before an end: the end that was asked for last, and what was found.
    last_record: Mutex<Option<(Seq, Option<Seq>)>>,
}

struct Answer {
    /// The number of its question.
    number: u64,
    /// `None`: it failed, which the one who put it has been told with the cause.
    end: Option<Option<Seq>>,
}

impl Watermarks {
    pub(crate) fn new(log: SharedLog) -> Self {
        let sources = [topics::MESSAGES, topics::RECEIPTS]
            .into_iter()
            .flat_map(|topic| (0..topics::spec_of(topic).partitions).map(move |partition| Source { topic, partition }));
        Self { log, gates: sources.map(|source| (source, Gate::default())).collect() }
    }

    /// The seq of the last record that is in the partition at some moment during this call; `None` for an empty one.
    pub(crate) async fn end(&self, source: Source) -> Result<Option<Seq>, ApiError> {
        match self.gates.get(&source) {
            Some(gate) => gate.pass(self.ask(source)).await,
            None => self.ask(source).await,
        }
    }

    /// The seq of the last record at or before `end`, which was an end. Who asks for the same one asks once.
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
    /// The answer to a question that is put after this call began: `question`, or that of another who waits here.
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
        // The end is what it is when the question is put; the answer takes its time.
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
