//! `tail`: records of a topic as JSON, one per line.

use eventlog::{EventLog, LogError, Record, Watermarks, next_before_end};
use events::Codec;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::OpsError;

/// Records read at once.
const RECORDS_AT_ONCE: usize = 500;
/// Fields that contain message text: they are left out unless asked for.
const PRIVATE: [&str; 2] = ["body", "frame"];

/// The record to begin with in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The oldest record.
    Start,
    /// The record at this offset.
    Offset(u64),
    /// The record that is so many before the end.
    Last(u64),
}

impl From {
    fn offset(self, marks: Watermarks) -> u64 {
        match self {
            Self::Start => marks.low,
            Self::Offset(offset) => offset,
            Self::Last(records) => marks.next.saturating_sub(records).max(marks.low),
        }
    }
}

/// The options of `tail`.
#[derive(Debug, Clone)]
pub struct Tail {
    /// The topic.
    pub topic: String,
    /// One partition; `None`: all.
    pub partition: Option<u32>,
    /// The record to begin with.
    pub from: From,
    /// Whether to wait for more records at the end.
    pub follow: bool,
    /// Whether to show message bodies.
    pub bodies: bool,
}

/// A record as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The append time, milliseconds since the Unix epoch.
    pub time: i64,
    /// The key.
    pub key: String,
    /// The record's fingerprint.
    pub fingerprint: String,
    /// The record's type; absent when it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<&'static str>,
    /// The record's fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Value>,
    /// Why the record cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl Line {
    fn of(codec: &Codec, partition: u32, record: &Record, bodies: bool) -> Self {
        let mut line = Self {
            partition,
            offset: record.offset,
            time: record.append_time_ms,
            key: String::from_utf8_lossy(&record.key).into_owned(),
            fingerprint: record.fingerprint().to_string(),
            record: None,
            fields: None,
            fault: None,
        };
        match codec.describe(&record.headers, &record.payload) {
            Ok((kind, mut fields)) => {
                if !bodies {
                    conceal(&mut fields);
                }
                (line.record, line.fields) = (Some(kind.record_name()), Some(fields));
            }
            Err(error) => line.fault = Some(error.to_string()),
        }
        line
    }
}

/// Replaces private texts by their length.
fn conceal(fields: &mut Value) {
    let Some(fields) = fields.as_object_mut() else { return };
    for name in PRIVATE {
        if let Some(text) = fields.get(name).and_then(Value::as_str) {
            let bytes = json!({ "bytes": text.len() });
            fields.insert(name.to_owned(), bytes);
        }
    }
}

/// Reads records and passes each to `show`, up to the present end or, following, until `stop`.
///
/// # Errors
/// When the log cannot be read or `show` fails.
pub async fn tail(
    log: &dyn EventLog,
    codec: &Codec,
    what: &Tail,
    stop: &CancellationToken,
    mut show: impl FnMut(Line) -> Result<(), OpsError>,
) -> Result<(), OpsError> {
    let Some(spec) = events::topics::all().iter().find(|topic| topic.name == what.topic) else {
        let known: Vec<&str> = events::topics::all().iter().map(|topic| topic.name.as_str()).collect();
        return Err(OpsError::Usage(format!("there is no topic '{}'; there are: {}", what.topic, known.join(", "))));
    };
    let partitions = match what.partition {
        Some(partition) if partition >= spec.partitions => {
            return Err(OpsError::Usage(format!("{} has no partition {partition}", what.topic)));
        }
        Some(partition) => partition..partition + 1,
        None => 0..spec.partitions,
    };
    let mut next: Vec<(u32, u64)> = Vec::new();
    for partition in partitions {
        let marks = log.watermarks(&what.topic, partition).await?;
        let mut at = what.from.offset(marks);
        while at < marks.next && !stop.is_cancelled() {
            let mut reader = log.reader(&what.topic, partition, at).await?;
            let records = next_before_end(&mut *reader, RECORDS_AT_ONCE).await?;
            for record in records.iter().filter(|record| record.offset < marks.next) {
                show(Line::of(codec, partition, record, what.bodies))?;
            }
            at = records.last().map_or(marks.next, |record| record.offset + 1);
        }
        next.push((partition, at));
    }
    if what.follow { follow(log, codec, what, next, stop, show).await } else { Ok(()) }
}

/// Follows all partitions: each has a task that reads it, and this one calls `show`.
async fn follow(
    log: &dyn EventLog,
    codec: &Codec,
    what: &Tail,
    next: Vec<(u32, u64)>,
    stop: &CancellationToken,
    mut show: impl FnMut(Line) -> Result<(), OpsError>,
) -> Result<(), OpsError> {
    let (lines, mut shown) = tokio::sync::mpsc::channel::<Result<Line, LogError>>(RECORDS_AT_ONCE);
    let mut readers = tokio::task::JoinSet::new();
    for (partition, at) in next {
        let (lines, codec, bodies) = (lines.clone(), codec.clone(), what.bodies);
        let mut reader = log.reader(&what.topic, partition, at).await?;
        readers.spawn(async move {
            loop {
                let records = match reader.next(RECORDS_AT_ONCE).await {
                    Ok(records) => records,
                    Err(error) => return drop(lines.send(Err(error)).await),
                };
                for record in records {
                    if lines.send(Ok(Line::of(&codec, partition, &record, bodies))).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
    drop(lines);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            line = shown.recv() => match line {
                Some(line) => show(line?)?,
                None => return Ok(()),
            },
        }
    }
}
