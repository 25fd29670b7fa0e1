//! How long a message takes on the separate services with real Kafka and store: from send to `ack`, and from send to
//! another device, at a steady rate.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bench::processes::cpu_of;
use eventlog::SharedLog;
use events::topics::{DELIVERIES, Lane, MESSAGES, TopicSpec, spec_of};
use testkit::numbered;
use testkit::programs::Program;
use tokio::time::{Instant, sleep};

use crate::contest::Contest;
use crate::ground::{BARE, Ground, SOCKETS};
use crate::report::Figures;
use crate::talk::Talk;
use crate::wishes::Wishes;

const SERVICES: &str = "services";
/// Messages a second, unless another rate is asked for.
const RATE: u64 = 200;
const SECONDS: u64 = 20;
/// Before the figures count: servers and services have compiled and cached what they need.
const WARM_UP: Duration = Duration::from_secs(5);
/// The longest that a new topic may be without leaders.
const LED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs the rounds: latencies, and the CPU of all contestant's processes.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "latency", contestants: &[BARE, SERVICES], floor: Some(BARE) };
    let ground = Ground::new(wishes).await?;
    numbered::register(&ground.cluster.store().await?, wishes.devices()).await?;
    for (name, like) in [("bare.first", MESSAGES), ("bare.second", DELIVERIES)] {
        let (topic, partitions) = (name.to_owned(), spec_of(like).partitions);
        let spec = TopicSpec { name: topic, partitions, generation: 0, retention: None, lane: Lane::Durable };
        ground.log.create(&spec).await?;
        led(&ground.log, name, partitions).await?;
    }
    contest.run(wishes, async |contestant| round(&ground, contestant, wishes).await).await
}

/// Waits until each partition of a new topic has a leader.
async fn led(log: &SharedLog, topic: &str, partitions: u32) -> Result<()> {
    let begun = Instant::now();
    for partition in 0..partitions {
        while let Err(error) = log.watermarks(topic, partition).await {
            ensure!(begun.elapsed() < LED_WITHIN, "{topic}/{partition} has no leader: {error}");
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

async fn round(ground: &Ground, contestant: &'static str, wishes: &Wishes) -> Result<Figures> {
    let tokens = ground.tokens(contestant, wishes.devices())?;
    let mut programs = match contestant {
        BARE => vec![ground.program(BARE, &["talk"]).await?, ground.program(BARE, &["hop"]).await?],
        _ => {
            let mut programs = Vec::new();
            for name in [SOCKETS, "fanout-consumer", "storage-consumer", "chat-service", "user-service"] {
                programs.push(ground.program(name, &[]).await?);
            }
            programs
        }
    };
    let (rate, time) = (wishes.rate.unwrap_or(RATE) as f64, wishes.time(SECONDS));
    let node = programs.first().context("a program with sockets")?.address();
    let mut talk = Talk::pairs(node, &tokens).await?;
    talk.at_rate(rate, WARM_UP).await?;
    let cpu = cpu_of_all(&programs)?;
    let period = talk.at_rate(rate, time).await?;
    let cpu = cpu_of_all(&programs)? - cpu;
    talk.end().await;
    for program in &mut programs {
        program.kill().await?;
    }
    let mut figures = period.latencies();
    figures.push(("CPU us of each", cpu.as_secs_f64() * 1e6 / period.messages as f64));
    Ok(figures)
}

fn cpu_of_all(programs: &[Program]) -> Result<Duration> {
    programs.iter().map(|program| cpu_of(program.pid().context("it runs")?)).sum()
}
