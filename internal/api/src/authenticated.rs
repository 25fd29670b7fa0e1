//! Notes on a connection that a valid token has come over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a valid token has come over this connection. The server puts one into the extensions of each request: where
/// there is no room for all connections, it closes those without one first.
#[derive(Debug, Clone, Default)]
pub struct Authenticated(Arc<AtomicBool>);

impl Authenticated {
    /// Notes that a valid token has come.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether one has come.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
