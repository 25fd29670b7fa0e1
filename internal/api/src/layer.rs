//! The outermost layer of every HTTP service: gives each request an id, a span and, when it fails, one log line and
//! the common error body.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use environment::Entropy;
use protocol::{ErrorBody, ErrorCode};
use tracing::{Instrument, info_span};

use crate::ApiError;
use crate::error::status;

/// The header that carries the request's id, in requests (kept when it is well-formed) and answers.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a request id that a client may bring.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Runs the request in its span and gives failures the common body. Use with `axum::middleware::from_fn_with_state`.
pub async fn finish_errors(State(entropy): State<Entropy>, request: Request, next: Next) -> Response {
    let id = request_id(&request, &entropy);
    let span = info_span!("request", request_id = ?id, method = %request.method(), path = request.uri().path());
    async {
        let mut response = next.run(request).await;
        let error = response.extensions_mut().remove::<Arc<ApiError>>();
        if let Some(error) = error.or_else(|| unnamed(response.status())) {
            log(&error);
            response = with_body(&response, &error, &id);
        }
        // Answers hold tokens and what people wrote: caches must not keep them, and browsers must not guess their type.
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID_HEADER, value);
        }
        response
    }
    .instrument(span)
    .await
}

fn request_id(request: &Request, entropy: &Entropy) -> String {
    let brought = request.headers().get(&REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
    let sane =
        |id: &&str| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(|b| b.is_ascii_graphic());
    match brought.filter(sane) {
        Some(id) => id.to_owned(),
        None => format!("{:032x}", u128::from_be_bytes(entropy.bytes::<16>())),
    }
}

/// The error for a refusal of the framework itself, which carries none of ours.
fn unnamed(refused: StatusCode) -> Option<Arc<ApiError>> {
    let error = match refused {
        StatusCode::NOT_FOUND => ApiError::new(ErrorCode::NotFound, "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ApiError::new(ErrorCode::MethodNotAllowed, "this path does not take this method")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(ErrorCode::TooLarge, "the body is larger than 64 KiB"),
        _ => return None,
    };
    Some(Arc::new(error))
}

fn log(error: &ApiError) {
    let code = error.code;
    match &error.cause {
        Some(cause) if status(code).is_server_error() => {
            tracing::error!(?code, error = %cause, "request failed");
        }
        Some(cause) => tracing::info!(?code, error = %cause, "request refused"),
        None => tracing::debug!(?code, "request refused"),
    }
}

fn with_body(response: &Response, error: &ApiError, id: &str) -> Response {
    let body = ErrorBody { code: error.code, message: error.message.clone(), request_id: id.to_owned() };
    let mut finished = (status(error.code), axum::Json(body)).into_response();
    // Retry-After and the like stay; the type and length of the empty body do not.
    for (name, value) in response.headers() {
        if !finished.headers().contains_key(name) {
            finished.headers_mut().insert(name.clone(), value.clone());
        }
    }
    finished
}
