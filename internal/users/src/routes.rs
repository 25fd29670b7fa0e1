//! Every route of the service: the resources state theirs. A test holds them to `schemas/openapi.yaml`.

use api::Routes;

use crate::app::App;
use crate::{accounts, privacy, session_list, sessions};

/// Method and path of every route; health routes are the runtime's.
#[must_use]
pub fn route_table() -> Vec<(&'static str, &'static str)> {
    routes().table().to_vec()
}

pub(crate) fn routes() -> Routes<App> {
    accounts::routes().merge(sessions::routes()).merge(session_list::routes()).merge(privacy::routes())
}
