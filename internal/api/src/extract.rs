//! Extractors whose refusals have the same body as every other one.

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::UserId;
use protocol::ErrorCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ApiError, Authenticated};

/// A JSON body, in and out.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// Path parameters.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

/// Query parameters.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

/// The authenticated user, from `Authorization: Bearer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The session that the token was made in, if any.
    pub session: Option<auth::SessionId>,
    /// When the token ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = match Bytes::from_request(Request::from_parts(parts.clone(), body), state).await {
            Ok(bytes) => bytes,
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(ApiError::new(ErrorCode::TooLarge, "the body is larger than 64 KiB"));
            }
            Err(error) => return Err(ApiError::new(ErrorCode::BadRequest, error.body_text())),
        };
        let object = protocol::is_object(&bytes);
        match axum::Json::from_request(Request::from_parts(parts, bytes.into()), state).await {
            Ok(axum::Json(body)) if object => Ok(Self(body)),
            Ok(_) => Err(ApiError::new(ErrorCode::BadRequest, "the body is JSON, and no object: write '{ ... }'")),
            Err(error) => Err(ApiError::new(ErrorCode::BadRequest, error.body_text())),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let refuse = |error: PathRejection| ApiError::new(ErrorCode::BadRequest, error.body_text());
        path.map(|axum::extract::Path(path)| Self(path)).map_err(refuse)
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let refuse = |error: QueryRejection| ApiError::new(ErrorCode::BadRequest, error.body_text());
        query.map(|axum::extract::Query(query)| Self(query)).map_err(refuse)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    auth::Verifier: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or_else(|| {
            ApiError::new(ErrorCode::Unauthorized, "send an access token: 'Authorization: Bearer <token>'")
        })?;
        let caller = Self::from_token(&auth::Verifier::from_ref(state), token).await?;
        if let Some(authenticated) = parts.extensions.get::<Authenticated>() {
            authenticated.set();
        }
        Ok(caller)
    }
}

/// The token of an `Authorization: Bearer` header. The scheme is written in any case, with one or more spaces behind it
/// (RFC 9110, 11.1 and 11.4). Several headers count as none, because it would be a guess which of them was meant.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

impl Caller {
    /// Verifies the token and returns its user.
    ///
    /// # Errors
    /// `unauthorized` or `token_expired`.
    pub async fn from_token(verifier: &auth::Verifier, token: &str) -> Result<Self, ApiError> {
        match verifier.verify(token).await {
            Ok(auth::Claims { user, session, expires_ms }) => Ok(Self { user, session, expires_ms }),
            Err(auth::TokenError::Expired) => {
                Err(ApiError::new(ErrorCode::TokenExpired, "the access token has expired: refresh it"))
            }
            Err(auth::TokenError::SessionEnded) => {
                Err(ApiError::new(ErrorCode::SessionEnded, "the session was ended: sign in again"))
            }
            Err(error @ auth::TokenError::KeysUnavailable) => Err(ApiError::unavailable(error)),
            Err(error) => Err(ApiError::caused(
                ErrorCode::Unauthorized,
                "the access token is not valid here: sign in again",
                error,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_scheme_is_written_in_any_case() {
        let token = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(text))]);
            bearer(&headers).map(str::to_owned)
        };
        for good in ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc", "Bearer abc "] {
            assert_eq!(token(good).as_deref(), Some("abc"), "{good}");
        }
        for wrong in ["", "abc", "Bearer", "Bearer ", "Basic abc", "Bearerabc"] {
            assert_eq!(token(wrong), None, "{wrong}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
        let mut two = HeaderMap::new();
        for token in ["Bearer abc", "Bearer def"] {
            two.append(header::AUTHORIZATION, HeaderValue::from_static(token));
        }
        assert_eq!(bearer(&two), None);
    }

    /// A list of an object's values is not an object.
    #[tokio::test]
    async fn a_body_is_an_object() {
        #[derive(Debug, serde::Deserialize)]
        struct Body {
            name: String,
        }
        let take = async |text: &'static str| {
            let request =
                Request::post("/").header(header::CONTENT_TYPE, "application/json").body(text.into()).unwrap();
            Json::<Body>::from_request(request, &()).await.map(|Json(body)| body.name)
        };
        assert_eq!(take(" \n{\"name\":\"ann\"}").await.unwrap(), "ann");
        for wrong in ["[\"ann\"]", " [\"ann\"]", "\"ann\"", "", "7"] {
            assert_eq!(take(wrong).await.unwrap_err().code, ErrorCode::BadRequest, "{wrong}");
        }
    }
}
