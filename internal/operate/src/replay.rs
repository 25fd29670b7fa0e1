//! `klatschctl replay storage`.

use ops::replay::{Range, Selection, plan, run};
use ops::{Exit, OpsError};
use storage::Replayed;

use crate::command::ReplayOptions;
use crate::context::Context;
use crate::engines::Engines;
use crate::incarnations;
use crate::progress::Progress;

pub(crate) async fn storage(
    engines: &mut dyn Engines,
    options: &ReplayOptions,
    cx: &Context<'_>,
) -> Result<Exit, OpsError> {
    if options.into_new_incarnation {
        if options.partition.is_some() {
            return Err(OpsError::Usage(
                "a new incarnation is always filled from the start of every partition: leave out --partition and \
                 --from-offset"
                    .into(),
            ));
        }
        return incarnations::rebuild(engines, options.yes, cx).await;
    }
    let selection = match (options.partition, options.from_offset) {
        (Some(partition), Some(offset)) => Selection::From { partition, offset },
        _ => Selection::FromStart,
    };
    let (log, store) = (engines.log().await?, engines.store().await?);
    let ranges = plan(&log, &store, selection).await?;
    for range in ranges.iter().filter(|range| range.records() > 0) {
        cx.say(range.to_string())?;
    }
    let records: u64 = ranges.iter().map(Range::records).sum();
    cx.say(format!("{records} records in all"))?;
    if !options.yes {
        return cx.dry_run().map(|()| Exit::Ok);
    }
    let codec = engines.codec().await?;
    let mut progress = Progress::new(cx.output, "replaying");
    // Records of the finished ranges, and of the present one.
    let (mut before, mut now) = (0, 0);
    let tell = |range: &Range, done: Replayed| {
        now = done.records;
        progress.tell(before + now, records);
        if done.next >= range.to {
            before += std::mem::take(&mut now);
        }
    };
    let done = run(&log, &store, &codec, cx.entropy, &ranges, cx.stop, tell).await;
    done.map_err(|error| error.leaving("what was replayed by then is applied, and doing it again is fine"))?;
    progress.end();
    cx.say(format!("{before} records replayed"))?;
    Ok(Exit::Ok)
}
