//! The separate programs on real servers: under load, killed and restarted, replayed, and compared by the journal
//! oracle.

use anyhow::{Result, ensure};
use testkit::load::LoadConfig;
use testkit::programs::Cluster;
use testkit::runs::{self, Harm};
use testkit::servers;

/// One test, because each cluster has a Kafka and seven programs of its own, and machines have few cores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_double_and_reorder_nothing_and_a_replay_comes_to_the_same_rows() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let mut cluster = Cluster::new().await?;
    // A limited rate: under a load that takes all of two cores, killed programs would wait for servers that get no
    // time.
    let rate = Some(40);
    let config =
        LoadConfig { users: 10, conversations: 24, members_max: 10, messages: 2_000, rate, ..LoadConfig::default() };
    let report = runs::cluster(&mut cluster, config, Harm::kills(1)).await?;
    println!("{report}");
    let (marked, acknowledged, heard) = report.marks;
    ensure!(marked > 0 && acknowledged > 0 && heard > 0, "there were no read marks");
    ensure!(report.signals > 0, "nobody heard that somebody was typing");
    report.verdict.demand_zero()?;

    let config = LoadConfig {
        users: 5,
        conversations: 8,
        members_max: 5,
        messages: 200,
        unsteady: false,
        seed: 2,
        ..LoadConfig::default()
    };
    runs::replay_cluster(&mut cluster, config.clone()).await?.verdict.demand_zero()?;

    // Issue 10, item 17: rows are rebuilt and switched under load, and no socket is affected. The load leaves the
    // machine some time: it lasts until the switch, and under full load rows would be rebuilt no faster than new
    // ones are added.
    let config = LoadConfig { seed: 3, rate: Some(20), ..config };
    runs::rebuild_cluster(&mut cluster, config.clone(), 5).await?.verdict.demand_zero()?;

    // This comes last: the records of other producers stay in the log, and the runs above require that every record
    // can be read.
    let config = LoadConfig { seed: 4, ..config };
    let report = runs::cluster(&mut cluster, config, Harm { foreign: 1, ..Harm::default() }).await?;
    println!("{report}");
    report.verdict.demand_zero()
}
