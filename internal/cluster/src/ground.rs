//! What a program has before it has its engines: a listener whose health routes answer from the first moment on.

use std::net::SocketAddr;

use anyhow::Context;
use host::{Clock, Entropy};
use runtime::{Metrics, Readiness, Serving};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A program's own means, made once in `main`.
pub struct Ground {
    /// The program's name.
    pub name: &'static str,
    /// The time of day.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// What `/metrics` tells.
    pub metrics: Metrics,
    /// What `/readyz` tells.
    pub readiness: Readiness,
    /// Cancelled when the program is asked to end.
    pub stop: CancellationToken,
    /// Serves the health routes until the service takes the listener.
    waiting: Option<(CancellationToken, JoinHandle<std::io::Result<()>>)>,
    listener: std::net::TcpListener,
}

impl Ground {
    /// Listens on `address` and begins to serve the health routes.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn new(name: &'static str, address: SocketAddr, stop: CancellationToken) -> anyhow::Result<Self> {
        let bound = runtime::bind(address).await?;
        let listener = bound.into_std().context("taking the listener")?;
        let second = listener.try_clone().context("sharing the listener")?;
        let (metrics, readiness, entropy) = (Metrics::new(), Readiness::default(), Entropy::system());
        let serving = Serving { entropy: entropy.clone(), readiness: readiness.clone(), metrics: metrics.clone() };
        let ended = CancellationToken::new();
        let second = TcpListener::from_std(second).context("sharing the listener")?;
        let health = tokio::spawn(runtime::serve(second, runtime::serve::starting(), serving, ended.clone()));
        let waiting = Some((ended, health));
        let clock = Clock::system();
        Ok(Self { name, clock, entropy, metrics, readiness, stop, waiting, listener })
    }

    /// Hands the listener to the service.
    ///
    /// # Errors
    /// When it cannot be taken.
    pub async fn listener(&mut self) -> anyhow::Result<TcpListener> {
        if let Some((ended, health)) = self.waiting.take() {
            ended.cancel();
            health.await.context("serving the health routes")?.context("serving the health routes")?;
        }
        let listener = self.listener.try_clone().context("taking the listener")?;
        TcpListener::from_std(listener).context("taking the listener")
    }

    /// What an HTTP server of this program needs.
    #[must_use]
    pub fn serving(&self) -> Serving {
        Serving { entropy: self.entropy.clone(), readiness: self.readiness.clone(), metrics: self.metrics.clone() }
    }
}
