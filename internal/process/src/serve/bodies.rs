//! Bodies of requests: read whole, in time and within a bound on memory, before a handler runs.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use api::ApiError;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::link::Link;
use super::{BODY_BYTES_MAX, BODY_WITHIN};

/// Bytes of all bodies together. Beyond: `busy`.
pub const BODIES_BYTES_MAX: usize = 64 << 20;

/// The memory that is left for bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct BodyMemory {
    free: Arc<Semaphore>,
}

impl Default for BodyMemory {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(BODIES_BYTES_MAX)) }
    }
}

/// Middleware that reads the body; the handler gets it as a whole.
pub(super) async fn whole(State(bodies): State<BodyMemory>, request: Request, next: Next) -> Response {
    let link = request.extensions().get::<Link>().cloned();
    let (parts, body) = request.into_parts();
    if body.size_hint().exact() == Some(0) {
        let _busy = link.map(|link| link.busy());
        return next.run(Request::from_parts(parts, Body::empty())).await;
    }
    match timeout(BODY_WITHIN, bodies.take(body)).await {
        Ok(Ok((bytes, _kept))) => {
            let _busy = link.map(|link| link.busy());
            next.run(Request::from_parts(parts, Body::from(bytes))).await
        }
        Ok(Err(refusal)) => refusal.into_response(),
        // The client's fault: nothing was begun, so nothing has to be logged.
        Err(_) => {
            let words = format!("the body did not come within {} s: send it again, whole", BODY_WITHIN.as_secs());
            ApiError::new(ErrorCode::TooSlow, words).into_response()
        }
    }
}

impl BodyMemory {
    async fn take(&self, mut body: Body) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ApiError> {
        let (mut bytes, mut kept) = (Vec::new(), None::<OwnedSemaphorePermit>);
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let broken = |error| ApiError::caused(ErrorCode::BadRequest, "the body broke off: send it again", error);
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(ApiError::new(ErrorCode::TooLarge, "the body is larger than 64 KiB"));
            }
            let units = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let Ok(more) = Arc::clone(&self.free).try_acquire_many_owned(units) else {
                return Err(ApiError::new(ErrorCode::Busy, "too much is being sent at once: try again in a moment"));
            };
            match &mut kept {
                Some(kept) => kept.merge(more),
                None => kept = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, kept))
    }
}
