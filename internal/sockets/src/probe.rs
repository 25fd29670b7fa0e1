//! Whether the log is there, and is what the node needs: for `/readyz`.

use std::time::Duration;

use eventlog::{EventLog, LogError, record_at};
use events::Codec;
use runtime::Condition;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::partition::Log;
use crate::place::in_time;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Between two looks while something is wrong.
const EVERY_WRONG: Duration = Duration::from_millis(500);

/// Looks again and again, until `stop`.
pub(crate) async fn run(log: Log, codec: Codec, condition: Condition, stop: CancellationToken) {
    let mut begun = false;
    loop {
        let outcome = look(&*log.0, &codec, &mut begun);
        let fault = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            outcome = outcome => outcome.unwrap_or_else(|error| Some(error.to_string())),
        };
        let wait = if fault.is_none() { EVERY } else { EVERY_WRONG };
        match fault {
            None => condition.ready(),
            Some(reason) => condition.not_ready(reason),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

/// What is wrong, in words. Genesis records are looked at until they were seen: they do not change.
async fn look(log: &dyn EventLog, codec: &Codec, begun: &mut bool) -> Result<Option<String>, LogError> {
    let topic = Node::topic();
    let Some(found) = in_time(log.describe(topic)).await? else {
        return Ok(Some(format!("there is no topic {}: run 'klatschctl topics apply'", topic.name)));
    };
    if !found.faults.is_empty() {
        return Ok(Some(found.faults.join("; ")));
    }
    for partition in 0..topic.partitions {
        let marks = in_time(log.watermarks(&topic.name, partition)).await?;
        if *begun || marks.low > 0 {
            continue;
        }
        let first = in_time(record_at(log, &topic.name, partition, 0)).await?;
        if !first.is_some_and(|first| codec.is_genesis(&first.headers, &first.payload, topic.generation)) {
            let name = &topic.name;
            return Ok(Some(format!("{name}/{partition} has no genesis record: run 'klatschctl topics apply'")));
        }
    }
    *begun = true;
    Ok(None)
}
