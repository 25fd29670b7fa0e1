//! How the answers of a schema registry, and of other servers, are sorted.
#![allow(clippy::unwrap_used)]

use events::{Codec, RegistryError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// The status and the body.
type Answer = (u16, &'static str);

const NO_SUBJECT: Answer = (404, r#"{"error_code":40401,"message":"Subject not found."}"#);
const PAGE: Answer = (404, "<html>no such page</html>");

/// Starts a server that answers by path; returns its URL.
async fn server(answer: fn(&str) -> Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            while stream.read_line(&mut head).await.unwrap() > 2 {
                let line = head.lines().last().unwrap().to_lowercase();
                length = line.strip_prefix("content-length: ").map_or(length, |length| length.parse().unwrap());
            }
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            let (status, body) = answer(head.split(' ').nth(1).unwrap());
            let length = body.len();
            let text = format!("HTTP/1.1 {status} so\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    url
}

/// A registry with that answer to everything but the list of its subjects.
fn registry(path: &str, answer: Answer) -> Answer {
    if path == "/api/subjects" { (200, "[]") } else { answer }
}

#[tokio::test]
async fn a_registry_without_our_subjects_takes_them() {
    let url = server(|path| registry(path, NO_SUBJECT)).await;
    let reports = Codec::check(&url).await.unwrap();
    assert!(!reports.is_empty() && reports.iter().all(|report| report.compatible), "{reports:?}");
    let url = server(|path| registry(path, (200, r#"{"is_compatible":false}"#))).await;
    assert!(Codec::check(&url).await.unwrap().iter().all(|report| !report.compatible));
}

#[tokio::test]
async fn what_is_no_registry_is_said_to_be_none() {
    for answer in [|_: &str| PAGE, |_: &str| (200, "<html>welcome</html>"), |_: &str| (404, r#"{"error_code":404}"#)] {
        let url = server(answer).await;
        for error in [Codec::check(&url).await.unwrap_err(), Codec::register(&url).await.unwrap_err()] {
            assert!(matches!(error, RegistryError::NotOne { .. }), "{error}");
            assert!(error.to_string().contains(&url), "{error}");
        }
    }
    // A server that only answers the list of subjects is no registry either.
    let url = server(|path| registry(path, PAGE)).await;
    assert!(matches!(Codec::check(&url).await, Err(RegistryError::NotOne { .. })));
}

#[tokio::test]
async fn a_refusal_is_final_and_a_failure_passes() {
    for answer in [
        |path: &str| registry(path, (409, r#"{"error_code":409,"message":"incompatible"}"#)),
        |path: &str| registry(path, (422, r#"{"error_code":42201,"message":"invalid"}"#)),
        |path: &str| registry(path, (403, "no")),
    ] {
        let error = Codec::register(&server(answer).await).await.unwrap_err();
        assert!(matches!(error, RegistryError::Incompatible { .. }), "{error}");
    }
    for answer in [
        |path: &str| registry(path, (500, r#"{"error_code":50001,"message":"store"}"#)),
        |path: &str| registry(path, (503, "later")),
        |path: &str| registry(path, (504, "<html>late</html>")),
        |path: &str| registry(path, (408, "late")),
        |path: &str| registry(path, (429, "slowly")),
    ] {
        let url = server(answer).await;
        for error in [Codec::check(&url).await.unwrap_err(), Codec::register(&url).await.unwrap_err()] {
            assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
        }
    }
    let url = server(|_| (500, "the list fails, too")).await;
    assert!(matches!(Codec::check(&url).await, Err(RegistryError::Unreachable { .. })));
}
