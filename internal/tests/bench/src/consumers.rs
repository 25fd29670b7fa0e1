//! Both consumers without their final write, on a backlog: records a second, beside a bare consumer of the same topic. The
//! backlog has small batches, as live records do: what librdkafka gains by large ones, no consumer of a service has.

use anyhow::Result;
use testkit::numbered;
use testkit::programs::{Ran, Setup};

use crate::contest::Contest;
use crate::ground::{BARE, Ground};
use crate::messages::Messages;
use crate::report::Figures;
use crate::storage::{CONVERSATIONS, MESSAGES, printed};
use crate::wishes::Wishes;

const STORAGE: &str = "storage, no writes, in process";
const FANOUT: &str = "fan-out, no writes, in process";

/// Runs the rounds, all on the same records. Each contestant is a process of its own, which prints its figures.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "consumers", contestants: &[BARE, STORAGE, FANOUT], floor: Some(BARE) };
    let ground = Ground::new(wishes).await?;
    let mut messages = Messages::new(&ground.log);
    for number in 0..CONVERSATIONS {
        messages.open(&[numbered::user(number * 2), numbered::user(number * 2 + 1)]).await?;
    }
    messages.say_in_small_batches(wishes.messages.unwrap_or(MESSAGES)).await?;
    let appended = messages.appended;
    let round = async |contestant| match contestant {
        BARE => one(&ground, wishes, BARE, &["consume".into()]).await,
        // A timeline has an entry of every message, and one of the creation.
        STORAGE => {
            let entries = appended.messages() + appended.created;
            one(&ground, wishes, "consumers", &["storage".into(), entries.to_string()]).await
        }
        _ => one(&ground, wishes, "consumers", &["fanout".into(), appended.deliveries.to_string()]).await,
    };
    contest.run(wishes, round).await
}

async fn one(ground: &Ground, wishes: &Wishes, program: &'static str, words: &[String]) -> Result<Figures> {
    let environment = vec![("KLATSCH_KAFKA", ground.cluster.kafka.bootstrap().to_owned())];
    let (arguments, limits) = (words.iter().map(Into::into).collect(), wishes.cores.limits());
    let ran = Ran::of(Setup { program, arguments, environment, limits }).await?;
    let [per_second, cpu_us] = printed(&ran.success()?)?;
    Ok(vec![("records per second", per_second), ("CPU us of each", cpu_us)])
}
