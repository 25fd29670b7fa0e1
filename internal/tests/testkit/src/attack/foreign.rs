//! Records of other producers in every topic, on a real Kafka: without headers, in no format of ours, some under
//! keys of real conversations and some without a key. People go on talking; each record that cannot be read is
//! copied to the quarantine, and no conversation is held because of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventlog::{NewRecord, SharedLog};
use events::topics::{DELIVERIES, MESSAGES, QUARANTINE, RECEIPTS, USERS, spec_of};
use tokio::time::{Instant, interval, sleep};
use workload::Random;

use super::{Figures, People, Wishes, memory};
use crate::engines::Engines;
use crate::programs::Cluster;

/// Records that are written to each topic.
const RECORDS: usize = 2_000;
/// Records per second, over all topics.
const RATE: u64 = 400;
/// How long people talk before the records are written.
const TALK: Duration = Duration::from_secs(20);
/// The longest payload, in bytes.
const BYTES_MAX: u64 = 4_096;
/// How long it may take until the last record is copied to the quarantine.
const COPIED_WITHIN: Duration = Duration::from_secs(120);

const TOPICS: [&str; 4] = [MESSAGES, RECEIPTS, USERS, DELIVERIES];
/// The topics whose unreadable records are copied to the quarantine: those that consumers read. A websocket node
/// only counts what it cannot read in `chat.deliveries`.
const COPIED: [&str; 3] = [MESSAGES, RECEIPTS, USERS];

pub(super) async fn run(wishes: Wishes) -> Result<bool> {
    ensure!(wishes.url.is_none(), "foreign records need a Kafka of their own");
    let mut cluster = Cluster::new().await?;
    cluster.start().await?;
    let people = People::begin(&cluster.endpoints(), 10, 20).await?;
    let engines = Engines::cluster(&cluster).await?;
    // Warm-up: what is new in a run (connections, caches) must not go into the figures.
    people.talk(TALK / 2).await?;
    let before = people.talk(TALK).await?;
    println!("before:  {before}; {} MiB in all programs", resident_mib(&cluster));
    let (copied, records) = (copies(&engines.log).await?, wishes.count.unwrap_or(RECORDS));
    let keys: Vec<String> = people.world().rooms.iter().map(|room| room.id.to_string()).collect();
    let during = during(&people, write(&engines.log, &keys, records), records).await?;
    println!("during:  {during}; {} MiB in all programs", resident_mib(&cluster));
    let expected = (COPIED.len() * records) as u64;
    let deadline = Instant::now() + COPIED_WITHIN;
    let mut found = copies(&engines.log).await? - copied;
    while found < expected && Instant::now() < deadline {
        sleep(Duration::from_millis(200)).await;
        found = copies(&engines.log).await? - copied;
    }
    let after = people.talk(TALK).await?;
    println!("after:   {after}; {} MiB in all programs", resident_mib(&cluster));
    let lost = people.lost().await?;
    println!(
        "lost: {lost}; {records} records in each of {TOPICS:?}; copied to the quarantine: {found} of {expected} at least"
    );
    engines.close().await;
    cluster.stop().await?;
    Ok(lost == 0 && found >= expected && during.as_good_as(&before) && after.as_good_as(&before))
}

/// People talk while the records are written.
async fn during(people: &People, writing: impl Future<Output = Result<()>>, records: usize) -> Result<Figures> {
    let time = Duration::from_secs((records * TOPICS.len()) as u64 / RATE);
    let (talked, written) = tokio::join!(people.talk(time), writing);
    written?;
    talked
}

async fn write(log: &SharedLog, keys: &[String], records: usize) -> Result<()> {
    let (mut random, mut ticks) = (Random::new(10), interval(Duration::from_secs(1) / u32::try_from(RATE)?));
    for number in 0..records * TOPICS.len() {
        ticks.tick().await;
        let topic = TOPICS[number % TOPICS.len()];
        let record = foreign(topic, keys, &mut random);
        eventlog::append(&**log, topic, record).await?;
    }
    Ok(())
}

/// A random record that is in no format of ours.
fn foreign(topic: &str, keys: &[String], random: &mut Random) -> NewRecord {
    let key = match random.below(3) {
        0 => String::new(),
        1 => random.pick(keys).clone(),
        _ => format!("somebody-{}", random.below(1_000)),
    };
    let payload = match random.below(4) {
        0 => Vec::new(),
        1 => br#"{"hello":"from another team"}"#.to_vec(),
        // One byte shorter than the prefix that names a schema of the registry.
        2 => vec![0, 0, 0, 1],
        _ => (0..random.below(BYTES_MAX)).map(|_| random.below(255).to_le_bytes()[0] | 1).collect(),
    };
    let partition = Some(u32::try_from(random.below(u64::from(spec_of(topic).partitions))).unwrap_or(0));
    NewRecord { key, partition, headers: Vec::new(), payload: payload.into() }
}

/// The number of records in the quarantine.
async fn copies(log: &SharedLog) -> Result<u64> {
    let mut count = 0;
    for partition in 0..spec_of(QUARANTINE).partitions {
        count += log.watermarks(QUARANTINE, partition).await?.next;
    }
    Ok(count)
}

/// The memory in use of all programs together, in MiB.
fn resident_mib(cluster: &Cluster) -> u64 {
    cluster.programs().iter().filter_map(|program| memory::resident_kib(program.pid()?)).sum::<u64>() / 1024
}
