//! Every route of the service, as a table and as a router. A test holds both to `schemas/openapi.yaml`.

use axum::Router;

use crate::service::Chat;
use crate::{conversations, history, list, marks, members, messages, outcome, sync};

/// Method and path of every route; health routes are the runtime's.
pub const ROUTES: [(&str, &str); 20] = [
    ("POST", "/v1/conversations"),
    ("GET", "/v1/conversations"),
    ("GET", "/v1/conversations/{conversation}"),
    ("PUT", "/v1/conversations/{conversation}/title"),
    ("GET", "/v1/conversations/{conversation}/members"),
    ("POST", "/v1/conversations/{conversation}/members"),
    ("DELETE", "/v1/conversations/{conversation}/members/{user}"),
    ("PUT", "/v1/conversations/{conversation}/members/{user}/role"),
    ("POST", "/v1/conversations/{conversation}/leave"),
    ("POST", "/v1/conversations/{conversation}/messages"),
    ("GET", "/v1/conversations/{conversation}/messages"),
    ("GET", "/v1/conversations/{conversation}/messages/{message}"),
    ("PUT", "/v1/conversations/{conversation}/messages/{message}"),
    ("DELETE", "/v1/conversations/{conversation}/messages/{message}"),
    ("PUT", "/v1/conversations/{conversation}/messages/{message}/reaction"),
    ("DELETE", "/v1/conversations/{conversation}/messages/{message}/reaction"),
    ("PUT", "/v1/conversations/{conversation}/mark"),
    ("POST", "/v1/conversations/{conversation}/withdraw"),
    ("GET", "/v1/conversations/{conversation}/outcome/{id}"),
    ("GET", "/v1/sync"),
];

pub(crate) fn router(chat: Chat) -> Router {
    conversations::router()
        .merge(list::router())
        .merge(members::router())
        .merge(messages::router())
        .merge(history::router())
        .merge(marks::router())
        .merge(outcome::router())
        .merge(sync::router())
        .with_state(chat)
}
