//! Every route of the service, as a table and as a router. A test holds both to `schemas/openapi.yaml`.

use axum::Router;

use crate::app::App;
use crate::{accounts, sessions};

/// Method and path of every route; health routes are the runtime's.
pub const ROUTES: [(&str, &str); 8] = [
    ("POST", "/v1/users"),
    ("GET", "/v1/users/{id}"),
    ("GET", "/v1/users/by-name/{name}"),
    ("GET", "/v1/me"),
    ("POST", "/v1/sessions"),
    ("POST", "/v1/sessions/refresh"),
    ("DELETE", "/v1/sessions/current"),
    ("GET", "/.well-known/jwks.json"),
];

pub(crate) fn router(app: App) -> Router {
    accounts::router().merge(sessions::router()).with_state(app)
}
