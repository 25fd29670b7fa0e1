//! Every service in one process, behind one listener: the same code as in the separate programs.

use auth::{EndedSessions, Verifier};
use environment::{Clock, Entropy};
use operate::CommandSocket;
use process::options::{SocketOptions, UserRateOptions};
use process::{Bounds, Metrics, Origins, ProxyOptions, Readiness, Serving, Tasks};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;

pub(crate) struct Services {
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) metrics: Metrics,
    pub(crate) origins: Origins,
    pub(crate) proxies: ProxyOptions,
    pub(crate) sockets: SocketOptions,
    pub(crate) user_rate: UserRateOptions,
}

/// The listeners of the process.
pub(crate) struct Doors {
    pub(crate) public: TcpListener,
    pub(crate) operators: Option<TcpListener>,
    /// The socket for operators' commands, in the data folder.
    pub(crate) commands: Option<CommandSocket>,
    pub(crate) bounds: Bounds,
}

impl Services {
    /// Runs all services until `stop`; calls `announced` once everything is ready.
    pub(crate) async fn run(
        self,
        engines: &Engines,
        doors: Doors,
        stop: CancellationToken,
        announced: impl FnOnce(),
    ) -> anyhow::Result<()> {
        let Self { clock, entropy, metrics, origins, proxies, sockets, user_rate } = self;
        // Shared by all services: a session that the user service ends is ended for the others at once.
        let ended = EndedSessions::default();
        let readiness = Readiness::default();
        process::usage::register(&metrics, "klatsch", env!("CARGO_PKG_VERSION"));
        let serving = Serving::new(entropy.clone(), readiness.clone(), metrics.clone()).read_by(origins.clone());
        let (log, store, codec) = (Arc::clone(&engines.log), Arc::clone(&engines.store), engines.codec.clone());
        let verifier = Verifier::of_ring(engines.keys.clone(), clock.clone()).without(ended.clone());
        let mut tasks = Tasks::new(readiness.clone()).ending_later(sockets.ends_later());

        // Tasks end in the reverse order: intake first, then the consumers of the log.
        let counters = storage::StorageMetrics::new(&metrics);
        let deps = storage::Deps::new(log.clone(), store.clone(), codec.clone(), entropy.clone(), counters);
        let ready = readiness.clone();
        tasks.spawn("storage", |token| storage::run(deps, ready, token));
        let counters = fanout::FanoutMetrics::new(&metrics);
        let deps = fanout::Deps::new(log.clone(), store.clone(), codec.clone(), entropy.clone(), counters);
        let ready = readiness.clone();
        tasks.spawn("fan-out", |token| fanout::run(deps, ready, token));

        let configs = Configs::new(proxies, origins, &sockets, &user_rate);
        let deps = users::Deps {
            store: store.clone(),
            log: log.clone(),
            codec: codec.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            keys: engines.keys.clone(),
            ended,
            metrics: metrics.clone(),
            readiness: readiness.clone(),
        };
        let mut router = users::start(&configs.users, deps, &mut tasks)?;
        let deps = chat::Deps {
            log: log.clone(),
            store: store.clone(),
            codec: codec.clone(),
            clock: clock.clone(),
            verifier: verifier.clone(),
            serving: serving.clone(),
        };
        router = router.merge(chat::start(&configs.chat, &deps, &mut tasks));
        let all = readiness.clone();
        let at_hand = (log.clone(), store.clone(), clock.clone(), entropy.clone());
        let deps = sockets::Deps { log, store, codec, verifier, clock, entropy, readiness, metrics };
        let (routes, open_sockets) = sockets::start(configs.sockets, deps, &mut tasks);
        router = router.merge(routes);
        let Doors { public, operators, commands, bounds } = doors;
        if let Some(operators) = operators {
            let serving = serving.clone();
            tasks.spawn("operators' server", |token| process::serve_operators(operators, serving, token));
        }
        tasks.spawn("http server", move |token| process::serve_within(bounds, public, router, serving, token));
        tasks.spawn("sockets", |token| open_sockets.drain(token));
        if let Some(commands) = commands {
            let (log, store, clock, entropy) = at_hand;
            tasks.spawn("operators' commands", |token| commands.serve(log, store, clock, entropy, token));
        }
        let mut running = std::pin::pin!(tasks.run(stop));
        tokio::select! {
            biased;
            ended = running.as_mut() => return Ok(ended?),
            () = all.wait() => announced(),
        }
        Ok(running.await?)
    }
}

/// The configurations of the services that clients call.
struct Configs {
    users: users::Config,
    chat: chat::Config,
    sockets: sockets::Config,
}

impl Configs {
    fn new(proxies: ProxyOptions, origins: Origins, options: &SocketOptions, rate: &UserRateOptions) -> Self {
        let trusted_proxies = proxies.trusted_proxies;
        let users = users::Config { trusted_proxies, ..users::Config::default() };
        // Each read of the embedded store occupies a core while it works on rows: commands keep the other half of
        // the cores.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let reads_at_work = (cores / 2).max(1);
        let sockets = sockets::Config { origins, ..sockets::Config::of_options(options, rate, proxies) };
        // A user's commands over HTTP and over sockets share one rate limit.
        let allowance = sockets.allowance.clone();
        let chat = chat::Config { trusted_proxies, reads_at_work, allowance, ..chat::Config::default() };
        Self { users, chat, sockets }
    }
}
