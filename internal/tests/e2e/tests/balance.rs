//! Two websocket nodes behind real balancers: nodes restarted one after the other and killed, under load, and nobody misses
//! anything.
//!
//! One test, because each cluster has a Kafka and seven programs of its own, and machines have few cores.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::device::Device;
use testkit::engines::Engines;
use testkit::load::{LoadConfig, World};
use testkit::programs::{Balancer, Balancing, Cluster, Service};
use testkit::runs::{self, Harmed};
use testkit::servers;
use tokio::time::Instant;

/// The drain window of the nodes.
const WINDOW: Duration = Duration::from_secs(8);
/// How much later than the drain window everybody must be back.
const BEYOND_WINDOW: Duration = Duration::from_secs(5);
/// Everybody is back after so long when a node was killed.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// The most connects within [`SPAN`], against those of an even spread.
const CONNECTS_RATIO_MAX: f64 = 1.5;
/// In a small world, a single second has but a few connects: one more of them would be half as many again.
const SPAN: Duration = Duration::from_secs(2);
/// Moves are made within so long: devices of the test wait for a second at most once they are in sync.
const MOVED_WITHIN: Duration = Duration::from_secs(60);
const NODES: [Service; 2] = [Service::Sockets(0), Service::Sockets(1)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_behind_a_balancer_restart_and_crash_and_nobody_misses_anything() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let mut cluster = Cluster::new().await?;
    for node in NODES {
        let window = WINDOW.as_secs().to_string();
        let options = ["--trusted-proxies", "1", "--drain-window", &window, "--routed-by-partition"];
        cluster.program(node).add_arguments(options.map(str::to_owned));
    }
    cluster.start().await?;
    for (balancing, seed) in Balancing::ALL.into_iter().zip(1..) {
        let balancer = Balancer::start(balancing, &mut cluster).await?;
        let outcome = behind(&balancer, &mut cluster, seed).await;
        outcome.with_context(|| format!("behind {balancing:?}, whose log ends:\n{}", balancer.log_tail()))?;
    }
    Ok(())
}

async fn behind(balancer: &Balancer, cluster: &mut Cluster, seed: u64) -> Result<()> {
    let config = LoadConfig {
        users: 30,
        devices: 2,
        conversations: 30,
        members_max: 20,
        messages: 200,
        rate: Some(10),
        unsteady: false,
        seed,
        ..LoadConfig::default()
    };
    let harming = async |world: &World| {
        moved(world).await?;
        for node in NODES {
            restarted(cluster, node, world).await?;
        }
        killed(cluster, NODES[0], world).await?;
        Ok(Harmed::default())
    };
    let (mut world, mut report) = runs::talk(&balancer.endpoints(), config, harming).await?;
    let engines = Engines::cluster(cluster).await?;
    runs::judge(&engines, &mut world, &mut report).await?;
    engines.close().await;
    // Kafka tells its time with every acknowledgement, and its clock is this machine's.
    let (metrics, skew) = (cluster.program(NODES[1]).metrics().await?, "klatsch_append_clock_skew_seconds 0.0");
    ensure!(metrics.lines().any(|line| line == skew), "{skew} is not in {metrics}");
    println!("{report}");
    report.verdict.demand_zero()
}

/// Waits until the devices, who knew no partition when they came, have come again with theirs: each of them once.
async fn moved(world: &World) -> Result<()> {
    let moved = |device: &Device| {
        let memory = device.memory();
        memory.live && memory.journal.connects >= 2
    };
    world.until("moved", MOVED_WITHIN, moved).await?;
    for device in &world.devices {
        let moves = device.memory().journal.moves;
        ensure!(moves == 1, "{} was asked to move {moves} times", device.name);
    }
    Ok(())
}

/// Restarts a node in order. Its devices move to the other one, evenly spread over the drain window.
async fn restarted(cluster: &mut Cluster, node: Service, world: &World) -> Result<()> {
    let (begun, open) = (Instant::now(), sockets_open(cluster, node).await?);
    cluster.program(node).stop().await?;
    let stopped = begun.elapsed();
    back(world, begun, WINDOW + BEYOND_WINDOW).await?;
    let connects = connects(world, begun);
    let busiest = busiest_span(&connects);
    println!(
        "{node:?}: {open} sockets, {} connects, at most {busiest} within {SPAN:?}; stopped after {stopped:.1?}",
        connects.len()
    );
    ensure!(open > 0, "{node:?} had no devices");
    ensure!(connects.len() == open, "{} connects of {open} devices", connects.len());
    let even = open as f64 * SPAN.as_secs_f64() / WINDOW.as_secs_f64();
    ensure!(busiest as f64 <= (CONNECTS_RATIO_MAX * even).ceil(), "{busiest} connects within {SPAN:?}, of {open}");
    cluster.program(node).start().await.map(drop)
}

/// Kills a node. Its devices find the other one.
async fn killed(cluster: &mut Cluster, node: Service, world: &World) -> Result<()> {
    let (begun, open) = (Instant::now(), sockets_open(cluster, node).await?);
    ensure!(open > 0, "{node:?} had no devices");
    cluster.program(node).kill().await?;
    let moved = || connects(world, begun).len() >= open;
    world.until("back", BACK_WITHIN, |device| moved() && device.memory().live).await?;
    println!("{node:?} killed: {open} devices are back after {:.1?}", begun.elapsed());
    cluster.program(node).start().await.map(drop)
}

/// Waits until every device is connected and in sync.
async fn back(world: &World, begun: Instant, within: Duration) -> Result<()> {
    let left = within.saturating_sub(begun.elapsed());
    world.until("back", left, |device| device.memory().live).await
}

/// When devices were let in since then.
fn connects(world: &World, since: Instant) -> Vec<Instant> {
    let devices = world.devices.iter().flat_map(|device| device.memory().journal.upgraded_at.clone());
    let mut connects: Vec<Instant> = devices.filter(|at| *at >= since).collect();
    connects.sort_unstable();
    connects
}

/// The most connects within any [`SPAN`].
fn busiest_span(connects: &[Instant]) -> usize {
    let within = |first: Instant| connects.iter().filter(|at| (first..first + SPAN).contains(at)).count();
    connects.iter().map(|first| within(*first)).max().unwrap_or(0)
}

async fn sockets_open(cluster: &mut Cluster, node: Service) -> Result<usize> {
    let metrics = cluster.program(node).metrics().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("klatsch_sockets_open "));
    Ok(line.context("no metric of open sockets")?.trim().parse()?)
}
