//! The state that all handlers of the service share.

use std::sync::Arc;

use api::ApiError;
use auth::{EndedSessions, KeyRing, Verifier};
use axum::extract::FromRef;
use environment::{Clock, Entropy};
use protocol::UserBody;
use store::{Account, StoreError, UserStore};

use crate::metrics::UsersMetrics;
use crate::outbox::Outbox;
use crate::passwords::Passwords;
use crate::rate_limits::RateLimits;
use crate::relay::Relay;
use crate::{Config, Deps, UsersError};

/// The service's state. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Arc<dyn UserStore>,
    pub(crate) outbox: Outbox,
    pub(crate) passwords: Passwords,
    pub(crate) rate_limits: Arc<RateLimits>,
    pub(crate) keys: KeyRing,
    /// Verifies the tokens that [`Self::keys`] signed, like any other service.
    pub(crate) verifier: Verifier,
    /// The sessions that were ended lately, here or elsewhere.
    pub(crate) ended: EndedSessions,
    /// Proxies that say where a request comes from.
    pub(crate) trusted_proxies: usize,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) metrics: UsersMetrics,
}

/// The state and the relay that drains its outbox.
pub(crate) fn build(config: &Config, deps: Deps) -> Result<(App, Relay), UsersError> {
    let metrics = UsersMetrics::new(&deps.metrics);
    let outbox = Outbox::new(deps.store.clone(), deps.clock.clone(), deps.entropy.clone());
    let relay = Relay::new(&deps, outbox.clone(), metrics.clone());
    let passwords = Passwords::new(config, deps.entropy.clone(), metrics.clone())?;
    let app = App {
        store: deps.store,
        outbox,
        passwords,
        rate_limits: Arc::default(),
        trusted_proxies: config.trusted_proxies,
        verifier: Verifier::of_ring(deps.keys.clone(), deps.clock.clone()).without(deps.ended.clone()),
        ended: deps.ended,
        keys: deps.keys,
        clock: deps.clock,
        entropy: deps.entropy,
        metrics,
    };
    Ok((app, relay))
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

/// Maps an error of the store. It may pass, and its details do not concern the client.
pub(crate) fn store_failed(error: StoreError) -> ApiError {
    ApiError::unavailable(error)
}

pub(crate) fn user_body(account: Account) -> UserBody {
    let Account { id, name, display_name, created_ms, password_hash: _ } = account;
    UserBody { id, name, display_name, created: created_ms }
}
