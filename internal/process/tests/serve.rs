//! The server from outside: health, failures in the common form, and an end in order.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::routing::{get, post};
use environment::Entropy;
use process::serve::{BODY_WITHIN, Bounds, HEAD_WITHIN, PerAddress, TAKEN_WITHIN};
use process::{Metrics, Origins, Readiness, Serving, TraceParent};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

struct Server {
    address: SocketAddr,
    serving: Serving,
    shutdown: CancellationToken,
    ended: JoinHandle<std::io::Result<()>>,
}

async fn start(router: Router) -> Server {
    let listener = process::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Serving::new(Entropy::seeded(1), Readiness::default(), Metrics::new());
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(process::serve(listener, router, serving.clone(), shutdown.clone()));
    Server { address, serving, shutdown, ended }
}

impl Server {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn code_of(response: reqwest::Response) -> (StatusCode, String) {
    let status = response.status();
    let header = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["request_id"], header);
    assert!(body["message"].as_str().unwrap().len() > 10, "a sentence: {body}");
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn readiness_is_told_with_its_reasons() {
    let server = start(Router::new()).await;
    let client = Client::new();
    assert_eq!(client.get(server.url("/livez")).send().await.unwrap().status(), StatusCode::OK);
    let condition = server.serving.readiness.condition("log", "the broker does not answer");
    let listener = process::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let operators = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(process::serve_operators(listener, server.serving.clone(), server.shutdown.clone()));
    let answer = client.get(format!("{operators}/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["reasons"][0]["reason"], "the broker does not answer", "{body}");
    // The public answer says whether the process is ready, and not why.
    let answer = client.get(server.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text().await.unwrap(), "not ready\n");
    assert_eq!(client.get(server.url("/metrics")).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    condition.ready();
    for url in [server.url("/readyz"), format!("{operators}/readyz")] {
        assert_eq!(client.get(url).send().await.unwrap().status(), StatusCode::OK);
    }
    let metrics = client.get(format!("{operators}/metrics")).send().await.unwrap().text().await.unwrap();
    let counted = r#"klatsch_http_requests_total{method="GET",route="/readyz",status="503"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
}

async fn start_within(bounds: Bounds, router: Router) -> Server {
    let listener = process::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Serving::new(Entropy::seeded(1), Readiness::default(), Metrics::new());
    let shutdown = CancellationToken::new();
    let served = process::serve_within(bounds, listener, router, serving.clone(), shutdown.clone());
    Server { address, serving, shutdown, ended: tokio::spawn(served) }
}

/// Issue 10, item 1: connections without a token used up all descriptors.
#[tokio::test]
async fn strangers_who_say_nothing_give_way_to_who_asks() {
    let bounds = Bounds { connections: 8, strangers: 4, per_address: PerAddress::Unbounded };
    let server = start_within(bounds, Router::new()).await;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(TcpStream::connect(server.address).await.unwrap());
        assert_eq!(Client::new().get(server.url("/livez")).send().await.unwrap().status(), StatusCode::OK);
    }
    let mut closed = 0;
    for stranger in &mut strangers {
        closed += usize::from(matches!(stranger.try_read(&mut [0]), Ok(0)));
    }
    assert!(closed >= 90, "{closed} of 100 closed");
}

/// Issue 10, item 16: such a body was reported as an error of the server's.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_the_client_s_fault() {
    let echo = |api::Json(body): api::Json<Value>| async { api::Json(body) };
    let (_still, server) = (still(), start(Router::new().route("/echo", post(echo))).await);
    let mut stream = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    let begun = Instant::now();
    let length = loop {
        match stream.try_read(&mut answer) {
            Ok(length) => break length,
            Err(_) => tokio::time::advance(SECOND / 10).await,
        }
        assert!(begun.elapsed() < BODY_WITHIN * 2, "no answer");
        tokio::task::yield_now().await;
    };
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("too_slow"), "{answer}");
}

/// Issue 10, item 14: a page reports an answer that it may not read as a broken network.
#[tokio::test]
async fn a_page_can_read_every_refusal() {
    let origins = Origins::parse(&["https://chat.example"]).unwrap();
    let listener = process::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Serving::new(Entropy::seeded(1), Readiness::default(), Metrics::new()).read_by(origins);
    let router = Router::new().route("/echo", post(|api::Json(body): api::Json<Value>| async { api::Json(body) }));
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(process::serve(listener, router, serving, shutdown.clone()));
    let (client, large) = (Client::new(), "a".repeat(process::serve::BODY_BYTES_MAX));
    let url = |path: &str| format!("http://{address}{path}");
    for (request, status) in [
        (client.get(url("/nowhere")), StatusCode::NOT_FOUND),
        (client.get(url("/echo")), StatusCode::METHOD_NOT_ALLOWED),
        (client.post(url("/echo")).json(&large), StatusCode::PAYLOAD_TOO_LARGE),
        (client.post(url("/echo")).json(&json!(["a list"])), StatusCode::BAD_REQUEST),
        (client.post(url("/echo")).json(&json!({})), StatusCode::OK),
    ] {
        let answer = request.header("origin", "https://chat.example").send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://chat.example", "{status}");
        assert_eq!(answer.headers()["vary"], "origin", "{status}");
    }
    shutdown.cancel();
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn every_failure_has_the_common_form() {
    let panics = || async {
        assert!(std::hint::black_box(false), "boom");
    };
    let router = Router::new()
        .route("/panic", get(panics))
        .route("/echo", post(|api::Json(body): api::Json<Value>| async { api::Json(body) }));
    let server = start(router).await;
    let client = Client::new();
    let answer = code_of(client.get(server.url("/panic")).send().await.unwrap()).await;
    assert_eq!(answer, (StatusCode::INTERNAL_SERVER_ERROR, "internal".into()));
    let answer = code_of(client.get(server.url("/nowhere")).send().await.unwrap()).await;
    assert_eq!(answer, (StatusCode::NOT_FOUND, "not_found".into()));
    let answer = code_of(client.delete(server.url("/echo")).send().await.unwrap()).await;
    assert_eq!(answer, (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed".into()));
    let large = "a".repeat(process::serve::BODY_BYTES_MAX);
    let answer = code_of(client.post(server.url("/echo")).json(&large).send().await.unwrap()).await;
    assert_eq!(answer, (StatusCode::PAYLOAD_TOO_LARGE, "too_large".into()));
    let torn = client.post(server.url("/echo")).header("content-type", "application/json").body("{").send();
    assert_eq!(code_of(torn.await.unwrap()).await, (StatusCode::BAD_REQUEST, "bad_request".into()));
}

#[tokio::test]
async fn a_service_that_starts_says_no_to_nothing() {
    let server = start(process::serve::starting()).await;
    let answer = code_of(Client::new().get(server.url("/v1/me")).send().await.unwrap()).await;
    assert_eq!(answer, (StatusCode::SERVICE_UNAVAILABLE, "unavailable".into()));
    assert_eq!(Client::new().get(server.url("/livez")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn stopping_waits_for_no_idle_connection() {
    let server = start(Router::new()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let client = Client::new();
    client.get(server.url("/livez")).send().await.unwrap();
    let open = || server.serving.metrics.text().contains("klatsch_http_connections 2");
    while !open() {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    server.ended.await.unwrap().unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "closed");
}

#[tokio::test]
async fn a_trace_is_continued() {
    let trace = |axum::Extension(trace): axum::Extension<TraceParent>| async move { trace.to_string() };
    let server = start(Router::new().route("/trace", get(trace))).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = Client::new().get(server.url("/trace")).header("traceparent", parent);
    let child = request.send().await.unwrap().text().await.unwrap();
    assert!(child.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{child}");
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (entered.clone(), go_on.clone());
    let slow = move || async move {
        enter.notify_one();
        wait.notified().await;
        "done"
    };
    let server = start(Router::new().route("/slow", get(slow))).await;
    let request = tokio::spawn(Client::new().get(server.url("/slow")).send());
    entered.notified().await;
    server.shutdown.cancel();
    go_on.notify_one();
    assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "done");
    server.ended.await.unwrap().unwrap();
}

const REQUEST: &str = "GET /livez HTTP/1.1\r\nhost: here\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

/// While it lives, time advances only where a test says so: tokio's paused clock stands still during blocking work.
fn still() -> mpsc::Sender<()> {
    let (hold, held) = mpsc::channel();
    tokio::task::spawn_blocking(move || held.recv());
    hold
}

impl Server {
    fn has_open(&self, count: u32) -> bool {
        self.serving.metrics.text().contains(&format!("klatsch_http_connections {count}\n"))
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        while !self.has_open(1) {
            tokio::task::yield_now().await;
        }
        stream
    }

    /// Asserts that the one connection is closed when `within` has passed, with a little for the steps it takes.
    async fn closes(&self, within: Duration) {
        let begun = Instant::now();
        while !self.has_open(0) {
            assert!(begun.elapsed() < within + 5 * SECOND, "still open after {:?}", begun.elapsed());
            tokio::time::advance(SECOND).await;
        }
        assert!(begun.elapsed() >= within, "closed after {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let (_still, server) = (still(), start(Router::new()).await);
    let mut silent = server.connect().await;
    server.closes(HEAD_WITHIN).await;
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_byte_by_byte_is_not_waited_for() {
    let (_still, server) = (still(), start(Router::new()).await);
    let (mut slow, begun) = (server.connect().await, Instant::now());
    for byte in REQUEST.as_bytes() {
        if server.has_open(0) {
            assert!(begun.elapsed() >= HEAD_WITHIN, "closed after {:?}", begun.elapsed());
            return;
        }
        slow.write_all(&[*byte]).await.unwrap();
        tokio::time::advance(SECOND).await;
    }
    panic!("a whole request was waited for");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_idles_between_requests_is_closed_and_one_that_goes_on_is_not() {
    let (_still, server) = (still(), start(Router::new()).await);
    let mut stream = server.connect().await;
    for _ in 0..3 {
        tokio::time::advance(HEAD_WITHIN - SECOND).await;
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    server.closes(HEAD_WITHIN).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_given_up() {
    const LARGE: usize = 64 << 20; // more than the operating system keeps for a client
    let large = || async { vec![b'a'; LARGE] };
    let (_still, server) = (still(), start(Router::new().route("/", get(large))).await);
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    // The answer begins.
    stream.readable().await.unwrap();
    server.closes(TAKEN_WITHIN).await;
    let mut come = Vec::new();
    let _ = stream.read_to_end(&mut come).await;
    assert!(come.len() < LARGE, "the whole answer came");
}

#[tokio::test(start_paused = true)]
async fn a_socket_may_be_silent_for_as_long_as_it_likes() {
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(frame)) = socket.recv().await {
                socket.send(frame).await.unwrap();
            }
        })
    };
    let (_still, server) = (still(), start(Router::new().route("/socket", get(echo))).await);
    let mut stream = server.connect().await;
    let handshake = "GET /socket HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    tokio::time::advance(HEAD_WITHIN * 10).await;
    // A text frame, final and masked with zeros, and the same one unmasked.
    stream.write_all(b"\x81\x82\0\0\0\0hi").await.unwrap();
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"\x81\x02hi");
}
