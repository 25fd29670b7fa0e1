//! The log and the store, and whether they belong together.

use domain::Seq;
use environment::Clock;
use eventlog::{EventLog, LogError, last_record, stands};
use events::topics::{self, GROUP_FANOUT, STORAGE_SOURCES, spec_of};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use store::{Source, Store, StoreError};

use crate::doctor::Findings;
use crate::topics::Step;
use crate::{groups, holds};

/// Partitions that are examined at once: on Kafka each costs round trips.
const LOOKS_AT_ONCE: usize = 16;
/// A lag of more records than this is a warning.
const LAG_MAX: u64 = 10_000;
/// The longest time that the log's clock may be ahead of this machine's without a warning, in milliseconds.
const SKEW_MS_MAX: i64 = 2_000;

pub(crate) async fn log(log: &dyn EventLog, clock: &Clock, found: &mut Findings) {
    match crate::topics::plan(log).await {
        Err(error) => return found.fail("log", error.to_string()),
        Ok(plan) => {
            found.ok("log", "reachable");
            for fault in &plan.faults {
                found.fail("topics", fault);
            }
            for warning in &plan.warnings {
                found.warn("topics", warning);
            }
            for lost in &plan.lost {
                found.fail("fan-out", lost);
            }
            let missing = plan.steps.iter().filter(|step| !matches!(step, Step::CommitStart { .. })).count();
            if missing > 0 {
                found.fail("topics", format!("{missing} things are missing: run 'klatschctl topics apply'"));
            } else if plan.faults.is_empty() {
                found.ok("topics", format!("all {} are as they must be", topics::all().len()));
            }
        }
    }
    match groups::list(log).await {
        Err(error) => found.fail("fan-out", error.to_string()),
        Ok(positions) => {
            let fanout = positions.iter().filter(|position| position.group == GROUP_FANOUT && position.next.is_some());
            let behind: u64 = fanout.map(groups::Position::lag).sum();
            let words = format!("{behind} records before it");
            if behind > LAG_MAX { found.warn("fan-out", words) } else { found.ok("fan-out", words) }
        }
    }
    match newest_append(log).await {
        Err(error) => found.warn("clock", format!("no record could be read: {error}")),
        Ok(None) => found.ok("clock", "nothing was appended yet to compare with"),
        Ok(Some(newest_ms)) => {
            let ahead_ms = newest_ms.saturating_sub(clock.now_ms());
            if ahead_ms > SKEW_MS_MAX {
                found.warn("clock", format!("the log's newest record is stamped {ahead_ms} ms ahead of this machine"));
            } else {
                found.ok("clock", format!("the log's newest record is {} s old", -ahead_ms.min(0) / 1000));
            }
        }
    }
}

/// The newest append time. Records may be old, so it can only show that the log's clock is ahead, never that it is
/// behind.
async fn newest_append(log: &dyn EventLog) -> Result<Option<i64>, LogError> {
    let all = topics::durable().flat_map(|topic| (0..topic.partitions).map(move |partition| (topic, partition)));
    let looks = all.map(|(topic, partition)| async move {
        let last = last_record(log, &topic.name, partition).await?;
        Ok::<_, LogError>(last.map(|record| record.append_time_ms))
    });
    let times: Vec<Option<i64>> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
    Ok(times.into_iter().max().flatten())
}

pub(crate) async fn store(store: &dyn Store, found: &mut Findings) {
    if let Err(error) = store.ping().await {
        return found.fail("store", error.to_string());
    }
    match store.current_incarnation().await {
        Ok(current) if current == store.incarnation() => found.ok("store", format!("at incarnation {current}")),
        Ok(current) => found.warn("store", format!("now at incarnation {current}: it was switched just now")),
        Err(error) => found.fail("store", error.to_string()),
    }
    match holds::list(store).await {
        Err(error) => found.fail("holds", error.to_string()),
        Ok(held) if held.is_empty() => found.ok("holds", "no conversation is held"),
        Ok(held) => {
            let words = format!("{} conversations are held: see 'klatschctl holds list'", held.len());
            found.warn("holds", words);
        }
    }
}

/// Reports how far storage has come, and whether it has applied this log.
pub(crate) async fn applied(log: &dyn EventLog, store: &dyn Store, found: &mut Findings) {
    let sources = STORAGE_SOURCES
        .into_iter()
        .flat_map(|topic| (0..spec_of(topic).partitions).map(move |partition| Source { topic, partition }));
    let lags = sources.map(|source| lag(log, store, source));
    let lags: Vec<Result<u64, String>> = stream::iter(lags).buffered(LOOKS_AT_ONCE).collect().await;
    let mut behind = 0;
    for lag in lags {
        match lag {
            Ok(lag) => behind += lag,
            Err(words) => found.fail("storage", words),
        }
    }
    let words = format!("{behind} records before it");
    if behind > LAG_MAX { found.warn("storage", words) } else { found.ok("storage", words) }
}

async fn lag(log: &dyn EventLog, store: &dyn Store, source: Source) -> Result<u64, String> {
    let Source { topic, partition } = source;
    let in_words = |error: LogError| error.to_string();
    let end = match log.watermarks(topic, partition).await {
        // Missing topics are reported already.
        Err(LogError::NoTopic(_)) => return Ok(0),
        marks => marks.map_err(in_words)?.next,
    };
    let applied = store.applied(source).await.map_err(|error: StoreError| error.to_string())?;
    let Some(applied) = applied else { return Ok(end) };
    let generation = spec_of(topic).generation;
    if applied.seq.generation() != generation {
        let found = applied.seq.generation();
        return Err(format!("{topic}/{partition}: the store is at generation {found}, the topic at {generation}"));
    }
    let offset = Seq::offset(applied.seq);
    if !stands(log, topic, partition, offset, applied.fingerprint).await.map_err(in_words)? {
        return Err(format!(
            "{topic}/{partition}: the record at offset {offset} is not the one that the store has applied: the topic \
             was re-created, or log and store are of two clusters"
        ));
    }
    Ok(end.saturating_sub(offset + 1))
}
