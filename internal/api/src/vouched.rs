//! What a connection is told once somebody has shown who they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody has shown a good token on this connection. The server puts one into the extensions of each request:
/// where there is no room for all, it lets go of strangers first.
#[derive(Debug, Clone, Default)]
pub struct Vouched(Arc<AtomicBool>);

impl Vouched {
    /// A good token was shown.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether one was.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
