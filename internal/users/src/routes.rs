//! Every route of the service, as a table and as a router. A test holds both to `schemas/openapi.yaml`.

use axum::Router;

use crate::app::App;
use crate::{accounts, session_list, sessions};

/// Method and path of every route; health routes are the runtime's.
pub const ROUTES: [(&str, &str); 13] = [
    ("POST", "/v1/users"),
    ("GET", "/v1/users"),
    ("GET", "/v1/users/{id}"),
    ("GET", "/v1/users/by-name/{name}"),
    ("GET", "/v1/me"),
    ("PUT", "/v1/me/password"),
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions"),
    ("DELETE", "/v1/sessions/others"),
    ("DELETE", "/v1/sessions/{session}"),
    ("POST", "/v1/sessions/refresh"),
    ("DELETE", "/v1/sessions/current"),
    ("GET", "/.well-known/jwks.json"),
];

pub(crate) fn router(app: App) -> Router {
    accounts::router().merge(sessions::router()).merge(session_list::router()).with_state(app)
}
