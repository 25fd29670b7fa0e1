//! Connections that say nothing, made again as the server lets go of them.

use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{People, Target, Wishes};

/// Connections that are kept.
const STRANGERS: usize = 2000;
/// How long people talk before, and during.
const TALK: Duration = Duration::from_secs(15);
/// How long a stranger waits for a connection, and before it tries again.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before one that was let go of comes back: attackers and people share one machine's processors here.
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
    // Who comes anew must be served, too.
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

/// Holds a connection until it is closed, and comes back.
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
