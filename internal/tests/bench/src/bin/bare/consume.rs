//! The floor of the consumers: reads `chat.messages` with the bare driver, from its beginning to its end, and does nothing
//! with the records.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bench::processes::cpu_of;
use rdkafka::consumer::Consumer as _;
use rdkafka::{Message as _, Offset};
use tokio::time::Instant;

use crate::kafka;

/// The run fails when no record comes for this long.
const QUIET: Duration = Duration::from_secs(30);

/// Prints records per second, and microseconds of CPU time of each.
pub(crate) fn run() -> Result<()> {
    let consumer = kafka::at_the_end("chat.messages")?;
    let ends = consumer.assignment()?;
    let end = |partition: i32| ends.elements().iter().find(|one| one.partition() == partition).map(|one| one.offset());
    let (mut partitions, mut left, mut total) = (consumer.assignment()?, 0, 0);
    for one in ends.elements() {
        if let Offset::Offset(next @ 1..) = one.offset() {
            (left, total) = (left + 1, total + next);
        }
    }
    partitions.set_all_offsets(Offset::Beginning)?;
    consumer.assign(&partitions)?;
    let (mut begun, mut cpu) = (Instant::now(), Duration::ZERO);
    let mut first = true;
    while left > 0 {
        let record = consumer.poll(QUIET).context("no record came")??;
        if first {
            (begun, cpu, first) = (Instant::now(), cpu_of(std::process::id())?, false);
        }
        left -= i32::from(end(record.partition()) == Some(Offset::Offset(record.offset() + 1)));
    }
    let (took, cpu) = (begun.elapsed(), cpu_of(std::process::id())? - cpu);
    println!("{} {}", total as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / total as f64);
    Ok(())
}
