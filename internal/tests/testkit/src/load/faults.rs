//! Faults of servers and machines, beside `kill -9` of a program: they freeze, restart, cause rebalances, and run
//! out of disk space or descriptors.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use workload::Random;

use crate::programs::{Cluster, Program, Service, Single};

/// How long a program or server stays frozen: longer than a consumer's session (10 s), so that its partitions are
/// reassigned and it resumes as a zombie.
const FROZEN: Duration = Duration::from_secs(15);
/// The same for `klatsch`, where no other consumer can take the partitions.
const SINGLE_FROZEN: Duration = Duration::from_secs(5);
/// Pause between two rebalances.
const REBALANCE_EVERY: Duration = Duration::from_secs(10);
/// Number of rebalances in a row.
const REBALANCES: usize = 3;
/// The longest pause between two faults, in milliseconds.
const PAUSE_MS: u64 = 3_000;

/// The largest file that may be written, in the shell's blocks (half a kilobyte to a kilobyte): writes beyond it
/// fail as on a full disk. Unlike a small file system, this needs no privileges.
const SMALL_DISK: &str = "trap '' XFSZ; ulimit -f 1500";
/// Enough descriptors for the devices of a load, but fewer than the strangers need.
const FEW_DESCRIPTORS: &str = "ulimit -n 512";
/// Connections that send nothing.
const STRANGERS: usize = 400;
/// How long the program must keep running with them.
const STRANGERS_FOR: Duration = Duration::from_secs(5);
/// How long it may take until the limit has an effect.
const FELT_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The offsets of a clock, one after the other, in seconds: within the minute that ids may lie ahead, and by an
/// hour, in which access tokens expire.
const STEPS: [i64; 4] = [40, -40, 3_600, 0];
/// How long a clock keeps each offset.
const STEP_EVERY: Duration = Duration::from_secs(3);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The broker is killed and started again.
    BrokerKilled,
    /// The broker is frozen (SIGSTOP).
    BrokerFrozen,
    /// The store is killed and started again.
    StoreKilled,
    /// The store is frozen.
    StoreFrozen,
    /// A consumer stops in order, leaving its group, and joins again, several times.
    Rebalances,
    /// A program is frozen and resumes; a consumer then resumes as a zombie.
    Frozen(Service),
    /// `klatsch` is frozen and resumes.
    SingleFrozen,
    /// The disk of `klatsch` is full; later there is space again.
    DiskFull,
    /// `klatsch` has few file descriptors, and strangers occupy all connections.
    FewDescriptors,
    /// The clock of a program is stepped forward and back.
    ClockStepped,
}

impl Fault {
    /// The faults of a cluster: those of its servers, and the freezing of each program.
    #[must_use]
    pub fn of_clusters() -> Vec<Self> {
        let servers = [Self::BrokerKilled, Self::BrokerFrozen, Self::StoreKilled, Self::StoreFrozen, Self::Rebalances];
        servers.into_iter().chain(Service::ALL.map(Self::Frozen)).collect()
    }
}

/// The faults that were caused, each with its durations.
#[derive(Debug, Default)]
pub struct Faults(BTreeMap<Fault, Vec<Duration>>);

impl Faults {
    /// Joins two records.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        for (fault, took) in more.0 {
            self.0.entry(fault).or_default().extend(took);
        }
        self
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fault, took) in &self.0 {
            let longest = took.iter().max().copied().unwrap_or_default();
            let name = format!("{fault:?}");
            writeln!(f, "{name:18} {:3} times, over after {longest:.1?} (longest)", took.len())?;
        }
        Ok(())
    }
}

/// Causes all of [`Fault::of_clusters`] in random order, one after the other, in so many rounds.
///
/// # Errors
/// When a server or program does not recover.
pub async fn disturb_cluster(cluster: &mut Cluster, rounds: usize, seed: u64) -> Result<Faults> {
    let (mut random, mut faults) = (Random::new(seed ^ 0xfa17), Faults::default());
    for _ in 0..rounds {
        let mut left = Fault::of_clusters();
        while !left.is_empty() {
            let next = usize::try_from(random.below(left.len() as u64))?;
            let fault = left.swap_remove(next);
            sleep(Duration::from_millis(random.below(PAUSE_MS))).await;
            let begun = Instant::now();
            happen(cluster, fault).await?;
            faults.0.entry(fault).or_default().push(begun.elapsed());
        }
    }
    Ok(faults)
}

/// Freezes `klatsch` and lets it run out of space and of descriptors, in so many rounds.
///
/// # Errors
/// When a limit has no effect, or the program does not recover.
pub async fn disturb_single(single: &mut Single, rounds: usize) -> Result<Faults> {
    let mut faults = Faults::default();
    for _ in 0..rounds {
        let begun = Instant::now();
        single.program.pause()?;
        sleep(SINGLE_FROZEN).await;
        single.program.resume()?;
        faults.0.entry(Fault::SingleFrozen).or_default().push(begun.elapsed());
        let begun = Instant::now();
        fill_disk(single).await?;
        faults.0.entry(Fault::DiskFull).or_default().push(begun.elapsed());
        let begun = Instant::now();
        crowd(single).await?;
        faults.0.entry(Fault::FewDescriptors).or_default().push(begun.elapsed());
    }
    Ok(faults)
}

/// Steps the clocks of these programs, one after the other, in so many rounds.
///
/// # Errors
/// When a program has no clock of its own.
pub async fn step_clocks(programs: Vec<&Program>, rounds: usize) -> Result<Faults> {
    let mut faults = Faults::default();
    for program in std::iter::repeat_n(programs, rounds).flatten() {
        let begun = Instant::now();
        for off_seconds in STEPS {
            program.step_clock(off_seconds)?;
            sleep(STEP_EVERY).await;
        }
        faults.0.entry(Fault::ClockStepped).or_default().push(begun.elapsed());
    }
    Ok(faults)
}

async fn fill_disk(single: &mut Single) -> Result<()> {
    let program = &mut single.program;
    program.stop().await?;
    program.limit(SMALL_DISK);
    program.spawn()?;
    let deadline = Instant::now() + FELT_WITHIN;
    loop {
        ensure!(Instant::now() < deadline, "the full disk is not felt: {}", program.log_tail());
        if let Some(status) = program.has_ended()? {
            // A log that cannot be written is the one fault that makes the program exit.
            ensure!(status.code() == Some(70), "it ended with {status}");
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    program.limit("");
    program.start().await?;
    Ok(())
}

/// Strangers occupy every connection: the program keeps running, and its database never lacks a descriptor.
async fn crowd(single: &mut Single) -> Result<()> {
    let program = &mut single.program;
    program.stop().await?;
    program.limit(FEW_DESCRIPTORS);
    program.start().await?;
    let mut strangers = Vec::new();
    let until = Instant::now() + STRANGERS_FOR;
    while Instant::now() < until {
        // A stranger whose connection was closed connects again.
        strangers.retain(|stranger: &TcpStream| !matches!(stranger.try_read(&mut [0]), Ok(0)));
        while strangers.len() < STRANGERS {
            let Ok(Ok(stranger)) = timeout(LOOK_EVERY, TcpStream::connect(program.address())).await else { break };
            strangers.push(stranger);
        }
        sleep(LOOK_EVERY).await;
        ensure!(program.has_ended()?.is_none(), "it ended: {}", program.log_tail());
    }
    drop(strangers);
    ensure!(!program.log_tail().contains("Too many open files"), "descriptors ran out: {}", program.log_tail());
    program.kill().await?;
    program.limit("");
    program.start().await?;
    Ok(())
}

async fn happen(cluster: &mut Cluster, fault: Fault) -> Result<()> {
    match fault {
        Fault::BrokerKilled => {
            cluster.broker().kill().await?;
            cluster.broker().restart().await
        }
        Fault::BrokerFrozen => {
            cluster.broker().pause()?;
            sleep(FROZEN).await;
            cluster.broker().resume()
        }
        Fault::StoreKilled => {
            cluster.own_store()?.kill().await?;
            cluster.own_store()?.restart().await
        }
        Fault::StoreFrozen => {
            cluster.own_store()?.pause()?;
            sleep(FROZEN).await;
            cluster.own_store()?.resume()
        }
        Fault::Rebalances => {
            for _ in 0..REBALANCES {
                let consumer = cluster.program(Service::Fanout(1));
                consumer.stop().await?;
                consumer.start().await?;
                sleep(REBALANCE_EVERY).await;
            }
            Ok(())
        }
        Fault::Frozen(service) => {
            let program = cluster.program(service);
            program.pause()?;
            sleep(FROZEN).await;
            program.resume()
        }
        Fault::SingleFrozen | Fault::DiskFull | Fault::FewDescriptors | Fault::ClockStepped => {
            bail!("{fault:?} happens to a machine: see disturb_single")
        }
    }
}
