//! Runs the program on a data folder whose records can be decoded only with the ids of a registry.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Output;

use axum::Router;
use axum::http::Uri;
use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{EventLog, NewRecord, append};
use events::topics::MESSAGES;
use events::{Codec, SchemaKind};
use kv::Database;
use workload::{Reference, Stories, StoryConfig};

/// A registry that has given our schemas ids of its own.
async fn registry() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let register = |uri: Uri| async move {
        let schema = SchemaKind::ALL.iter().position(|kind| uri.path().contains(kind.record_name())).unwrap();
        format!(r#"{{"id":{}}}"#, 1000 - schema)
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(register)).await });
    url
}

async fn klatschctl(folder: &Path, registry: &str, words: &str) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_klatschctl"));
    command.arg("--data").arg(folder).args(["--registry", registry]).args(words.split(' '));
    command.output().await.unwrap()
}

#[tokio::test]
async fn records_without_headers_are_read_by_the_registrys_ids() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), registry().await);
    let codec = Codec::register(&registry).await.unwrap();
    let event =
        Stories::new(1, StoryConfig::default(), 1_750_000_000_000).next(1_750_000_000_000, &Reference::default());
    let database = Database::open(&folder.path().join("db")).unwrap();
    let log = EmbeddedLog::open(database.clone(), Clock::system()).await.unwrap();
    ops::topics::apply(&*log, &codec, &Entropy::seeded(1), |_| {}).await.unwrap();
    let (key, payload) = (event.conversation.to_string(), codec.event(&event).payload);
    append(&*log, MESSAGES, NewRecord { key, partition: None, headers: Vec::new(), payload }).await.unwrap();
    log.close().await;
    drop((log, database));

    for (words, wanted) in [
        ("tail chat.messages".to_owned(), "\"record\":\"ConversationCreatedV2\""),
        ("replay storage --from-start --yes".to_owned(), "records replayed"),
        ("holds list".to_owned(), "no conversation is held"),
        (format!("holds show {}", event.conversation), "was never held"),
        ("audit".to_owned(), "1 events judged, 1 of them accepted"),
    ] {
        let output = klatschctl(folder.path(), &registry, &words).await;
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(wanted), "{words}: {told}{}", String::from_utf8_lossy(&output.stderr));
    }
}
