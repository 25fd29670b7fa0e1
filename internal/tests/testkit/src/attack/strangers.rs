//! Connections that send nothing, and are opened again when the server closes them.

use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{People, Target, Wishes};

/// Connections that are kept open.
const STRANGERS: usize = 2000;
/// How long people talk before the attack, and during it.
const TALK: Duration = Duration::from_secs(15);
/// How long a stranger waits for a connection, and how long before the next attempt.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause before a stranger whose connection was closed connects again: attackers and people share one machine's
/// processors here.
const AWAY: Duration = Duration::from_millis(50);

pub(super) async fn run(wishes: Wishes, limits: &'static str) -> Result<bool> {
    let mut target = Target::new(&wishes, limits, &[]).await?;
    let people = People::begin(&target.endpoints(), 6, 20).await?;
    let before = people.talk(TALK).await?;
    println!("before:  {before}; {:?} MiB, {:?} descriptors", target.resident_mib(), target.descriptors());

    let (stop, mut strangers) = (CancellationToken::new(), JoinSet::new());
    for _ in 0..wishes.count.unwrap_or(STRANGERS) {
        strangers.spawn(stop.clone().run_until_cancelled_owned(stranger(target.address())));
    }
    let during = people.talk(TALK).await?;
    println!("during:  {during}; {:?} MiB, {:?} descriptors", target.resident_mib(), target.descriptors());
    target.alive()?;
    // People who connect only now must be served, too.
    let newcomer = People::begin(&target.endpoints(), 3, 20).await?;
    let new = newcomer.talk(Duration::from_secs(2)).await?;
    println!("newcomers: {new}");
    stop.cancel();
    strangers.join_all().await;

    let after = people.talk(Duration::from_secs(3)).await?;
    println!("after:   {after}; {:?} MiB, {:?} descriptors", target.resident_mib(), target.descriptors());
    target.alive()?;
    let lost = people.lost().await? + newcomer.lost().await?;
    println!("lost: {lost}");
    Ok(lost == 0 && during.as_good_as(&before))
}

/// Holds a connection until the server closes it, then connects again.
async fn stranger(address: std::net::SocketAddr) {
    loop {
        if let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(address)).await {
            // Ends when the server closes it, since it says nothing.
            let _ = stream.read(&mut [0; 64]).await;
            sleep(AWAY).await;
        } else {
            sleep(PATIENCE).await;
        }
    }
}
