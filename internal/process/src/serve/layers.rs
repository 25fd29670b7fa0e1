//! The middleware around every handler, from the outside: the common error form, panics, metrics and the trace, the
//! time limit, the memory of the answer, the body.

use std::any::Any;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use environment::Entropy;
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, info_span};

use super::answers::{AnswerMemory, within_memory};
use super::bodies::{BodyMemory, whole};
use super::{BODY_BYTES_MAX, REQUEST_WITHIN, Serving};
use crate::Metrics;
use crate::metrics::{RequestLabels, RouteLabels};
use crate::origins;
use crate::trace::{TRACEPARENT, TraceParent};
use api::ApiError;
use protocol::ErrorCode;

/// Layers are listed from the innermost.
pub(super) fn around(router: Router, serving: &Serving) -> Router {
    router
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(BodyMemory::default(), whole))
        .layer(from_fn_with_state(AnswerMemory::default(), within_memory))
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(serving.entropy.clone(), traced))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(serving.metrics.clone(), counted))
        .layer(from_fn_with_state(serving.origins.clone(), origins::answered))
        .layer(from_fn_with_state(serving.entropy.clone(), api::finish_errors))
}

async fn in_time(request: Request, next: Next) -> Response {
    let harmless = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    match tokio::time::timeout(REQUEST_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(late) if harmless => ApiError::unavailable(late).into_response(),
        Err(late) => {
            let words = "not done in time: it may or may not have happened; send it again with the same id";
            ApiError::caused(ErrorCode::Unknown, words, late).into_response()
        }
    }
}

/// Puts the request's [`TraceParent`] into its extensions, and the trace id into its span.
async fn traced(State(entropy): State<Entropy>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get(TRACEPARENT).map(|value| value.as_bytes());
    let trace = TraceParent::from_header(header, &entropy);
    request.extensions_mut().insert(trace);
    let span = info_span!("trace", trace_id = trace.trace_id());
    next.run(request).instrument(span).await
}

async fn counted(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    // Unmatched requests share one label: otherwise clients could make labels of their own.
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = method_label(request.method()).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    let http = metrics.http();
    let status = response.status().as_u16();
    http.requests.get_or_create(&RequestLabels { method: method.clone(), route: route.clone(), status }).inc();
    http.request_seconds.get_or_create(&RouteLabels { method, route }).observe(begun.elapsed());
    response
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panicked(String);

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let words = match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(|| "without words".to_owned(), |s| (*s).to_owned()),
    };
    ApiError::internal(Panicked(words)).into_response()
}
