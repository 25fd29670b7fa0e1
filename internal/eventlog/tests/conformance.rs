//! The embedded engine passes the conformance suite in memory and on disk.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use environment::Clock;
use eventlog::SharedLog;
use eventlog::conformance::{CASES, Case, Factory, RETENTION};
use eventlog::embedded::EmbeddedLog;
use kv::Database;
use tokio::sync::Mutex;
use tokio::time::Instant;

struct Embedded {
    /// The folder; `None` for a log in memory.
    folder: Option<PathBuf>,
    open: Mutex<(Database, SharedLog)>,
    /// How far the clock is ahead of tokio's time.
    ahead_ms: Arc<AtomicI64>,
    clock: Clock,
}

impl Embedded {
    async fn new(folder: Option<PathBuf>) -> Self {
        let (ahead_ms, started) = (Arc::new(AtomicI64::new(1_700_000_000_000)), Instant::now());
        let ahead = Arc::clone(&ahead_ms);
        let clock = Clock::from_fn(move || {
            let since = i64::try_from(started.elapsed().as_millis()).unwrap();
            // The clock jumps back by up to 6 ms at times, as real clocks may.
            since + ahead.load(Ordering::SeqCst) - since % 7
        });
        let database = match &folder {
            Some(folder) => Database::open(folder).unwrap(),
            None => Database::in_memory(),
        };
        let log = EmbeddedLog::open(database.clone(), clock.clone()).await.unwrap();
        Self { folder, open: Mutex::new((database, log)), ahead_ms, clock }
    }
}

#[async_trait]
impl Factory for Embedded {
    async fn open(&self) -> SharedLog {
        Arc::clone(&self.open.lock().await.1)
    }

    async fn reopen(&self, log: SharedLog) -> SharedLog {
        let mut open = self.open.lock().await;
        log.close().await;
        if let Some(folder) = &self.folder {
            open.0 = Database::in_memory();
            open.0 = Database::open(folder).unwrap();
        }
        open.1 = EmbeddedLog::open(open.0.clone(), self.clock.clone()).await.unwrap();
        Arc::clone(&open.1)
    }

    async fn trim(&self, log: &SharedLog, topic: &str) {
        self.ahead_ms.fetch_add(i64::try_from(RETENTION.as_millis()).unwrap() + 1000, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let marks = log.watermarks(topic, 0).await.unwrap();
            if marks.low + 1 == marks.next {
                return;
            }
            assert!(Instant::now() < deadline, "the log trims what is old: {marks:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn run_name(&self) -> String {
        "embedded".to_owned()
    }
}

fn run(case: &Case, on_disk: bool) {
    let folder = on_disk.then(|| tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let path = folder.as_ref().map(|folder| folder.path().to_owned());
    runtime.block_on(async {
        let factory = Embedded::new(path).await;
        (case.run)(&factory).await;
    });
}

fn run_all(on_disk: bool) {
    let mut failed = Vec::new();
    for case in CASES {
        println!("{}", case.name);
        if std::panic::catch_unwind(|| run(case, on_disk)).is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

#[test]
fn in_memory() {
    run_all(false);
}

#[test]
fn on_disk() {
    run_all(true);
}
