//! A server that hangs or is unreachable for a while: every call fails in time, and works again when the server is
//! back.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use domain::{ConversationId, Fingerprint, Seq, UserId};
use store::{Applied, CellWrites, Row, SharedStore, Source, StoreError};
use store_scylla::{ScyllaConfig, ScyllaStore, migrate};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const SOURCE: Source = Source { topic: "chat.messages", partition: 0 };
/// Far longer than the engine's own timeouts.
const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// Bytes are accepted and not forwarded.
    Hangs,
    /// Connections are closed as soon as they are opened.
    Cut,
}

/// Starts a proxy between the store and the server.
async fn line_to(server: String) -> Result<(SocketAddr, watch::Sender<Line>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (set, line) = watch::channel(Line::Open);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (mut line, server) = (line.clone(), server.clone());
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(server).await else { return };
                loop {
                    let now = *line.borrow_and_update();
                    tokio::select! {
                        biased;
                        changed = line.changed() => if changed.is_err() { return },
                        _ = copy_bidirectional(&mut near, &mut far), if now == Line::Open => return,
                        () = std::future::ready(()), if now == Line::Cut => return,
                    }
                }
            });
        }
    });
    Ok((address, set))
}

async fn store_behind_a_line() -> Result<Option<(SharedStore, watch::Sender<Line>)>> {
    let Some(server) = support::server()? else { return Ok(None) };
    let direct = support::fresh(&server)?;
    migrate(&direct).await?;
    let (address, line) = line_to(server).await?;
    let config = ScyllaConfig { contact_points: vec![address.to_string()], ..direct };
    Ok(Some((ScyllaStore::connect(config).await?, line)))
}

fn at(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

fn rows() -> Vec<CellWrites> {
    let conversation: ConversationId = uuid::Uuid::from_u128(1).try_into().unwrap();
    let head = Row::Head { seq: at(1), time_ms: 1, slot: 1, ordinal: 1 };
    vec![head.write(conversation, at(1))]
}

async fn answers_again(store: &SharedStore) -> Result<()> {
    let answers = async {
        while store.ping().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    Ok(timeout(SOON, answers).await?)
}

#[tokio::test]
async fn a_server_that_hangs_or_is_gone_is_transient_and_heals() -> Result<()> {
    let Some((store, line)) = store_behind_a_line().await? else { return Ok(()) };
    for fault in [Line::Hangs, Line::Cut] {
        line.send(fault)?;
        let written = timeout(SOON, store.write(rows())).await?;
        assert!(matches!(written, Err(StoreError::Transient(_))), "{fault:?}: {written:?}");
        let read = timeout(SOON, store.applied(SOURCE)).await?;
        assert!(matches!(read, Err(StoreError::Transient(_))), "{fault:?}: {read:?}");
        let user = UserId::try_from(uuid::Uuid::from_u128(1))?;
        let ended = timeout(SOON, store.end_session(user, &[1; 16], 1)).await?;
        assert!(matches!(ended, Err(StoreError::Transient(_))), "{fault:?}: {ended:?}");
        line.send(Line::Open)?;
        answers_again(&store).await?;
        store.write(rows()).await?;
    }
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn who_waits_for_progress_outlasts_a_fault() -> Result<()> {
    let Some((store, line)) = store_behind_a_line().await? else { return Ok(()) };
    let waiter = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.wait_applied(SOURCE, at(5), 4 * SOON).await }
    });
    assert!(!store.wait_applied(SOURCE, at(5), Duration::from_millis(100)).await?);
    line.send(Line::Hangs)?;
    let blind = store.wait_applied(SOURCE, at(5), Duration::from_millis(300)).await;
    assert!(matches!(blind, Ok(false)), "{blind:?}");
    line.send(Line::Cut)?;
    let blind = store.wait_applied(SOURCE, at(5), Duration::from_millis(300)).await;
    assert!(matches!(blind, Err(StoreError::Transient(_)) | Ok(false)), "{blind:?}");
    line.send(Line::Open)?;
    answers_again(&store).await?;
    store.set_applied(SOURCE, Applied { seq: at(5), fingerprint: Fingerprint(1) }).await?;
    assert!(timeout(SOON, waiter).await??.unwrap());
    store.close().await;
    Ok(())
}
