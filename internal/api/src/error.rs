//! The error that a handler answers with: a code and a sentence for the client, a cause for the log.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::ErrorCode;

/// A refusal or failure on its way to a client.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The code, for programs.
    pub code: ErrorCode,
    /// The sentence, for people: what was wrong, what was expected, what to do.
    pub message: String,
    /// The cause, which only the log shows.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// The time after which the request makes sense again, where it is known better than by the code.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), cause: None, retry_after: None }
    }

    /// A failure with a cause that only the log sees.
    pub fn caused(
        code: ErrorCode,
        message: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { code, message: message.into(), cause: Some(cause.into()), retry_after: None }
    }

    /// The same error, with the time after which the request makes sense again.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// [`Self::retry_after`] in whole seconds, rounded up, so that a request after exactly that time is not refused for
    /// some milliseconds.
    #[must_use]
    pub fn known_after_s(&self) -> Option<u32> {
        let seconds = self.retry_after?.as_millis().div_ceil(1000);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1))
    }

    /// A dependency that does not answer.
    pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::caused(ErrorCode::Unavailable, "a part of the service does not answer at the moment: try again", cause)
    }

    /// A fault of ours.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::caused(ErrorCode::Internal, "the server failed; the request id finds the reason in its logs", cause)
    }
}

impl IntoResponse for ApiError {
    /// The body is written by [`crate::finish_errors`], which knows the request's id and logs the cause once.
    fn into_response(self) -> Response {
        let mut response = status(self.code).into_response();
        if let Some(seconds) = self.known_after_s().or(self.code.retry_after_s()) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

/// The code's HTTP status as axum's type.
pub(crate) fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_of_its_number() {
        for code in ErrorCode::ALL {
            let status = status(code);
            assert_eq!(status.as_u16(), code.status());
            assert!(status.is_client_error() || status.is_server_error(), "{code:?}: {status}");
        }
    }
}
