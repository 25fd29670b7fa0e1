//! Power cuts on the files of the embedded engines: log and store in one folder, as in `klatsch`.
//!
//! A process works on the folder under `strace`; then the folder is rebuilt as it could be after a power cut at any
//! step, and opened again. `POWERCUT_CUTS` sets the number of cuts, `POWERCUT_SEED` selects other ones.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use domain::{CommandId, Content, ConversationId, Seq, UserId};
use environment::Clock;
use eventlog::embedded::EmbeddedLog;
use eventlog::{EventLog, NewRecord, append, record_at};
use events::topics::{Lane, MESSAGES, TopicSpec};
use kv::Database;
use powercut::{CALLS, Keep, Names, Recording, Step};
use store::embedded::EmbeddedStore;
use store::{Applied, ChatStore, Consumer, Hold, HoldStore, Row, Source, StoreAdmin};
use workload::Random;

const PARTITIONS: u32 = 2;
/// Records that each run of the process appends; some are large, so that tables are flushed to files of their own.
const RECORDS: u64 = 160;
const LIVES: u64 = 2;
const LARGE_BYTES: u64 = 120_000;

fn clock() -> Clock {
    Clock::from_fn(|| 1_700_000_000_000)
}

fn conversation() -> ConversationId {
    let user = |n| UserId::try_from(uuid::Uuid::from_u64_pair(7, n)).unwrap();
    ConversationId::direct(user(1), user(2))
}

struct Engines {
    log: Arc<EmbeddedLog>,
    store: Arc<EmbeddedStore>,
}

impl Engines {
    async fn open(folder: &Path) -> Result<Self, String> {
        let database = Database::open(folder).map_err(|error| error.to_string())?;
        let log = EmbeddedLog::open(database.clone(), clock()).await.map_err(|error| error.to_string())?;
        let spec = TopicSpec {
            name: MESSAGES.into(),
            partitions: PARTITIONS,
            generation: 0,
            retention: None,
            lane: Lane::Durable,
        };
        log.create(&spec).await.map_err(|error| error.to_string())?;
        let store = EmbeddedStore::open(database, clock()).await.map_err(|error| error.to_string())?;
        Ok(Self { log, store })
    }

    async fn close(self) {
        self.log.close().await;
        self.store.close().await;
    }

    async fn append(&self, partition: u32, payload: Vec<u8>) -> u64 {
        let payload = Bytes::from(payload);
        let record = NewRecord { key: "key".into(), partition: Some(partition), headers: Vec::new(), payload };
        append(&*self.log, MESSAGES, record).await.unwrap().offset
    }

    /// Writes as storage does: first the row of a durable record, then the progress that covers it.
    async fn apply(&self, partition: u32, offset: u64) {
        let record = record_at(&*self.log, MESSAGES, partition, offset).await.unwrap().unwrap();
        let seq = Seq::new(0, offset).unwrap();
        let row = Row::Entry {
            seq,
            slot: offset,
            ordinal: offset,
            id: CommandId::first_at(1),
            author: UserId::try_from(uuid::Uuid::nil()).unwrap(),
            time_ms: 1,
            content: Content::Message { body: format!("{partition} {offset}").into(), reply_to: None, thread: None },
        };
        self.store.write(vec![row.write(of(partition), seq)]).await.unwrap();
        let applied = Applied { seq, fingerprint: record.fingerprint() };
        self.store.set_applied(Source { topic: MESSAGES, partition }, applied).await.unwrap();
    }
}

/// The conversation of a partition's rows.
fn of(partition: u32) -> ConversationId {
    let user = |n| UserId::try_from(uuid::Uuid::from_u64_pair(8, n)).unwrap();
    ConversationId::direct(user(0), user(u64::from(partition) + 1))
}

/// The process that runs under `strace`.
#[test]
#[ignore = "it is what the other test runs and records"]
fn process() {
    let (Ok(folder), Ok(acknowledged)) = (std::env::var("POWERCUT_FOLDER"), std::env::var("POWERCUT_ACKNOWLEDGED"))
    else {
        return;
    };
    let mut acknowledged = File::create(acknowledged).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut random, mut hold) = (Random::new(5), 0);
        for life in 0..LIVES {
            let engines = Engines::open(Path::new(&folder)).await.unwrap();
            for number in 0..RECORDS {
                let partition = u32::try_from(random.below(2)).unwrap();
                let bytes = if random.chance(60) { LARGE_BYTES } else { 40 + random.below(2000) };
                let payload: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| random.bits().to_be_bytes()).collect();
                let digest = digest(&payload);
                let offset = engines.append(partition, payload).await;
                tell(&mut acknowledged, &format!("log {partition} {offset} {digest}\n"));
                engines.apply(partition, offset).await;
                if number % 16 == 0 {
                    hold += 1;
                    let held = Hold { skipped_to: Some(Seq::new(0, hold).unwrap()), done_through: None };
                    engines.store.put_hold(Consumer::Fanout, 0, conversation(), held).await.unwrap();
                    tell(&mut acknowledged, &format!("hold {hold}\n"));
                }
            }
            if life + 1 == LIVES {
                // Ends without closing, so that the last writes are not synced.
                std::process::exit(0);
            }
            engines.close().await;
        }
    });
}

/// Writes the line with one system call, so that it is recorded as one step.
fn tell(acknowledged: &mut File, line: &str) {
    acknowledged.write_all(line.as_bytes()).unwrap();
}

fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn record(work: &Path) -> Option<Recording> {
    let (folder, acknowledged, trace) = (work.join("data"), work.join("told"), work.join("trace"));
    std::fs::create_dir(&folder).unwrap();
    let traced = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "33554432", "-e", "signal=none", "-e", &format!("trace={CALLS}"), "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "process", "--ignored", "--nocapture"])
        .envs([("POWERCUT_FOLDER", &folder), ("POWERCUT_ACKNOWLEDGED", &acknowledged)])
        .output();
    let output = match traced {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("Operation not permitted") => output,
        // The test cannot run where processes may not be traced.
        missing => {
            assert!(std::env::var_os("KLATSCH_TEST_SERVERS").is_none(), "strace is missing: {missing:?}");
            eprintln!("NOT TESTED: strace is missing, or may not trace: {missing:?}");
            return None;
        }
    };
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    Some(Recording::parse(&text, &folder, &acknowledged).unwrap())
}

#[test]
fn after_a_power_cut_at_any_point_what_was_acknowledged_or_read_is_there() {
    let work = tempfile::tempdir().unwrap();
    // Short, since the paths of a trace are written as hexadecimal digits.
    let Some(recording) = record(&work.path().canonicalize().unwrap()) else { return };
    let count = |of: fn(&Step) -> bool| recording.steps.iter().filter(|step| of(step)).count();
    let syncs = count(|step| matches!(step, Step::SyncDone { .. }));
    let writes = count(|step| matches!(step, Step::Write { .. }));
    let files = count(|step| matches!(step, Step::Named { node: Some(_), .. }));
    println!("{} steps: {writes} writes, {syncs} syncs, {files} names given", recording.steps.len());
    assert!(syncs > 300 && files > 40, "tables were flushed to files of their own");
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (cuts, seed) = (number("POWERCUT_CUTS", 60), number("POWERCUT_SEED", 1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut random = Random::new(seed);
    let mut faults = Vec::new();
    for cut in 0..cuts {
        let keep = *random.pick(&[Keep::Nothing, Keep::Everything, Keep::Some, Keep::Sectors, Keep::Beginning]);
        let names = if random.chance(70) { Names::Journaled } else { Names::PerFolder };
        let at = point(&recording, &mut random);
        let folder = work.path().join(format!("cut{cut}"));
        recording.cut(at, keep, names, &mut |bound| random.below(bound), &folder).unwrap();
        if let Err(fault) = runtime.block_on(check(&folder, &recording, at)) {
            let fault = format!("cut {cut} of seed {seed}: before step {at}, {keep:?}, {names:?}: {fault}");
            println!("{fault}");
            faults.push(fault);
        } else {
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }
    assert!(faults.is_empty(), "{} of {cuts} cuts: {faults:#?}", faults.len());
}

/// A random step to cut before, more often one next to a sync or a change of names.
fn point(recording: &Recording, random: &mut Random) -> usize {
    let any = usize::try_from(random.below(recording.steps.len() as u64 + 1)).unwrap();
    if random.chance(30) {
        return any;
    }
    let of_note = |step: &Step| match step {
        Step::Named { .. } | Step::Length { .. } => true,
        Step::SyncBegun { .. } | Step::SyncDone { .. } | Step::Acknowledged(_) => random.chance(20),
        Step::Write { .. } => false,
    };
    let next = recording.steps[any..].iter().position(of_note);
    (any + next.unwrap_or(0) + usize::try_from(random.below(2)).unwrap()).min(recording.steps.len())
}

/// Opens the folder that a cut has left and checks that every acknowledged line holds.
async fn check(folder: &Path, recording: &Recording, at: usize) -> Result<(), String> {
    let engines = Engines::open(folder).await.map_err(|error| format!("it does not open: {error}"))?;
    let mut acknowledged: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    let mut held = 0;
    for line in recording.acknowledged(at) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["log", partition, offset, digest] => {
                acknowledged.insert((partition.parse().unwrap(), offset.parse().unwrap()), digest.parse().unwrap());
            }
            ["hold", number] => held = number.parse().unwrap(),
            _ => return Err(format!("what is '{line}'?")),
        }
    }
    check_acknowledged(&engines, &acknowledged).await?;
    let hold = engines.store.hold(Consumer::Fanout, 0, conversation()).await.map_err(|error| error.to_string())?;
    if hold.skipped_to < Some(Seq::new(0, held).unwrap()).filter(|_| held > 0) {
        return Err(format!("the hold was told to be at {held}, and is {hold:?}"));
    }
    stored(&engines).await?;
    // The next record gets an offset that no reader has seen, and is kept.
    for partition in 0..PARTITIONS {
        let offset = engines.append(partition, b"after".to_vec()).await;
        if acknowledged.insert((partition, offset), digest(b"after")).is_some() {
            return Err(format!("{partition}/{offset} names two records"));
        }
    }
    engines.close().await;
    let again = Engines::open(folder).await.map_err(|error| format!("it does not open again: {error}"))?;
    check_acknowledged(&again, &acknowledged).await?;
    again.close().await;
    Ok(())
}

async fn check_acknowledged(engines: &Engines, acknowledged: &BTreeMap<(u32, u64), u64>) -> Result<(), String> {
    for ((partition, offset), expected) in acknowledged {
        let found = record_at(&*engines.log, MESSAGES, *partition, *offset).await.map_err(|error| error.to_string())?;
        if found.map(|record| digest(&record.payload)) != Some(*expected) {
            return Err(format!("{partition}/{offset} was acknowledged, and is not what it was"));
        }
    }
    Ok(())
}

/// Checks that the store has exactly the rows that its progress covers, and is not ahead of the log: a power cut
/// loses a suffix of the commits, never one in the middle.
async fn stored(engines: &Engines) -> Result<(), String> {
    let failed = |error: store::StoreError| error.to_string();
    for partition in 0..PARTITIONS {
        let source = Source { topic: MESSAGES, partition };
        let Some(applied) = engines.store.applied(source).await.map_err(failed)? else { continue };
        let offset = applied.seq.offset();
        let record = record_at(&*engines.log, MESSAGES, partition, offset).await.map_err(|error| error.to_string())?;
        if record.map(|record| record.fingerprint()) != Some(applied.fingerprint) {
            return Err(format!("{partition}/{offset} is applied, and not in the log"));
        }
        let key = |offset: u64| {
            let seq = Seq::new(0, offset).unwrap().timestamp();
            vec![of(partition).uuid().into(), 0_i64.into(), seq.into()]
        };
        let keys: Vec<_> = (0..=offset).map(key).collect();
        let rows = engines.store.rows("timeline", &keys).await.map_err(failed)?;
        if let Some(missing) = rows.iter().position(Option::is_none) {
            return Err(format!("{partition} is applied up to {offset}, and the row of {missing} is not there"));
        }
    }
    Ok(())
}
