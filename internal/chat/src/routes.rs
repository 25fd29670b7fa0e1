//! Every route of the service: the resources state theirs. A test holds them to `schemas/openapi.yaml`.

use api::Routes;

use crate::service::Chat;
use crate::{conversations, history, list, marks, members, mentions, messages, outcome, pins, sync, threads, versions};

/// Method and path of every route; health routes are the runtime's.
#[must_use]
pub fn route_table() -> Vec<(&'static str, &'static str)> {
    routes().table().to_vec()
}

pub(crate) fn routes() -> Routes<Chat> {
    conversations::routes()
        .merge(list::routes())
        .merge(members::routes())
        .merge(messages::routes())
        .merge(history::routes())
        .merge(threads::routes())
        .merge(versions::routes())
        .merge(pins::routes())
        .merge(mentions::routes())
        .merge(marks::routes())
        .merge(outcome::routes())
        .merge(sync::routes())
}
