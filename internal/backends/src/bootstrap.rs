//! The base of a program before it has its engines: a listener whose health routes answer from the start.

use anyhow::Context;
use environment::{Clock, Entropy};
use process::options::ListenOptions;
use process::{Bounds, Metrics, Readiness, Serving};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The base of a program, made once in `main`: listener, clock, entropy, metrics and readiness.
pub struct Bootstrap {
    /// The program's name.
    pub name: &'static str,
    /// The clock.
    pub clock: Clock,
    /// The source of randomness.
    pub entropy: Entropy,
    /// The metrics that `/metrics` reports.
    pub metrics: Metrics,
    /// The conditions that `/readyz` reports.
    pub readiness: Readiness,
    /// The bounds on the listener's connections.
    pub bounds: Bounds,
    /// Cancelled when the program is asked to end.
    pub stop: CancellationToken,
    /// Serves the health routes until the service takes the listener.
    waiting: Option<(CancellationToken, JoinHandle<std::io::Result<()>>)>,
    listener: std::net::TcpListener,
}

impl Bootstrap {
    /// Listens on the address of the options, by default on `port` of the loopback address, and serves the health
    /// routes there and on the operators' listener.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn new(
        name: &'static str,
        options: &ListenOptions,
        port: u16,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let bound = process::bind(options.address_or(port)).await?;
        let operators = process::bind_operators(options, bound.local_addr()?).await?;
        let listener = bound.into_std().context("taking the listener")?;
        let second = listener.try_clone().context("sharing the listener")?;
        let (clock, readiness, entropy) = (Clock::system(), Readiness::default(), Entropy::system());
        let metrics = Metrics::with_clock(clock.clone());
        process::usage::register(&metrics, name, env!("CARGO_PKG_VERSION"));
        let serving = Serving::new(entropy.clone(), readiness.clone(), metrics.clone());
        if let Some(operators) = operators {
            // Runs until the process ends, so that operators can ask why the program does not become ready, or
            // does not end.
            tokio::spawn(process::serve_operators(operators, serving.clone(), CancellationToken::new()));
        }
        let ended = CancellationToken::new();
        let second = TcpListener::from_std(second).context("sharing the listener")?;
        let bounds = options.bounds();
        let health =
            tokio::spawn(process::serve_within(bounds, second, process::serve::starting(), serving, ended.clone()));
        let waiting = Some((ended, health));
        Ok(Self { name, bounds, clock, entropy, metrics, readiness, stop, waiting, listener })
    }

    /// Returns the listener, for the service.
    ///
    /// # Errors
    /// When it was returned before.
    pub async fn listener(&mut self) -> anyhow::Result<TcpListener> {
        if let Some((ended, health)) = self.waiting.take() {
            ended.cancel();
            health.await.context("serving the health routes")?.context("serving the health routes")?;
        }
        let listener = self.listener.try_clone().context("taking the listener")?;
        TcpListener::from_std(listener).context("taking the listener")
    }

    /// The dependencies of an HTTP server of this program.
    #[must_use]
    pub fn serving(&self) -> Serving {
        Serving::new(self.entropy.clone(), self.readiness.clone(), self.metrics.clone())
    }
}
