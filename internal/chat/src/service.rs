//! The state that all handlers of the service share.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use api::{ApiError, Caller, Json};
use auth::Verifier;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use commands::{Barrier, Commands, MarkWriter};
use domain::UserId;
use process::{CommandSeconds, Peer, TraceParent, client_address, network_of};
use protocol::{Accepted, CommandFrame};
use store::SharedStore;

use crate::read_limits::{ReadLimits, ReadPermit};
use crate::{Config, Deps};

/// The answer to a command: it is in the log.
pub(crate) type Logged = Result<(StatusCode, Json<Accepted>), ApiError>;

/// The state of the router. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Chat {
    pub(crate) store: SharedStore,
    pub(crate) barrier: Barrier,
    pub(crate) commands: Commands,
    pub(crate) reads: ReadLimits,
    /// From a command to its answer.
    pub(crate) command_seconds: CommandSeconds,
    /// The number of proxies that say where a request comes from.
    trusted_proxies: usize,
    /// How long a read waits for storage.
    pub(crate) read_wait: Duration,
    verifier: Verifier,
}

impl FromRef<Chat> for Verifier {
    fn from_ref(chat: &Chat) -> Self {
        chat.verifier.clone()
    }
}

/// A caller within the limits of reads, with the permit of a read.
pub(crate) struct Reader {
    pub(crate) user: UserId,
    _turn: ReadPermit,
}

impl FromRequestParts<Chat> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, chat: &Chat) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, chat).await?;
        // Only a test that calls the routes itself has no connection.
        let peer = parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Peer(address)| *address);
        let address = network_of(client_address(peer, &parts.headers, chat.trusted_proxies));
        let turn = chat.reads.turn(caller.user, address).await?;
        Ok(Self { user: caller.user, _turn: turn })
    }
}

impl Chat {
    pub(crate) fn new(config: &Config, deps: &Deps) -> (Self, MarkWriter) {
        let (log, store) = (deps.log.clone(), deps.store.clone());
        let (codec, clock) = (deps.codec.clone(), deps.clock.clone());
        let (commands, marks) = Commands::new(log, store.clone(), codec, clock, config.rules);
        let commands = commands.within(config.allowance.clone());
        let chat = Self {
            barrier: commands.barrier().clone(),
            store,
            commands,
            reads: ReadLimits::new(config),
            command_seconds: deps.serving.metrics.commands().clone(),
            trusted_proxies: config.trusted_proxies,
            read_wait: config.read_wait,
            verifier: deps.verifier.clone(),
        };
        (chat, marks)
    }

    /// Hands the caller's command to the log and waits until it is durable there.
    pub(crate) async fn submit(&self, caller: &Caller, trace: TraceParent, command: CommandFrame) -> Logged {
        let timer = self.command_seconds.begin(command.what.name());
        let logged = match self.commands.submit(caller.user, command, Some(&trace.to_string())).await {
            Ok(submitted) => submitted.logged().await,
            Err(refusal) => Err(refusal),
        };
        timer.answered(logged.as_ref().err().map(|refusal| refusal.code));
        Ok((StatusCode::ACCEPTED, Json(logged?)))
    }
}
