//! A connection between a device and a service, with faults that both ends see.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::time::{Instant, Sleep, sleep_until};

/// How many bytes a silent connection accepts from the service before its buffers are full.
const SILENT_BYTES: usize = 16 * 1024;

/// The connection's faults.
#[derive(Debug, Default)]
pub(crate) struct Cable {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    /// The device is gone, and the service does not learn it: the number of bytes that the service has sent since.
    silent: Option<usize>,
    /// The device reads nothing until then.
    stalled: Option<Instant>,
    /// How many more bytes the device reads before the connection breaks.
    left: Option<usize>,
    wakers: Vec<Waker>,
}

/// An end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Device,
    Service,
}

/// The stream at one end of the connection.
#[derive(Debug)]
pub(crate) struct End {
    io: DuplexStream,
    side: Side,
    cable: Arc<Cable>,
    /// Wakes a stalled device when it may read again.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A new connection with buffers of `bytes` in each direction: the device's end, the service's end, and the faults.
pub(super) fn lay(bytes: usize) -> (End, End, Arc<Cable>) {
    let (cable, (here, there)) = (Arc::new(Cable::default()), duplex(bytes));
    let end = |io, side| End { io, side, cable: Arc::clone(&cable), timer: None };
    (end(here, Side::Device), end(there, Side::Service), Arc::clone(&cable))
}

impl Cable {
    /// Breaks the connection; both ends notice.
    pub(crate) fn cut(&self) {
        self.change(|state| state.cut = true);
    }

    /// Breaks the connection after the device has read so many more bytes.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.change(|state| state.left = Some(bytes));
    }

    /// The device disappears; the service is not notified.
    pub(crate) fn vanish(&self) {
        self.change(|state| state.silent = Some(0));
    }

    /// The device reads nothing for that time.
    pub(crate) fn stall(&self, time: Duration) {
        self.change(|state| state.stalled = Some(Instant::now() + time));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl State {
    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        if !self.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            self.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut state = this.cable.state();
        if state.cut {
            return broken();
        }
        let _: Poll<()> = state.wait(context);
        if this.side == Side::Service {
            if state.silent.is_some() {
                return Poll::Pending;
            }
            drop(state);
            return Pin::new(&mut this.io).poll_read(context, into);
        }
        if state.silent.is_some() {
            return broken();
        }
        if let Some(until) = state.stalled.filter(|until| *until > Instant::now()) {
            let timer = this.timer.insert(Box::pin(sleep_until(until)));
            let _ = timer.as_mut().poll(context);
            return Poll::Pending;
        }
        let Some(left) = state.left else {
            drop(state);
            return Pin::new(&mut this.io).poll_read(context, into);
        };
        drop(state);
        if left == 0 {
            this.cable.cut();
            return broken();
        }
        let most = left.min(into.remaining());
        let mut part = ReadBuf::new(into.initialize_unfilled_to(most));
        let polled = Pin::new(&mut this.io).poll_read(context, &mut part);
        let read = part.filled().len();
        into.advance(read);
        if polled.is_ready() {
            this.cable.state().left = Some(left - read);
        }
        polled
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut state = this.cable.state();
        if state.cut {
            return broken();
        }
        let _: Poll<()> = state.wait(context);
        match (this.side, &mut state.silent) {
            (_, None) => {
                drop(state);
                Pin::new(&mut this.io).poll_write(context, bytes)
            }
            (Side::Device, Some(_)) => broken(),
            (Side::Service, Some(sent)) if *sent < SILENT_BYTES => {
                *sent += bytes.len();
                Poll::Ready(Ok(bytes.len()))
            }
            (Side::Service, Some(_)) => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cable.state().cut {
            return broken();
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cable.state().cut {
            return broken();
        }
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
