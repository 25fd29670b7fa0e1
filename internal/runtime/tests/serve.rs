//! The server from outside: health, failures in the common form, and an end in order.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use host::Entropy;
use reqwest::{Client, StatusCode};
use runtime::{Metrics, Readiness, Serving, TraceParent};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Server {
    address: SocketAddr,
    serving: Serving,
    shutdown: CancellationToken,
    ended: JoinHandle<std::io::Result<()>>,
}

async fn start(router: Router) -> Server {
    let listener = runtime::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Serving { entropy: Entropy::seeded(1), readiness: Readiness::default(), metrics: Metrics::new() };
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(runtime::serve(listener, router, serving.clone(), shutdown.clone()));
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
    let answer = client.get(server.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["reasons"][0]["reason"], "the broker does not answer", "{body}");
    condition.ready();
    assert_eq!(client.get(server.url("/readyz")).send().await.unwrap().status(), StatusCode::OK);
    let metrics = client.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let counted = r#"klatsch_http_requests_total{method="GET",route="/readyz",status="503"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
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
    let told = code_of(client.get(server.url("/panic")).send().await.unwrap()).await;
    assert_eq!(told, (StatusCode::INTERNAL_SERVER_ERROR, "internal".into()));
    let told = code_of(client.get(server.url("/nowhere")).send().await.unwrap()).await;
    assert_eq!(told, (StatusCode::NOT_FOUND, "not_found".into()));
    let told = code_of(client.delete(server.url("/echo")).send().await.unwrap()).await;
    assert_eq!(told, (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed".into()));
    let large = "a".repeat(runtime::serve::BODY_BYTES_MAX);
    let told = code_of(client.post(server.url("/echo")).json(&large).send().await.unwrap()).await;
    assert_eq!(told, (StatusCode::PAYLOAD_TOO_LARGE, "too_large".into()));
    let torn = client.post(server.url("/echo")).header("content-type", "application/json").body("{").send();
    assert_eq!(code_of(torn.await.unwrap()).await, (StatusCode::BAD_REQUEST, "bad_request".into()));
}

#[tokio::test]
async fn a_service_that_starts_says_no_to_nothing() {
    let server = start(runtime::serve::starting()).await;
    let told = code_of(Client::new().get(server.url("/v1/me")).send().await.unwrap()).await;
    assert_eq!(told, (StatusCode::SERVICE_UNAVAILABLE, "unavailable".into()));
    assert_eq!(Client::new().get(server.url("/livez")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn stopping_waits_for_no_idle_connection() {
    let server = start(Router::new()).await;
    let mut silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let client = Client::new();
    client.get(server.url("/livez")).send().await.unwrap();
    let open = || server.serving.metrics.text().contains("klatsch_http_connections 2");
    while !open() {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    server.ended.await.unwrap().unwrap();
    assert_eq!(tokio::io::AsyncReadExt::read(&mut silent, &mut [0]).await.unwrap(), 0, "closed");
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
