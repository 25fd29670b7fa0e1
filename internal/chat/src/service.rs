//! What every handler works with.

use std::time::Duration;

use api::{Accepted, ApiError, Caller, CommandFrame, Json};
use auth::Verifier;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use commands::{Barrier, Commands, MarkWriter};
use domain::UserId;
use runtime::TraceParent;
use store::SharedStore;

use crate::limiter::Limiter;
use crate::{Config, Deps};

/// The answer to a command: it is in the log.
pub(crate) type Logged = Result<(StatusCode, Json<Accepted>), ApiError>;

/// The state of the router. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Chat {
    pub(crate) store: SharedStore,
    pub(crate) barrier: Barrier,
    pub(crate) commands: Commands,
    pub(crate) limiter: Limiter,
    reads: Limiter,
    /// How long a read waits for storage.
    pub(crate) read_wait: Duration,
    verifier: Verifier,
}

impl FromRef<Chat> for Verifier {
    fn from_ref(chat: &Chat) -> Self {
        chat.verifier.clone()
    }
}

/// Who reads: a caller within the limit of reads.
pub(crate) struct Reader {
    pub(crate) user: UserId,
}

impl FromRequestParts<Chat> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, chat: &Chat) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, chat).await?;
        chat.reads.take(caller.user)?;
        Ok(Self { user: caller.user })
    }
}

impl Chat {
    pub(crate) fn new(config: &Config, deps: &Deps) -> (Self, MarkWriter) {
        let (log, store) = (deps.log.clone(), deps.store.clone());
        let (codec, clock) = (deps.codec.clone(), deps.clock.clone());
        let (commands, marks) = Commands::new(log, store.clone(), codec, clock, config.rules);
        let chat = Self {
            barrier: commands.barrier().clone(),
            store,
            commands,
            limiter: Limiter::new(config.burst, config.rate, "commands"),
            reads: Limiter::new(config.read_burst, config.read_rate, "reads"),
            read_wait: config.read_wait,
            verifier: deps.verifier.clone(),
        };
        (chat, marks)
    }

    /// Hands the caller's command to the log and waits until it is durable there.
    pub(crate) async fn submit(&self, caller: &Caller, trace: TraceParent, command: CommandFrame) -> Logged {
        self.limiter.take(caller.user)?;
        let submitted = self.commands.submit(caller.user, command, Some(&trace.to_string())).await?;
        Ok((StatusCode::ACCEPTED, Json(submitted.logged().await?)))
    }
}
