//! What the server knows about one connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::Authenticated;
use tokio_util::sync::CancellationToken;

use super::answers::Pinned;

/// One connection, shared by its requests, its listener and its I/O. In the extensions of each request.
#[derive(Debug, Clone, Default)]
pub(super) struct Link(Arc<State>);

#[derive(Debug, Default)]
struct State {
    authenticated: Authenticated,
    /// A whole request is being worked on: the server does not wait for the client.
    busy: AtomicBool,
    /// The connection was upgraded to a websocket.
    socket: AtomicBool,
    close: CancellationToken,
    /// The memory of the answer that the client has not read yet.
    pinned: Mutex<Option<Pinned>>,
}

/// A request that is being worked on. When it is dropped, the server waits for the client again.
#[derive(Debug)]
pub(super) struct Busy(Link);

impl Link {
    /// Where the verification of a token is noted.
    pub(super) fn authenticated(&self) -> &Authenticated {
        &self.0.authenticated
    }

    pub(super) fn is_vouched(&self) -> bool {
        self.0.authenticated.is_set()
    }

    pub(super) fn is_socket(&self) -> bool {
        self.0.socket.load(Ordering::Relaxed)
    }

    pub(super) fn set_socket(&self) {
        self.0.socket.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.0.busy.store(busy, Ordering::Relaxed);
    }

    /// Marks that a whole request is worked on.
    pub(super) fn busy(&self) -> Busy {
        self.set_busy(true);
        Busy(self.clone())
    }

    /// Whether the connection may be closed to make room.
    pub(super) fn can_go(&self) -> bool {
        let taken = self.0.busy.load(Ordering::Relaxed) || (self.is_vouched() && self.is_socket());
        !taken && !self.is_closed()
    }

    /// Asks the connection to close.
    pub(super) fn close(&self) {
        self.0.close.cancel();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.close.is_cancelled()
    }

    /// A token that is cancelled when the connection is to close.
    pub(super) fn closing(&self) -> CancellationToken {
        self.0.close.clone()
    }

    /// Keeps the memory of an answer until [`Self::unpin`].
    pub(super) fn pin(&self, pinned: Pinned) {
        *self.0.pinned.lock().unwrap_or_else(PoisonError::into_inner) = Some(pinned);
    }

    /// Frees it: the client has read the answer.
    pub(super) fn unpin(&self) {
        drop(self.0.pinned.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set_busy(false);
    }
}
