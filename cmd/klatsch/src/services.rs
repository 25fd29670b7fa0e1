//! Every service in one process: the same code as in the programs of their own, behind one listener.

use auth::Verifier;
use host::{Clock, Entropy};
use runtime::{Metrics, Readiness, Serving, Tasks};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;

pub(crate) struct Services {
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) origins: Vec<String>,
}

impl Services {
    /// Runs them all until `stop`; calls `announced` once everything is started.
    pub(crate) async fn run(
        self,
        engines: &Engines,
        listener: TcpListener,
        stop: CancellationToken,
        announced: impl FnOnce(),
    ) -> anyhow::Result<()> {
        let Self { clock, entropy, origins } = self;
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let serving = Serving { entropy: entropy.clone(), readiness: readiness.clone(), metrics: metrics.clone() };
        let (log, store, codec) = (Arc::clone(&engines.log), Arc::clone(&engines.store), engines.codec.clone());
        let verifier = Verifier::new(&engines.key.jwks(), clock.clone())?;
        let mut tasks = Tasks::new(readiness.clone());

        // Ended in the reverse order: intake first, then what works the log off.
        let counters = storage::StorageMetrics::new(&metrics);
        let deps = storage::Deps::new(log.clone(), store.clone(), codec.clone(), entropy.clone(), counters);
        let ready = readiness.clone();
        tasks.spawn("storage", |token| storage::run(deps, ready, token));
        let counters = fanout::FanoutMetrics::new(&metrics);
        let deps = fanout::Deps::new(log.clone(), store.clone(), codec.clone(), entropy.clone(), counters);
        let ready = readiness.clone();
        tasks.spawn("fan-out", |token| fanout::run(deps, ready, token));

        let deps = users::Deps {
            store: store.clone(),
            log: log.clone(),
            codec: codec.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            key: engines.key.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
        };
        let mut router = users::start(&users::Config::default(), deps, &mut tasks)?;
        let deps = chat::Deps {
            log: log.clone(),
            store: store.clone(),
            codec: codec.clone(),
            clock: clock.clone(),
            verifier: verifier.clone(),
            serving: serving.clone(),
        };
        router = router.merge(chat::start(&chat::Config::default(), &deps, &mut tasks));
        let deps = sockets::Deps { log, store, codec, verifier, clock, entropy, readiness, metrics };
        let config = sockets::Config { origins, ..sockets::Config::default() };
        let (routes, open_sockets) = sockets::start(config, deps, &mut tasks);
        router = router.merge(routes);
        tasks.spawn("http server", |token| runtime::serve(listener, router, serving, token));
        tasks.spawn("sockets", |token| open_sockets.drain(token));
        announced();
        Ok(tasks.run(stop).await?)
    }
}
